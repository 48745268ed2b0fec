"""For a draft model that sees no images: it reads the texts around them.

A language model drafts for one that sees, without seeing what it sees: the text so far tells enough
(Gagrani et al., On Speculative Decoding for Multimodal Large Language Models, arXiv 2404.08856).
"""

from __future__ import annotations

from collections.abc import Sequence

from spec_local.engine.types import EvaluationSession
from spec_local.sampling.types import Logits


class TextOnly:
    """A session (`EvaluationSession`) on contexts with image tokens, which are below zero.

    Lengths are those of the whole context.
    """

    def __init__(self, session: EvaluationSession) -> None:
        """The session reads what is left of a context without its images."""
        self._session = session
        self.n_ctx, self.n_vocab = session.n_ctx, session.n_vocab
        self.max_rows, self.branches = session.max_rows, 1
        self.tokens: list[int] = []
        self._texts = 0
        """How many of them are no image's; counted along, as a round asks for it twice."""

    def keep(self, path: Sequence[int]) -> None:
        """There is no tree."""

    def evaluate(
        self, tokens: Sequence[int], rows: int = 1, parents: Sequence[int] | None = None
    ) -> Logits:
        assert parents is None
        self._session.truncate(self._texts)  # after an evaluation that was broken off
        new = texts(tokens)
        found = self._session.evaluate(new, rows)
        self.tokens.extend(tokens)
        self._texts += len(new)
        return found

    def mark(self, depth: int) -> None:
        self._session.mark(depth)

    def truncate(self, length: int) -> None:
        self._texts -= len(texts(self.tokens[length:]))
        del self.tokens[length:]
        self._session.truncate(self._texts)
        if len(self._session.tokens) < self._texts:  # it forgot more
            self._keep(self.tokens)

    def sync(self, tokens: Sequence[int]) -> int:
        self._session.sync(texts(tokens))
        self._keep(tokens)
        return len(self.tokens)

    def _keep(self, tokens: Sequence[int]) -> None:
        """Hold what the session has of these: up to the first text that it lacks."""
        self._texts = left = len(self._session.tokens)
        held = list[int]()
        for token in tokens:
            if token >= 0:
                if left == 0:
                    break
                left -= 1
            held.append(token)
        self.tokens = held


def texts(tokens: Sequence[int]) -> list[int]:
    """The tokens that are no image's."""
    return [token for token in tokens if token >= 0]
