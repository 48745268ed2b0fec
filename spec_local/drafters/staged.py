"""Staged speculation: the draft model is itself drafted for (Spector and Ré, arXiv 2308.04623).

Lookup guesses what the draft model will draw next. The model evaluates the guesses together with
what it has to evaluate anyway, one logits row each, and draws row by row, as it would one by one;
as long as it draws what was guessed, the next row is there already. So an evaluation in which n
guesses are right gives n + 1 drafted tokens. They are the draft model's own, drawn from its own
distributions with its own noise: the draft is that of `ModelDrafter`, token by token, as far as a
wider evaluation computes the same logits, and every acceptance rule may judge it.

It helps where text repeats and the draft model evaluates two tokens for less than twice the price
of one; every wrong guess costs a row. In the paper a smaller language model and n-grams draft for
the draft model; here it is lookup, which costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, takewhile
from operator import mul

from spec_local.drafters.lookup import LookupDrafter
from spec_local.drafters.model import ModelDrafter
from spec_local.engine.draft import Draft, Outcome
from spec_local.engine.types import EvaluationSession, Pace
from spec_local.sampling.types import Logits, Sampler

_LIKELY = 0.5
"""A token is guessed while it and all guesses before it are at least as likely right as wrong."""


class StagedDrafter(ModelDrafter):
    """Drafts what the draft model draws, in fewer evaluations of it.

    A memory that cannot go back behind an evaluation of several rows, as recurrent ones cannot,
    would read its text again after every rejection. Once that is seen, nothing is guessed any more.
    """

    name = "staged"

    def __init__(
        self,
        session: EvaluationSession,
        n_vocab: int | None = None,
        is_end: Callable[[int], bool] = lambda _token: False,
        *,
        lookup: LookupDrafter,
    ) -> None:
        """The rest as for `ModelDrafter`; lookup is the drafter's own."""
        super().__init__(session, n_vocab, is_end)
        self._lookup = lookup
        self._goes_back = True
        self._guesses: list[int] = []
        """Those evaluated that are not drawn yet."""
        self._rows: list[Logits] = []
        """The model's logits (n_vocab,) after each of them; views, like those of `evaluate`."""

    def begin(self, context: Sequence[int], sampler: Sampler) -> None:
        super().begin(context, sampler)
        self._forget_guesses()
        self._lookup.begin(context, sampler)

    def propose(self, context: Sequence[int], budget: int, pace: Pace | None = None) -> Draft:
        self._forget_guesses()
        draft = super().propose(context, budget, pace)
        with self.cache.surviving():
            self._drop_guesses()
        return draft

    def _row(
        self, context: Sequence[int], drafted: Sequence[int], budget: int
    ) -> tuple[Logits, int]:
        if self._guesses and drafted[-1] == self._guesses[0]:
            del self._guesses[0]
            return self._rows.pop(0), 0
        self._drop_guesses()
        missing = self._missing(context, drafted)
        guesses = self._guess(context, drafted, budget - len(drafted) - 1)
        if not guesses or len(missing) + len(guesses) > self.cache.session.max_rows:
            return super()._row(context, drafted, budget)
        rows = self.cache.session.evaluate([*missing, *guesses], rows=len(guesses) + 1)
        self._guesses, self._rows = guesses, list(rows[1:])
        return rows[0], len(missing) + len(guesses)

    def _guess(self, context: Sequence[int], drafted: Sequence[int], most: int) -> list[int]:
        """What the model will draw, as far as that is likely; at most so many tokens."""
        if most < 1 or not self._goes_back:
            return []
        found = self._lookup.after(context, drafted, most)
        likely = takewhile(lambda chance: chance >= _LIKELY, accumulate(found.confidences, mul))
        tokens = (token for token, _chance in zip(found.tokens, likely, strict=False))
        return list(takewhile(lambda t: t < self.n_vocab and not self.is_end(t), tokens))

    def _drop_guesses(self) -> None:
        """Take what was guessed and not drawn out of the cache."""
        if self._guesses and not self.cache.failed:
            session = self.cache.session
            session.truncate(len(session.tokens) - len(self._guesses))
            self._forget_guesses()

    def _forget_guesses(self) -> None:
        self._guesses, self._rows = [], []

    def observe(self, context: Sequence[int], outcome: Outcome) -> None:
        session = self.cache.session
        wanted = min(len(session.tokens), len(context) - 1 - self.cache.start)
        super().observe(context, outcome)
        if len(session.tokens) < wanted:
            self._goes_back = False

    def end(self, context: Sequence[int]) -> None:
        self._forget_guesses()
        super().end(context)
        self._lookup.end(context)

    def close(self) -> None:
        super().close()
        self._lookup.close()
