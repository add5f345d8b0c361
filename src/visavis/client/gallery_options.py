"""What can be chosen and told when a gallery is asked; plain records, ready to be sent."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from visavis.client.bodies import Options, details_json, given
from visavis.client.lines import new_key
from visavis.errors import InvalidOption
from visavis.galleries.records import NO_DETAILS, Details

if TYPE_CHECKING:
    from visavis.options import Rate

_KEY = re.compile("[!-~]([ -~]{0,178}[!-~])?")


@dataclass(frozen=True, slots=True)
class About:
    """What is told of a face that is enrolled."""

    subject: str | None = None
    details: Details = NO_DETAILS
    source: str | None = None
    key: str | None = None

    def told(self) -> dict[str, Any]:
        """Return what the body holds of it.

        Raises:
            InvalidOption: something cannot even be sent.
        """
        return given(subject=self.subject, source=self.source, **details_json(self.details))

    def headers(self) -> dict[str, str]:
        """Return the header with the idempotency key: one that nobody else has where none is given.

        Raises:
            InvalidOption: the key is not one that a header can hold.
        """
        if self.key is not None and not _KEY.fullmatch(self.key):
            raise InvalidOption("an idempotency key is 1 to 180 printable ASCII characters, without spaces at its ends")
        return {"Idempotency-Key": self.key or new_key()}


@dataclass(frozen=True, slots=True)
class EnrolOptions:
    """Which faces are enrolled."""

    faces: Literal["only", "largest"] = "only"
    min_face: float | None = None
    allow_conflict: bool = False

    def chosen(self) -> Options:
        """Return what is sent of them.

        Raises:
            InvalidOption: one cannot even be sent.
        """
        return given(faces=self.faces, min_face=self.min_face, allow_conflict=self.allow_conflict)


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """Which faces are looked for, and how."""

    faces: Literal["all", "largest", "only"] = "all"
    limit: int = 5
    threshold: float | None = None
    fmr: "Rate | None" = None
    min_face: float | None = None
    require_live: bool = False

    def chosen(self) -> Options:
        """Return what is sent of them.

        Raises:
            InvalidOption: one cannot even be sent.
        """
        return given(
            faces=self.faces,
            limit=self.limit,
            threshold=self.threshold,
            fmr=self.fmr,
            min_face=self.min_face,
            require_live=self.require_live or None,
        )
