"""A target's multi-token prediction layers as a session: what drafts evaluates it like a model.

At position p the layers take the token there and the target's hidden state of the token before it,
and give logits for the token after it, with a hidden state of their own. Tokens that the target
has not evaluated yet, those of a draft, have no state of the target's: the layers' own one of the
token before stands in for it, and what was evaluated so is forgotten when the draft is over. Then
the accepted tokens have a state of the target's. llama.cpp's common/speculative.cpp does the same.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spec_local.errors import EngineError
from spec_local.llama import extension
from spec_local.llama.backend import lib
from spec_local.llama.context import free_context, make_context
from spec_local.llama.hidden import HiddenStates
from spec_local.llama.model import Model
from spec_local.llama.session import Session
from spec_local.llama.state import SEQUENCE
from spec_local.llama.status import require_evaluated
from spec_local.llama.team import Team
from spec_local.sampling.types import Logits
from spec_local.util.prefix import common_prefix
from spec_local.util.process import OwnStack, closed_when_dropped


class HeadSession:
    """What the layers have read of the target's text, from some position of it on.

    A session as drafters want it (`EvaluationSession`), with one row an evaluation. The target goes
    ahead: what is evaluated first is the text up to the token that the target has not evaluated.
    A context manager; closing twice is harmless.
    """

    max_rows = branches = 1
    most_drafted: int | None = None
    """Tokens of a draft at most; None: any number."""

    def __init__(self, target: Session, *, masked: bool = False, head: Model | None = None) -> None:
        """Make a context of the layers alone, and have the target keep its hidden states.

        masked: only those of tokens whose logits are asked for, so not those of a prompt.
        head: what has the layers, if that is not the target's own file.
        Raises ContextOverflow when there is not enough memory for it.
        """
        self._target, self._model = target, head or target.model
        model = self._model
        width = lib.llama_model_n_embd_out(model.handle)
        self._states = self._kept_states(width, masked)
        self.n_ctx, self.n_vocab = target.n_ctx, model.vocab.n_tokens
        self._tokens: list[int] = []
        self._first = 0
        """Position of the first token held."""
        self._exact = 0
        """How many of the tokens held were evaluated with the target's hidden states."""
        self._own = np.zeros(width, np.float32)
        """The layers' own state of the token evaluated last."""
        self._handle: lib.llama_context_p | None = self._make_context()
        self._resources = resources = OwnStack()
        self._free = closed_when_dropped(self, resources)
        resources.callback(free_context, model, self._handle)
        extension.call("llama_set_embeddings_nextn", self._handle, True, True)
        self._memory = lib.llama_get_memory(self._handle)
        self._team = Team(self._handle, model.options, model.header.architecture)
        self._n_batch = lib.llama_n_batch(self._handle)
        self._batch = lib.llama_batch_init(self._n_batch, 0, 1)
        resources.callback(_free_batch, self._batch)
        self._batch_tokens = np.ctypeslib.as_array(self._batch.token, (self._n_batch,))
        self._batch_positions = np.ctypeslib.as_array(self._batch.pos, (self._n_batch,))
        self._batch_outputs = np.ctypeslib.as_array(self._batch.logits, (self._n_batch,))
        self._batch_states = np.zeros((self._n_batch, width), np.float32)
        self._batch.embd = self._batch_states.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        for i in range(self._n_batch):
            self._batch.n_seq_id[i] = 1
            self._batch.seq_id[i][0] = SEQUENCE

    def _kept_states(self, width: int, masked: bool) -> HiddenStates:
        """The target's states that are read; all drafters on its session share them."""
        hidden = self._target.hidden
        if () not in hidden:
            hidden[()] = HiddenStates(self._target.handle, width, masked=masked)
        return hidden[()]

    def _make_context(self) -> lib.llama_context_p:
        return make_context(self._model, self.n_ctx, 1, heads=True)

    def _fused(self, states: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the layers read of the target's states."""
        return states

    @property
    def tokens(self) -> Sequence[int]:
        """The tokens held; do not change the list."""
        return self._tokens

    @property
    def readable_from(self) -> int:
        """First position of the target's text that can be read: the state before it is kept."""
        return self._states.first + 1 if self._states.first else 0

    def evaluate(
        self, tokens: Sequence[int], rows: int = 1, parents: Sequence[int] | None = None
    ) -> Logits:
        """Evaluate tokens after those held; logits after the last of them, (1, n_vocab).

        The first evaluation ends with the token that the target has not evaluated. A view, valid
        until the next evaluation. Raises EngineError when llama.cpp refuses.
        """
        assert rows == 1 <= len(tokens)
        if self._handle is None:
            raise EngineError("This session is closed; open another one.")
        reached, count = len(self._target.tokens), len(tokens)
        if not self._tokens:
            self._first = max(0, reached + 1 - count)
            self._exact = 0
        start = self._first + len(self._tokens)
        known = min(count, max(0, reached + 1 - start))
        states = np.zeros((count, len(self._own)), np.float32)
        if known == 0:
            states[0] = self._own
        else:
            states[:known] = self._fused(self._states.rows(start - 1, start - 1 + known))
        self._read(tokens[:-1], states[:-1])
        self._guess(tokens[-1], states[-1:])
        if known == count:
            self._exact = len(self._tokens)
        logits = lib.llama_get_logits(self._handle)  # waits for the device
        own = extension.call("llama_get_embeddings_nextn", self._handle)
        self._own = np.ctypeslib.as_array(own, self._own.shape).copy()
        return np.ctypeslib.as_array(logits, (1, self.n_vocab))

    def _read(self, tokens: Sequence[int], states: NDArray[np.float32]) -> None:
        """Hold tokens whose follower is known."""
        for done in range(0, len(tokens), self._n_batch):
            step = slice(done, done + self._n_batch)
            self._decode(tokens[step], states[step], rows=0)

    def _guess(self, token: int, state: NDArray[np.float32]) -> None:
        """Hold one token more, whose follower is wanted."""
        self._decode([token], state, rows=1)

    def _decode(self, tokens: Sequence[int], states: NDArray[np.float32], *, rows: int) -> None:
        assert self._handle is not None
        self._target.model.handle  # noqa: B018 - raises in a forked child
        start, count = self._first + len(self._tokens), len(tokens)
        self._remove_after(start)
        self._batch_tokens[:count] = tokens
        self._batch_positions[:count] = self._positions(start, count)
        self._batch_outputs[:count] = 0
        self._batch_outputs[count - rows : count] = 1
        self._batch_states[:count] = states
        self._batch.n_tokens = count
        with self._team.computing(start + count):
            status = lib.llama_decode(self._handle, self._batch)
        require_evaluated(status, count, was_stopped=False)
        self._tokens.extend(tokens)

    def _positions(self, start: int, count: int) -> NDArray[np.int64]:
        """Where the layers take so many tokens to be that begin at that place of the text."""
        return np.arange(start, start + count)

    def _remove_after(self, position: int) -> None:
        """What was forgotten, or left by an evaluation that failed, goes before the next one."""
        if not self._tokens:
            lib.llama_memory_clear(self._memory, False)
        elif not lib.llama_memory_seq_rm(self._memory, SEQUENCE, position, -1):
            raise EngineError("llama.cpp cannot take back what a model's prediction layers hold.")

    def keep(self, path: Sequence[int]) -> None:
        """There is no tree."""

    def mark(self, depth: int) -> None:
        """Nothing has to be prepared: attention forgets for nothing."""

    def truncate(self, length: int) -> None:
        """Forget everything after the first `length` tokens, and what was only drafted."""
        self._exact = min(length, self._exact)
        del self._tokens[self._exact :]

    def sync(self, tokens: Sequence[int]) -> int:
        """Keep the common prefix with `tokens`, and return its length."""
        self.truncate(common_prefix(self._tokens, tokens))
        return len(self._tokens)

    def close(self) -> None:
        """Free the context, as dropping it does; others may read the target's states yet."""
        self._handle = None
        self._free()

    def __enter__(self) -> HeadSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _free_batch(batch: lib.llama_batch) -> None:
    """llama.cpp would free the states as well, which are numpy's."""
    batch.embd = None
    lib.llama_batch_free(batch)
