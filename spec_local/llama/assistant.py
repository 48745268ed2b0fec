"""Gemma 4's assistant as a session: prediction layers in a file of their own, without a cache.

They look at what the target's cache holds, so they read nothing themselves, and nothing of a draft
is kept: the pending token and all drafted ones stand at the same place, behind what the target has
evaluated. llama.cpp's common/speculative.cpp does the same.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spec_local.errors import ModelFileError
from spec_local.llama.backend import lib
from spec_local.llama.context import make_context
from spec_local.llama.model import Model
from spec_local.llama.mtp import HeadSession
from spec_local.llama.session import Session

_TARGET = "gemma4"


class AssistantSession(HeadSession):
    """The assistant of a target."""

    def __init__(self, target: Session, head: Model) -> None:
        """Raises ModelFileError if it is another model's."""
        n_embd = lib.llama_model_n_embd(target.model.handle)
        arch = target.model.header.architecture
        if arch != _TARGET or n_embd != lib.llama_model_n_embd_out(head.handle):
            raise ModelFileError(
                f"{head.path.name} is the assistant of another model than "
                f"{target.model.path.name}; take the one trained for it."
            )
        super().__init__(target, head=head)

    @property
    def readable_from(self) -> int:
        """The pending token alone is read."""
        return len(self._target.tokens)

    def _make_context(self) -> lib.llama_context_p:
        return make_context(self._model, self.n_ctx, 1, heads=True, beside=self._target.handle)

    def _positions(self, start: int, count: int) -> NDArray[np.int64]:
        return np.full(count, len(self._target.tokens))

    def _remove_after(self, position: int) -> None:
        """Nothing is held beside what the target holds."""
