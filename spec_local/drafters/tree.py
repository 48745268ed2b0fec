"""A tree of a draft model's likeliest continuations, verified in one evaluation of the target.

Where the text may go several ways, a second guess for the next token can be worth more than a
tenth token of the first guess. The tree holds the nodes whose paths are likeliest, as in EAGLE-2
(Li et al., arXiv 2406.16858) and Sequoia (Chen et al., arXiv 2402.12374), and is drafted level by
level: the nodes that wait for their children are one evaluation of the draft model. So a tree
takes fewer evaluations than a chain of as many tokens, and more of the target's rows than a chain
as deep. It helps where rows cost the target little, as in large models and on GPUs.

Where tokens are drawn apart from the target's (rejection and block verification), nothing about a
tree may depend on what was drawn: there its shape is fixed (`shapes.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from spec_local.drafters.cache import FAILURES
from spec_local.drafters.growing import Growing
from spec_local.drafters.model import ModelDrafter
from spec_local.engine.draft import NO_DRAFT, Draft
from spec_local.engine.types import Pace
from spec_local.errors import ContextOverflow


class TreeDrafter(ModelDrafter):
    """Drafts so many nodes, with as many evaluations as that takes; the target decides the path."""

    name = "tree"

    def propose(self, context: Sequence[int], budget: int, pace: Pace | None = None) -> Draft:
        cache, start = self.cache, self._start(context)
        missing = context[len(context) - cache.behind(context, start) :]
        if cache.failed or any(token >= cache.session.n_vocab for token in missing):
            return NO_DRAFT
        cache.move(start)
        room = cache.room(context)
        about = cache.session, self.n_vocab, self.is_end
        tree = Growing(*about, length=len(context), budget=min(budget, room), cells=room - 1)
        try:
            if min(budget, room) > 0:
                tree.read(missing, self._followed())
                cache.tree = tree.path_of
                while level := tree.next_level(pace):
                    tree.evaluate(level)
        except FAILURES as error:
            cache.fail(error)
        except ContextOverflow:
            cache.overflow()
        finally:
            tree.close()
        return tree.draft(self.name, pace)
