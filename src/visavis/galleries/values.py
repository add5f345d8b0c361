"""What records may hold: texts, metadata and numbers that every store can keep."""

import json
from collections.abc import Mapping
from datetime import datetime, timezone

from visavis.errors import InvalidOption

LONGEST_TEXT = 10_000
_LONGEST_METADATA = 10_000


def check_text(name: str, text: object) -> None:
    """Insist on a text that every store can hold, or on None.

    Raises:
        InvalidOption: it is none.
    """
    if text is None:
        return
    if not isinstance(text, str) or len(text) > LONGEST_TEXT or "\0" in text or not _is_unicode(text):
        raise InvalidOption(f"{name} must be a text of at most {LONGEST_TEXT:,} characters, none of them U+0000")


def check_metadata(metadata: object) -> None:
    """Insist on an object that JSON can hold.

    Raises:
        InvalidOption: it is none.
    """
    try:
        text = json.dumps(metadata, allow_nan=False, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = ""
    good = isinstance(metadata, Mapping) and 0 < len(text) <= _LONGEST_METADATA and _is_unicode(text)
    if not good or "\\u0000" in text.replace("\\\\", ""):  # an escaped backslash may stand before such letters
        raise InvalidOption(
            f"metadata must be a JSON object of at most {_LONGEST_METADATA:,} characters, none of them U+0000"
        )


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_number(name: str, value: object, *, at_least: float | None = None, above: float | None = None) -> None:
    """Insist on a finite number.

    Raises:
        InvalidOption: it is none, or less than the limit.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")
    if (
        not is_number
        or (at_least is not None and value < at_least)  # type: ignore[operator]  # it is a number
        or (above is not None and value <= above)  # type: ignore[operator]  # likewise
    ):
        limit = "" if at_least is None else f" of {at_least:g} or more"
        limit = limit if above is None else f" above {above:g}"
        raise InvalidOption(f"{name} must be a finite number{limit}, not {value!r}")


def check_moment(name: str, moment: object) -> datetime:
    """Return a moment in UTC.

    Raises:
        InvalidOption: it is none, has no time zone, or lies outside the years that are counted.
    """
    if not isinstance(moment, datetime) or moment.utcoffset() is None:
        raise InvalidOption(f"{name} must be a date and time with a time zone")
    try:
        return moment.astimezone(timezone.utc)
    except OverflowError:
        raise InvalidOption(f"{name} must lie between the years 1 and 9999 in UTC") from None
