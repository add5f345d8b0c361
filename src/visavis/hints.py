"""Names that people try, and what they are called here."""

from collections.abc import Collection
from difflib import get_close_matches
from typing import TYPE_CHECKING

_CALLED = {
    "analyze": "detect",
    "compare_faces": "compare",
    "delete": "forget",
    "encode": "embed",
    "enroll": "enrol",
    "enroll_embedding": "enrol_embedding",
    "enroll_many": "enrol_many",
    "extract_faces": "detect",
    "face_distance": "compare",
    "face_encodings": "embed",
    "face_locations": "detect",
    "recognize": "identify",
    "register": "enrol",
    "remove": "forget",
    "represent": "embed",
    "search": "identify",
}


def meant(name: str, known: Collection[str]) -> str | None:
    """Return which of the known names somebody may mean by another one."""
    called = _CALLED.get(name.lower().replace("-", "_"))
    return called if called in known else next(iter(get_close_matches(name, known, 1, 0.8)), None)


class Hinting:
    """Base of classes whose attribute errors say what somebody may mean."""

    if not TYPE_CHECKING:  # for whom each name would be there

        def __getattr__(self, name: str) -> object:
            """Raise what is raised without this, in more words."""
            hint = None if name.startswith("_") else meant(name, [each for each in dir(type(self)) if each[0] != "_"])
            told = f"{type(self).__name__!r} object has no attribute {name!r}"
            raise AttributeError(f"{told}; {hint} may be meant" if hint else told, name=name, obj=self)
