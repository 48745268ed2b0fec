"""Drafters and the decision between them: what the loop in `decode.py` asks for drafts.

`FixedK` is one drafter with a fixed number of tokens, for experiments. `Adaptive` has several and
leaves the decision to the controller; it knows tokens and drafters, the controller only numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

from spec_local.control.controller import Controller
from spec_local.control.plan import Offer, Plan
from spec_local.control.report import Judged, RoundReport
from spec_local.engine.draft import NO_DRAFT, Draft, Outcome
from spec_local.engine.rounds import Round
from spec_local.engine.types import Drafter
from spec_local.errors import require
from spec_local.sampling.distribution import top_probability
from spec_local.sampling.types import Sampler
from spec_local.util.tree import ROOT

_COMPARED = 4
"""While a draft model drafts, the target's certainty is compared with its confidence once in so
many rounds: that teaches something about texts to come only, and every look passes over all
logits."""


class FixedK:
    """Drafts k tokens in every round with one drafter; k = 0 is plain decoding."""

    def __init__(self, drafter: Drafter, k: int) -> None:
        require(k >= 0, "k, the number of drafted tokens, must be 0 or more.")
        self.name, self.k = drafter.name, k
        self._drafter = drafter

    def begin(self, context: Sequence[int], sampler: Sampler, max_tokens: int) -> None:
        self._drafter.begin(context, sampler)

    def propose(self, context: Sequence[int], room: int) -> Draft:
        budget = min(self.k, room)
        return self._drafter.propose(context, budget) if budget > 0 else NO_DRAFT

    def observe(self, context: Sequence[int], outcome: Outcome) -> None:
        self._drafter.observe(context, outcome)

    def learn(self, round_: Round) -> None:
        """What is fixed learns nothing."""

    def plain_seconds(self) -> float:
        return 0.0

    def end(self, context: Sequence[int]) -> None:
        self._drafter.end(context)

    def close(self) -> None:
        self._drafter.close()


class Adaptive:
    """Lets the controller choose, every round, between several drafters and not drafting.

    Drafters that cost nothing draft in every round. If they are not chosen, the text itself shows
    afterwards whether they would have been right.
    """

    name = "auto"

    def __init__(self, drafters: Sequence[Drafter], controller: Controller) -> None:
        """The controller has a state for each drafter's name."""
        self.controller = controller
        self._drafters = {drafter.name: drafter for drafter in drafters}
        self._has_model = any(each.cost is not None for each in controller.drafters.values())
        self._length = self._uncompared = 0
        self._forget_round()

    def _forget_round(self) -> None:
        self._plan = Plan()
        self._certainty: float | None = None
        self._drafts: dict[str, Draft] = {}

    def begin(self, context: Sequence[int], sampler: Sampler, max_tokens: int) -> None:
        self._length = len(context)
        self._forget_round()
        for drafter in self._drafters.values():
            drafter.begin(context, sampler)
        self.controller.begin(max_tokens, sampler.kind)

    def propose(self, context: Sequence[int], room: int) -> Draft:
        offers = [self._offer(drafter, context, room) for drafter in self._drafters.values()]
        plan = self._plan = self.controller.plan(offers, len(context), room)
        if plan.pace is not None:
            draft = self._drafters[plan.drafter].propose(context, plan.k, plan.pace)
            self._drafts[plan.drafter] = draft
            return draft
        return self._drafts[plan.drafter].first(plan.k) if plan.k else NO_DRAFT

    def _offer(self, drafter: Drafter, context: Sequence[int], room: int) -> Offer:
        behind = drafter.behind(context)
        if behind:
            return Offer(drafter.name, behind=behind)
        draft = self._drafts[drafter.name] = drafter.propose(context, room)
        return Offer(drafter.name, draft.confidences, parents=draft.parents)

    def observe(self, context: Sequence[int], outcome: Outcome) -> None:
        self._length = len(context)
        self._uncompared = self._uncompared + 1 if self._plan.pace else _COMPARED
        if self._has_model and self._uncompared >= _COMPARED:
            self._certainty, self._uncompared = top_probability(outcome.rows[0]), 0
        for drafter in self._drafters.values():
            drafter.observe(context, outcome)

    def learn(self, round_: Round) -> None:
        pending = round_.evaluated - round_.drafted
        steps = self._drafts[self._plan.drafter].steps if self._plan.pace else ()
        report = RoundReport(
            tokens=len(round_.tokens),
            width=round_.evaluated,
            context=self._length - len(round_.tokens) - pending,
            evaluate_seconds=round_.evaluate_seconds,
            drafter=self._plan.drafter,
            steps=steps,
            judged={name: judge(draft, round_.tokens) for name, draft in self._drafts.items()},
            certainty=self._certainty,
            other_seconds=round_.seconds
            - round_.evaluate_seconds
            - round_.sample_seconds
            - sum(seconds for _width, seconds in steps),
        )
        self.controller.learn(report)
        self._forget_round()

    def plain_seconds(self) -> float:
        return self.controller.plain_seconds(self._length)

    def end(self, context: Sequence[int]) -> None:
        self._forget_round()
        for drafter in self._drafters.values():
            drafter.end(context)

    def close(self) -> None:
        for drafter in self._drafters.values():
            drafter.close()


def judge(draft: Draft, emitted: Sequence[int]) -> Judged:
    """How far the text went on as drafted: under keyed verification exactly what is accepted.

    Under the other rules the same holds of a draft that was submitted; of one that was only
    watched, it counts somewhat too few.
    """
    if draft.parents is not None:
        return _judge_tree(draft, emitted)
    drafted = draft.judged if draft.refused is None else (*draft.judged, draft.refused)
    judged = min(len(drafted), len(emitted))
    right = next((i for i in range(judged) if drafted[i] != emitted[i]), judged)
    return Judged.of_chain(draft.confidences, right, rejected=right < judged)


def _judge_tree(draft: Draft, emitted: Sequence[int]) -> Judged:
    """Of each place in the text that the tree reached, all its guesses, of which one was right."""
    right, wrong, node = list[float](), list[float](), ROOT
    for token in emitted:
        guesses = draft.children(node)
        for guess in guesses:
            (right if draft.tokens[guess] == token else wrong).append(draft.confidences[guess])
        found = next((guess for guess in guesses if draft.tokens[guess] == token), None)
        if found is None:
            break
        node = found
    return Judged(right, wrong, draft.confidences[0] if draft.confidences else None)
