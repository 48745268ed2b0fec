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

    def __init__(self, drafters: Sequence[Drafter]) -> None:
        """Drafted tokens whose distribution verification needs cannot be merged with others: where
        the first drafter that has something to say draws them, it drafts alone.
        """
        super().__init__(drafters, "-and-".join(drafter.name for drafter in drafters))

    def propose(self, context: Sequence[int], budget: int, pace: Pace | None = None) -> Draft:
        drafts = [drafter.propose(context, budget, pace) for drafter in self._drafters]
        steps = tuple(step for draft in drafts for step in draft.steps)
        apart = next((draft for draft in drafts if draft.distributions is not None), None)
        if apart is not None:
            return apart._replace(steps=steps)
        trie = Trie()
        for draft in drafts:
            nodes = {ROOT: ROOT}
            parents = draft.parents or range(ROOT, len(draft.tokens) - 1)
            sure = draft.confidences or (1.0,) * len(draft.tokens)
            each = zip(parents, draft.tokens, sure, strict=True)
            for node, (parent, token, confidence) in enumerate(each):
                nodes[node] = trie.add(nodes[parent], token, confidence)
        merged = trie.draft(self.name, budget) if len(trie) else NO_DRAFT
        return merged._replace(steps=steps)
