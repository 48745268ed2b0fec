"""Drafting several tokens by one evaluation of a draft model that was trained with mask tokens.

PARD (An et al., arXiv 2504.18583): behind the pending token the model reads k - 1 masks, and the
row at each of these guesses the token that will stand behind it, without knowing those between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter

from spec_local.drafters.cache import FAILURES
from spec_local.drafters.model import ModelDrafter
from spec_local.engine.draft import NO_DRAFT, Draft
from spec_local.engine.types import EvaluationSession, Pace
from spec_local.errors import ContextOverflow, NoTokenAllowed
from spec_local.sampling.distribution import Distribution
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

    def propose(self, context: Sequence[int], budget: int, pace: Pace | None = None) -> Draft:
        cache, session, start = self.cache, self.cache.session, self._start(context)
        missing = context[len(context) - cache.behind(context, start) :]
        if cache.failed or any(token >= session.n_vocab for token in missing):
            return NO_DRAFT
        cache.move(start)
        budget = min(budget, cache.room(context), session.max_rows)
        if budget < 1:
            return NO_DRAFT
        read = [*missing, *[self.mask] * (budget - 1)]
        started = perf_counter()
        try:
            rows = session.evaluate(read, rows=budget)
            draft = self._drawn_from(rows, pace)
            session.truncate(len(context) - start)
        except FAILURES as error:
            cache.fail(error)
            return NO_DRAFT
        except ContextOverflow:
            cache.overflow()
            return NO_DRAFT
        return draft._replace(steps=((len(read), perf_counter() - started),))

    def _drawn_from(self, rows: Logits, pace: Pace | None) -> Draft:
        sampler = self._followed()
        tokens, confidences, distributions = list[int](), list[float](), list[Distribution]()
        refused = None
        for row in rows:
            try:
                proposal = sampler.propose(row[: self.n_vocab])
            except NoTokenAllowed:  # the target's vocabulary may be larger: it goes on alone
                break
            confidences.append(proposal.confidence)
            if pace is not None and not pace.take(proposal.confidence):
                refused = proposal.token
                break
            tokens.append(proposal.token)
            if proposal.distribution is not None:
                distributions.append(proposal.distribution)
            if self.is_end(proposal.token):
                break
        return Draft(
            tuple(tokens),
            self.name,
            distributions=tuple(distributions) or None,
            confidences=tuple(confidences),
            refused=refused,
        )
