"""From photos of people to samples of a gallery."""

import hashlib
import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Literal

from visavis.cli.inputs import Source
from visavis.cli.messages import printable
from visavis.cli.people import Portrait
from visavis.errors import VisavisError

if TYPE_CHECKING:
    from visavis.galleries.records import Details
    from visavis.service.enroller import Enrolment
    from visavis.service.gallery import OpenGallery
    from visavis.service.results import Enrolled

UNNAMED = "unnamed"
"""The code of an image whose path names nobody."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one image.

    Attributes:
        file: as results call it.
        subject: whose face it shows, or None where its path names nobody.
        sample: the number of the sample, or None where the image was refused.
        repeated: whether it was enrolled before.
        conflict: another subject that the face resembles too much, where that was allowed; or None.
        error: code and message, where it was refused.
    """

    file: str
    subject: str | None
    sample: int | None = None
    repeated: bool = False
    conflict: str | None = None
    error: tuple[str, str] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain Python values, ready for JSON."""
        if self.error is not None:
            code, message = self.error
            return {"file": self.file, "subject": self.subject, "error": {"code": code, "message": message}}
        about = {"sample": self.sample, "repeated": self.repeated, "conflict": self.conflict}
        return {"file": self.file, "subject": self.subject, **about}


@dataclass(frozen=True, slots=True)
class How:
    """How images are enrolled."""

    details: "Details"
    faces: Literal["only", "largest"]
    allow_conflict: bool
    max_bytes: int


class _Photo(io.BytesIO):
    """An image file as it was when its key was made, with its name."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.name = name


def enrol_portraits(portraits: Sequence[Portrait], gallery: "OpenGallery", how: How) -> Iterator[Result]:
    """Yield what becomes of each portrait, in order, once it is stored.

    The key of an enrolment is made of the file's content and its subject: what is there already is read, and not looked
    at again.
    """
    named = ((portrait.source, portrait.subject) for portrait in portraits if portrait.subject is not None)
    enrolments = (_enrolment(source, subject, how) for source, subject in named)
    outcomes = gallery.enrol_many(enrolments, faces=how.faces, allow_conflict=how.allow_conflict)
    for portrait in portraits:
        name = portrait.source.name
        if portrait.subject is None:
            yield Result(name, None, error=(UNNAMED, portrait.problem))
        else:
            yield _result(name, portrait.subject, next(outcomes))


def _enrolment(source: Source, subject: str, how: How) -> "Enrolment":
    """Read an image once, for its key and for its face; one that cannot be read is left to fail where that is told."""
    from visavis.service.enroller import Enrolment  # noqa: PLC0415  # brings NumPy and OpenCV

    image, key = source.image, None
    with suppress(OSError, ValueError):
        content = _content(source.image, how.max_bytes + 1)
        image, key = _Photo(content, source.name), _key(content, subject)
    return Enrolment(subject=subject, image=image, details=how.details, source=_label(source), key=key)


def _label(source: Source) -> str:
    """Return what a sample says of where it comes from: no more of the path than was searched."""
    return printable(source.relative.as_posix())


def _content(image: str | IO[bytes], count: int) -> bytes:
    if not isinstance(image, str):
        return image.read(count)
    with open(image, "rb") as file:  # noqa: PTH123  # as the library opens it
        return file.read(count)


def _key(content: bytes, subject: str) -> str:
    digest = hashlib.sha256(content)
    digest.update(b"\0" + subject.encode())
    return digest.hexdigest()


def _result(name: str, subject: str, outcome: "Enrolled | VisavisError") -> Result:
    if isinstance(outcome, VisavisError):
        message = str(outcome).removeprefix(f"{name}: ")
        return Result(name, subject, error=(outcome.code, message))
    conflict = outcome.conflict.subject if outcome.conflict else None
    return Result(name, subject, outcome.sample, outcome.repeated, conflict)
