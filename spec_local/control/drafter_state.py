"""What the controller knows of one drafter: what it costs, how often it is right, how it fared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import floor
from typing import NamedTuple

from spec_local.control.acceptance import Acceptance
from spec_local.control.constants import Tuning
from spec_local.control.costs import MAX_WIDTH, CostCurve
from spec_local.control.odds import Odds
from spec_local.control.report import Judged
from spec_local.control.stopping import DraftPace

_LONGEST = MAX_WIDTH // 2
"""Tokens of a block at most, so that with as many to be read its cost is on the curve."""


class DraftPrices(NamedTuple):
    """What drafting costs, in plain tokens, V(1) = 1."""

    one: float
    """An evaluation of one token by the draft model."""
    shape: Sequence[float]
    """One of w tokens, in those of one, for every width w from 0 on."""
    read: int
    """Tokens of the text in the first evaluation: the pending one, and what the last draft left."""
    reading: float
    """Evaluating what else is missing: an investment, made once, that all tokens to come have."""
    block: int = 0
    """Most tokens that the first evaluation drafts, all at once; 0: each has one of its own."""

    @property
    def step(self) -> float:
        """One drafted token more, while it can still be decided against."""
        return 0.0 if self.block else self.one

    def of(self, k: int) -> float:
        """k drafted tokens."""
        if self.block:
            return self.one * self.shape[self.read + k - 1]
        return self.one * (self.shape[self.read] + k - 1)

    def at_most(self, k: int) -> float:
        """The same k after any draft, which a whole block may have left to be read."""
        return self._replace(read=self.block + 1).of(k) if self.block else self.of(k)

    def within(self, price: float) -> int:
        """The greatest k, if any, that costs no more; of a block the greatest that there is."""
        return self.block or max(0, 1 + floor(price / self.one - self.shape[self.read]))


class Intent(NamedTuple):
    """Drafting as it has been found worth while."""

    pace: DraftPace
    gain: float
    """Tokens beyond plain decoding, as the controller weighs them."""
    price: float
    """What a round takes beyond a plain one at most, in plain tokens."""


@dataclass(slots=True)
class DrafterState:
    """A drafter as the controller sees it."""

    cost: CostCurve | None = None
    """Cost curve of its model, of which something is known; None: drafting costs nothing."""
    known: dict[str, Acceptance] = field(default_factory=dict)
    """Its acceptance by the kind of its confidences."""
    tuning: Tuning = field(default_factory=Tuning)
    block: int = 0
    """Most tokens that its model drafts by one evaluation; 0: it takes one for each token."""
    acceptance: Acceptance = field(init=False)
    """That of the present generation."""
    started: bool = field(init=False)
    """Whether its model has read the prompt of this generation."""
    failures: int = field(init=False)
    """How often in a row it was tried in this generation and did not pay."""
    idle: int = field(init=False)
    """Tokens emitted since it was last used."""
    asleep: int = field(init=False)
    """Tokens for which it need not be considered: it did not pay."""
    _held: Intent | None = field(init=False)
    """What is used again, as long as `_hold` is above 0."""
    _hold: int = field(init=False)
    _run: float = field(init=False)
    """What its last unbroken run of drafts has saved, in plain tokens."""

    def __post_init__(self) -> None:
        self.begin("")

    def begin(self, kind: str) -> None:
        """A generation begins; the drafter's confidences will be of this kind."""
        if kind not in self.known:
            self.known[kind] = Acceptance(self.tuning, drawn=self.cost is not None)
        self.acceptance = self.known[kind]
        self.acceptance.begin()
        self.started, self.failures, self.idle, self.asleep, self._run = False, 0, 0, 0, 0.0
        self._held, self._hold = None, 0

    def odds(self, confidences: Sequence[float], parents: Sequence[int] | None = None) -> Odds:
        """How much of a draft with these confidences will be accepted."""
        return Odds.of(self.acceptance.rate, confidences, parents)

    def prices(self, behind: int, context: int, plain: float) -> DraftPrices:
        """What drafting costs now, for a model that has `behind` tokens to evaluate first.

        plain: seconds of one plain token.
        """
        assert self.cost is not None
        step, shape = self.cost.seconds(1, context), self.cost.shape(context)
        block = min(self.block, _LONGEST)
        # A block leaves all that is accepted of it to be read again; other drafts the last token.
        read = behind if behind <= max(1, block) + 1 else 2
        reading = max(0.0, self.cost.seconds(behind, context) - step * shape[read])
        return DraftPrices(step / plain, shape, read, reading / plain, block)

    def held(self, room: int) -> Intent | None:
        """What was clearly worth while lately, for at most so many tokens; None: weigh it anew."""
        self._hold -= 1
        if self._held is None or self._hold <= 0:
            return None
        return self._held._replace(pace=self._held.pace.again(room))

    def weigh(self, intent: Intent) -> None:
        """Such drafting was looked into: hold it where its gain is clear."""
        if intent.gain < self.tuning.margin:
            self.sleep()
        self._held = intent if intent.gain >= self.tuning.clear_gain else None
        self._hold = self.tuning.hold_rounds

    def sleep(self) -> None:
        """Drafting is not worth while now, and need not be considered for some tokens."""
        self.asleep = self.tuning.sleep_tokens

    def reconsider(self) -> None:
        """A cost that was only guessed has been measured: what is held may be wrong."""
        self._held = None

    def learn_verdict(self, verdict: Judged, certainty: float | None) -> None:
        """Count what became of its draft, also of one that was only watched.

        certainty: how sure the target was of the first token; None if nobody looked.
        """
        self.acceptance.observe(verdict.right, verdict.wrong)
        if self.cost is None or certainty is None:
            return
        if verdict.first is not None:
            self.acceptance.relate(certainty, verdict.first)
        else:
            self.acceptance.foresee(certainty)

    def learn_drafting(
        self, steps: Sequence[tuple[int, float]], context: int
    ) -> tuple[float, float]:
        """Learn what evaluations cost; returns the seconds of drafting, and of reading."""
        assert self.cost is not None
        alike = dict[int, list[float]]()
        for width, seconds in steps:
            alike.setdefault(width, []).append(seconds)
        for width, each in alike.items():
            self.cost.observe(width, context - width, *each)
        drafting, reading = sum(seconds for _width, seconds in steps), 0.0
        if not self.started:  # reading the prompt is an investment, and is not this round's cost
            self.started = True
            first = 1 + min(self.block, _LONGEST)  # of the evaluation, what is no reading
            reading = max(0.0, steps[0][1] - self.cost.seconds(first, context))
        return drafting - reading, reading

    def keep_books(self, used: bool, saved: float, tokens: int) -> None:
        """Watch how a drafter with a cost fares, and let its failures fade while it waits."""
        if self.cost is None:
            return
        if used:
            self._run = saved + (self._run if self.idle == 0 else 0.0)
            self.idle = 0
        else:
            if self.idle == 0 and self._run:
                self.failures = self.failures + 1 if self._run < 0 else 0
            self.idle += tokens
            self.asleep -= tokens
            half_life = self.tuning.retry_tokens * self.tuning.setback**self.failures
            self.acceptance.fade(0.5 ** (tokens / half_life))
