"""What a client and a server say to each other about faces: without a network, and without memory."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from visavis.client.answers import read_faces, read_health, read_verification
from visavis.client.batching import ask_many, ask_one, loaded
from visavis.client.bodies import Options, call_with, given
from visavis.client.exchange import Call, Each, Patience, Steps, exchange
from visavis.client.pack_answers import ServedPack, read_packs
from visavis.errors import InvalidOption, VisavisError
from visavis.options import Attribute
from visavis.types import Face, ImageSource, Verification

if TYPE_CHECKING:
    from visavis.options import FacesPolicy


@dataclass(frozen=True, slots=True)
class FaceOptions:
    """Which faces are looked for, and what is told of them; None is the server's own choice."""

    faces: "FacesPolicy" = "all"
    min_face: float | None = None
    quality: bool = False
    attributes: "Collection[Attribute]" = ()

    def chosen(self) -> Options:
        """Return what is sent of them.

        Raises:
            InvalidOption: one cannot even be sent.
        """
        attributes = _listed(self.attributes) or None
        return given(faces=self.faces, min_face=self.min_face, quality=self.quality or None, attributes=attributes)


def _listed(attributes: "Collection[Attribute]") -> "list[Attribute]":
    if isinstance(attributes, str) or not isinstance(attributes, Collection):
        raise InvalidOption(f"attributes are given as in ('pose',), not {attributes!r}")
    return list(attributes)


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """How two faces are compared; at most one of threshold, false match rate and operating point."""

    faces: Literal["largest", "only"] = "largest"
    threshold: float | None = None
    fmr: float | str | None = None
    operating_point: str | None = None
    min_face: float | None = None
    require_live: bool = False

    def chosen(self) -> Options:
        """Return what is sent of them.

        Raises:
            InvalidOption: one cannot even be sent.
        """
        return given(
            faces=self.faces,
            threshold=self.threshold,
            fmr=self.fmr,
            operating_point=self.operating_point,
            min_face=self.min_face,
            require_live=self.require_live or None,
        )


def find_one(verb: str, image: ImageSource, options: FaceOptions, patience: Patience) -> Steps[tuple[Face, ...]]:
    """Find the faces of one image.

    Args:
        verb: "detect" or "embed".
        image: to be looked at.
        options: for it.
        patience: with the server.

    Raises:
        VisavisError: the image cannot be used, or the call failed.
    """
    return (yield from ask_one(f"v1/{verb}", image, options.chosen(), read_faces, patience))


def find_many(
    verb: str, images: Iterable[ImageSource], options: FaceOptions, patience: Patience
) -> Each[tuple[Face, ...] | VisavisError]:
    """Find the faces of many images, in as few calls as possible.

    Raises:
        VisavisError: a call as a whole failed.
    """
    yield from ask_many(f"v1/{verb}", images, options.chosen(), read_faces, patience)


def verify(a: ImageSource, b: ImageSource, options: VerifyOptions, patience: Patience) -> Steps[Verification]:
    """Compare two images.

    Raises:
        VisavisError: an image cannot be used, or the call failed.
    """
    chosen = options.chosen()
    images = {"a": (yield from loaded(a)), "b": (yield from loaded(b))}
    answer = yield from exchange(call_with("v1/verify", images, chosen), patience)
    return read_verification(answer, {part: image.name for part, image in images.items()})


def models(patience: Patience) -> Steps[tuple[ServedPack, ...]]:
    """List the packs that the server knows.

    Raises:
        VisavisError: the call failed.
    """
    return read_packs((yield from exchange(Call("GET", "v1/models"), patience)))


def health(patience: Patience) -> Steps[bool]:
    """Tell whether the server is ready, asking once.

    Raises:
        ServerUnreachable: nobody answers.
    """
    return read_health((yield from exchange(Call("GET", "readyz"), replace(patience, retries=0))))
