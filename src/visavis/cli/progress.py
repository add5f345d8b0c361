"""A progress bar on standard error."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(total: int, *, shown: bool) -> Iterator[Callable[[], None]]:
    """Show a bar while the block runs, and give the function that advances it by one.

    Standard output is left alone: where it goes to the same terminal, do without the bar.
    """
    if not shown:
        yield lambda: None
        return
    from rich.console import Console  # noqa: PLC0415  # takes time and is rarely needed
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn  # noqa: PLC0415  # likewise

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as bar:
        task = bar.add_task("images", total=total)
        yield lambda: bar.advance(task)
