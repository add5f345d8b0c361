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
    PackOption,
    QuietOption,
    StoreOption,
    VerboseOption,
    WholeJsonOption,
)
from visavis.cli.policies import (
    ConflictOption,
    ConsentRequiredOption,
    KeepOption,
    LogSearchesOption,
    MarginOption,
    MinFacePxOption,
    MinScoreOption,
    MinSharpnessOption,
    ProbeMinFacePxOption,
    ProbeMinScoreOption,
    ProbeMinSharpnessOption,
    RetentionOption,
    ThresholdOption,
    changed_policy,
    policy_facts,
)
from visavis.cli.report import readable
from visavis.cli.stores import StoreOptions, open_galleries, open_gallery

if TYPE_CHECKING:
    from visavis.galleries.records import Gallery
    from visavis.models.catalogue import Pack

EXAMPLES = """\b
Examples:
  visavis gallery create staff --keep chips --consent-required
  visavis gallery create visitors --retention-days 30 --key-file visavis.key
  visavis gallery policy staff
  visavis gallery policy staff --threshold 0.5 --margin default
"""

_log = logging.getLogger("visavis.cli")


def create(  # noqa: PLR0913  # a command's options are independent
    name: GalleryArgument,
    *,
    encrypt: Annotated[
        bool | None,
        typer.Option(
            "--encrypt/--no-encrypt", show_default="encrypted where there is a key", help="Whether to encrypt."
        ),
    ] = None,
    threshold: ThresholdOption = None,
    margin: MarginOption = None,
    conflict_threshold: ConflictOption = None,
    min_face_px: MinFacePxOption = None,
    min_sharpness: MinSharpnessOption = None,
    min_score: MinScoreOption = None,
    probe_min_face_px: ProbeMinFacePxOption = None,
    probe_min_sharpness: ProbeMinSharpnessOption = None,
    probe_min_score: ProbeMinScoreOption = None,
    keep: KeepOption = None,
    retention_days: RetentionOption = None,
    consent_required: ConsentRequiredOption = None,
    log_searches: LogSearchesOption = None,
    as_json: WholeJsonOption = False,
    pack: PackOption = DEFAULT_PACK,
    store: StoreOption = DEFAULT_STORE,
    key_file: KeyFileOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Make a gallery, for the embeddings of one pack; options that are not given take their usual values."""
    given = {
        "threshold": threshold,
        "margin": margin,
        "conflict_threshold": conflict_threshold,
        "min_face_px": min_face_px,
        "min_sharpness": min_sharpness,
        "min_score": min_score,
        "probe_min_face_px": probe_min_face_px,
        "probe_min_sharpness": probe_min_sharpness,
        "probe_min_score": probe_min_score,
        "keep": keep,
        "retention_days": retention_days,
        "consent_required": consent_required,
        "log_searches": log_searches,
    }
    models = ModelOptions(pack)
    with reporting(quiet=quiet, verbose=verbose), open_galleries(StoreOptions(store, key_file), models) as galleries:
        from visavis.galleries.records import Policy  # noqa: PLC0415  # brings NumPy

        made = galleries.create(name, policy=changed_policy(Policy(), given), encrypted=encrypt)
        _log.info("made the gallery %s in %s", name, galleries.store.url)
        _print(made, galleries.eyes.pack, as_json=as_json)


def policy(  # noqa: PLR0913  # likewise
    name: GalleryArgument,
    *,
    threshold: ThresholdOption = None,
    margin: MarginOption = None,
    conflict_threshold: ConflictOption = None,
    min_face_px: MinFacePxOption = None,
    min_sharpness: MinSharpnessOption = None,
    min_score: MinScoreOption = None,
    probe_min_face_px: ProbeMinFacePxOption = None,
    probe_min_sharpness: ProbeMinSharpnessOption = None,
    probe_min_score: ProbeMinScoreOption = None,
    keep: KeepOption = None,
    retention_days: RetentionOption = None,
    consent_required: ConsentRequiredOption = None,
    log_searches: LogSearchesOption = None,
    as_json: WholeJsonOption = False,
    store: StoreOption = DEFAULT_STORE,
    key_file: KeyFileOption = None,
    quiet: QuietOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Change those parts of a gallery's policy that are given, and show all of it. What is enrolled already stays."""
    given = {
        "threshold": threshold,
        "margin": margin,
        "conflict_threshold": conflict_threshold,
        "min_face_px": min_face_px,
        "min_sharpness": min_sharpness,
        "min_score": min_score,
        "probe_min_face_px": probe_min_face_px,
        "probe_min_sharpness": probe_min_sharpness,
        "probe_min_score": probe_min_score,
        "keep": keep,
        "retention_days": retention_days,
        "consent_required": consent_required,
        "log_searches": log_searches,
    }
    with reporting(quiet=quiet, verbose=verbose), open_galleries(StoreOptions(store, key_file)) as galleries:
        opened = open_gallery(galleries, name)
        record = opened.record
        wanted = changed_policy(record.policy, given)
        if wanted != record.policy:
            record = opened.set_policy(wanted)
        _print(record, galleries.eyes.pack, as_json=as_json)


def _print(gallery: "Gallery", pack: "Pack", *, as_json: bool) -> None:
    from visavis.service.results import gallery_to_dict  # noqa: PLC0415  # brings NumPy

    stream = results_stream()
    plain = json.dumps(gallery_to_dict(gallery), indent=2)
    words = readable(f"policy of gallery {gallery.name}", policy_facts(gallery, pack))
    stream.write((plain if as_json else words) + "\n")
    stream.flush()
