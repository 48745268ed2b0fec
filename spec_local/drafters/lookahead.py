"""Lookahead decoding: the target guesses its own future while it verifies, and drafts from that.

Beside the pending token a window of W guesses is evaluated, a Jacobi iteration of the tokens to
come: guess (0, j) stands j + 1 tokens ahead, after the guesses before it; (1, j) is what the target
thought would follow (0, j), one round ago; and so on for `_LEVELS` levels. The row of the last
level tells one token more, so every round completes W n-grams, which go to a pool. Where the
pending token begins n-grams of the pool, they are the draft. All of it is one tree: (0, j) hangs
from (0, j - 1), and (i, j) from (i - 1, j).

Fu et al., arXiv 2402.02057. It needs no second model and no text that repeats, but W · levels rows
in every round: for machines where twenty rows cost hardly more than one.
"""

from __future__ import annotations

from collections.abc import Sequence

from spec_local.drafters.trie import Trie
from spec_local.engine.draft import Draft, Outcome
from spec_local.engine.types import Pace
from spec_local.sampling.types import Sampler
from spec_local.util.tree import ROOT

_WINDOW = 5
"""Guesses of a level, W in the paper, which has 5 to 15 on GPUs."""
_LEVELS = 2
"""Levels of the window, N - 1 in the paper: n-grams of N = 3 tokens."""
_POOL = 5
"""N-grams kept for a token, G in the paper; the latest."""

_IN_POOL, _IN_WINDOW = 0.3, 0.02
"""How often the next token of an n-gram is right, about, and a guess of the window."""


class LookaheadDrafter:
    """Drafts n-grams that the target has come upon, and evaluates the window beside them."""

    name = "lookahead"

    def __init__(self) -> None:
        self._window: list[list[int]] = []
        """The guesses, level by level."""
        self._pool: dict[int, list[tuple[int, ...]]] = {}
        """By first token, what follows it in n-grams; the latest last."""
        self._lookers: list[tuple[int, ...]] = []
        """The tokens from the root to each node of the window's last level, as drafted last."""

    def begin(self, context: Sequence[int], sampler: Sampler) -> None:
        """The window begins with tokens of the prompt: any will do, they are soon replaced."""
        last = [token for token in context[-_WINDOW:] if token >= 0] or [0]
        self._window = [(last * _WINDOW)[:_WINDOW] for _level in range(_LEVELS)]

    def behind(self, context: Sequence[int]) -> int:
        return 0

    def propose(self, context: Sequence[int], budget: int, pace: Pace | None = None) -> Draft:
        trie, self._lookers = Trie(), []
        for gram in self._pool.get(context[-1], ())[::-1]:
            trie.add_chain((token, _IN_POOL) for token in gram)
        stem, path = ROOT, list[int]()
        for column in range(_WINDOW):
            guesses = [level[column] for level in self._window]
            path.append(guesses[0])
            stem = trie.add(stem, guesses[0], _IN_WINDOW)
            trie.add_chain([(guess, _IN_WINDOW) for guess in guesses[1:]], stem)
            self._lookers.append((*path, *guesses[1:]))
        return trie.draft(self.name, budget)

    def observe(self, context: Sequence[int], outcome: Outcome) -> None:
        """Read what the window's last level tells, and move every level on."""
        draft = outcome.draft
        if draft.drafter != self.name:
            return
        news = list[int]()
        for column, path in enumerate(self._lookers):
            node: int | None = ROOT
            for token in path:
                node = None if node is None else draft.child(node, token)
            guesses = [level[column] for level in self._window]
            # Behind an end token, or without room, nothing was seen: any other token is as good.
            other = context[-1 - column % len(context)]
            news.append(other if node is None else int(outcome.rows[node + 1].argmax()))
            if node is not None:
                self._keep(guesses[0], (*guesses[1:], news[-1]))
        if self._lookers:
            self._window = [*self._window[1:], news]

    def _keep(self, first: int, rest: tuple[int, ...]) -> None:
        grams = self._pool.setdefault(first, [])
        if rest in grams:
            grams.remove(rest)
        grams.append(rest)
        del grams[:-_POOL]

    def end(self, context: Sequence[int]) -> None:
        """The pool stays: the next text may need it."""

    def close(self) -> None:
        self._pool = {}
