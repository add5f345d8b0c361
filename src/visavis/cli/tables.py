"""Tables for a terminal."""

from typing import TYPE_CHECKING

from visavis.cli.messages import printable

if TYPE_CHECKING:
    from visavis.evaluation.tables import Table


def table_text(table: "Table") -> str:
    """Return a table with its columns aligned, below its title."""
    rows = [tuple(map(printable, row)) for row in (table.columns, *table.rows) if any(row)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (zip(row, widths, strict=True) for row in rows)
    aligned = ["  " + "  ".join(f"{cell:<{width}}" for cell, width in line).rstrip() for line in lines]
    return "\n".join([printable(table.title), *aligned, *([f"  {printable(table.remark)}"] if table.remark else [])])
