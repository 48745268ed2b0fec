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
        best, beyond = Trie(), self._min_match - 1
        for text in self._library.texts(self._text):
            length, ends = text.longest(context, beyond)
            found = follow(text.tokens, ends, length, budget)
            if len(found):
                best, beyond = found, length
        if not len(best) or budget < 1:
            return NO_DRAFT
        return self._possible(best.draft(self.name, budget))

    def _possible(self, draft: Draft) -> Draft:
        """Without what grammar or bans forbid, and all that follows it."""
        assert self._sampler is not None
        return draft.where(self._sampler.possible)


def follow(text: array[int], ends: Sequence[int], length: int, budget: int) -> Trie:
    """The likeliest nodes of all continuations.

    ends: positions in the text that follow the matches, which have so many tokens.
    A node's confidence is its share of the votes, times that of the match (rule of succession). A
    match that reaches the end of the text goes on into its own path, as in `vote`.
    """
    trie, known, count = Trie(), len(text), 0
    waiting = list[tuple[float, int, int, tuple[int, ...], list[int]]]()

    def branch(chance: float, parent: int, path: tuple[int, ...], ends: Sequence[int]) -> None:
        nonlocal count
        after = [text[end] if end < known else (*path, BREAK)[end - known] for end in ends]
        for token, votes in Counter(after).items():
            if token == BREAK:
                continue
            confidence = votes / len(ends) * (1 - 1 / (length + len(path) + 1))
            node, count = trie.add(parent, token, confidence), count + 1
            behind = [end + 1 for end, each in zip(ends, after, strict=True) if each == token]
            heappush(waiting, (-chance * confidence, count, node, (*path, token), behind))

    branch(1.0, ROOT, (), ends)
    for _taken in range(budget):
        if not waiting:
            break
        chance, _count, node, path, behind = heappop(waiting)
        branch(-chance, node, path, behind)
    return trie
