"""What bulk calls consist of: lines of JSON, and what cannot become one."""

import secrets
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from visavis.client.bodies import details_json, given, image_json, to_json, vector_json
from visavis.client.images import load
from visavis.errors import InputError, InvalidOption, VisavisError
from visavis.service.enroller import Enrolment
from visavis.service.transfer import has_face

# As many as a server stores at a time: more would only be waited for longer.
_MOST_LINES = 500
_MOST_IMAGES = 16
_MOST_BYTES = 8_000_000  # in one call, where it is of several lines


@dataclass(frozen=True, slots=True)
class Line:
    """A line to be sent.

    Attributes:
        data: its JSON.
        name: what messages call its image, if it has one.
        has_image: whether there is an image in it, to be looked at.
        has_face: whether it asks for an enrolment; if not, the server says nothing of it.
    """

    data: bytes = field(repr=False)
    name: str | None = None
    has_image: bool = False
    has_face: bool = True


class Chunk:
    """Lines that go together in one call, and in their places the errors of those that cannot be sent."""

    def __init__(self) -> None:
        self.entries: list[Line | VisavisError] = []
        self._images = 0
        self._bytes = 0

    @property
    def full(self) -> bool:
        """Whether there is room for nothing more."""
        return len(self.entries) >= _MOST_LINES or self._images >= _MOST_IMAGES

    def has_room_for(self, entry: Line | VisavisError) -> bool:
        """Tell whether this may go along too; a line of any size may go alone."""
        return isinstance(entry, VisavisError) or not self._bytes or self._bytes + len(entry.data) <= _MOST_BYTES

    def add(self, entry: Line | VisavisError) -> None:
        """Put it behind the others."""
        self.entries.append(entry)
        if isinstance(entry, Line):
            self._images += entry.has_image
            self._bytes += len(entry.data)


def enrolment_line(enrolment: Enrolment | VisavisError) -> Line | VisavisError:
    """Return an enrolment as a line, or why it cannot be sent; an error in its place is handed on."""
    if isinstance(enrolment, VisavisError):
        return enrolment
    try:
        chosen = given(
            subject=enrolment.subject,
            source=enrolment.source,
            key=enrolment.key or new_key(),
            quality=enrolment.quality and enrolment.quality.to_dict(),
            picture=enrolment.picture and b64encode(enrolment.picture).decode(),
            **details_json(enrolment.details),
        )
        if enrolment.image is None:
            return Line(to_json({**chosen, "embedding": vector_json(enrolment.embedding)}, "an enrolment"))
        image = load(enrolment.image)
        if isinstance(image, InputError):
            return image
        return Line(to_json({**chosen, "image": image_json(image)}, "an enrolment"), image.name, has_image=True)
    except InputError as error:
        return error


def export_line(line: Mapping[str, Any]) -> Line | VisavisError:
    """Return a line of an export as it is sent, or why it cannot be."""
    if not isinstance(line, Mapping):
        return InvalidOption(f"a line of an export is a dict, not {type(line).__name__}")
    asks = has_face(line)
    plain = {**line, "key": line.get("key") or new_key()} if asks else dict(line)
    try:
        return Line(to_json(plain, "a line of an export"), has_image="image" in line, has_face=asks)
    except InvalidOption as error:
        return error


def new_key() -> str:
    """Return an idempotency key that nobody else has."""
    return secrets.token_urlsafe(16)
