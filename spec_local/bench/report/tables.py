"""A table of text that any renderer can draw, and how numbers are written in it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

MISSING = "-"

ALL = "geometric mean"
"""In the place of a workload: over all of them."""

GAP = 2
"""Spaces between two columns."""

_HEADER = 9
"""Column names longer than this may take several lines."""

Mark = Literal["", "good", "bad"]

VERDICT_MARKS: dict[str, Mark] = {"faster": "good", "slower": "bad"}


@dataclass(frozen=True, slots=True)
class Entry:
    """A cell: its text, and how it is marked."""

    text: str
    mark: Mark = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table for any renderer; the first `labels` columns are text, the others figures."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Entry, ...], ...]
    labels: int = 1
    """Leading columns that name a row; the others hold its figures."""
    totals: int = 0
    """Closing rows that sum up those above."""
    note: str = ""


def widths(table: Table) -> list[int]:
    """Characters every column needs, with its name broken at spaces."""
    return [
        max(
            min(len(name), _HEADER),
            *map(len, name.split() or [""]),
            *(len(row[i].text) for row in table.rows),
        )
        for i, name in enumerate(table.columns)
    ]


def split(table: Table, width: int) -> list[Table]:
    """Tables of at most so many characters, as far as that can be, each with the labels."""
    needs = widths(table)
    labels = list(range(table.labels))
    parts, part, used = [], list(labels), 0
    room = width - sum(needs[i] + GAP for i in labels) + GAP
    for i in range(table.labels, len(needs)):
        if used + needs[i] + GAP > room and len(part) > len(labels):
            parts.append(part)
            part, used = list(labels), 0
        part.append(i)
        used += needs[i] + GAP
    parts.append(part)
    return [
        replace(
            table,
            title=table.title if n == 0 else f"{table.title} (continued)",
            columns=tuple(table.columns[i] for i in part),
            rows=tuple(tuple(row[i] for i in part) for row in table.rows),
            note=table.note if n == len(parts) - 1 else "",
        )
        for n, part in enumerate(parts)
    ]


def row(*texts: str) -> tuple[Entry, ...]:
    """Entries without marks."""
    return tuple(Entry(text) for text in texts)


def speedup(value: float, error: float | None) -> Entry:
    """A speed-up with its error, which is a half-width of its logarithm; marked where it is sure.

    speedup(1.79, 0.03) is "1.79 ±3%".
    """
    if error is None:
        return Entry(f"{value:.2f}")
    mark: Mark = ""
    if value * math.exp(-error) > 1:
        mark = "good"
    elif value * math.exp(error) < 1:
        mark = "bad"
    percent = math.expm1(error) * 100
    return Entry(f"{value:.2f} ±{percent:.{0 if percent >= 0.95 else 1}f}%", mark)


def number(value: float | None, digits: int = 2) -> str:
    """A figure as text; None is missing."""
    return MISSING if value is None else f"{value:,.{digits}f}"


def percent(value: float | None) -> str:
    """A share as whole per cent; None is missing."""
    return MISSING if value is None else f"{value:.0%}"


def size(count: int) -> str:
    """Bytes as gigabytes."""
    return f"{count / 1e9:.2f} GB"


def temperature_name(temperature: float) -> str:
    """A temperature in words; 0 is greedy."""
    return "greedy" if temperature == 0 else f"temperature {temperature:g}"


def listing(items: Iterable[str]) -> str:
    """The items as a sentence has them: a, b and c."""
    *first, last = items
    return f"{', '.join(first)} and {last}" if first else last
