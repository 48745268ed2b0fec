"""A context that reads images as well: their tokens, below zero, are evaluated by the encoder."""

from __future__ import annotations

from collections.abc import Sequence

from spec_local.errors import ContextOverflow
from spec_local.llama.image_tokens import part_of, runs
from spec_local.llama.model import Model
from spec_local.llama.pictures import Encoder
from spec_local.llama.session import Session
from spec_local.llama.state import Held
from spec_local.llama.status import require_evaluated
from spec_local.sampling.types import Logits


class SeeingSession(Session):
    """A session whose tokens may be those of images (`eyes.py`).

    A part of an image is evaluated as a whole, and taken back as a whole.
    """

    def __init__(
        self, model: Model, eyes: Encoder, *, n_ctx: int | None = None, max_rows: int = 33
    ) -> None:
        """As a session; the eyes outlive it."""
        super().__init__(model, n_ctx=n_ctx, max_rows=max_rows)
        self.eyes = eyes
        self._cells = self.n_ctx
        """How many tokens the cache has room for; an image may take more of it than positions."""

    def evaluate(
        self, tokens: Sequence[int], rows: int = 1, parents: Sequence[int] | None = None
    ) -> Logits:
        """As a session does; the last `rows` of the tokens are a text's."""
        tokens, done = [*self._mend(), *tokens], 0
        for start, end in runs(tokens, self.eyes.positions):
            if start > done:
                super().evaluate(tokens[done:start])
            self._look(tokens[start:end])
            done = end
        return super().evaluate(tokens[done:], rows, parents)

    def _look(self, tokens: Sequence[int]) -> None:
        """Evaluate a part of an image."""
        start, cells = len(self._tokens), self.eyes.cells(tokens[0])
        if start + cells > self.n_ctx:
            raise ContextOverflow(
                f"An image does not fit into what is left of the context of {self._cells:,}; ask "
                "for a larger one with --ctx-size."
            )
        self._dirty, self._removable = True, 0
        with self._team.computing(start + cells):
            status = self.eyes.read(self.handle, tokens[0], start, self.n_batch)
        self.decode_calls += 1
        require_evaluated(status, len(tokens), was_stopped=self._abort.is_set)
        self._tokens.extend(tokens)
        self._dirty = False
        self._count_cells()

    def _forget_after(self, length: int) -> list[int]:
        if length < len(self._tokens) and self._tokens[length] < 0:
            length -= part_of(self._tokens[length])[1]  # back to where this part begins
        lost = super()._forget_after(length)
        if self.n_ctx != self._cells:
            self._count_cells()
        return [] if any(token < 0 for token in lost) else lost

    def adopt(self, held: Held) -> None:
        """As a session does."""
        super().adopt(held)
        self._count_cells()

    def _count_cells(self) -> None:
        """Of positions as many are left as the cache has room for."""
        parts = (token for token in self._tokens if token < 0 and part_of(token)[1] == 0)
        more = sum(self.eyes.cells(token) - self.eyes.positions(token) for token in parts)
        self.n_ctx, self._team.beyond = self._cells - more, more
