"""An EAGLE-3 head as a session (Li et al., EAGLE-3, arXiv 2503.01840).

The head is in a file of its own. It reads what three of the target's layers were given, fused into
one state, in place of the last hidden state; the rest is as with the target's own prediction layers
(`mtp.py`). llama.cpp fuses them by its encoder (src/models/eagle3.cpp). Where the file lacks
embeddings or an output head, those of the target serve.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spec_local.llama import extension
from spec_local.llama.backend import lib
from spec_local.llama.context import make_context
from spec_local.llama.head_files import kept_inputs
from spec_local.llama.hidden import HiddenStates
from spec_local.llama.model import Model
from spec_local.llama.mtp import HeadSession
from spec_local.llama.session import Session
from spec_local.llama.state import SEQUENCE
from spec_local.llama.status import require_evaluated
from spec_local.sampling.types import Logits

_FUSED = 32
"""Tokens fused at once: llama.cpp makes room for as many rows of logits, though there are none."""
NEVER = -1e9
"""Logit of a token that the head does not know, in place of minus infinity."""


class EagleSession(HeadSession):
    """What an EAGLE-3 head has read of the target's text."""

    def __init__(self, target: Session, head: Model) -> None:
        """Raises ModelFileError if the head is not of such a target."""
        super().__init__(target, head=head)
        width = self._states.width
        self._features = lib.llama_batch_init(_FUSED, width, 1)
        self._resources.callback(lib.llama_batch_free, self._features)
        for i in range(_FUSED):
            self._features.n_seq_id[i], self._features.logits[i] = 1, 1
            self._features.seq_id[i][0] = SEQUENCE
        assert self._features.embd is not None
        self._feature_rows = np.ctypeslib.as_array(self._features.embd, (_FUSED, width))

    @property
    def readable_from(self) -> int:
        """As of any head; it reads no first token, as nothing comes before it."""
        return self._states.first + 1

    def evaluate(
        self, tokens: Sequence[int], rows: int = 1, parents: Sequence[int] | None = None
    ) -> Logits:
        """As any head; of tokens it does not know, the logit is very low."""
        return np.maximum(super().evaluate(tokens, rows, parents), NEVER)

    def _kept_states(self, width: int, masked: bool) -> HiddenStates:
        return kept_inputs(self._target, self._model)

    def _make_context(self) -> lib.llama_context_p:
        return make_context(self._model, self.n_ctx, _FUSED, beside=self._target.handle)

    def _fused(self, states: NDArray[np.float32]) -> NDArray[np.float32]:
        assert self._handle is not None
        after = lib.llama_memory_seq_pos_max(self._memory, SEQUENCE) + 1  # any, but in order
        fused = list[NDArray[np.float32]]()
        for done in range(0, len(states), _FUSED):
            step = states[done : done + _FUSED]
            count = len(step)
            self._feature_rows[:count] = step
            for i in range(count):
                self._features.pos[i] = after + i
            self._features.n_tokens = count
            with self._team.computing(count):
                status = lib.llama_encode(self._handle, self._features)
            require_evaluated(status, count, was_stopped=False)
            found = extension.call("llama_get_embeddings_nextn", self._handle)
            fused.append(np.ctypeslib.as_array(found, (count, len(self._own))).copy())
        return np.concatenate(fused)
