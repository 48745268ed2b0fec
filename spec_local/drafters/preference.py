"""Several drafters in order of preference: the first that has something to say drafts."""

from __future__ import annotations

from collections.abc import Sequence

from spec_local.engine.draft import NO_DRAFT, Draft, Outcome
from spec_local.engine.types import Drafter, Pace
from spec_local.sampling.types import Sampler


class FirstThatDrafts:
    """Asks cheap drafters first, such as lookup before a model; one of them drafts a round.

    Each decides by itself whether it is sure enough to draft. A model that was not asked for some
    rounds catches up in one batch when it is.
    """

    def __init__(self, drafters: Sequence[Drafter]) -> None:
        self._drafters = tuple(drafters)
        self.name = "-then-".join(drafter.name for drafter in drafters)

    def begin(self, context: Sequence[int], sampler: Sampler) -> None:
        for drafter in self._drafters:
            drafter.begin(context, sampler)

    def behind(self, context: Sequence[int]) -> int:
        return max(drafter.behind(context) for drafter in self._drafters)

    def propose(self, context: Sequence[int], budget: int, pace: Pace | None = None) -> Draft:
        drafts = (drafter.propose(context, budget, pace) for drafter in self._drafters)
        return next((draft for draft in drafts if draft.tokens), NO_DRAFT)

    def observe(self, context: Sequence[int], outcome: Outcome) -> None:
        for drafter in self._drafters:
            drafter.observe(context, outcome)

    def end(self, context: Sequence[int]) -> None:
        for drafter in self._drafters:
            drafter.end(context)

    def close(self) -> None:
        for drafter in self._drafters:
            drafter.close()
