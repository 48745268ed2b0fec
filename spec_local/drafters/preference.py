"""Several drafters in order of preference: the first that has something to say drafts."""

from __future__ import annotations

from collections.abc import Sequence

from spec_local.drafters.several import Several
from spec_local.engine.draft import NO_DRAFT, Draft
from spec_local.engine.types import Drafter, Pace


class FirstThatDrafts(Several):
    """Asks cheap drafters first, such as lookup before a model; one of them drafts a round.

    Each decides by itself whether it is sure enough to draft. A model that was not asked for some
    rounds catches up in one batch when it is.
    """

    def __init__(self, drafters: Sequence[Drafter]) -> None:
        super().__init__(drafters, "-then-".join(drafter.name for drafter in drafters))

    def propose(self, context: Sequence[int], budget: int, pace: Pace | None = None) -> Draft:
        drafts = (drafter.propose(context, budget, pace) for drafter in self._drafters)
        return next((draft for draft in drafts if draft.tokens), NO_DRAFT)
