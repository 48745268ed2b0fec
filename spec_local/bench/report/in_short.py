"""What a benchmark means to whoever uses a model: what is gained, where, and why not more."""

from __future__ import annotations

from statistics import median

from spec_local.bench.record.result import PLAIN, Bound, Cell, Result
from spec_local.bench.report.limits import LONG_DRAFTING, LOW_ACCEPTANCE, STEEP, cost_of_two
from spec_local.bench.report.sections import main_temperature
from spec_local.bench.report.tables import (
    MISSING,
    Entry,
    Table,
    number,
    percent,
    speedup,
    temperature_name,
)
from spec_local.drafters import AUTO

_SHORT = 24
"""Tokens under which an answer is called short."""

_LITTLE = 1.1
"""Clairvoyant speed-up under which there is little to gain."""


def in_short(result: Result) -> list[Table]:
    """One table: what `auto` gains, where, and why not more; none if it did not run."""
    temperature = main_temperature(result)
    plain = {c.workload: c for c in result.cells_of(PLAIN, temperature)}
    bounds = {b.workload: b for b in result.bounds if b.temperature == temperature}
    rows = []
    for cell in result.cells_of(AUTO, temperature):
        without = plain.get(cell.workload)
        rows.append(
            (
                Entry(cell.workload),
                Entry(number(without.tokens_per_second if without else None, 1)),
                Entry(number(cell.tokens_per_second, 1)),
                speedup(cell.speedup.median, cell.speedup.error),
                Entry(percent(cell.acceptance_rate)),
                Entry(_why_not_more(result, cell, bounds.get(cell.workload))),
            )
        )
    if not rows:
        return []
    table = Table(
        title=f"What you gain, {temperature_name(temperature)}",
        columns=(
            "text",
            "plain tokens/s",
            "spec-local tokens/s",
            "times as fast",
            "drafted and right",
            "why not more",
        ),
        rows=tuple(rows),
        note="Why not more: the first reason found. At most: if every chance of acceptance were "
        "known. Two cost: evaluating two tokens at once, against one.",
    )
    return [table]


def _why_not_more(result: Result, cell: Cell, bound: Bound | None) -> str:
    """The first reason why this cell gained no more: the text's before the machine's."""
    key = (cell.workload, cell.contender, cell.temperature)
    tokens = [r.tokens for r in result.runs if (r.workload, r.contender, r.temperature) == key]
    if tokens and median(tokens) < _SHORT:
        return f"answers of {median(tokens):.0f} tokens"
    if bound is not None and bound.clairvoyant < _LITTLE:
        return f"{bound.clairvoyant:.2f} at most"
    two = cost_of_two(result)
    dear = f"two cost {two:.2f} x one" if two is not None and two > STEEP else ""
    if cell.acceptance_rate is None:
        return dear or "nothing to draft from"
    if cell.acceptance_rate < LOW_ACCEPTANCE:
        return "many drafts wrong"
    if (drafting := cell.shares.get("draft", 0.0)) > LONG_DRAFTING:
        return f"drafting: {drafting:.0%} of time"
    return dear or MISSING
