"""Entity tags, conditional requests, and cursors of pages.

Source: RFC 9110, sections 8.8.3 (tags and their comparison), 13.1 (the two headers) and 13.2.2 (their order).
"""

import binascii
import hashlib
import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import Literal, TypeAlias

from fastapi import Request

from visavis.galleries.records import Subject
from visavis.server.problems import Problem

Verdict: TypeAlias = Literal["go on", "not modified", "failed"]

_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_TAGS = re.compile(rf"[ \t,]*{_TAG}(?:[ \t]*,[ \t,]*{_TAG})*[ \t,]*")
_EACH = re.compile(_TAG)
_ANY = "*"


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a request says of the state that it expects.

    Attributes:
        match: tags of which the current one must be one, "*" for any; None where nothing is said.
        none_match: tags of which it must be none.
    """

    match: tuple[str, ...] | None
    none_match: tuple[str, ...] | None

    @classmethod
    def of(cls, request: Request) -> "Conditions":
        """Read the conditions of a request.

        Raises:
            Problem: a header is no list of entity tags.
        """
        return cls(_tags(request, "If-Match"), _tags(request, "If-None-Match"))

    def judge(self, current: str, *, reading: bool) -> Verdict:
        """Compare with the current tag of what is there, as GET does, or as what changes something does."""
        if self.match is not None and not any(tag in (_ANY, current) for tag in self.match):
            return "failed"
        refused = {_ANY, _opaque(current)}
        if self.none_match is not None and any(_opaque(tag) in refused for tag in self.none_match):
            return "not modified" if reading else "failed"
        return "go on"

    @property
    def are_made(self) -> bool:
        """Whether there are any."""
        return self.match is not None or self.none_match is not None

    @property
    def name_versions(self) -> bool:
        """Whether what is expected is more than that there is something."""
        return self.match is not None and _ANY not in self.match


def tag_of(subject: Subject) -> str:
    """Return the tag of a subject in its present state; a subject made anew under an old ID has another one."""
    return f'"{subject.number}-{subject.version}"'


def _tags(request: Request, name: str) -> tuple[str, ...] | None:
    values = request.headers.getlist(name)
    if not values:
        return None
    text = ", ".join(values).strip(" \t")
    if text == _ANY:
        return (_ANY,)
    if not _TAGS.fullmatch(text):
        detail = f'{name}: must be * or entity tags in quotes, such as "17-3"'
        raise Problem("invalid_request", detail, field=name)
    return tuple(_EACH.findall(text))


def _opaque(tag: str) -> str:
    """Return a tag without what makes it weak: those are compared where nothing is changed."""
    return tag.removeprefix("W/")


_NUMBER_BYTES = 8
_CHECK_BYTES = 4


def to_cursor(number: int, of: str) -> str:
    """Return the cursor after what has this number in a list; it fits no other list."""
    data = number.to_bytes(_NUMBER_BYTES, "big")
    return urlsafe_b64encode(data + _check(data, of)).decode()


def from_cursor(cursor: str, of: str) -> int:
    """Return the number; 0, which is before all, for an empty one.

    Raises:
        Problem: it is not a cursor of this list.
    """
    if not cursor:
        return 0
    try:
        data = urlsafe_b64decode(cursor)
    except (binascii.Error, ValueError):
        data = b""
    number, check = data[:_NUMBER_BYTES], data[_NUMBER_BYTES:]
    if not hmac.compare_digest(check, _check(number, of)) or to_cursor(int.from_bytes(number, "big"), of) != cursor:
        raise Problem("invalid_request", "cursor: must be a next_cursor of this very list", field="cursor")
    return int.from_bytes(number, "big")


def _check(data: bytes, of: str) -> bytes:
    """Return what tells a cursor from a text that was mistyped, changed, or meant for another list."""
    return hashlib.blake2b(of.encode() + b"\0" + data, digest_size=_CHECK_BYTES).digest()
