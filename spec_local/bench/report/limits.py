"""What keeps a contender from being faster."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from spec_local.bench.record.result import Cell, Result

LONG_DRAFTING = 0.25
"""Share of the time from which drafting is called a limit."""

STEEP = 1.3
"""Cost of checking two tokens, against one, from which that is called a limit."""

LOW_ACCEPTANCE = 0.6
"""Acceptance rate under which it is called a limit."""


def limits(result: Result, cells: Sequence[Cell]) -> list[str]:
    """What limits a contender over these cells, the time of drafting first."""
    found = []
    drafting = [c.shares["draft"] for c in cells if "draft" in c.shares]
    if drafting and median(drafting) > LONG_DRAFTING:
        found.append(f"drafting takes {median(drafting):.0%} of the time")
    if (two := cost_of_two(result)) is not None and two > STEEP:
        found.append(f"checking two tokens costs {two:.2f} times one")
    rates = [c.acceptance_rate for c in cells if c.acceptance_rate is not None]
    if rates and median(rates) < LOW_ACCEPTANCE:
        found.append(f"only {median(rates):.0%} of the drafted tokens are right")
    return found


def cost_of_two(result: Result) -> float | None:
    """What checking two tokens costs, one costing 1; None if it is not known."""
    curve = result.curves.get("target", {})
    return curve["2"] / curve["1"] if "1" in curve and "2" in curve else None
