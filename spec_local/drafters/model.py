"""Drafting with a small model that shares the target's vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter

from spec_local.drafters.cache import FAILURES, DraftCache
from spec_local.drafters.drawn import Drawn
from spec_local.drafters.own_words import OwnDraft, OwnWords
from spec_local.engine.draft import NO_DRAFT, Draft, Outcome
from spec_local.engine.types import EvaluationSession, Pace
from spec_local.errors import ContextOverflow, NoTokenAllowed
from spec_local.sampling.types import Logits, Sampler


class ModelDrafter:
    """Draws every drafted token from the draft model, through a copy of the target's sampler.

    With the same penalties and the same grammar, and with noise keyed by position (see
    `verify.py`), a token drawn from the draft's distribution q is the target's own draw as often as
    any coupling of this kind allows.

    Nothing is evaluated twice. A round of k drafted tokens evaluates k tokens: the pending one,
    then k - 1 drafted ones. After full acceptance the last drafted token is missing from the cache;
    it is evaluated together with the next pending one, in the same batch: k + 1 tokens.

    A context that has outgrown the model's own is read from its last half on, again and again. A
    model that fails drafts no more.
    """

    name = "model"

    def __init__(
        self,
        session: EvaluationSession,
        n_vocab: int | None = None,
        is_end: Callable[[int], bool] = lambda _token: False,
        words: OwnWords | None = None,
    ) -> None:
        """The session is the drafter's own to use; whoever opened it closes it.

        n_vocab: how many token ids target and draft share, if the draft pads its vocabulary.
        is_end: tells end-of-generation tokens, after which there is nothing to draft.
        words: of a model that drafts in its own tokens; None: it draws in the target's.
        """
        self.cache = DraftCache(session)
        self.is_end, self.words = is_end, words
        self.n_vocab = session.n_vocab if n_vocab is None else min(n_vocab, session.n_vocab)
        self._sampler: Sampler | None = None
        self._target_sampler: Sampler | None = None

    def begin(self, context: Sequence[int], sampler: Sampler) -> None:
        """Forget what the context does not share; its evaluation waits for the first draft."""
        self.cache.follow(context)
        self._target_sampler = sampler

    def behind(self, context: Sequence[int]) -> int:
        return 0 if self.cache.failed else self.cache.behind(context, self._start(context))

    def _start(self, context: Sequence[int]) -> int:
        """Where in the context the model begins to read for its next draft."""
        cache = self.cache
        if len(context) <= cache.capacity:
            return 0
        begun = cache.start > 0 and cache.room(context) >= 1
        return cache.start if begun else len(context) - max(1, cache.capacity // 2)

    def propose(self, context: Sequence[int], budget: int, pace: Pace | None = None) -> Draft:
        cache, start = self.cache, self._start(context)
        missing = context[len(context) - cache.behind(context, start) :]
        if cache.failed or any(token >= cache.session.n_vocab for token in missing):
            return NO_DRAFT
        cache.move(start)
        budget = min(budget, cache.room(context))
        if self.words is None:
            return self._drawn(context, budget, pace).draft(self.name)
        assert self._target_sampler is not None
        own = OwnDraft(self.words)
        with self._surviving():
            own.write(cache.session, missing, budget, pace)
        return own.told(context, budget, self._target_sampler, self.name)

    def _drawn(self, context: Sequence[int], budget: int, pace: Pace | None) -> Drawn:
        """Draw token by token, after reading what is missing."""
        drawn = Drawn()
        self._go_on(drawn, self._followed(), context, budget, pace)
        return drawn

    def _go_on(
        self,
        drawn: Drawn,
        sampler: Sampler,
        context: Sequence[int],
        budget: int,
        pace: Pace | None,
    ) -> None:
        """Draw more of a draft, of which the sampler stands at the end, up to `budget` tokens."""
        tokens, steps = drawn.tokens, drawn.steps
        with self._surviving():
            while len(tokens) < budget and (pace is None or pace.more()):
                started = perf_counter()
                row, evaluated = self._row(context, tokens, budget)
                so_far = 0.0
                if not evaluated:  # the row was there already, so the evaluation before goes on
                    evaluated, so_far = steps.pop()
                steps.append((evaluated, so_far + perf_counter() - started))
                proposal = sampler.propose(row[: self.n_vocab])
                steps[-1] = evaluated, so_far + perf_counter() - started  # drawing costs as well
                drawn.confidences.append(proposal.confidence)
                if pace is not None and not pace.take(proposal.confidence):
                    drawn.refused = proposal.token
                    break
                tokens.append(proposal.token)
                if proposal.distribution is not None:
                    drawn.distributions.append(proposal.distribution)
                if self.is_end(proposal.token):
                    break

    @contextmanager
    def _surviving(self) -> Iterator[None]:
        """What keeps the model from going on ends the draft, and nothing else."""
        try:
            yield
        except NoTokenAllowed:  # the target's vocabulary may be larger: it goes on alone
            pass
        except FAILURES as error:
            self.cache.fail(error)
        except ContextOverflow:  # the target's tokens may be several of the draft's, each
            self.cache.overflow()

    def _row(
        self, context: Sequence[int], drafted: Sequence[int], budget: int
    ) -> tuple[Logits, int]:
        """The model's logits (n_vocab,) after what was drafted, and how many tokens that took.

        0: they came with an evaluation before.
        """
        session, missing = self.cache.session, self._missing(context, drafted)
        row = session.evaluate(missing)[-1]
        if not drafted:
            session.mark(budget - 1)
        return row, len(missing)

    def _missing(self, context: Sequence[int], drafted: Sequence[int]) -> list[int]:
        """What the session does not hold yet of the context and what was drafted after it."""
        held = self.cache.start + len(self.cache.session.tokens)
        return [*context[held:], *drafted[max(0, held - len(context)) :]]

    def observe(self, context: Sequence[int], outcome: Outcome) -> None:
        """Keep what was accepted, drop the rest and, should it be there, the pending token."""
        mine = outcome.draft.drafter == self.name  # else what was accepted may be another's
        self.cache.keep_before(context, 0 if mine else outcome.verdict.accepted + 1)

    def end(self, context: Sequence[int]) -> None:
        self.cache.keep_before(context)
        self._release_sampler()

    def _followed(self) -> Sampler:
        """A copy of the target's sampler, where that is now; made when it is first needed."""
        assert self._target_sampler is not None
        if self._sampler is None:
            self._sampler = self._target_sampler.copy()
        self._sampler.follow(self._target_sampler)
        return self._sampler

    def _release_sampler(self) -> None:
        if self._sampler is not None:
            self._sampler.close()
        self._sampler = self._target_sampler = None

    def close(self) -> None:
        self._release_sampler()
