"""Several drafters in order of preference: the first that has something to say drafts."""

from __future__ import annotations

from collections.abc import Sequence

from spec_local.engine.draft import NO_DRAFT, Draft, Outcome
from spec_local.engine.types import Drafter, Pace
from spec_local.sampling.types import Sampler


class StagedDrafter:
    """Asks cheap drafters first, such as lookup before a model.

    Each stage decides by itself whether it is sure enough to draft. A model that was not asked for
    some rounds catches up in one batch when it is.
    """

    def __init__(self, stages: Sequence[Drafter]) -> None:
        self._stages = tuple(stages)
        self.name = "-then-".join(stage.name for stage in stages)

    def begin(self, context: Sequence[int], sampler: Sampler) -> None:
        for stage in self._stages:
            stage.begin(context, sampler)

    def behind(self, context: Sequence[int]) -> int:
        return max(stage.behind(context) for stage in self._stages)

    def propose(self, context: Sequence[int], budget: int, pace: Pace | None = None) -> Draft:
        drafts = (stage.propose(context, budget, pace) for stage in self._stages)
        return next((draft for draft in drafts if draft.tokens), NO_DRAFT)

    def observe(self, context: Sequence[int], outcome: Outcome) -> None:
        for stage in self._stages:
            stage.observe(context, outcome)

    def end(self, context: Sequence[int]) -> None:
        for stage in self._stages:
            stage.end(context)

    def close(self) -> None:
        for stage in self._stages:
            stage.close()
