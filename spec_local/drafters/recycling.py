"""Token recycling: what the target thought might follow each token, the last time it stood there.

Every row of logits that verification reads names some candidates beside the token that is taken,
and they are thrown away. Kept by token, they are a table of what follows what, from which a tree is
grown (Luo et al., arXiv 2408.08696). It needs no second model and no text that repeats; it costs a
pass over each row of logits, and half a KB for each different token met. The paper reports about
two tokens a round with a tree of 80 nodes, which pays where rows cost next to nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from spec_local.drafters.trie import Trie
from spec_local.engine.draft import NO_DRAFT, Draft, Outcome
from spec_local.engine.types import Pace
from spec_local.sampling.distribution import top_tokens
from spec_local.sampling.types import Sampler
from spec_local.util.tree import ROOT

CANDIDATES = 8
"""Kept of each row, as in the paper."""

_FIRST_RIGHT = (0.4, 0.1, 0.05, 0.03, 0.02, 0.015, 0.01, 0.01)
"""How often the candidate of each rank is right, at first."""
_FIRST_WEIGHT = 20.0
"""How many observations that is worth."""


class RecyclingDrafter:
    """Drafts from a table of candidates, which outlives a generation."""

    name = "recycling"

    def __init__(self) -> None:
        self._followers: dict[int, list[int]] = {}
        """By token, what may follow it, the likeliest first."""
        self._right = [_FIRST_WEIGHT * share for share in _FIRST_RIGHT]
        self._asked = _FIRST_WEIGHT
        self._sampler: Sampler | None = None

    def begin(self, context: Sequence[int], sampler: Sampler) -> None:
        self._sampler = sampler

    def behind(self, context: Sequence[int]) -> int:
        return 0

    def propose(self, context: Sequence[int], budget: int, pace: Pace | None = None) -> Draft:
        if budget < 1 or context[-1] not in self._followers:
            return NO_DRAFT
        assert self._sampler is not None
        chances = [right / self._asked for right in self._right]
        trie, waiting = Trie(), [(1.0, ROOT, context[-1])]
        for _node in range(budget):  # the likeliest one grows, as often as nodes are wanted
            if not waiting:
                break
            waiting.sort(key=lambda each: each[0])
            path, node, token = waiting.pop()
            for chance, follower in zip(chances, self._followers.get(token, ()), strict=False):
                waiting.append((path * chance, trie.add(node, follower, chance), follower))
        return trie.draft(self.name, budget).where(self._sampler.possible)

    def observe(self, context: Sequence[int], outcome: Outcome) -> None:
        """Keep the candidates of every row, also of drafted tokens that were wrong."""
        draft, path = outcome.draft, outcome.draft.path(outcome.verdict)
        emitted = len(path) + 1
        before = context[-emitted - 1 : -1]
        for last, token in zip(before, context[-emitted:], strict=False):
            self._learn(self._followers.get(last, ()), token)
        tokens = (before[0], *draft.tokens) if before else ()
        for token, row in zip(tokens, outcome.rows, strict=False):
            self._followers[token] = top_tokens(row, CANDIDATES)

    def _learn(self, followers: Sequence[int], token: int) -> None:
        """Which of the candidates was right."""
        if followers:
            self._asked += 1
            if token in followers:
                self._right[followers.index(token)] += 1

    def end(self, context: Sequence[int]) -> None:
        """The table stays: it holds what the target thinks, whatever the text."""
        self._sampler = None

    def close(self) -> None:
        self._followers = {}
