"""A draft's session that speaks the target's token ids.

Two kinds of drafts have other ids than their targets: trimmed ones (`trim.py`), which have some of
the target's tokens, and those of another family, with a vocabulary of their own. Here the tokens
that both have get the target's ids; all others have a logit of minus infinity, so that samplers
draw from what both have (token-level intersection; Timor et al., arXiv 2502.05202). A token of the
target that the draft lacks is spelled with several it has, so it may take more than one position.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spec_local.engine.types import EvaluationSession
from spec_local.models.spelling import Spelling
from spec_local.sampling.types import Logits
from spec_local.util.prefix import common_prefix


class Columns(NamedTuple):
    """The tokens that draft and target have in common; shape (n,) both, each id once."""

    draft: NDArray[np.int32] | slice
    """Their ids in the draft; a slice for all of them."""
    target: NDArray[np.int32]
    """Their ids in the target."""


class MappedSession:
    """An `EvaluationSession` in the target's tokens over one in the draft's.

    The inner session decides what is held: after a failure or Ctrl-C it may hold fewer tokens than
    were given, and then this one has fewer too. It may also hold more: the beginning of a token
    that was not evaluated to its end, or tokens of the draft's own (`extend`). The next evaluation
    keeps of these what is spelled alike.
    """

    def __init__(
        self, inner: EvaluationSession, columns: Columns, n_vocab: int, spelling: Spelling
    ) -> None:
        """The inner session is used by nobody else; whoever opened it closes it.

        n_vocab: how many tokens the target has.
        """
        self.n_vocab = n_vocab
        self.max_rows, self.branches = inner.max_rows, inner.branches
        self.own_row: Logits = np.empty(0, np.float32)
        """Logits (n_vocab,) of the draft's own tokens after the last one evaluated; a view, valid
        until the next evaluation."""
        self._inner = inner
        self._columns = columns
        self._spelling = spelling
        self._logits = np.full((1, n_vocab), -np.inf, np.float32)
        self._nodes: list[int] = []
        """Of a tree, which the inner session has as well."""
        self._tokens: list[int] = []
        self._ends: list[int] = []  # for each of the tokens, how many of the draft's lead up to it

    @property
    def n_ctx(self) -> int:
        """How many tokens fit if those after the present ones are of the draft's own, as drafted
        ones are; others may take several positions, and then `evaluate` may raise ContextOverflow.
        """
        held = len(self.tokens)
        return self._inner.n_ctx - (self._held() - held)

    @property
    def tokens(self) -> Sequence[int]:
        """The tokens the inner session holds to their last position; do not change the list."""
        self._follow()
        return self._tokens

    def evaluate(
        self, tokens: Sequence[int], rows: int = 1, parents: Sequence[int] | None = None
    ) -> Logits:
        """Evaluate tokens after those held; logits of the last `rows` of them, (rows, n_vocab).

        parents: of all these tokens, which are the draft's own, as drafted ones are.
        The result is a view, valid until the next evaluation; -inf where the draft has no such
        token. Raises what the inner session raises; what that then holds is held here.
        """
        if not 0 < rows <= min(len(tokens), self.max_rows):
            raise ValueError(f"{rows} rows of {len(tokens)} tokens, at most {self.max_rows}")
        if len(self._logits) < rows:
            self._logits = np.full((rows, self.n_vocab), -np.inf, np.float32)
        if parents is None:
            self._nodes.clear()
            self._evaluate_into(self._logits[:rows], tokens)
        else:
            own = [new for one in self._spelling.spell(tokens, begins=False) for new in one]
            logits = self._inner.evaluate(own, rows, parents)
            self._logits[:rows, self._columns.target] = logits[:, self._columns.draft]
            self._nodes += tokens
        return self._logits[:rows]

    def keep(self, path: Sequence[int]) -> None:
        """Hold these nodes of the tree, in their order, and drop all others."""
        if not self._nodes:
            return
        held, kept = len(self._inner.tokens), [self._nodes[node] for node in path]
        self._nodes.clear()
        self._ends += range(held + 1, held + 1 + len(kept))  # before they are held, as above
        self._tokens += kept
        self._inner.keep(path)

    def _evaluate_into(self, out: Logits, tokens: Sequence[int]) -> None:
        """Evaluate tokens; logits of the last len(out) of them go to `out`, (rows, n_vocab)."""
        rows, known = len(out), [*self.tokens, *tokens]
        each = self._spelling.spell(tokens, begins=not self._tokens)
        ends = np.cumsum([*map(len, each)])
        span = int(ends[-1] - ends[-rows]) + 1  # from the first wanted position to the last
        if span > self._inner.max_rows:
            half = rows // 2
            self._evaluate_into(out[:-half], tokens[:-half])
            self._evaluate_into(out[-half:], tokens[-half:])
            return
        held, spelled = self._held(), [new for one in each for new in one]
        alike = common_prefix(self._inner.tokens[held:], spelled)
        self._inner.truncate(held + min(alike, len(spelled) - span))
        if len(self._inner.tokens) < held:  # it has forgotten more than it was asked to
            self._evaluate_into(out, known[len(self.tokens) :])
            return
        # Entered before they are held: whenever this is interrupted, `_follow` removes the excess.
        self._ends.extend((held + ends).tolist())
        self._tokens.extend(tokens)
        logits = self._inner.evaluate(spelled[len(self._inner.tokens) - held :], span)
        self.own_row = logits[-1]
        for row, at in zip(out, ends[-rows:] - ends[-rows], strict=True):
            row[self._columns.target] = logits[at, self._columns.draft]

    def extend(self, token: int) -> Logits:
        """Evaluate a token of the draft's own; its logits (n_vocab,) of its own tokens, a view.

        It is not among the tokens held.
        """
        self.own_row = self._inner.evaluate([token])[-1]
        return self.own_row

    def mark(self, depth: int) -> None:
        """Prepare for dropping up to `depth` tokens that are evaluated one by one from here on.

        Those will be drafted ones, which take one position each.
        """
        self._inner.mark(depth)

    def truncate(self, length: int) -> None:
        """Forget everything after the first `length` tokens; fewer are left as they are."""
        self._follow()
        self._nodes.clear()
        if length < len(self._tokens):
            del self._ends[length:], self._tokens[length:]
            self._inner.truncate(self._held())

    def sync(self, tokens: Sequence[int]) -> int:
        """Keep what the inner session can of the common prefix with `tokens`; its length."""
        self.truncate(common_prefix(self.tokens, tokens))
        return len(self.tokens)

    def _held(self) -> int:
        """How many of the draft's tokens those held are."""
        return self._ends[-1] if self._ends else 0

    def _follow(self) -> None:
        """Drop tokens the inner session does not hold, or not to their last position."""
        held = bisect_right(self._ends, len(self._inner.tokens))
        del self._ends[held:], self._tokens[held:]
