"""What heads of answers say, and what of a source may be shown."""

import httpx
import pytest

from visavis.downloads.transfer import Source, first_byte_of


@pytest.mark.parametrize(
    ("told", "first"),
    [("", None), ("bytes 5-9/10", 5), ("bytes 5-9/*", 5), (f"bytes {'9' * 5000}-9/10", None), ("bytes 5-9", None)],
)
def test_where_a_partial_answer_begins(told: str, first: int | None) -> None:
    assert first_byte_of(httpx.Response(206, headers={"Content-Range": told})) == first


def test_what_may_hold_a_password_is_not_shown() -> None:
    assert "secret" not in repr(Source(mirror="https://me:secret@models.example.com", proxy="http://me:secret@proxy"))
