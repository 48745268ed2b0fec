"""A session in which the same tokens always leave the same bits, however they were drafted.

What an evaluation computes depends, in its low bits, on how many tokens are evaluated at once. So
the target is evaluated in three shapes only, which do not depend on the drafter:

- the prompt in whole batches from its first token on, the last one being what is left;
- rounds at widths that a certificate has found to be identical (`certify.py`), padded where needed.

Of what was evaluated before, only whole batches of prompt are kept: a text that was generated was
evaluated in rounds, and would be evaluated in batches had it been part of a prompt. It is therefore
evaluated again once it has become one. So the same tokens give the same bits, cached or not.
"""

from __future__ import annotations

from collections.abc import Sequence

from spec_local.control.widths import Widths
from spec_local.engine.types import EvaluationSession
from spec_local.sampling.types import Logits
from spec_local.util.prefix import common_prefix


class ExactSession:
    """Wraps a session of the target; whoever opened that one closes it."""

    def __init__(self, inner: EvaluationSession, widths: Widths, batch: int) -> None:
        """batch: tokens of a whole batch of the prompt, as the inner session makes them."""
        self.widths = widths
        self._inner, self._batch = inner, batch
        self._read = 0
        """How many tokens from the start were evaluated as a prompt's whole batches."""
        self.branches = 1
        self.n_vocab = inner.n_vocab
        self.max_rows = min(widths.widest, inner.max_rows)

    @property
    def n_ctx(self) -> int:
        return self._inner.n_ctx - self.widths.most_padding

    @property
    def tokens(self) -> Sequence[int]:
        return self._inner.tokens

    def sync(self, tokens: Sequence[int]) -> int:
        """Keep the whole batches of the common prefix that were read as a prompt."""
        common = min(common_prefix(self.tokens, tokens), self._read)
        # After an image batches begin anew, so none behind it would be the same again.
        common = next((at for at in range(common) if tokens[at] < 0), common)
        self.truncate(common // self._batch * self._batch)
        if len(self.tokens) % self._batch:  # the memory could not go back there
            self.truncate(0)
        return len(self.tokens)

    def took_up_prompt(self) -> None:
        """What the inner session holds now was read as a prompt, from its first token on."""
        self._read = len(self.tokens) // self._batch * self._batch

    def truncate(self, length: int) -> None:
        self._inner.truncate(length)
        self._read = min(self._read, len(self.tokens))

    def mark(self, depth: int) -> None:
        self._inner.mark(depth)

    def keep(self, path: Sequence[int]) -> None:
        """There is no tree: what a branch leaves in a cache is not certified."""

    def evaluate(
        self, tokens: Sequence[int], rows: int = 1, parents: Sequence[int] | None = None
    ) -> Logits:
        """As any session; several tokens with one row are a prompt, all others a round."""
        assert parents is None
        if rows == 1 < len(tokens):
            return self._evaluate_prompt(tokens)
        return self._evaluate_round(tokens, rows)

    def _evaluate_prompt(self, tokens: Sequence[int]) -> Logits:
        start = len(self.tokens)
        assert start % self._batch == 0
        # A last token left alone is evaluated as in a round: after a sync it would be one.
        alone = len(tokens) % self._batch == 1 and tokens[-2] >= 0
        try:
            logits = self._inner.evaluate(tokens[:-1] if alone else tokens)
        finally:
            self._read = len(self.tokens) // self._batch * self._batch
        return self._evaluate_round(tokens[-1:], 1) if alone else logits

    def _evaluate_round(self, tokens: Sequence[int], rows: int) -> Logits:
        count, length = len(tokens), len(self.tokens) + len(tokens)
        width = self.widths.at_least(count)
        if width == count:
            return self._inner.evaluate(tokens, rows)
        padding = [tokens[-1]] * (width - count)
        try:
            logits = self._inner.evaluate([*tokens, *padding], rows=width)
        finally:
            self._inner.truncate(length)
        return logits[count - rows : count]
