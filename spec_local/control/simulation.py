"""The controller on machines and texts that are only numbers: no model, no clock.

A `SimulatedMachine` says what evaluations cost, a `Text` which drafted tokens would be right. Three
ways to write the text are compared: the controller's, any static (drafter, k), and the clairvoyant
one, which knows every position's acceptance rate though not the outcome, and plans backwards from
the end of the text. Costs and texts may be recorded from real runs or made up.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from spec_local.control.controller import Controller
from spec_local.control.costs import MAX_WIDTH
from spec_local.control.plan import Offer
from spec_local.control.report import Judged, RoundReport

MODEL, WINDOW = "model", "window"
"""Two drafters with the draft model: one reads everything, one the end of it. The second one is
simulated where the controller knows it."""

_MOST = MAX_WIDTH - 1


@dataclass(frozen=True, slots=True)
class SimulatedMachine:
    """What evaluations cost, in seconds."""

    verify: Sequence[float]
    """V(w) for w from 0 (unused) to MAX_WIDTH."""
    draft: float
    """One token on the draft model."""
    catch_up: float
    """Every further token evaluated in the same batch on the draft model."""
    prompt: int = 0
    """Prompt tokens the draft model has to read before its first draft."""
    window: int = 128
    """Tokens of the end that are read where more than twice as many are missing."""
    window_loss: float = 0.03
    """Share of its right tokens that are wrong then: of nine answers late in a conversation."""
    noise: Callable[[], float] = lambda: 1.0
    """Factor on every evaluation: what other processes do to the clock."""

    def draft_seconds(self, width: int) -> float:
        """Evaluating `width` tokens at once on the draft model."""
        return self.draft + self.catch_up * (width - 1)


@dataclass(frozen=True, slots=True)
class Track:
    """One drafter along a text, token by token; every sequence has one entry per position.

    What it drafts at a position does not depend on where the draft began, as with a model.
    """

    rate: Sequence[float]
    """Probability that its token there is accepted, if those before it were; 0: it has none."""
    hit: Sequence[bool]
    """Whether it is."""
    confidence: Sequence[float]
    free: bool = False
    """Drafts without a model, as lookup does."""
    _offered: Sequence[int] = field(init=False, repr=False)
    """By position, how many tokens it has to offer from there."""
    _right: Sequence[int] = field(init=False, repr=False)
    """By position, how many of its tokens from there are right in a row."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_offered", _in_a_row([rate > 0 for rate in self.rate]))
        object.__setattr__(self, "_right", _in_a_row(self.hit))

    def rates(self, start: int, limit: int) -> Sequence[float]:
        """Acceptance of the tokens it has to offer from `start`, at most `limit` of them."""
        return self.rate[start : start + min(limit, self._offered[start])]

    def confidences(self, start: int, limit: int) -> Sequence[float]:
        """Confidences of the same tokens."""
        return self.confidence[start : start + min(limit, self._offered[start])]

    def accepted(self, start: int, k: int) -> int:
        """Accepted tokens of a draft of k from `start`."""
        return min(k, self._right[start])


def _in_a_row(holds: Sequence[bool]) -> list[int]:
    """By position, and for the one after the last, how often in a row it holds from there."""
    counts = [0]
    for each in reversed(holds):
        counts.append(counts[-1] + 1 if each else 0)
    return counts[::-1]


@dataclass(frozen=True, slots=True)
class Looked:
    """A drafter whose drafts were recorded whole at every position, as those of lookup."""

    drafts: Sequence[Sequence[float]]
    """By position, the confidences of the tokens drafted from there."""
    right: Sequence[int]
    """By position, how many of them are accepted."""
    calibrated: Callable[[float], float]
    """From a confidence to the probability of being accepted."""
    free: bool = True

    def rates(self, start: int, limit: int) -> Sequence[float]:
        return [self.calibrated(confidence) for confidence in self.confidences(start, limit)]

    def confidences(self, start: int, limit: int) -> Sequence[float]:
        return self.drafts[start][:limit] if start < len(self.drafts) else ()

    def accepted(self, start: int, k: int) -> int:
        return min(k, self.right[start]) if start < len(self.right) else 0


Text = Mapping[str, Track | Looked]
"""Drafters by name along one text."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What writing a text cost."""

    seconds: float
    tokens: int
    plain_seconds: float
    """What plain decoding takes for as many tokens, without noise."""
    rounds: int

    @property
    def speedup(self) -> float:
        """Speed against plain decoding."""
        return self.plain_seconds / self.seconds


def run(
    controller: Controller,
    machine: SimulatedMachine,
    text: Text,
    length: int,
    certainty: Sequence[float] | None = None,
    max_tokens: int | None = None,
) -> Outcome:
    """Write so many tokens as the controller decides; the first one is already out.

    certainty: by position, how sure the target is of its own token. max_tokens: what the controller
    is told; None: the length, as if the answer were cut off there.
    """
    controller.begin(max_tokens or length + 1)
    controller.learn(RoundReport(1, 1, 0, machine.verify[1]))
    reading = _Reading(machine)
    if WINDOW in controller.drafters and isinstance(model := text.get(MODEL), Track):
        text = {**text, WINDOW: _through_window(model, machine.window_loss)}
    position, total, rounds = 0, 0.0, 0
    while position < length:
        room = min(_MOST, length - position)
        offers = [
            Offer(name, tuple(track.confidences(position, room)))
            if track.free
            else reading.offer(name, position)
            for name, track in text.items()
        ]
        plan = controller.plan(offers, position, room)
        k, steps = plan.k, list[tuple[int, float]]()
        if plan.pace is not None:
            k, waiting = 0, reading.missing(plan.drafter, position)
            confidences = text[plan.drafter].confidences(position, room)
            while k < len(confidences) and plan.pace.more():
                steps.append((waiting, machine.draft_seconds(waiting) * machine.noise()))
                waiting = 1
                if not plan.pace.take(confidences[k]):
                    break
                k += 1
        accepted = text[plan.drafter].accepted(position, k) if plan.drafter in text else 0
        evaluate = machine.verify[k + 1] * machine.noise()
        judged = {
            name: _judge(track, position, accepted + 1, len(steps) if name == plan.drafter else 0)
            for name, track in text.items()
        }
        reading.advance(accepted + 1)
        if steps:  # the last drafted token is not in the draft's cache
            reading.done(plan.drafter, 1 + (accepted == len(steps)))
        emitted = min(accepted + 1, length - position)
        report = RoundReport(
            tokens=emitted,
            width=k + 1,
            context=position,
            evaluate_seconds=evaluate,
            drafter=plan.drafter,
            steps=steps,
            judged=judged,
            certainty=None if certainty is None else certainty[position],
        )
        controller.learn(report)
        total += evaluate + sum(seconds for _width, seconds in steps)
        position += emitted
        rounds += 1
    return Outcome(total, length, length * machine.verify[1], rounds)


class _Reading:
    """What the draft model has read: everything, the end of it, or nothing yet."""

    def __init__(self, machine: SimulatedMachine) -> None:
        self._machine = machine
        self._reader = ""
        self._behind = 0

    def missing(self, name: str, position: int) -> int:
        """Tokens that it has to evaluate first to draft under this name."""
        if name == self._reader:
            return self._behind
        return self._machine.window if name == WINDOW else self._machine.prompt + 1 + position

    def offer(self, name: str, position: int) -> Offer:
        """As `WindowDrafter` has it: nothing where everything costs hardly more to read."""
        spared = self.missing(MODEL, position) > 2 * self._machine.window
        if name == WINDOW != self._reader and not spared:
            return Offer(name, ())
        return Offer(name, behind=self.missing(name, position))

    def advance(self, tokens: int) -> None:
        """So many were emitted."""
        self._behind += tokens

    def done(self, name: str, behind: int) -> None:
        """It has drafted under this name, and now so many tokens are missing."""
        self._reader, self._behind = name, behind


def _through_window(track: Track, loss: float) -> Track:
    """The same drafter with fewer of its tokens right, and it knows no better which."""
    rng = random.Random(0)
    hit = [each and rng.random() >= loss for each in track.hit]
    return Track([rate * (1 - loss) for rate in track.rate], hit, track.confidence)


def _judge(track: Track | Looked, position: int, emitted: int, drafted: int) -> Judged:
    """What the emitted tokens show of a drafter: one that is free is watched in every round."""
    confidences = track.confidences(position, emitted if track.free else min(drafted, emitted))
    right = track.accepted(position, len(confidences))
    return Judged.of_chain(confidences, right, right < len(confidences))


def static(drafter: str, k: int, machine: SimulatedMachine, text: Text, length: int) -> Outcome:
    """Write the tokens with k drafted ones in every round, where the drafter has so many."""
    track = text[drafter]
    position, total, rounds = 0, 0.0, 0
    behind = machine.prompt + 1
    while position < length:
        drafted = len(track.confidences(position, min(k, length - position)))
        accepted = track.accepted(position, drafted)
        if drafted and not track.free:
            total += machine.draft_seconds(behind) + (drafted - 1) * machine.draft
            behind = 1 + (accepted == drafted)
        else:
            behind += 1
        total += machine.verify[drafted + 1]
        position += accepted + 1
        rounds += 1
    return Outcome(total, length, length * machine.verify[1], rounds)


def clairvoyant(
    machine: SimulatedMachine, text: Text, length: int, windowed: bool = False
) -> Outcome:
    """The least expected time, by dynamic programming over positions.

    The draft model has read the prompt before the first token, or is not used at all; windowed: or
    has read the end of it.
    """
    free = {name: track for name, track in text.items() if track.free}
    seconds = [_least(machine, free, length)]
    if isinstance(model := text.get(MODEL), Track):
        seconds.append(machine.prompt * machine.catch_up + _least(machine, text, length))
        if windowed:
            through = {**free, WINDOW: _through_window(model, machine.window_loss)}
            seconds.append(machine.window * machine.catch_up + _least(machine, through, length))
    return Outcome(min(seconds), length, length * machine.verify[1], 0)


def _least(machine: SimulatedMachine, text: Text, length: int) -> float:
    """The least expected seconds with these drafters, their prompt read."""
    rest = [0.0] * (length + _MOST + 2)
    for position in range(length - 1, -1, -1):
        best = machine.verify[1] + rest[position + 1]
        for track in text.values():
            survival, expected = 1.0, 0.0  # of reaching a token; time after stopping before it
            rates = track.rates(position, min(_MOST, length - position))
            for k, rate in enumerate(rates, start=1):
                expected += survival * (1.0 - rate) * rest[position + k]
                survival *= rate
                seconds = machine.verify[k + 1] + (0.0 if track.free else k * machine.draft)
                best = min(best, seconds + expected + survival * rest[position + k + 1])
        rest[position] = best
    return rest[0]
