"""A progress bar on standard error."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

_NAME_WIDTH, _BAR_WIDTH = 30, 10


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


@contextmanager
def transfer_bar(*, shown: bool) -> Iterator[Callable[[str, int, int | None], None]]:
    """Show a bar for each file that comes, and give the function that moves it: name, bytes there, bytes in all.

    It begins with the first bytes, so that a question may be asked before; and fits in 80 columns.
    """
    if not shown:
        yield lambda _name, _there, _total: None
        return
    from rich.console import Console  # noqa: PLC0415  # takes time and is rarely needed
    from rich.progress import (  # noqa: PLC0415  # likewise
        BarColumn,
        DownloadColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.table import Column  # noqa: PLC0415  # likewise

    name = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, max_width=_NAME_WIDTH))
    amount = DownloadColumn(table_column=Column(no_wrap=True))
    columns = (name, BarColumn(bar_width=_BAR_WIDTH), amount, TransferSpeedColumn(), TimeRemainingColumn(compact=True))
    bar = Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False)
    tasks: dict[str, TaskID] = {}

    def move(name: str, there: int, total: int | None) -> None:
        bar.start()
        if name not in tasks:
            tasks[name] = bar.add_task(name, total=total)
        bar.update(tasks[name], completed=there, total=total)

    try:
        yield move
    finally:
        bar.stop()
