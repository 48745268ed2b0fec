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

from spec_local.errors import ModelFileError
from spec_local.llama import extension
from spec_local.llama.backend import lib
from spec_local.llama.context import make_context
from spec_local.llama.hidden import HiddenStates, LayerInputs
from spec_local.llama.model import Model
from spec_local.llama.mtp import HeadSession
from spec_local.llama.session import Session
from spec_local.llama.state import SEQUENCE
from spec_local.llama.status import require_evaluated
from spec_local.sampling.types import Logits

_TARGETS = frozenset(
    {
        *("bailingmoe3", "deepseek4", "gemma4", "gpt-oss", "lfm2", "lfm2moe", "llama", "mimo2"),
        *("minimax-01", "minimax-m2", "nanbeige", "nemotron_h", "nemotron_h_moe"),
        *("qwen3", "qwen35", "qwen35moe", "qwen3moe", "qwen3next"),
    }
)
"""Architectures of which llama.cpp gives what a layer was given (`t_layer_inp` in src/models); with
others it ends the process."""
_FUSED = 32
"""Tokens fused at once: llama.cpp makes room for as many rows of logits, though there are none."""
_NEVER = -1e9
"""Logit of a token that the head does not know, in place of minus infinity."""


class EagleSession(HeadSession):
    """What an EAGLE-3 head has read of the target's text."""

    def __init__(self, target: Session, head: Model) -> None:
        """Raises ModelFileError if the head is not of such a target."""
        layers = _layers(target.model, head)
        self._layers = layers
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
        return np.maximum(super().evaluate(tokens, rows, parents), _NEVER)

    def _kept_states(self, width: int, masked: bool) -> HiddenStates:
        hidden, key = self._target.hidden, tuple(self._layers)
        if key not in hidden:
            n_embd = lib.llama_model_n_embd(self._target.model.handle)
            hidden[key] = LayerInputs(self._target.handle, n_embd, key)
        return hidden[key]

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


def _layers(target: Model, head: Model) -> Sequence[int]:
    """The target's layers that the head reads; raises ModelFileError if it cannot."""
    name, arch = head.path.name, target.header.architecture
    if arch not in _TARGETS or extension.lacks(extension.EAGLE):
        raise ModelFileError(
            f"{name} is an EAGLE-3 head, and this llama.cpp gives no hidden states of a model of "
            f"the architecture {arch}; take a draft model, or none."
        )
    layers = head.header.metadata.get("eagle3.target_layers")
    n_layers = lib.llama_model_n_layer(target.handle)
    fits = isinstance(layers, tuple) and all(0 <= layer < n_layers for layer in layers)
    size = head.header.hyperparameter("target_hidden_size")
    if not fits or size != lib.llama_model_n_embd(target.handle):
        raise ModelFileError(
            f"{name} is a head of another model than {target.path.name}; take the one trained for "
            "it."
        )
    assert isinstance(layers, tuple)
    return layers
