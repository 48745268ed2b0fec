"""A benchmark, or the comparison of two, on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box, table
from rich.console import Console, JustifyMethod
from rich.text import Text

from spec_local.bench.record.result import Result
from spec_local.bench.report.compare import Comparison, comparison_tables
from spec_local.bench.report.headline import conclusion
from spec_local.bench.report.in_short import in_short
from spec_local.bench.report.ranking import Candidate, ranking_tables
from spec_local.bench.report.sections import facts, failures, tables
from spec_local.bench.report.tables import GAP, Entry, Table, split, widths

_STYLES = {"": "", "good": "bold green", "bad": "red"}


def print_report(result: Result, console: Console) -> None:
    """What a benchmark found: first what it means to whoever uses a model, then everything."""
    console.print(Text(conclusion(result), "bold"))
    _print_tables(in_short(result), console)
    console.print()
    lines = facts(result)
    margin = max(len(name) for name, _value in lines)
    grid = table.Table(box=None, show_header=False, pad_edge=False, padding=(0, GAP, 0, 0))
    grid.add_column(width=margin)
    grid.add_column()
    for name, value in lines:
        grid.add_row(Text(name), Text(value))
    console.print(grid)
    _print_tables(tables(result), console)
    _print_lines(failures(result), console)


def print_comparison(comparison: Comparison, console: Console) -> None:
    """What differs between two benchmarks: in what was measured, then in what was found."""
    _print_lines(comparison.differences or ["The same was measured both times."], console)
    _print_tables(comparison_tables(comparison), console)
    _print_lines([*comparison.only_in_one, *comparison.lossless], console)


def print_ranking(ranking: Sequence[Candidate], console: Console) -> None:
    """Which draft model is best."""
    _print_tables(ranking_tables(ranking), console)


def _print_lines(lines: Sequence[str], console: Console) -> None:
    if lines:
        console.print()
    for line in lines:
        console.print(Text(line))


def _print_tables(shown: Sequence[Table], console: Console) -> None:
    for each in shown:
        for part in split(each, console.width):
            console.print()
            console.print(Text(part.title, "bold"))
            console.print(_drawn(part))
            if part.note:
                console.print(Text(part.note, "dim"))


def _drawn(shown: Table) -> table.Table:
    drawn = table.Table(
        box=box.HORIZONTALS, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0)
    )
    for i, (name, width) in enumerate(zip(shown.columns, widths(shown), strict=True)):
        justify: JustifyMethod = "left" if i < shown.labels else "right"
        drawn.add_column(Text(name), justify=justify, vertical="bottom", width=width)
    for i, entries in enumerate(shown.rows):
        drawn.add_row(*map(_text, entries), end_section=i == len(shown.rows) - shown.totals - 1)
    return drawn


def _text(entry: Entry) -> Text:
    return Text(entry.text, _STYLES[entry.mark])
