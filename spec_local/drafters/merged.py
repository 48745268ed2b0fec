"""Several drafters at once: what they propose is merged into one tree, and the target decides.

Multi-drafter speculation (SpecInfer, arXiv 2305.09781): drafters that are right in different
places cover more together than each alone. Where two agree, the node is drafted once.
"""

from __future__ import annotations

from collections.abc import Sequence

from spec_local.drafters.several import Several
from spec_local.drafters.trie import Trie
from spec_local.engine.draft import NO_DRAFT, Draft
from spec_local.engine.types import Drafter, Pace
from spec_local.util.tree import ROOT


class MergedDrafter(Several):
    """Asks all of them in every round, so it costs what they cost together."""

    def __init__(self, drafters: Sequence[Drafter], name: str) -> None:
        """Drafted tokens whose distribution verification needs cannot be merged with others: where
        the first drafter that has something to say draws them, it drafts alone.
        """
        super().__init__(drafters, name)

    def propose(self, context: Sequence[int], budget: int, pace: Pace | None = None) -> Draft:
        trie, steps = Trie(), list[tuple[int, float]]()
        for drafter in self._drafters:
            draft = drafter.propose(context, budget, pace)
            steps += draft.steps
            if draft.distributions is not None:
                return draft._replace(steps=tuple(steps))
            nodes = {ROOT: ROOT}
            parents = draft.parents or range(ROOT, len(draft.tokens) - 1)
            sure = draft.confidences or (1.0,) * len(draft.tokens)
            each = zip(parents, draft.tokens, sure, strict=True)
            for node, (parent, token, confidence) in enumerate(each):
                nodes[node] = trie.add(nodes[parent], token, confidence)
        merged = trie.draft(self.name, budget) if len(trie) else NO_DRAFT
        return merged._replace(steps=tuple(steps))
