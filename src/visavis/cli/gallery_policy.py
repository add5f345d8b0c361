"""``visavis gallery create`` and ``policy``: how a gallery enrols, decides and forgets."""

import json
import logging
from typing import TYPE_CHECKING, Annotated

import typer

from visavis.cli.messages import reporting, results_stream
from visavis.cli.options import (
    DEFAULT_PACK,
    DEFAULT_STORE,
    GalleryArgument,
    KeyFileOption,
    ModelOptions,
    ModelsDirOption,
    PackOption,
    QuietOption,
    StoreOption,
    VerboseOption,
    WholeJsonOption,
)
from visavis.cli.policies import GivenPolicy, changed_policy, policy_facts, takes_policy
from visavis.cli.report import readable
from visavis.cli.stores import StoreOptions, open_galleries, open_with_its_pack, pack_of

if TYPE_CHECKING:
    from visavis.galleries.records import Gallery
    from visavis.models.packs import Pack

EXAMPLES = """\b
Examples:
  visavis gallery create staff --keep chips --consent-required
  visavis gallery create visitors --retention-days 30 --key-file visavis.key
  visavis gallery policy staff
  visavis gallery policy staff --threshold 0.5 --margin default
  visavis gallery policy staff --max-yaw 45 --min-score default
"""

_log = logging.getLogger("visavis.cli")


@takes_policy
def create(  # noqa: PLR0913  # a command's options are independent
    name: GalleryArgument,
    *,
    encrypt: Annotated[
        bool | None,
        typer.Option(
            "--encrypt/--no-encrypt", show_default="encrypted where there is a key", help="Whether to encrypt."
        ),
    ] = None,
    given: GivenPolicy,
    as_json: WholeJsonOption = False,
    pack: PackOption = DEFAULT_PACK,
    models_dir: ModelsDirOption = None,
    store: StoreOption = DEFAULT_STORE,
    key_file: KeyFileOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Make a gallery, for the embeddings of one pack; options that are not given take their usual values."""
    models = ModelOptions(pack, models_dir=models_dir)
    with reporting(quiet=quiet, verbose=verbose), open_galleries(StoreOptions(store, key_file), models) as galleries:
        from visavis.galleries.records import Policy  # noqa: PLC0415  # brings NumPy

        made = galleries.create(name, policy=changed_policy(Policy(), given), encrypted=encrypt)
        _log.info("made the gallery %s in %s", name, galleries.store.url)
        _print(made, pack_of(made, models.models_folder()), as_json=as_json)


@takes_policy
def policy(  # noqa: PLR0913  # likewise
    name: GalleryArgument,
    *,
    given: GivenPolicy,
    as_json: WholeJsonOption = False,
    models_dir: ModelsDirOption = None,
    store: StoreOption = DEFAULT_STORE,
    key_file: KeyFileOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Change those parts of a gallery's policy that are given, and show all of it. What is enrolled already stays."""
    models = ModelOptions(models_dir=models_dir)
    with reporting(quiet=quiet, verbose=verbose), open_galleries(StoreOptions(store, key_file), models) as galleries:
        opened = open_with_its_pack(galleries, name, models)
        record = opened.record
        wanted = changed_policy(record.policy, given)
        if wanted != record.policy:
            record = opened.set_policy(wanted)
        _print(record, pack_of(record, models.models_folder()), as_json=as_json)


def _print(gallery: "Gallery", pack: "Pack | None", *, as_json: bool) -> None:
    from visavis.service.results import gallery_to_dict  # noqa: PLC0415  # brings NumPy

    stream = results_stream()
    plain = json.dumps(gallery_to_dict(gallery), indent=2)
    words = readable(f"policy of gallery {gallery.name}", policy_facts(gallery, pack))
    stream.write((plain if as_json else words) + "\n")
    stream.flush()
