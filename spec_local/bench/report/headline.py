"""A benchmark in one to three sentences: whether speculation pays, what limits it, the text."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from spec_local.bench.record.result import PLAIN, Overall, Result
from spec_local.bench.report.limits import limits
from spec_local.bench.report.sections import main_temperature
from spec_local.bench.report.tables import listing, speedup, temperature_name
from spec_local.drafters import AUTO


def conclusion(result: Result) -> str:
    """What a person should take home."""
    peers = {c.name for c in result.contenders if c.is_peer}
    temperature = main_temperature(result)
    means = [o for o in result.overall if o.temperature == temperature and o.contender != PLAIN]
    ours = [o for o in means if o.contender not in peers]
    if not ours:
        return "No drafter of spec-local was measured beside plain decoding."
    faster = [o for o in ours if o.verdict == "faster"]
    best = max(faster or ours, key=lambda o: o.speedup)
    lead = next((o for o in faster if o.contender == AUTO), best)  # what people use
    sentences = [
        _worth(result, lead, ours, [o for o in means if o.contender in peers]),
        _limits(result, lead.contender),
        _sameness(result, peers),
    ]
    return " ".join(filter(None, sentences))


def _worth(result: Result, lead: Overall, ours: Sequence[Overall], peers: Sequence[Overall]) -> str:
    """Whether it pays, by how much and where; who is faster still and who is slower than plain."""
    amount = speedup(lead.speedup, lead.error).text
    where = temperature_name(lead.temperature)
    if lead.verdict == "faster":
        cells = result.cells_of(lead.contender, lead.temperature)
        best = max(cells, key=lambda cell: cell.speedup.median)
        clauses = [
            f"Speculation pays here: {lead.contender} writes {amount} times as fast as plain "
            f"decoding ({where}; best {best.speedup.median:.2f}, {best.workload}; "
            f"worst {lead.worst:.2f}, {lead.worst_workload})"
        ]
        clauses += [
            f"{o.contender}, which chooses for itself, reaches {o.speedup:.2f}"
            if o.contender == AUTO
            else f"{o.contender} by itself reaches {o.speedup:.2f}"
            for o in ours
            if o is not lead and (o.contender == AUTO or o.speedup > lead.speedup)
        ]
    else:
        clauses = [
            "Speculation does not pay here: no contender is faster than plain decoding beyond "
            f"noise, and the best, {lead.contender}, reaches {amount} ({where})"
        ]
    clauses += [
        f"{o.contender} is faster still ({o.speedup:.2f})"
        for o in peers
        if o.speedup > lead.speedup
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
    found = limits(result, cells)
    if found:
        return f"What limits {contender}: {listing(found)}."
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
