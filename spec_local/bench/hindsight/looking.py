"""What lookup would have drafted along an answer that is there."""

from __future__ import annotations

from collections.abc import Sequence

from spec_local.control.costs import MAX_WIDTH
from spec_local.drafters.lookup import LookupDrafter
from spec_local.sampling.types import Sampler
from spec_local.util.prefix import common_prefix

LookedUp = tuple[tuple[int, tuple[float, ...]], ...]
"""After each token of an answer but the last: how many tokens lookup drafts right, and the
confidences of its whole draft."""


class AnyToken:
    """In place of a sampler, for lookup alone: every token is possible."""

    def possible(self, tokens: Sequence[int]) -> int:
        """All of them."""
        return len(tokens)


def look(context: Sequence[int], answer: Sequence[int], sampler: Sampler) -> LookedUp:
    """Draft at every position of the answer, as long as a draft can be."""
    lookup, found = LookupDrafter(), []
    lookup.begin(context, sampler)
    for position in range(1, len(answer)):
        draft = lookup.propose([*context, *answer[:position]], MAX_WIDTH - 1)
        found.append((common_prefix(draft.tokens, answer[position:]), draft.confidences))
    return tuple(found)


def mean_accepted_length(right: Sequence[int], k: int) -> float:
    """Tokens a round, with k drafted in each where there are so many.

    right: by position, how many tokens lookup drafts right.
    """
    position = rounds = 0
    while position < len(right):
        position += min(k, right[position]) + 1
        rounds += 1
    return len(right) / rounds
