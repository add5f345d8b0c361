"""Progress bars: what is being done, for how long, and how long it still takes; and nothing where nobody looks."""

import io
import logging
import re
from contextlib import redirect_stderr

import pytest

from visavis.cli.terminal import progress_bar


class Terminal(io.StringIO):
    """What people look at, if they do."""

    def __init__(self, *, is_one: bool) -> None:
        super().__init__()
        self._is_one = is_one

    def isatty(self) -> bool:
        return self._is_one

    @property
    def shown(self) -> list[str]:
        return [line.strip() for line in re.split(r"\x1b\[[\d;?]*[a-zA-Z]|[\r\n]", self.getvalue()) if line.strip()]


@pytest.fixture
def terminal(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest
) -> Terminal:
    caplog.set_level(logging.INFO, "visavis")
    for name, value in {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"}.items():
        monkeypatch.setenv(name, value)
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    return Terminal(is_one=request.param)


@pytest.mark.parametrize("terminal", [True], indirect=True)
def test_a_bar_says_what_is_done_and_how_long(terminal: Terminal) -> None:
    bar = progress_bar(lambda: 3, "enrolling images", then="comparing and resampling")
    with redirect_stderr(terminal), bar as advance:
        for _ in range(2):
            advance()
        advance()
    shown = " ".join(terminal.shown)
    assert "enrolling images" in shown
    assert re.search(r"0:00:00 +elapsed +0/3 +-:--:-- +left", shown), shown
    after = shown[shown.rindex("comparing and resampling") :]  # of which nobody knows how long it takes
    assert re.search(r"0:00:00 +elapsed$", after), after


@pytest.mark.parametrize("terminal", [True, False], indirect=True)
def test_no_bar_where_results_go_or_nobody_looks(terminal: Terminal) -> None:
    with redirect_stderr(terminal), progress_bar(3, unless=terminal.isatty()) as advance:
        advance()
    assert terminal.getvalue() == ""
