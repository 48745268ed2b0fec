"""The controller on machines and texts that are only numbers: no model, no clock.

A `Machine` says what evaluations cost, a `Text` which drafted tokens would be right. Three ways to
write the text are compared: the controller's, any static (drafter, k), and the clairvoyant one,
which knows every position's acceptance rate though not the outcome, and plans backwards from the
end of the text. Costs and texts may be recorded from real runs or made up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from spec_local.control import Controller, Judged, Offer
from spec_local.costs import MAX_WIDTH

_MOST = MAX_WIDTH - 1


@dataclass(frozen=True, slots=True)
class Machine:
    """What evaluations cost, in seconds."""

    verify: Sequence[float]
    """V(w) for w from 0 (unused) to MAX_WIDTH."""
    draft: float
    """One token on the draft model."""
    catch_up: float
    """Every further token evaluated in the same batch on the draft model."""
    prompt: int = 0
    """Prompt tokens the draft model has to read before its first draft."""
    noise: Callable[[], float] = lambda: 1.0
    """Factor on every evaluation: what other processes do to the clock."""

    def draft_seconds(self, width: int) -> float:
        """Evaluating `width` tokens at once on the draft model."""
        return self.draft + self.catch_up * (width - 1)


@dataclass(frozen=True, slots=True)
class Track:
    """One drafter along a text; every sequence has one entry per position."""

    rate: Sequence[float]
    """Probability that its token there is accepted, if those before it were; 0: it has none."""
    hit: Sequence[bool]
    """Whether it is."""
    confidence: Sequence[float]
    free: bool = False
    """Drafts without a model, as lookup does."""

    def accepted(self, start: int, k: int) -> int:
        """Accepted tokens of a draft of k from `start`."""
        for count in range(k):
            if start + count >= len(self.hit) or not self.hit[start + count]:
                return count
        return k

    def length(self, start: int, limit: int) -> int:
        """Tokens it has to offer from `start`."""
        end = start
        while end < len(self.rate) and end - start < limit and self.rate[end] > 0:
            end += 1
        return end - start


Text = Mapping[str, Track]
"""Drafters by name along one text; all tracks have its length."""


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
        return self.plain_seconds / self.seconds


def run(controller: Controller, machine: Machine, text: Text, max_tokens: int = 0) -> Outcome:
    """Write the text as the controller decides; the first token is already out."""
    length = len(next(iter(text.values())).hit)
    controller.begin(max_tokens or length + 1)
    controller.learn(tokens=1, width=1, context=0, evaluate_seconds=machine.verify[1])
    behind = {name: machine.prompt + 1 for name, track in text.items() if not track.free}
    position, total, rounds = 0, 0.0, 0
    while position < length:
        room = min(_MOST, length - position)
        offers = []
        for name, track in text.items():
            offered = track.length(position, room)
            if track.free:
                offers.append(Offer(name, tuple(track.confidence[position : position + offered])))
            elif offered:
                offers.append(Offer(name, behind=behind[name]))
        plan = controller.plan(offers, position, room)
        steps: list[tuple[int, float]] = []
        k = plan.k
        if plan.pace is not None:
            k, waiting = 0, behind[plan.drafter]
            while plan.pace.more():
                steps.append((waiting, machine.draft_seconds(waiting) * machine.noise()))
                waiting = 1
                if position + k >= length or not plan.pace.take(
                    text[plan.drafter].confidence[position + k]
                ):
                    break
                k += 1
        accepted = text[plan.drafter].accepted(position, k) if plan.drafter in text else 0
        evaluate = machine.verify[k + 1] * machine.noise()
        judged = {}
        for name, track in text.items():
            watched = track.length(position, accepted + 1) if track.free else 0
            if name == plan.drafter:
                # also the token it was not allowed to add, if the text got that far
                watched = max(watched, len(steps))
            right = track.accepted(position, min(watched, accepted + 1))
            confidences = track.confidence[position : position + watched]
            judged[name] = Judged(confidences, right, right < min(watched, accepted + 1))
        for name in behind:
            behind[name] += accepted + 1
        if steps:  # the last drafted token is not in the draft's cache
            behind[plan.drafter] = 1 + (accepted == len(steps))
        emitted = min(accepted + 1, length - position)
        controller.learn(
            tokens=emitted,
            width=k + 1,
            context=position,
            evaluate_seconds=evaluate,
            source=plan.drafter,
            steps=steps,
            judged=judged,
        )
        total += evaluate + sum(seconds for _width, seconds in steps)
        position += emitted
        rounds += 1
    return Outcome(total, length, length * machine.verify[1], rounds)


def static(drafter: str, k: int, machine: Machine, text: Text) -> Outcome:
    """Write the text with k drafted tokens in every round, where the drafter has so many."""
    track = text[drafter]
    length, position, total, rounds = len(track.hit), 0, 0.0, 0
    behind = machine.prompt + 1
    while position < length:
        drafted = track.length(position, min(k, length - position))
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


def clairvoyant(machine: Machine, text: Text, widths: Sequence[int] = ()) -> Outcome:
    """The least expected time, by dynamic programming over positions; its prompt costs nothing."""
    length = len(next(iter(text.values())).hit)
    ks = [width - 1 for width in widths] or list(range(1, _MOST + 1))
    rest = [0.0] * (length + _MOST + 2)
    for position in range(length - 1, -1, -1):
        best = machine.verify[1] + rest[position + 1]
        for track in text.values():
            survival, expected = 1.0, 0.0  # of reaching a token; time after stopping before it
            for k in range(1, track.length(position, max(ks)) + 1):
                rate = track.rate[position + k - 1]
                expected += survival * (1.0 - rate) * rest[position + k]
                survival *= rate
                if k not in ks or position + k > length:
                    continue
                seconds = machine.verify[k + 1] + (0.0 if track.free else k * machine.draft)
                best = min(best, seconds + expected + survival * rest[position + k + 1])
        rest[position] = best
    return Outcome(rest[0], length, length * machine.verify[1], 0)
