"""Made-up machines and texts for the simulator: many kinds, each from one seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

from spec_local.control.controller import Controller
from spec_local.control.costs import MAX_WIDTH, CostCurve, bucket_of
from spec_local.control.drafter_state import DrafterState
from spec_local.control.report import RoundReport
from spec_local.control.simulation import MODEL, WINDOW, SimulatedMachine, Text, Track

PLAIN = 0.05
"""Seconds of one plain token."""

Q4_K_M = {1: 65, 2: 96, 3: 119, 4: 105, 5: 134, 6: 155, 7: 178, 8: 184, 12: 229, 16: 228, 33: 460}
"""Milliseconds measured on 2 CPU cores, Qwen2.5-Coder 1.5B."""


def _measured(width: int) -> float:
    knots = sorted(Q4_K_M)
    low = max(knot for knot in knots if knot <= width)
    high = min(knot for knot in knots if knot >= width)
    share = (width - low) / (high - low) if high > low else 0.0
    return (Q4_K_M[low] + (Q4_K_M[high] - Q4_K_M[low]) * share) / Q4_K_M[1]


def _compute_bound(rng: random.Random) -> Callable[[int], float]:
    slope = rng.uniform(0.5, 1.0)
    return lambda w: 1 + slope * (w - 1)


def _bandwidth_bound(rng: random.Random) -> Callable[[int], float]:
    slope = rng.uniform(0.02, 0.15)
    return lambda w: 1 + slope * (w - 1)


def _mixed(rng: random.Random) -> Callable[[int], float]:
    slope = rng.uniform(0.1, 0.5)
    return lambda w: 1 + slope * (w - 1)


def _cliff(rng: random.Random) -> Callable[[int], float]:
    slope, at, height = rng.uniform(0.05, 0.4), rng.randint(3, 9), rng.uniform(0.3, 1.5)
    return lambda w: 1 + slope * (w - 1) + (height if w >= at else 0.0)


def _plateau(rng: random.Random) -> Callable[[int], float]:
    height, length = rng.uniform(0.3, 1.2), rng.choice([4, 8, 16])
    return lambda w: 1 + height * ((w - 1) // length) + 0.02 * (w - 1)


CURVES: dict[str, Callable[[random.Random], Callable[[int], float]]] = {
    "compute bound": _compute_bound,
    "bandwidth bound": _bandwidth_bound,
    "mixed": _mixed,
    "cliff": _cliff,
    "plateau": _plateau,
    "flat as a GPU": lambda _rng: lambda w: 1 + 0.01 * (w - 1),
    "measured": lambda _rng: _measured,
}


def machine(rng: random.Random, kind: str, prompt: int = 0) -> SimulatedMachine:
    """The draft model costs 1 % to 80 % of the target."""
    curve = CURVES[kind](rng)
    draft = PLAIN * rng.choice([0.01, 0.03, 0.1, 0.2, 0.35, 0.5, 0.8])
    noise = rng.choice([0.0, 0.02, 0.05])
    return SimulatedMachine(
        verify=[0.0, *(PLAIN * curve(w) for w in range(1, MAX_WIDTH + 1))],
        draft=draft,
        catch_up=draft * rng.uniform(0.1, 0.4),
        prompt=prompt,
        noise=lambda: max(0.8, rng.gauss(1.0, noise)),
    )


def _independent(rng: random.Random, n: int) -> list[float]:
    return [rng.uniform(0.2, 0.98)] * n


def _sure_and_unsure(rng: random.Random, n: int) -> list[float]:
    sure = rng.uniform(0.1, 0.9)
    return rng.choices([0.98, 0.75, 0.3], [sure, (1 - sure) / 2, (1 - sure) / 2], k=n)


def _bursty(rng: random.Random, n: int) -> list[float]:
    rates: list[float] = []
    while len(rates) < n:
        rates += [rng.choice([0.97, 0.9, 0.7, 0.4, 0.15])] * rng.randint(20, 80)
    return rates[:n]


def _drifting(rng: random.Random, n: int) -> list[float]:
    first, last = rng.uniform(0.2, 0.98), rng.uniform(0.2, 0.98)
    return [first + (last - first) * i / n for i in range(n)]


def _adversarial(rng: random.Random, n: int) -> list[float]:
    """Good for so long that it is trusted, then useless, and again."""
    half = rng.choice([100, 200])
    return [0.97 if i // half % 2 == 0 else 0.03 for i in range(n)]


TEXTS: dict[str, Callable[[random.Random, int], list[float]]] = {
    "independent": _independent,
    "sure and unsure": _sure_and_unsure,
    "bursty": _bursty,
    "drifting": _drifting,
    "adversarial": _adversarial,
}
STATIONARY = ("independent", "sure and unsure")


def track(rng: random.Random, kind: str, n: int, free: bool = False) -> Track:
    """A drafter whose confidence is informative, but neither exact nor calibrated.

    A free one has something to say in stretches only, as lookup has.
    """
    rates = TEXTS[kind](rng, n)
    exponent = rng.choice([0.5, 1.0, 2.0])
    if free:
        speaks: list[bool] = []
        while len(speaks) < n:
            speaks += [True] * rng.randint(5, 40) + [False] * rng.randint(5, 60)
        rates = [rate if here else 0.0 for rate, here in zip(rates, speaks, strict=False)]
    confidence = [min(1.0, max(0.0, rate**exponent + rng.gauss(0, 0.05))) for rate in rates]
    return Track(rates, [rng.random() < rate for rate in rates], confidence, free)


def text(rng: random.Random, kind: str, n: int) -> Text:
    """A text of n tokens, as a draft model and lookup see it."""
    return {"model": track(rng, kind, n), "lookup": track(rng, kind, n, free=True)}


def controller(machine: SimulatedMachine) -> Controller:
    """One that knows of the machine what a first look tells."""
    target, cost = CostCurve(), CostCurve()
    for width in (1, 2, 4, 8) * 2:
        target.observe(width, 0, machine.verify[width] * machine.noise())
    for width in (1, 8, 1, 8):
        cost.observe(width, 0, machine.draft_seconds(width) * machine.noise())
    states = {
        MODEL: DrafterState(cost),
        "lookup": DrafterState(),
        WINDOW: DrafterState(cost),
    }
    return Controller(target, states)


class Change(NamedTuple):
    """How a machine's costs change along an answer; both are factors on what it charged before."""

    target: Callable[[int, int], float] = lambda _width, _position: 1.0
    draft: Callable[[int], float] = lambda _position: 1.0


STEADY = Change()


def from_the_middle(target: float = 1.0, draft: float = 1.0, middle: int = 300) -> Change:
    """Seconds of the target and of the draft model change by these factors."""
    return Change(
        lambda _width, position: target if position >= middle else 1.0,
        lambda position: draft if position >= middle else 1.0,
    )


def with_the_context(level: float, row: float = 0.0, wide: float = 1.0) -> Change:
    """Seconds grow by these factors with every context bucket.

    level: of V(1) and of the draft model. row: of every further token, added. wide: of all widths
    but 1 against V(1).
    """

    def target(width: int, position: int) -> float:
        bucket = bucket_of(position)
        return (
            level**bucket
            * (1.0 + row * bucket * (width - 1))
            * (wide**bucket if width > 1 else 1.0)
        )

    return Change(target, lambda position: level ** bucket_of(position))


class Bookkeeper(Controller):
    """A controller whose rounds are booked at what they really cost: no noise, no estimate.

    Amounts are in plain tokens. Booked apart is the one thing that the README excepts: what the
    draft model reads before its first draft of the answer.
    """

    change = STEADY
    """How the machine changes along the answer."""

    def __init__(self, machine: SimulatedMachine) -> None:
        known = controller(machine)
        super().__init__(known.target, known.drafters)
        self.machine = machine

    def begin(self, max_tokens: int, kind: str = "") -> None:
        super().begin(max_tokens, kind)
        self.written = -1  # the first token is out before anything is booked
        self.lost = self.reading = 0.0
        self.worst = 0.0
        """The most that was lost beyond the promise, after any round."""

    def learn(self, report: RoundReport) -> None:
        if self.written < 0:
            self.written = 0
        else:
            report = self._booked(report)
        super().learn(report)

    def _booked(self, report: RoundReport) -> RoundReport:
        """Book a round, and what the clock shows of it after the machine has changed."""
        machine, at = self.machine, self.written
        plain = machine.verify[1] * self.change.target(1, at)
        factor, draft_factor = self.change.target(report.width, at), self.change.draft(at)
        steps = [machine.draft_seconds(width) * draft_factor for width, _seconds in report.steps]
        reading = 0.0
        if steps and not self.drafters[report.drafter].started:
            reading = steps[0] - machine.draft_seconds(1) * draft_factor
        cost = machine.verify[report.width] * factor + sum(steps) - reading
        beyond = cost / plain - report.tokens
        self.reading += reading / plain
        self.lost += beyond
        self.written += report.tokens
        self.worst = max(self.worst, self.lost - promised_one(self.written))
        return report._replace(
            evaluate_seconds=report.evaluate_seconds * factor,
            steps=[(width, seconds * draft_factor) for width, seconds in report.steps],
        )


def promised_one(tokens: int) -> float:
    """Plain tokens that an answer of so many may lose to trying, by the README."""
    return 4.0 + 0.0025 * tokens


def promised(tokens: int, answers: int) -> float:
    """Plain tokens that all answers of a pair may lose, so many tokens in all, by the README."""
    return 11.0 + 0.5 * (answers - 1) + 0.0025 * tokens
