"""A benchmark in one to three sentences: whether speculation pays, what limits it, the text."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from spec_local.bench.record.result import PLAIN, Overall, Result
from spec_local.bench.report.sections import main_temperature
from spec_local.bench.report.tables import listing, speedup, temperature_name
from spec_local.drafters import AUTO

_LONG_DRAFTING = 0.25
"""Share of the time from which drafting is called a limit."""

_STEEP = 1.3
"""Cost of checking two tokens, against one, from which that is called a limit."""

_LOW_ACCEPTANCE = 0.6
"""Acceptance rate under which it is called a limit."""


def conclusion(result: Result) -> str:
    """What a person should take home."""
    peers = {c.name for c in result.contenders if c.is_peer}
    temperature = main_temperature(result)
    means = [o for o in result.overall if o.temperature == temperature and o.contender != PLAIN]
    ours = [o for o in means if o.contender not in peers]
    if not ours:
        return "No drafter of spec-local was measured beside plain decoding."
    best = max([o for o in ours if o.verdict == "faster"] or ours, key=lambda o: o.speedup)
    sentences = [
        _worth(result, best, ours, [o for o in means if o.contender in peers]),
        _limits(result, best.contender),
        _sameness(result, peers),
    ]
    return " ".join(filter(None, sentences))


def _worth(result: Result, best: Overall, ours: Sequence[Overall], peers: Sequence[Overall]) -> str:
    """Whether it pays and by how much; who is faster still and who is slower than plain."""
    amount = speedup(best.speedup, best.error).text
    where = temperature_name(best.temperature)
    if best.verdict == "faster":
        clauses = [
            f"Speculation pays here: {best.contender} writes {amount} times as fast as plain "
            f"decoding ({where}; worst {best.worst:.2f}, {best.worst_workload})"
        ]
        clauses += [
            f"{o.contender}, which chooses for itself, reaches {o.speedup:.2f}"
            for o in ours
            if o.contender == AUTO and o is not best
        ]
    else:
        clauses = [
            "Speculation does not pay here: no contender is faster than plain decoding beyond "
            f"noise, and the best, {best.contender}, reaches {amount} ({where})"
        ]
    clauses += [
        f"{o.contender} is faster still ({o.speedup:.2f})"
        for o in peers
        if o.speedup > best.speedup
    ]
    slower = [
        f"{o.contender} ({o.speedup:.2f}, {temperature_name(o.temperature)})"
        for o in result.overall
        if o.verdict == "slower"
    ]
    if slower:
        clauses.append(f"slower than plain decoding: {listing(slower)}")
    return "; ".join(clauses) + "."


def _limits(result: Result, contender: str) -> str:
    """What keeps that contender from being faster."""
    cells = result.cells_of(contender, main_temperature(result))
    limits = []
    drafting = [c.shares["draft"] for c in cells if "draft" in c.shares]
    if drafting and median(drafting) > _LONG_DRAFTING:
        limits.append(f"drafting takes {median(drafting):.0%} of the time")
    curve = result.curves.get("target", {})
    if "1" in curve and "2" in curve and curve["2"] > _STEEP * curve["1"]:
        limits.append(f"checking two tokens costs {curve['2'] / curve['1']:.2f} times one")
    rates = [c.acceptance_rate for c in cells if c.acceptance_rate is not None]
    if rates and median(rates) < _LOW_ACCEPTANCE:
        limits.append(f"only {median(rates):.0%} of the drafted tokens are right")
    if limits:
        return f"What limits {contender}: {listing(limits)}."
    verifying = [c.shares["verify"] for c in cells if "verify" in c.shares]
    if not verifying:
        return ""
    return f"The target's own evaluations take {median(verifying):.0%} of {contender}'s time."


def _sameness(result: Result, peers: set[str]) -> str:
    """Whether spec-local's contenders wrote what plain decoding wrote."""
    ours = [e for e in result.lossless if e.contender not in peers and e.contender != PLAIN]
    answers = sum(e.answers for e in ours)
    different = answers - sum(e.identical for e in ours)
    if not answers:
        return ""
    if not different:
        return f"The text is the same: all {answers} answers are those of plain decoding."
    names = dict.fromkeys(e.contender for e in ours if e.identical < e.answers)
    margins = [
        abs(d.margin) for d in result.divergences if d.contender in names and d.margin is not None
    ]
    margin = f", by margins of at most {max(margins):.4f} logits" if margins else ""
    return (
        f"The text is not always the same: {different} of {answers} answers differ from plain "
        f"decoding's ({listing(names)}){margin}."
    )
