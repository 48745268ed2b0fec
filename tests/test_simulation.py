"""The promise on hundreds of made-up machines: never slower, close to the best that could be done.

Each case warms up on 300 tokens of the same kind of text and is judged on the next ones.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from statistics import mean, quantiles

import pytest

from spec_local.control.budget import Budget
from spec_local.control.costs import MAX_WIDTH
from spec_local.control.simulation import SimulatedMachine, Track, clairvoyant, run, static
from tests.machines import (
    CURVES,
    STATIONARY,
    STEADY,
    TEXTS,
    Bookkeeper,
    Change,
    controller,
    from_the_middle,
    machine,
    text,
    with_the_context,
)

KS = (1, 2, 3, 4, 6, 8, 12, 16)
PROMPTS = (0, 150, 2000)
CHANGES = {
    "the machine twice as slow from the middle on": from_the_middle(target=2.0, draft=2.0),
    "the machine twice as fast": from_the_middle(target=0.5, draft=0.5),
    "the target alone twice as slow": from_the_middle(target=2.0),
    "the target alone twice as fast": from_the_middle(target=0.5),
    "the draft model alone twice as slow": from_the_middle(draft=2.0),
    "the draft model alone twice as fast": from_the_middle(draft=0.5),
    "longer contexts cost more": with_the_context(level=1.15, row=0.02),
    "longer contexts cost more, wide evaluations most": with_the_context(level=1.15, wide=1.1),
}
"""Of 600 tokens; contexts cross the borders of buckets at 256 and 512."""
FLAT = SimulatedMachine(verify=[0.0, *[1.0] * MAX_WIDTH], draft=0.1, catch_up=0.02)


CASES = list(product(CURVES, TEXTS))
"""All of them where a test has its full size; else every so many, others for every test."""


# ---- as fast as can be --------------------------------------------------------------------------


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


Judged = dict[tuple[str, str, int], tuple[float, float, float]]


@pytest.fixture(scope="module")
def cases(full: bool) -> Judged:
    """What was judged, by curve, kind of text and seed."""
    chosen = product(CASES, range(10)) if full else product(CASES[::2], [3, 4, 5])
    return {(*case, seed): judged(*case, seed) for case, seed in chosen}


def geometric_mean(ratios: Sequence[float]) -> float:
    return math.exp(mean(map(math.log, ratios)))


def test_never_slower_than_plain_decoding(cases: Judged) -> None:
    slow = {case: found for case, (found, _best, _bound) in cases.items() if found < 1 / 1.02}
    assert slow == {}


def test_as_good_as_the_best_static_choice_in_hindsight_where_the_text_stays_the_same(
    cases: Judged, full: bool
) -> None:
    ratios = [f / best for (_c, kind, _s), (f, best, _b) in cases.items() if kind in STATIONARY]
    assert geometric_mean(ratios) >= 1 / 1.05
    # the worst of twenty, which of few cases is known less well
    assert quantiles(ratios, n=20)[0] >= (0.9 if full else 0.85)


def test_better_than_the_best_static_choice_where_it_does_not(cases: Judged) -> None:
    ratios = [f / best for (_c, kind, _s), (f, best, _b) in cases.items() if kind not in STATIONARY]
    assert geometric_mean(ratios) >= 1.05


def test_close_to_the_clairvoyant_rate(cases: Judged) -> None:
    assert geometric_mean([found / bound for found, _best, bound in cases.values()]) >= 0.9


# ---- the promise, to the letter: what was lost, without what was read ----


def second_answer(
    curve: str, kind: str, seed: int, prompt: int, change: Change = STEADY, length: int = 600
) -> Bookkeeper:
    """The books of a second answer, on a machine that has written 300 tokens before."""
    rng = random.Random(f"{curve} {kind} {seed}")
    here = machine(rng, curve, prompt)
    steered = Bookkeeper(here)
    run(steered, here, text(rng, kind, 300), 300)
    steered.change = change
    run(steered, here, text(rng, kind, length), length)
    assert steered.written == length
    return steered


@pytest.mark.parametrize("prompt", PROMPTS)
def test_no_answer_loses_more_than_the_readme_says(prompt: int, full: bool) -> None:
    number = PROMPTS.index(prompt)
    chosen = CASES if full else CASES[number :: 2 * len(PROMPTS)]
    answers = {case: second_answer(*case, number, prompt) for case in chosen}
    assert {case: books.worst for case, books in answers.items() if books.worst > 0} == {}
    assert any(books.reading > 0 for books in answers.values())


@pytest.mark.parametrize("name", CHANGES)
def test_nor_where_the_machine_changes_on_the_way(name: str, full: bool) -> None:
    number = list(CHANGES).index(name)
    chosen = CASES if full else CASES[number :: 2 * len(CHANGES)]
    broken = {}
    for place, case in enumerate(chosen):
        prompt = PROMPTS[place % len(PROMPTS)]
        books = second_answer(*case, number, prompt, CHANGES[name])
        if books.worst > 0:
            broken[case, prompt] = books.worst
    assert broken == {}


@pytest.mark.parametrize("curve", CURVES)
def test_nor_on_a_machine_seen_for_the_first_time(curve: str, full: bool) -> None:
    """No warm-up at all: the first trials are within the first answer."""
    for seed in range(10 if full else 4):
        rng = random.Random(f"cold {curve} {seed}")
        here = machine(rng, curve, prompt=100)
        books = Bookkeeper(here)
        run(books, here, text(rng, "independent", 200), 200)
        assert books.worst == 0
        assert books.lost <= 0.05 * 200


@pytest.mark.xfail(
    strict=True,
    reason="A new context bucket takes its shape from the one before, with some doubt. Where wide "
    "evaluations become half as dear again, a part of the surprise moves the scale instead, so "
    "plain tokens are believed to be dearer too: 28 tokens of 1000 are lost and not noticed.",
)
def test_nor_where_longer_contexts_have_another_shape_at_all() -> None:
    assert _in_another_shape(seed=14).worst == 0


def test_nor_usually_where_longer_contexts_have_another_shape() -> None:
    """Of seeds 0 to 39 all but 0, 13, 14, 21 and 34.

    Seed 0 lost 110 tokens of 1000 when surprises were shared out badly.
    """
    assert {seed: _in_another_shape(seed).worst for seed in (2, 3, 4)} == {2: 0, 3: 0, 4: 0}


def _in_another_shape(seed: int) -> Bookkeeper:
    change = with_the_context(level=1.15, wide=1.5)
    return second_answer("bandwidth bound", "independent", seed, 150, change, 1000)


def turned(curve: str, seed: int, quiet: bool) -> Bookkeeper:
    """The books of 300 tokens all of whose drafts are wrong, and as sure as the right ones were.

    quiet: the clock shows what evaluations cost, and nothing else.
    """
    rng = random.Random(f"{curve} {seed}")
    here = machine(rng, curve, prompt=PROMPTS[seed % 2])
    if quiet:
        here = replace(here, noise=lambda: 1.0)
    kind = list(TEXTS)[seed % 3]
    books = Bookkeeper(here)
    run(books, here, text(rng, kind, 300), 300)
    true = text(rng, kind, 300)
    lies = {
        name: Track(track.rate, [False] * 300, track.confidence, track.free)
        for name, track in true.items()
        if isinstance(track, Track)
    }
    run(books, here, lies, 300)
    return books


@pytest.mark.parametrize("curve", CURVES)
def test_nor_where_the_text_turns_against_all_that_was_learned(curve: str, full: bool) -> None:
    worst = {seed: turned(curve, seed, quiet=True).worst for seed in range(60 if full else 3)}
    assert {seed: lost for seed, lost in worst.items() if lost > 0} == {}


@pytest.mark.xfail(
    strict=True,
    reason="The budget is charged what V(w) is believed to be. On a machine whose clock is off by "
    "5 %, V(w) / V(1) was learned up to 6 % too low: where drafts cost so little, losing that in "
    "every round is not noticed. Of seeds 0 to 99 ten lose more than is promised, seed 63 the "
    "most: 2 tokens of 300.",
)
@pytest.mark.parametrize("seed", [7, 63])
def test_nor_if_the_clock_is_noisy_then(seed: int) -> None:
    assert turned("flat as a GPU", seed, quiet=False).worst == 0


@pytest.mark.parametrize("curve", ["bandwidth bound", "mixed", "measured"])
def test_without_the_budget_it_would_lose_more(curve: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Budget, "bears", lambda _self, _price: True)
    monkeypatch.setattr(Budget, "risk", lambda _self, _price, _survivals: 0.0)
    assert max(turned(curve, seed, quiet=True).worst for seed in range(3)) > 1.0


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


def test_an_answer_that_lost_more_than_it_had_does_not_silence_the_next() -> None:
    here = SimulatedMachine([0.0, *(1.0 + 0.2 * width for width in range(MAX_WIDTH))], 1.0, 1.0)
    steered, rng = controller(here), random.Random(0)

    def answer() -> float:
        hit = [rng.random() < 0.95 for _ in range(100)]
        text = {"lookup": Track([0.95] * 100, hit, [0.9] * 100, free=True)}
        return run(steered, here, text, 100).speedup

    assert answer() > 1.5
    steered.budget.settle(0, -steered.budget.credit - 0.5)  # costs were misjudged
    assert answer() > 1.5
