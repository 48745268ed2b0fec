"""Tables of things with names, and sizes in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

_NARROW = 60
"""Columns below which a row is a paragraph, as columns of a table would be a few letters wide."""


def print_table(table: Table) -> None:
    """A table, or on a narrow terminal its rows one below the other."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal or console.width >= _NARROW:
        console.print(table)
        return
    heads = [str(column.header) for column in table.columns]
    for name, *rest in zip(*(column.cells for column in table.columns), strict=True):
        said = ", ".join(
            f"{head} {cell}" for head, cell in zip(heads[1:], rest, strict=True) if cell
        )
        console.print(Text(str(name)))
        console.print(Padding(Text(said), (0, 0, 0, 2)))


def named_table(name: str, *rest: str) -> Table:
    """A table whose names stay whole, to be copied, however narrow the terminal."""
    from rich.table import Column, Table

    columns = [Column(name, no_wrap=True), *(Column(head, overflow="fold") for head in rest)]
    return Table(*columns, box=None, pad_edge=False)


def gigabytes(size: int) -> str:
    """A number of bytes for people."""
    return f"{size / 1e9:.2f} GB"
