"""What the head of an HTTP answer says of the file that follows."""

import re

import httpx

# Numbers of a length that a file can have: Python refuses to read those of thousands of digits.
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)")


def first_byte_of(response: httpx.Response) -> int | None:
    """Return at which byte of the file a partial answer begins; None where it does not say."""
    given = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", ""))
    return int(given[1]) if given else None


def declared_size(response: httpx.Response, start: int) -> int | None:
    """Return how many bytes the whole file has, as the answer's head says; None where it does not."""
    given = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", "")) if start else None
    if given and given[2] != "*":
        return int(given[2])
    length = response.headers.get("content-length")
    return None if length is None else start + int(length)


def validator_of(response: httpx.Response) -> str | None:
    """Return what ``If-Range`` takes: a strong ETag, or else the date of the last change."""
    etag: str = response.headers.get("etag", "")
    changed: str | None = response.headers.get("last-modified")
    return etag if etag.startswith('"') else changed


def asked_pause_s(response: httpx.Response) -> float:
    """Return how many seconds the server asks to wait; 0 where it does not say, or names a date."""
    asked = response.headers.get("retry-after", "")
    return float(asked) if asked.isascii() and asked.isdigit() else 0.0
