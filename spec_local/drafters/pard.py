"""Drafting several tokens by one evaluation of a draft model that was trained with mask tokens.

PARD (An et al., arXiv 2504.18583): behind the pending token the model reads k - 1 masks, and the
row at each of these guesses the token that will stand behind it, without knowing those between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from spec_local.drafters.model import ModelDrafter
from spec_local.engine.draft import Draft
from spec_local.engine.types import EvaluationSession, Pace
from spec_local.sampling.types import Logits

MASK_KEY = "spec_local.pard.mask_token_id"
"""GGUF key of a draft that was trained so: its mask token, `pard_token` in its config.json."""


class PardDrafter(ModelDrafter):
    """Draws all tokens of a draft from the rows of one evaluation, through the target's sampler.

    A round of k drafted tokens evaluates the pending one and k - 1 masks, and before them what was
    accepted last. The masks are forgotten at once.
    """

    name = "pard"

    def __init__(
        self,
        session: EvaluationSession,
        mask: int,
        n_vocab: int | None = None,
        is_end: Callable[[int], bool] = lambda _token: False,
    ) -> None:
        """mask: the model's mask token; the rest is as for `ModelDrafter`."""
        super().__init__(session, n_vocab, is_end)
        self.mask = mask
        self._rows: Logits = np.empty((0, self.n_vocab), np.float32)
        """Of the last draft, one for each token of it; a view, like those of `evaluate`."""

    @property
    def block(self) -> int:
        """Most tokens of a draft."""
        return self.cache.session.max_rows

    def propose(self, context: Sequence[int], budget: int, pace: Pace | None = None) -> Draft:
        draft = super().propose(context, min(budget, self.block), pace)
        with self.cache.surviving():
            if not self.cache.failed:
                self.cache.session.truncate(len(context) - self.cache.start)
        return draft

    def _row(
        self, context: Sequence[int], drafted: Sequence[int], budget: int
    ) -> tuple[Logits, int]:
        if drafted:
            return self._rows[len(drafted)], 0
        read = [*self._missing(context, drafted), *[self.mask] * (budget - 1)]
        self._rows = self.cache.session.evaluate(read, rows=budget)
        return self._rows[0], len(read)
