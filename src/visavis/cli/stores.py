"""The galleries that a command works on."""

import getpass
import logging
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from visavis.cli.options import ModelOptions
from visavis.errors import GalleryExists, GalleryNotFound, InvalidOption, ModelCorrupt, ModelMissing

if TYPE_CHECKING:
    from visavis.galleries.records import Gallery
    from visavis.models.packs import Pack
    from visavis.options import Policy
    from visavis.service.galleries import Galleries
    from visavis.service.gallery import OpenGallery

_log = logging.getLogger("visavis.cli")
_KEY_VARIABLE = "VISAVIS_GALLERY_KEY"
_NAMED_IN_MESSAGES = 10
_DEFAULT_MODELS = ModelOptions()
_KEPT = {
    "nothing": "embeddings and no images",
    "chips": "embeddings and aligned faces",
    "images": "embeddings and whole images",
}


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """Where galleries are, and what opens those that are encrypted."""

    url: str
    key_file: Path | None


@contextmanager
def open_galleries(
    store: StoreOptions, models: ModelOptions = _DEFAULT_MODELS, *, images: int = 1
) -> Iterator["Galleries"]:
    """Give the galleries of a store; models are loaded when the first image is looked at.

    Args:
        store: where it is.
        models: to be loaded.
        images: how many there will be to look at.

    Raises:
        InvalidOption: there is no such kind of store, no such pack, or the key is none.
        SetupError: the store cannot be used.
    """
    from visavis.cli.recognizers import LateEyes  # noqa: PLC0415  # brings NumPy and OpenCV
    from visavis.galleries.opening import open_store  # noqa: PLC0415  # likewise
    from visavis.service.galleries import Galleries  # noqa: PLC0415  # likewise

    with closing(open_store(store.url, key=_read_key(store.key_file))) as opened:
        yield Galleries(opened, LateEyes(models, images), actor=_actor())


def open_gallery(galleries: "Galleries", name: str) -> "OpenGallery":
    """Open a gallery that there is.

    Raises:
        GalleryNotFound: there is none of that name; the message tells those there are.
        SpaceMismatch: it is of another pack.
    """
    try:
        return galleries.open(name)
    except GalleryNotFound:
        raise not_found(galleries, name) from None


def open_with_its_pack(galleries: "Galleries", name: str, models: ModelOptions) -> "OpenGallery":
    """Open a gallery that there is, for what looks at no image: whatever pack is chosen, its own one counts.

    Raises:
        GalleryNotFound: as ``open_gallery`` does.
    """
    from visavis.cli.recognizers import LateEyes  # noqa: PLC0415  # brings NumPy and OpenCV
    from visavis.service.galleries import Galleries  # noqa: PLC0415  # likewise

    opened = open_gallery(galleries, name)
    pack = pack_of(opened.record, models.models_folder())
    if pack is None:
        return opened
    eyes = LateEyes(replace(models, pack=pack.name))
    return Galleries(galleries.store, eyes, actor=galleries.actor).open(name)


def pack_of(gallery: "Gallery", models_dir: Path) -> "Pack | None":
    """Return the pack that a gallery was made with, as far as the catalogue and what is pinned here tell."""
    from visavis.models.catalogue import PACKS  # noqa: PLC0415  # brings NumPy
    from visavis.models.installation import as_pinned  # noqa: PLC0415  # likewise

    for pack in PACKS.values():
        with suppress(ModelCorrupt, ModelMissing):  # whoever wants to use it is told
            if as_pinned(pack, models_dir).space.id == gallery.space.id:
                return pack
    return None


def make_gallery(galleries: "Galleries", name: str, policy: "Policy") -> "OpenGallery":
    """Make a gallery, unless somebody else just did, and say so."""
    with suppress(GalleryExists):
        made = galleries.create(name, policy=policy)
        encrypted = ", encrypted" if made.encrypted else ""
        _log.info("made the gallery %s in %s%s; it keeps %s", name, galleries.store.url, encrypted, _KEPT[policy.keep])
    return galleries.open(name)


def not_found(galleries: "Galleries", name: str) -> GalleryNotFound:
    """Say that there is no gallery of that name, and which there are."""
    url, names = galleries.store.url, [gallery.name for gallery in galleries.all()]
    if not names:
        return GalleryNotFound(
            f"there is no gallery {name!r}: {url} holds none yet; visavis enrol or visavis gallery create makes one"
        )
    rest = len(names) - _NAMED_IN_MESSAGES
    listed = ", ".join(names[:_NAMED_IN_MESSAGES]) + (f" and {rest} more" if rest > 0 else "")
    return GalleryNotFound(f"there is no gallery {name!r} in {url}; those there are: {listed}")


def _read_key(key_file: Path | None) -> bytes | None:
    from visavis.galleries.opening import read_key  # noqa: PLC0415  # brings NumPy

    for name in (_KEY_VARIABLE, f"{_KEY_VARIABLE}_FILE"):
        if os.environ.get(name) == "":  # nothing must remain plain because a secret could not be read
            raise InvalidOption(f"{name} is set, and empty; unset it where nothing is encrypted")
    text = os.environ.get(_KEY_VARIABLE)
    if key_file is None:
        return read_key(text) if text else None
    if text:
        raise InvalidOption(f"{_KEY_VARIABLE} and a key file are two ways to give one key; use one of them")
    return read_key(key_file.read_bytes().decode("ascii", "replace"))


def _actor() -> str:
    """Return what the log calls who acts."""
    try:
        return f"user {getpass.getuser()}"
    except (ImportError, KeyError, OSError):  # a user without a name, as in some containers
        return "user unknown"
