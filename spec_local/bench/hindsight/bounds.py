"""The bounds of a benchmark's workloads: what its recorded answers could have cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from statistics import median

from spec_local.bench.hindsight.replay import Prices, Pricing, Recording
from spec_local.bench.record.result import Bound
from spec_local.control.costs import CostCurve

Recorded = tuple[str, float, Recording]
"""Workload, temperature, and one answer."""


def bounds(recorded: Sequence[Recorded], target: CostCurve, draft: CostCurve | None) -> list[Bound]:
    """By workload and temperature, medians over the answers.

    The best static choice is the one whose median is best: one for a workload, made in hindsight.
    """
    found = []
    for temperature in dict.fromkeys(temperature for _workload, temperature, _each in recorded):
        here = [(w, each) for w, t, each in recorded if t == temperature]
        pricing = Pricing(target, draft, [each for _workload, each in here])
        prices: dict[str, list[Prices]] = defaultdict(list)
        for workload, each in here:
            prices[workload].append(pricing.price(each))
        found += [_bound(workload, temperature, each) for workload, each in prices.items()]
    return found


def _bound(workload: str, temperature: float, prices: Sequence[Prices]) -> Bound:
    statics = {name: median(each.static[name] for each in prices) for name in prices[0].static}
    best = max(statics, key=lambda name: round(statics[name], 6))  # plain first where all is equal
    return Bound(
        workload=workload,
        temperature=temperature,
        best_static=best,
        best_static_speedup=statics[best],
        auto=median(each.auto for each in prices),
        clairvoyant=median(each.clairvoyant for each in prices),
        oracle=median(each.oracle for each in prices),
        statics=statics,
    )
