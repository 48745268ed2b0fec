"""A trimmed draft's session that speaks the target's token ids.

A trimmed model (`trim.py`) has only some of the target's tokens, under ids of its own. Here they
have the target's; what the draft cannot write gets a logit of minus infinity. A token of the target
that the draft lacks is spelled with several it has, so it may take more than one position.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence

import numpy as np

from spec_local.engine.types import EvaluationSession
from spec_local.sampling.types import Logits
from spec_local.util.prefix import common_prefix


class MappedSession:
    """An `EvaluationSession` in the target's tokens over one in the draft's.

    The inner session decides what is held: after a failure or Ctrl-C it may hold fewer tokens than
    were given, and then this one has fewer too.
    """

    def __init__(
        self,
        inner: EvaluationSession,
        token_map: Sequence[int],
        n_vocab: int,
        draft_piece: Callable[[int], bytes],
        target_piece: Callable[[int], bytes],
    ) -> None:
        """The inner session is used by nobody else; whoever opened it closes it.

        token_map: the target's id of each token of the draft, each below n_vocab and there once.
        n_vocab: how many tokens the target has. The pieces are the bytes tokens write.
        """
        self.n_vocab = n_vocab
        self.max_rows, self.branches = inner.max_rows, inner.branches
        self._inner = inner
        self._columns = np.array(token_map)
        self._draft_piece = draft_piece
        self._target_piece = target_piece
        self._spelling: dict[int, tuple[int, ...]] = {
            token: (new,) for new, token in enumerate(token_map)
        }
        self._by_piece: dict[bytes, int] = {}
        self._longest_piece = 0
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
        return self._inner.n_ctx - (self._ends[-1] - held if held else 0)

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
            own = [new for token in tokens for new in self._spelled(token)]
            self._logits[:rows, self._columns] = self._inner.evaluate(own, rows, parents)
            self._nodes += tokens
        return self._logits[:rows]

    def keep(self, path: Sequence[int]) -> None:
        """Hold these nodes of the tree, in their order, and drop all others."""
        held, kept = len(self._inner.tokens), [self._nodes[node] for node in path]
        self._nodes.clear()
        self._ends += range(held + 1, held + 1 + len(kept))  # before they are held, as above
        self._tokens += kept
        self._inner.keep(path)

    def _evaluate_into(self, out: Logits, tokens: Sequence[int]) -> None:
        """Evaluate tokens; logits of the last len(out) of them go to `out`, (rows, n_vocab)."""
        rows, tokens = len(out), [*self._without_half(), *tokens]
        ends = np.cumsum([len(self._spelled(token)) for token in tokens])
        span = int(ends[-1] - ends[-rows]) + 1  # from the first wanted position to the last
        if span > self._inner.max_rows:
            half = rows // 2
            self._evaluate_into(out[:-half], tokens[:-half])
            self._evaluate_into(out[-half:], tokens[-half:])
            return
        held = self._ends[-1] if self._ends else 0
        spelled = [new for token in tokens for new in self._spelled(token)]
        # Entered before they are held: whenever this is interrupted, `_follow` removes the excess.
        self._ends.extend((held + ends).tolist())
        self._tokens.extend(tokens)
        logits = self._inner.evaluate(spelled, span)
        for row, at in zip(out, ends[-rows:] - ends[-rows], strict=True):
            row[self._columns] = logits[at]

    def mark(self, depth: int) -> None:
        """Prepare for dropping up to `depth` tokens that are evaluated one by one from here on.

        Those will be drafted ones, which take one position each.
        """
        self._inner.mark(depth)

    def truncate(self, length: int) -> None:
        """Forget everything after the first `length` tokens; fewer are left as they are."""
        self._follow()
        self._nodes.clear()
        del self._ends[length:], self._tokens[length:]
        self._inner.truncate(self._ends[-1] if self._ends else 0)

    def sync(self, tokens: Sequence[int]) -> int:
        """Keep what the inner session can of the common prefix with `tokens`; its length."""
        self.truncate(common_prefix(self.tokens, tokens))
        return len(self.tokens)

    def _without_half(self) -> Sequence[int]:
        """Drop the beginning of a token that was not evaluated to its end.

        Returns the tokens that were lost with it.
        """
        self._follow()
        held = self._ends[-1] if self._ends else 0
        if len(self._inner.tokens) == held:
            return ()
        known = [*self._tokens]
        self._inner.truncate(held)
        self._follow()
        return known[len(self._tokens) :]

    def _follow(self) -> None:
        """Drop tokens the inner session does not hold, or not to their last position."""
        held = bisect_right(self._ends, len(self._inner.tokens))
        del self._ends[held:], self._tokens[held:]

    def _spelled(self, token: int) -> tuple[int, ...]:
        """The draft's tokens for one of the target's; remembered."""
        spelling = self._spelling.get(token)
        if spelling is None:
            spelling = self._spelling[token] = self._spell(self._target_piece(token))
        return spelling

    def _spell(self, text: bytes) -> tuple[int, ...]:
        """The longest piece that fits, again and again.

        Bytes that no piece begins with are left out. A token takes a position even so: the first
        token of the draft stands for one of which nothing is left. It only makes drafts worse.
        """
        if not self._by_piece:
            pieces = map(self._draft_piece, range(len(self._columns)))
            # Of equal pieces the last: sentencepiece vocabularies have raw bytes before letters.
            self._by_piece = {piece: new for new, piece in enumerate(pieces) if piece}
            self._longest_piece = max(map(len, self._by_piece), default=0)
        spelling, start = list[int](), 0
        while start < len(text):
            lengths = range(min(self._longest_piece, len(text) - start), 0, -1)
            fitting = (n for n in lengths if text[start : start + n] in self._by_piece)
            length = next(fitting, 0)
            if length:
                spelling.append(self._by_piece[text[start : start + length]])
            start += max(length, 1)
        return tuple(spelling) or (0,)
