"""One drafter, and a policy of the literature that decides how far it goes (`policies/`)."""

from __future__ import annotations

from collections.abc import Sequence

from spec_local.engine.draft import NO_DRAFT, Draft, Outcome
from spec_local.engine.rounds import Round
from spec_local.engine.types import Drafter
from spec_local.policies.policy import Policy
from spec_local.sampling.types import Sampler
from spec_local.util.prefix import common_prefix


class Paced:
    """Drafts in every round what the policy lets it; a `Speculator`."""

    def __init__(self, drafter: Drafter, policy: Policy) -> None:
        """drafter: one that asks its pace, as a draft model does."""
        self.name = drafter.name
        self._drafter, self._policy = drafter, policy
        self._draft = NO_DRAFT

    def begin(self, context: Sequence[int], sampler: Sampler, max_tokens: int) -> None:
        self._drafter.begin(context, sampler)
        self._policy.begin()
        self._draft = NO_DRAFT

    def propose(self, context: Sequence[int], room: int) -> Draft:
        budget = min(self._policy.start(), room)
        if budget > 0:
            self._draft = self._drafter.propose(context, budget, self._policy)
        return self._draft

    def observe(self, context: Sequence[int], outcome: Outcome) -> None:
        self._drafter.observe(context, outcome)
        drafted = self._draft.judged
        if drafted:
            right = common_prefix(drafted, context[len(context) - outcome.verdict.accepted - 1 :])
            self._policy.judged(self._draft.confidences[: len(drafted)], right)
        self._draft = NO_DRAFT

    def learn(self, round_: Round) -> None:
        """What a policy learns from is the verdict; no costs are asked for."""

    def plain_seconds(self) -> float:
        return 0.0

    def end(self, context: Sequence[int]) -> None:
        self._drafter.end(context)
        self._draft = NO_DRAFT

    def close(self) -> None:
        self._drafter.close()
