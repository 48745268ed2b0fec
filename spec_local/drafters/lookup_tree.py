"""Lookup with several continuations: where earlier texts went different ways, both are drafted.

As in SuffixDecoding (arXiv 2411.04975) and REST (arXiv 2311.08252), the places where the end of the
text stood before vote for what follows; here those that are outvoted are drafted as well, as far as
the tree has room. It costs microseconds. It helps where an answer repeats one of several patterns,
and is plain lookup where there is only one.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from heapq import heappop, heappush

from spec_local.drafters.lookup import LookupDrafter, broken
from spec_local.drafters.suffix_index import BREAK
from spec_local.drafters.trie import Trie
from spec_local.engine.draft import NO_DRAFT, Draft
from spec_local.engine.types import Pace
from spec_local.util.tree import ROOT


class LookupTreeDrafter(LookupDrafter):
    """Drafts the likeliest continuations of the longest match as a tree."""

    name = "lookup-tree"

    def propose(self, context: Sequence[int], budget: int, pace: Pace | None = None) -> Draft:
        self._text.extend(broken(context[len(self._text) :]))
        best, ends, beyond = self._text, list[int](), self._min_match - 1
        for text in self._library.texts(self._text):
            length, found = text.longest(context, beyond)
            if found:
                best, ends, beyond = text, found, length
        if not ends or budget < 1:
            return NO_DRAFT
        return self._possible(follow(best.tokens, ends, beyond, budget).draft(self.name, budget))

    def _possible(self, draft: Draft) -> Draft:
        """Without what grammar or bans forbid, and all that follows it."""
        assert self._sampler is not None
        return draft.where(self._sampler.possible)


def follow(text: array[int], ends: Sequence[int], length: int, budget: int) -> Trie:
    """The likeliest nodes of all continuations.

    ends: positions in the text that follow the matches, which have so many tokens.
    A node's confidence is its share of the votes, times that of the match (rule of succession).
    """
    trie, waiting, count = Trie(), list[tuple[float, int, int, int, list[int]]](), 0

    def branch(chance: float, depth: int, parent: int, ends: Sequence[int]) -> None:
        nonlocal count
        votes = Counter(text[end] for end in ends if end < len(text))
        for token, number in votes.items():
            if token == BREAK:
                continue
            confidence = number / len(ends) * (1 - 1 / (length + depth + 1))
            after = [end + 1 for end in ends if end < len(text) and text[end] == token]
            count += 1
            node = trie.add(parent, token, confidence)
            heappush(waiting, (-chance * confidence, count, depth + 1, node, after))

    branch(1.0, 0, ROOT, ends)
    taken = 0
    while waiting and taken < budget:
        chance, _count, depth, node, after = heappop(waiting)
        taken += 1
        branch(-chance, depth, node, after)
    return trie
