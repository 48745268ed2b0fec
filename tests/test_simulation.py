"""The promise on hundreds of made-up machines: never slower, close to the best that could be done.

Each case warms up on 300 tokens of the same kind of text and is judged on the next thousand.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from functools import cache
from statistics import mean, quantiles

import pytest

from spec_local.control.costs import MAX_WIDTH
from spec_local.control.simulation import SimulatedMachine, Track, clairvoyant, run, static
from tests.machines import CURVES, STATIONARY, TEXTS, controller, machine, text

SEEDS = range(10)
KS = (1, 2, 3, 4, 6, 8, 12, 16)
FLAT = SimulatedMachine(verify=[0.0, *[1.0] * MAX_WIDTH], draft=0.1, catch_up=0.02)


@cache
def judged(curve: str, kind: str, seed: int) -> tuple[float, float, float]:
    """Speed-up over plain decoding: the controller's, the best static one's, the clairvoyant's."""
    rng = random.Random(f"{curve} {kind} {seed}")
    here = machine(rng, curve)
    steered = controller(here)
    run(steered, here, text(rng, kind, 300), 300)
    new = text(rng, kind, 1000)
    found = run(steered, here, new, 1000).speedup
    best = max(static(drafter, k, here, new, 1000).speedup for drafter in new for k in KS)
    return found, max(1.0, best), clairvoyant(here, new, 1000).speedup


def cases(kinds: Sequence[str]) -> list[tuple[float, float, float]]:
    return [judged(curve, kind, seed) for curve in CURVES for kind in kinds for seed in SEEDS]


def geometric_mean(ratios: Sequence[float]) -> float:
    return math.exp(mean(map(math.log, ratios)))


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("curve", CURVES)
def test_never_slower_than_plain_decoding(curve: str, kind: str) -> None:
    assert min(judged(curve, kind, seed)[0] for seed in SEEDS) >= 1 / 1.02


def test_as_good_as_the_best_static_choice_in_hindsight_where_the_text_stays_the_same() -> None:
    ratios = [found / best for found, best, _bound in cases(STATIONARY)]
    assert geometric_mean(ratios) >= 1 / 1.05
    assert quantiles(ratios, n=20)[0] >= 0.9  # the worst of twenty


def test_better_than_the_best_static_choice_where_it_does_not() -> None:
    changing = [kind for kind in TEXTS if kind not in STATIONARY]
    assert geometric_mean([found / best for found, best, _bound in cases(changing)]) >= 1.05


def test_close_to_the_clairvoyant_rate() -> None:
    ratios = [found / bound for found, _best, bound in cases(list(TEXTS))]
    assert geometric_mean(ratios) >= 0.9


@pytest.mark.parametrize("curve", CURVES)
def test_a_machine_seen_for_the_first_time_costs_little(curve: str) -> None:
    """No warm-up at all: calibration and the first trials are within the first answer."""
    for seed in SEEDS:
        rng = random.Random(f"cold {curve} {seed}")
        here = machine(rng, curve, prompt=100)
        found = run(controller(here), here, text(rng, "independent", 200), 200)
        reading = here.draft_seconds(here.prompt)
        assert found.seconds - reading <= 1.05 * found.plain_seconds


def test_a_useless_drafter_costs_no_more_than_the_allowance() -> None:
    """It is sure of itself and always wrong, on the machine where that is dearest."""
    rng = random.Random(1)
    here = machine(rng, "compute bound")
    n = 2000
    liar = Track([0.01] * n, [False] * n, [0.995] * n, free=True)
    found = run(controller(here), here, {"lookup": liar}, n)
    assert found.seconds <= found.plain_seconds * 1.01


def test_a_perfect_drafter_on_a_flat_machine_is_used_to_the_full() -> None:
    n = 2000
    perfect = Track([1.0] * n, [True] * n, [1.0] * n, free=True)
    found = run(controller(FLAT), FLAT, {"lookup": perfect}, n)
    assert found.speedup > 0.75 * MAX_WIDTH


# ---- the simulator itself -----------------------------------------------------------------------


def test_static_decoding_is_counted_as_it_is_done() -> None:
    hits = [True, True, False, True, True, True, True]
    track = Track([0.5] * 7, hits, [0.5] * 7)
    found = static("model", 2, FLAT, {"model": track}, 7)
    # Twice 2 accepted and one more; then one token is left, and the draft has to catch up twice.
    assert found.tokens == 7
    assert found.rounds == 3
    assert found.seconds == pytest.approx(3 * 1.0 + 0.2 + (0.2 + 0.02) + (0.1 + 0.02))


def test_the_clairvoyant_plan_is_the_best_of_all_plans() -> None:
    """Against trying every k at every position, on a short text."""
    rng = random.Random(3)
    rates = [rng.choice([0.2, 0.6, 0.95]) for _ in range(6)]
    verify = [0.0, *(1 + 0.3 * w for w in range(MAX_WIDTH))]
    here = SimulatedMachine(verify, draft=0.2, catch_up=0.1)

    def best(position: int) -> float:
        if position >= len(rates):
            return 0.0
        options = [verify[1] + best(position + 1)]
        for k in range(1, len(rates) - position + 1):
            seconds, survival = verify[k + 1] + k * 0.2, 1.0
            for i in range(k):
                rate = rates[position + i]
                seconds += survival * (1 - rate) * best(position + i + 1)
                survival *= rate
            options.append(seconds + survival * best(position + k + 1))
        return min(options)

    track = Track(rates, [True] * 6, rates)
    assert clairvoyant(here, {"model": track}, 6).seconds == pytest.approx(best(0))
