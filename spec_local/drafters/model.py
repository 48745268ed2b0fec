"""Drafting with a small model that shares the target's vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from time import perf_counter

from spec_local.engine.types import NO_DRAFT, Draft, EvaluationSession, Pace, Verdict
from spec_local.errors import ContextOverflow, NoTokenAllowed
from spec_local.sampling.distribution import Distribution
from spec_local.sampling.types import Sampler


class ModelDrafter:
    """Draws every drafted token from the draft model, through a copy of the target's sampler.

    With the same penalties and the same grammar, and with noise keyed by position (see
    `verify.py`), a token drawn from the draft's distribution q is the target's own draw as often as
    any coupling of this kind allows.

    Nothing is evaluated twice. A round of k drafted tokens evaluates k tokens: the pending one,
    then k - 1 drafted ones. After full acceptance the last drafted token is missing from the cache;
    it is evaluated together with the next pending one, in the same batch: k + 1 tokens.
    """

    name = "model"

    def __init__(
        self,
        session: EvaluationSession,
        n_vocab: int | None = None,
        is_end: Callable[[int], bool] = lambda _token: False,
    ) -> None:
        """The session is the drafter's own to use; whoever opened it closes it.

        n_vocab: how many token ids target and draft share, if the draft pads its vocabulary.
        is_end: tells end-of-generation tokens, after which there is nothing to draft.
        """
        self._is_end = is_end
        self._session = session
        self._n_vocab = session.n_vocab if n_vocab is None else min(n_vocab, session.n_vocab)
        self._sampler: Sampler | None = None
        self._target_sampler: Sampler | None = None

    def begin(self, context: Sequence[int], sampler: Sampler) -> None:
        """Forget what the context does not share; its evaluation waits for the first draft."""
        self._session.sync(context)
        self._target_sampler = sampler
        self._sampler = sampler.copy()

    def behind(self, context: Sequence[int]) -> int:
        if len(context) > self._session.n_ctx:
            return 0  # no room to draft: nothing to offer, and that for free
        return len(context) - len(self._session.tokens)

    def propose(self, context: Sequence[int], budget: int, pace: Pace | None = None) -> Draft:
        assert self._sampler is not None
        assert self._target_sampler is not None
        session = self._session
        # The last drafted token is not evaluated, so this many fit.
        budget = min(budget, session.n_ctx - len(context) + 1)
        missing = context[len(session.tokens) :]
        if budget < 1 or any(token >= session.n_vocab for token in missing):
            return NO_DRAFT
        self._sampler.follow(self._target_sampler)
        tokens, confidences, distributions = list[int](), list[float](), list[Distribution]()
        steps = list[tuple[int, float]]()
        refused = None
        # The target's vocabulary may be larger, and what a trimmed draft spells may be longer than
        # the context has room for: then the target goes on alone.
        with suppress(NoTokenAllowed, ContextOverflow):
            while len(tokens) < budget and (pace is None or pace.more()):
                started = perf_counter()
                rows = session.evaluate(missing)
                if not tokens:
                    session.mark(budget - 1)
                steps.append((len(missing), perf_counter() - started))
                proposal = self._sampler.propose(rows[-1, : self._n_vocab])
                steps[-1] = (len(missing), perf_counter() - started)  # drawing costs as well
                confidences.append(proposal.confidence)
                if pace is not None and not pace.take(proposal.confidence):
                    refused = proposal.token
                    break
                tokens.append(proposal.token)
                missing = [proposal.token]
                if proposal.distribution is not None:
                    distributions.append(proposal.distribution)
                if self._is_end(proposal.token):
                    break
        return Draft(
            tuple(tokens),
            self.name,
            distributions=tuple(distributions) or None,
            confidences=tuple(confidences),
            refused=refused,
            steps=tuple(steps),
        )

    def observe(self, context: Sequence[int], verdict: Verdict) -> None:
        """Keep what was accepted, drop the rest and, should it be there, the pending token."""
        self._session.truncate(len(context) - 1)

    def end(self, context: Sequence[int]) -> None:
        self._session.truncate(len(context) - 1)
        self._release_sampler()

    def _release_sampler(self) -> None:
        if self._sampler is not None:
            self._sampler.close()
        self._sampler = self._target_sampler = None

    def close(self) -> None:
        self._release_sampler()
