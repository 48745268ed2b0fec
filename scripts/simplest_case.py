"""The simplest case, where the best policy can be computed: how near does the controller come?

    python -m scripts.simplest_case --json docs/controller/simplest.json
    python -m scripts.simplest_case --show docs/controller/simplest.json

One drafter with a model, at most one drafted token a round, known costs: a plain round takes 1, a
drafted one c. Every token of a text is accepted with the same probability, which is drawn for each
text from a Beta distribution and known to nobody. After s accepted and f rejected tokens, with n
tokens to write, the least expected time is

    J(n, s, f) = min(n, c + p J(n - 2, s + 1, f) + (1 - p) J(n - 1, s, f + 1))
    p = (s + alpha) / (s + f + alpha + beta)

since a plain round teaches nothing: who stops drafting never begins again. That is the best policy
there can be (an optimal stopping problem; its index is Gittins'). `mean` drafts as long as the mean
of the same belief pays, p > c - 1. `told` knows each text's probability. `unbounded` is the
controller with a budget that never ends. All figures are speeds over plain decoding, of both
controllers after a hundred texts that only teach them.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from functools import cache
from statistics import fmean
from typing import NamedTuple

from scripts.kept import measure_or_show
from spec_local.control.constants import Tuning
from spec_local.control.controller import Controller
from spec_local.control.costs import MAX_WIDTH, CostCurve
from spec_local.control.drafter_state import DrafterState
from spec_local.control.simulation import MODEL, SimulatedMachine, Track, run
from spec_local.control.widths import Widths

COSTS = (1.3, 1.5, 1.7)
BELIEFS = ((1.0, 1.0), (6.0, 4.0))
"""alpha and beta: texts that differ in everything, and texts that differ as those of a pair do."""
LENGTHS = (64, 200)
DRAFTING = 0.2
"""Share of c that is the draft model's; verifying it takes the rest."""
TEACHING, JUDGED = 100, 400
UNBOUNDED = Tuning(allowance=1e3, stake=1.0, aversion=0.0, most_saved=1e6)


class Found(NamedTuple):
    """Speeds in one case."""

    cost: float
    alpha: float
    beta: float
    length: int
    told: float
    best: float
    mean: float
    unbounded: float
    controller: float


def least(cost: float, alpha: float, beta: float, length: int, *, mean: bool = False) -> float:
    """Expected time of the best policy; mean: of the one that asks the mean of its belief."""

    @cache
    def rest(n: int, accepted: int, rejected: int) -> float:
        if n <= 0:
            return 0.0
        p = (accepted + alpha) / (accepted + rejected + alpha + beta)
        if mean and p <= cost - 1.0:
            return float(n)
        right, wrong = rest(n - 2, accepted + 1, rejected), rest(n - 1, accepted, rejected + 1)
        drafted = cost + p * right + (1.0 - p) * wrong if n > 1 else 1.0
        return drafted if mean else min(float(n), drafted)

    return rest(length, 0, 0)


def knowing(p: float, cost: float, length: int) -> float:
    """Expected time of whoever knows the probability of a text."""
    times = [0.0, 1.0]
    for _ in range(length - 1):
        drafted = cost + p * times[-2] + (1.0 - p) * times[-1]
        times.append(min(len(times), drafted))
    return times[length]


def controlled(cost: float, belief: tuple[float, float], length: int, tuning: Tuning) -> float:
    """Mean time of a controller that knows the costs and has been taught, over many texts."""
    drafting = (cost - 1.0) * DRAFTING
    verify = [1.0 + (cost - 1.0 - drafting) * (width - 1) for width in range(1, MAX_WIDTH + 1)]
    machine = SimulatedMachine([0.0, *verify], drafting, 0.0)
    target, draft = CostCurve(), CostCurve()
    for _ in range(20):
        for context in (0, length):
            target.observe(1, context, verify[0])
            target.observe(2, context, verify[1])
            draft.observe(1, context, drafting)
    states = {MODEL: DrafterState(draft, tuning=tuning)}
    steered = Controller(target, states, tuning, Widths((1, 2)))
    rng, times = random.Random(f"{cost} {belief} {length}"), list[float]()
    for _ in range(TEACHING + JUDGED):
        p = rng.betavariate(*belief)
        hit = [rng.random() < p for _ in range(length)]
        text = {MODEL: Track([p] * length, hit, [0.7] * length)}
        times.append(run(steered, machine, text, length).seconds)
    return fmean(times[TEACHING:])


def measure() -> list[Found]:
    """All cases."""
    found = []
    for alpha, beta in BELIEFS:
        for cost in COSTS:
            for length in LENGTHS:
                rng = random.Random(f"{alpha} {beta} {length}")
                told = fmean(
                    knowing(rng.betavariate(alpha, beta), cost, length) for _ in range(20_000)
                )
                times = (
                    told,
                    least(cost, alpha, beta, length),
                    least(cost, alpha, beta, length, mean=True),
                    controlled(cost, (alpha, beta), length, UNBOUNDED),
                    controlled(cost, (alpha, beta), length, Tuning()),
                )
                found.append(Found(cost, alpha, beta, length, *(length / time for time in times)))
    return found


def table(found: Sequence[Found]) -> list[str]:
    """A row for each case."""
    rows = [
        "| acceptance | c | tokens | told | best | mean | unbounded | controller |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for each in found:
        speeds = " | ".join(f"{speed:.3f}" for speed in each[4:])
        belief = f"Beta({each.alpha:g}, {each.beta:g})"
        rows.append(f"| {belief} | {each.cost} | {each.length} | {speeds} |")
    return rows


def main() -> None:
    """Compute and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    measure_or_show(parser, Found, lambda _how: measure(), table)


if __name__ == "__main__":
    main()
