"""A DFlash or DSpark head as a session: one evaluation gives the rows of a whole block.

DFlash (Chen et al., arXiv 2602.06036) puts what some of the target's layers were given, fused, into
the cache of a small model in place of what that would have read itself. Behind the pending token
stand masks, and the row at each guesses the token there. A DSpark head adds to every row what
follows from the token guessed before, and may guess from the pending token's row on. llama.cpp has
both as one architecture (src/models/dflash.cpp).
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np

from spec_local.errors import EngineError, ModelFileError
from spec_local.llama.backend import lib
from spec_local.llama.context import free_context, make_context
from spec_local.llama.eagle import NEVER
from spec_local.llama.head_files import kept_inputs
from spec_local.llama.model import Model
from spec_local.llama.session import Session
from spec_local.llama.state import SEQUENCE
from spec_local.llama.status import require_evaluated
from spec_local.llama.team import Team
from spec_local.sampling.types import Logits
from spec_local.util.prefix import common_prefix
from spec_local.util.process import OwnStack, closed_when_dropped

_DEFAULT_BLOCK = 16
"""Tokens of a block where the file does not say, as llama.cpp has it."""
_POSITIONS = 4
"""Numbers that a position may consist of; the last one is not used."""


class DflashSession:
    """What the head has been given of the target's text, from some position of it on.

    A session as drafters want it (`EvaluationSession`), of which every evaluation ends with the
    pending token and masks. It holds what the target has evaluated, never a draft.
    """

    def __init__(self, target: Session, head: Model) -> None:
        """Raises ModelFileError if the head is not of such a target, or is of a newer kind."""
        about = head.header.metadata
        if about.get("dflash.selector_top_k"):
            raise ModelFileError(
                f"{head.path.name} is a DFlash 2 head, which spec-local cannot draft with; take a "
                "DFlash head or a draft model."
            )
        mask = about.get("tokenizer.ggml.mask_token_id")
        if not isinstance(mask, int) or not 0 <= mask < head.vocab.n_tokens:
            raise ModelFileError(f"{head.path.name} names no mask token; convert it again.")
        self.mask = mask
        self._target = target
        self._states = kept_inputs(target, head)
        self._from_pending = head.header.tensors.chains and about.get(
            "dflash.sample_from_anchor", True
        )
        block = head.header.hyperparameter("block_size", _DEFAULT_BLOCK)
        self.max_rows = self.most_drafted = max(1, block if self._from_pending else block - 1)
        self.n_ctx, self.n_vocab = target.n_ctx, head.vocab.n_tokens
        self.branches = 1
        self._tokens: list[int] = []
        self._first = 0
        """Position of the first token held."""
        self._handle: lib.llama_context_p | None = make_context(
            head, self.n_ctx, self.max_rows + 1, beside=target.handle
        )
        resources = OwnStack()
        self._free = closed_when_dropped(self, resources)
        resources.callback(free_context, head, self._handle)
        lib.llama_set_causal_attn(self._handle, bool(about.get("dflash.attention.causal", False)))
        self._memory = lib.llama_get_memory(self._handle)
        self._team = Team(self._handle, head.options, head.header.architecture)
        self._n_batch = min(lib.llama_n_batch(self._handle), lib.llama_n_ubatch(self._handle))
        self._given = _batch(self._n_batch, self._states.width, resources)
        self._block = _batch(self.max_rows + 1, 0, resources)

    @property
    def tokens(self) -> Sequence[int]:
        """The tokens held; do not change the list."""
        return self._tokens

    @property
    def readable_from(self) -> int:
        """First position of the target's text that can be given."""
        return self._states.first

    def evaluate(
        self, tokens: Sequence[int], rows: int = 1, parents: Sequence[int] | None = None
    ) -> Logits:
        """Take in tokens that the target has evaluated, and guess what follows the one after them.

        rows: of the tokens, so many are the pending one and masks; logits for the `rows` tokens
        after it, (rows, n_vocab), valid until the next evaluation. Raises EngineError.
        """
        assert 0 < rows <= min(len(tokens), self.max_rows)
        if self._handle is None:
            raise EngineError("This session is closed; open another one.")
        self._target.model.handle  # noqa: B018 - raises in a forked child
        read, pending = tokens[: len(tokens) - rows], tokens[-rows]
        if not self._tokens:
            self._first = max(0, len(self._target.tokens) - len(read))
        self._remove_after(self._first + len(self._tokens))
        for done in range(0, len(read), self._n_batch):
            self._give(read[done : done + self._n_batch])
        return self._guess(pending, rows)

    def keep(self, path: Sequence[int]) -> None:
        """There is no tree."""

    def _give(self, tokens: Sequence[int]) -> None:
        batch, count, start = self._given, len(tokens), self._first + len(self._tokens)
        states = self._states.rows(start, start + count)
        np.ctypeslib.as_array(batch.embd, (self._n_batch, self._states.width))[:count] = states
        for axis in range(_POSITIONS):
            for i in range(count):
                batch.pos[axis * count + i] = start + i if axis < _POSITIONS - 1 else 0
        for i in range(count):
            batch.logits[i] = 0
        self._decode(batch, count, start)
        self._tokens.extend(tokens)

    def _guess(self, pending: int, rows: int) -> Logits:
        batch, start = self._block, self._first + len(self._tokens)
        count = rows if self._from_pending else rows + 1
        for i in range(count):
            batch.token[i], batch.pos[i] = pending if i == 0 else self.mask, start + i
            batch.logits[i] = 1
        self._decode(batch, count, start)
        assert self._handle is not None
        logits = lib.llama_get_logits(self._handle)  # waits for the device
        found = np.ctypeslib.as_array(logits, (count, self.n_vocab))[-rows:]
        guesses: Logits = np.maximum(found, NEVER)
        return guesses

    def _decode(self, batch: lib.llama_batch, count: int, start: int) -> None:
        assert self._handle is not None
        batch.n_tokens = count
        with self._team.computing(start + count):
            status = lib.llama_decode(self._handle, batch)
        require_evaluated(status, count, was_stopped=False)

    def _remove_after(self, position: int) -> None:
        """The block of the last draft, and what was forgotten."""
        if not self._tokens:
            lib.llama_memory_clear(self._memory, False)
        elif not lib.llama_memory_seq_rm(self._memory, SEQUENCE, position, -1):
            raise EngineError("llama.cpp cannot take back what a head holds.")

    def mark(self, depth: int) -> None:
        """Nothing has to be prepared: attention forgets for nothing."""

    def truncate(self, length: int) -> None:
        """Forget everything after the first `length` tokens."""
        del self._tokens[length:]

    def sync(self, tokens: Sequence[int]) -> int:
        """Keep the common prefix with `tokens`, and return its length."""
        self.truncate(common_prefix(self._tokens, tokens))
        return len(self._tokens)

    def close(self) -> None:
        """Free the context, as dropping it does; others may read the target's states yet."""
        self._handle = None
        self._free()


def _batch(tokens: int, width: int, resources: OwnStack) -> lib.llama_batch:
    """Of embeddings so wide, or of tokens where that is 0; with room for positions of any kind."""
    batch = lib.llama_batch_init(tokens, width, 1)
    kind = ctypes.POINTER(ctypes.c_int32)
    own = ctypes.cast(batch.pos, ctypes.c_void_p).value or 0
    positions = (ctypes.c_int32 * (tokens * _POSITIONS))()
    batch.pos = ctypes.cast(positions, kind)
    for i in range(tokens):
        batch.n_seq_id[i] = 1
        batch.seq_id[i][0] = SEQUENCE

    def free() -> None:
        batch.pos = ctypes.cast(own, kind)  # the other ones are Python's
        lib.llama_batch_free(batch)

    resources.callback(free)
    return batch
