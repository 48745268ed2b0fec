"""LogitSpec: the last logits guess the next token, and lookup says what follows each guess.

The row that the pending token was drawn from names other candidates. Often one of them is what
comes right after it (Liu et al., arXiv 2507.01449: the last logits as a guess of the next but one
token). Each candidate extends the end of the text, and where the extended end stood before, what
followed it is drafted. So lookup finds matches that do not exist yet. It costs one look at a row
and some searches; it helps a little where lookup helps, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence

from spec_local.drafters.library import Library
from spec_local.drafters.lookup import LookupDrafter
from spec_local.drafters.trie import Trie
from spec_local.engine.draft import NO_DRAFT, Draft, Outcome
from spec_local.engine.types import Pace
from spec_local.sampling.distribution import top_tokens
from spec_local.sampling.types import Sampler

GUESSES = 8
"""Candidates that are tried."""

_GUESS_RIGHT = 0.08
"""How often a guess is the next token, about, before lookup has confirmed it."""

_LONGEST = 4
"""Tokens that are drafted after a guess."""


class LogitSpecDrafter(LookupDrafter):
    """Drafts what lookup finds, and what it finds after each of the last row's candidates."""

    name = "logitspec"

    def __init__(self, min_match: int = 2, library: Library | None = None) -> None:
        """As for lookup."""
        super().__init__(min_match, library)
        self._guesses: list[int] = []

    def begin(self, context: Sequence[int], sampler: Sampler) -> None:
        super().begin(context, sampler)
        self._guesses = []

    def propose(self, context: Sequence[int], budget: int, pace: Pace | None = None) -> Draft:
        if budget < 1:
            return NO_DRAFT
        assert self._sampler is not None
        plain = self.after(context, (), budget)
        trie = Trie()
        trie.add_chain(zip(plain.tokens, plain.confidences, strict=True))
        for guess in self._guesses:
            found = self.after(context, (guess,), _LONGEST)
            if found.tokens:
                sure = zip(found.tokens, found.confidences, strict=True)
                trie.add_chain([(guess, _GUESS_RIGHT), *sure])
        if not len(trie):
            return NO_DRAFT
        return trie.draft(self.name, budget).where(self._sampler.possible)

    def observe(self, context: Sequence[int], outcome: Outcome) -> None:
        """The row that the pending token was drawn from guesses the one after it."""
        last = outcome.draft.path(outcome.verdict)
        row = outcome.rows[last[-1] + 1 if last else 0]
        self._guesses = [token for token in top_tokens(row, GUESSES) if token != context[-1]]
