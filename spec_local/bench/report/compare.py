"""Two benchmarks beside each other: what differs in what was measured, and in what was found."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from spec_local.bench.record.result import PLAIN, Result
from spec_local.bench.record.summary import verdict
from spec_local.bench.report.tables import (
    ALL,
    VERDICT_MARKS,
    Entry,
    Table,
    listing,
    number,
    temperature_name,
)
from spec_local.drafters import numbered

Place = tuple[str, float, str]
"""Workload, temperature and contender."""


@dataclass(frozen=True, slots=True)
class Change:
    """A figure that grows with speed, before and after."""

    workload: str
    temperature: float
    contender: str
    before: float
    after: float
    error: float | None
    """Both errors together, as a half-width of the ratio's logarithm; None where one is unknown."""

    @property
    def verdict(self) -> str:
        """faster, slower, or same where the change is no more than noise; else unknown."""
        if self.error is None:
            return "unknown"
        return verdict(self.after / self.before, self.error)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs between two benchmarks."""

    differences: tuple[str, ...]
    """In what was measured, each a sentence."""
    speedups: tuple[Change, ...]
    """Workload by workload."""
    overall: tuple[Change, ...]
    """Over all workloads."""
    plain: tuple[Change, ...]
    """Tokens per second of plain decoding, which every speed-up is measured by."""
    only_in_one: tuple[str, ...]
    """What has nothing to be compared with, each a sentence."""
    lossless: tuple[str, ...]
    """Changes in how many answers are identical, each a sentence."""


def compare(before: Result, after: Result) -> Comparison:
    """Find what changed from one benchmark to the other."""
    cells, means = (_speedups(before), _speedups(after)), (_overall(before), _overall(after))
    both = {contender for _workload, _temperature, contender in cells[0].keys() & cells[1].keys()}
    return Comparison(
        differences=tuple(_differences(_measured(before, both), _measured(after, both))),
        speedups=_changes(*cells),
        overall=_changes(*means),
        plain=_changes(_plain(before), _plain(after)),
        only_in_one=(
            *(f"Only before: {name}." for name in _missing(before, cells[0], cells[1])),
            *(f"Only after: {name}." for name in _missing(after, cells[1], cells[0])),
        ),
        lossless=tuple(_lossless(before, after)),
    )


def comparison_tables(comparison: Comparison) -> list[Table]:
    """The changes for a renderer; a table without rows is left out."""
    groups = {
        "Speed-up over plain decoding": comparison.speedups + comparison.overall,
        "Plain decoding, tokens/s": comparison.plain,
    }
    temperatures = sorted({change.temperature for group in groups.values() for change in group})
    shown = []
    for title, changes in groups.items():
        for temperature in temperatures:
            found = [change for change in changes if change.temperature == temperature]
            shown.append(
                Table(
                    title=f"{title}, {temperature_name(temperature)}",
                    columns=("workload", "contender", "before", "after", "change", "verdict"),
                    rows=tuple(map(_row, found)),
                    labels=2,
                    totals=sum(change.workload == ALL for change in found),
                )
            )
    return [table for table in shown if table.rows]


def _row(change: Change) -> tuple[Entry, ...]:
    mark = VERDICT_MARKS.get(change.verdict, "")
    return (
        Entry(change.workload),
        Entry(change.contender),
        Entry(number(change.before)),
        Entry(number(change.after)),
        Entry(f"{change.after / change.before - 1:+.1%}", mark),
        Entry(change.verdict, mark),
    )


_Found = Mapping[Place, tuple[float, float | None]]
"""Figures with their errors."""


def _speedups(result: Result) -> _Found:
    return {
        (c.workload, c.temperature, c.contender): (c.speedup.median, c.speedup.error)
        for c in result.cells
        if c.contender != PLAIN
    }


def _overall(result: Result) -> _Found:
    return {
        (ALL, o.temperature, o.contender): (o.speedup, o.error)
        for o in result.overall
        if o.contender != PLAIN
    }


def _plain(result: Result) -> _Found:
    return {
        (c.workload, c.temperature, c.contender): (c.tokens_per_second, None)
        for c in result.cells
        if c.contender == PLAIN
    }


def _changes(before: _Found, after: _Found) -> tuple[Change, ...]:
    found = []
    for place, (first, first_error) in before.items():
        # Without a speed on both sides there is no ratio.
        second, second_error = after.get(place, (0.0, None))
        if first > 0 and second > 0:
            known = first_error is not None and second_error is not None
            error = math.hypot(first_error or 0.0, second_error or 0.0) if known else None
            found.append(Change(*place, before=first, after=second, error=error))
    return tuple(found)


def _missing(result: Result, here: _Found, there: _Found) -> list[str]:
    """What is here and not there: contender, temperature, workloads."""
    found: dict[tuple[str, float], list[str]] = {}
    for workload, temperature, contender in here:
        if (workload, temperature, contender) not in there:
            found.setdefault((contender, temperature), []).append(workload)
    everywhere = len(result.settings.workloads)
    return [
        f"{contender}, {temperature_name(temperature)}, in "
        + ("every workload" if len(workloads) == everywhere else listing(workloads))
        for (contender, temperature), workloads in found.items()
    ]


def _measured(result: Result, contenders: Collection[str]) -> dict[str, Any]:
    """What should be equal for two benchmarks to be comparable, as one flat table.

    contenders: those that are compared.
    """
    settings = asdict(result.settings)
    parts: dict[str, Mapping[str, Any]] = {
        "Machine": asdict(result.machine),
        "Version of": result.versions,
        "Setting": {name: value for name, value in settings.items() if name != "load"},
        "Load option": settings["load"],
        "Flags of": {c.name: c.flags for c in result.contenders if c.name in contenders},
        "Version of peer": {c.name: c.version for c in result.contenders if c.name in contenders},
    }
    models = {"Target": result.target, "Draft": result.draft}
    models |= {numbered("Draft", n): file for n, file in enumerate(result.more_drafts, start=2)}
    flat: dict[str, Any] = {
        f"{role} model": f"{file.name} ({file.sha256[:12]})" if file else None
        for role, file in models.items()
    }
    flat["Commit"] = result.commit or None
    for part, of in parts.items():
        flat |= {f"{part} {key}": value for key, value in of.items()}
    return flat


def _differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    return [
        f"{key}: {_value(before.get(key))} before, {_value(after.get(key))} after."
        for key in dict.fromkeys([*before, *after])
        if before.get(key) != after.get(key)
    ]


def _value(value: Any) -> str:
    """JSON's arrays and Python's tuples read alike."""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _lossless(before: Result, after: Result) -> list[str]:
    was = {(e.contender, e.temperature): e for e in before.lossless}
    return [
        f"{e.contender}, {temperature_name(e.temperature)}: {old.identical} of {old.answers} "
        f"answers were identical to plain decoding's, now {e.identical} of {e.answers}."
        for e in after.lossless
        if (old := was.get((e.contender, e.temperature)))
        and (old.identical, old.answers) != (e.identical, e.answers)
    ]
