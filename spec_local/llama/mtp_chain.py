"""Several multi-token prediction layers, each trained for one place of a draft.

The first guesses the first drafted token, the second the next one, and so on; each has a cache of
its own, in the same cells. So every layer reads the text, and for each drafted token another one
reads the pending token and the draft so far. llama.cpp's common/speculative.cpp does the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spec_local.errors import ModelFileError
from spec_local.llama import extension
from spec_local.llama.backend import lib
from spec_local.llama.model import Model
from spec_local.llama.mtp import HeadSession
from spec_local.llama.session import Session


class ChainedHeadSession(HeadSession):
    """What all layers have read of the target's text."""

    def __init__(self, target: Session, *, masked: bool = False, head: Model | None = None) -> None:
        """As for one layer."""
        self.most_drafted = lib.llama_model_n_layer_nextn((head or target.model).handle)
        self._drafted: list[int] = []
        """The pending token and those drafted after it."""
        self._drafted_states: list[NDArray[np.float32]] = []
        super().__init__(target, masked=masked, head=head)

    def evaluate(
        self, tokens: Sequence[int], rows: int = 1, parents: Sequence[int] | None = None
    ) -> NDArray[np.float32]:
        """As with one layer, at most `most_drafted` times after another before going back."""
        found = super().evaluate(tokens, rows, parents)
        self._exact = min(self._exact, len(self._tokens) - len(self._drafted))
        return found

    def _read(self, tokens: Sequence[int], states: NDArray[np.float32]) -> None:
        if len(self._tokens) == self._exact:
            self._drafted, self._drafted_states = [], []
        held = len(self._tokens)
        for layer in range(self.most_drafted or 0) if tokens else ():
            del self._tokens[held:]
            self._use(layer)
            super()._read(tokens, states)

    def _guess(self, token: int, state: NDArray[np.float32]) -> None:
        del self._tokens[len(self._tokens) - len(self._drafted) :]
        self._drafted.append(token)
        self._drafted_states.append(state)
        self._use(len(self._drafted) - 1)
        self._decode(self._drafted, np.concatenate(self._drafted_states), rows=1)

    def _use(self, layer: int) -> None:
        extension.call("llama_set_nextn_layer_offset", self._handle, layer)


def own_heads(target: Session, *, masked: bool = False, head: Model | None = None) -> HeadSession:
    """A session of the layers of a target, one or several; masked, head: as for `HeadSession`.

    Raises ModelFileError if the head is another model's.
    """
    model = head or target.model
    width, name = lib.llama_model_n_embd_out(model.handle), model.path.name
    fits = width == lib.llama_model_n_embd_out(target.model.handle)
    if not fits or model.header.architecture != target.model.header.architecture:
        raise ModelFileError(
            f"{name} has the prediction layers of another model than {target.model.path.name}; "
            "take those of the same."
        )
    kind = ChainedHeadSession if model.header.tensors.heads > 1 else HeadSession
    return kind(target, masked=masked, head=head)
