"""A context of a model with exactly one sequence in it: evaluate, read logits, roll back.

The session mirrors which tokens the memory (KV cache or recurrent state) holds. Whatever interrupts
it, a failed decode or Ctrl-C between any two instructions, the mirror decides: before the next
use the memory is made to hold exactly the mirrored tokens.
"""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Callable, Sequence
from time import perf_counter

import numpy as np

from spec_local.errors import ContextOverflow, EngineError, Interrupted
from spec_local.llama.abort import ABORTED, AbortFlag
from spec_local.llama.backend import collected_errors, computing, default_threads, lib
from spec_local.llama.capabilities import Capabilities, Checkpoint
from spec_local.llama.memory import KV_TYPES, require_memory
from spec_local.llama.model import Model
from spec_local.sampling.types import Logits
from spec_local.util.prefix import common_prefix
from spec_local.util.process import Process

TokensProgress = Callable[[int, int], None]
"""Called between the batches of a long evaluation with (tokens done, tokens in all).

An exception it raises abandons the evaluation; what is done stays in the cache.
"""

_SEQUENCE = 0
_FLASH = {
    "auto": lib.LLAMA_FLASH_ATTN_TYPE_AUTO,
    "on": lib.LLAMA_FLASH_ATTN_TYPE_ENABLED,
    "off": lib.LLAMA_FLASH_ATTN_TYPE_DISABLED,
}


class Session:
    """One sequence of tokens evaluated by one model; a context manager, closing twice is harmless.

    Not thread-safe: one thread at a time.
    """

    def __init__(self, model: Model, *, n_ctx: int | None = None, max_rows: int = 33) -> None:
        """Make a context on the model by the options it was loaded with.

        n_ctx overrides the options' context size, which the model's training bounds. max_rows
        bounds the logits rows of one evaluation, thereby the logits buffer: max_rows x n_vocab
        floats.
        Raises ContextOverflow when there is not enough memory for it.
        """
        self.model = model
        self.on_progress: TokensProgress | None = None
        self.decode_calls = 0
        """How often llama_decode was called, to check the promise of one per round."""
        self.decode_seconds = 0.0
        """Time spent in llama_decode and in waiting for its logits."""
        self._tokens: list[int] = []
        self._dirty = False
        self._checkpoint: Checkpoint | None = None
        self._process = Process()
        wanted = model.context_size(model.options.n_ctx if n_ctx is None else n_ctx)
        self._handle: lib.llama_context_p | None = self._open(wanted, max_rows)
        self._abort = AbortFlag(self.handle)
        self._memory = lib.llama_get_memory(self.handle)
        # llama.cpp rounds up to a multiple of 256; what was asked for is what counts.
        self.n_ctx = min(wanted, lib.llama_n_ctx(self.handle))
        self.n_batch = lib.llama_n_batch(self.handle)
        self.n_vocab = model.vocab.n_tokens
        self.max_rows = min(max_rows, self.n_batch)
        self.capabilities = self._capabilities()
        self._batch = lib.llama_batch_init(self.n_batch, 0, 1)
        self._batch_tokens = np.ctypeslib.as_array(self._batch.token, (self.n_batch,))
        self._batch_positions = np.ctypeslib.as_array(self._batch.pos, (self.n_batch,))
        self._batch_outputs = np.ctypeslib.as_array(self._batch.logits, (self.n_batch,))
        for i in range(self.n_batch):
            self._batch.n_seq_id[i] = 1
            self._batch.seq_id[i][0] = _SEQUENCE

    def _open(self, n_ctx: int, max_rows: int) -> lib.llama_context_p:
        options = self.model.options
        require_memory(self.model, n_ctx)
        params = lib.llama_context_default_params()
        params.n_ctx = n_ctx
        params.n_batch = options.n_batch
        params.n_ubatch = min(options.n_ubatch, options.n_batch)
        params.n_seq_max = 1
        params.n_outputs_max = min(max_rows, options.n_batch)
        params.swa_full = False  # a sliding window keeps what it needs, not the whole context
        self._threads = options.n_threads or default_threads()
        params.n_threads = params.n_threads_batch = self._threads
        params.flash_attn_type = _FLASH[options.flash_attention]
        params.type_k = KV_TYPES[options.kv_type_k].number
        params.type_v = KV_TYPES[options.kv_type_v].number
        with collected_errors() as errors:
            handle = lib.llama_init_from_model(self.model.handle, params)
        if not handle:
            reason = errors[0] if errors else "llama.cpp gave no reason"
            advice = " Ask for a smaller one with --ctx-size." if "alloc" in reason else ""
            raise ContextOverflow(
                f"A context of {n_ctx:,} tokens cannot be made: {reason.strip(' .')}.{advice}"
            )
        return handle

    def _capabilities(self) -> Capabilities:
        if self.model.is_recurrent:
            return Capabilities("checkpoint", depth=0)
        if self.model.sliding_window:
            # The cache holds the window and one batch more; half of that is surely still there.
            return Capabilities("window", depth=self.n_batch // 2)
        return Capabilities("remove", depth=self.n_ctx)

    @property
    def handle(self) -> lib.llama_context_p:
        """The llama_context pointer; raises EngineError in a forked child."""
        assert self._handle is not None, "the session is closed"
        self._process.require_this()
        return self._handle

    @property
    def tokens(self) -> Sequence[int]:
        """The tokens the memory holds; do not change the list."""
        return self._tokens

    def evaluate(self, tokens: Sequence[int], rows: int = 1) -> Logits:
        """Evaluate tokens after those held; logits of the last `rows` of them, (rows, n_vocab).

        The result is a view into llama.cpp's buffer, valid until the next evaluation. More than
        n_batch tokens are evaluated in several batches. Raises ContextOverflow when they do not
        fit, EngineError when llama.cpp refuses, Interrupted when `interrupt` stopped it; the
        session stays usable. In a forked child it is not: EngineError.
        """
        self._process.require_this()
        if self._handle is None:
            raise EngineError("This session is closed; open another one.")
        if not 0 < rows <= min(len(tokens), self.max_rows):
            raise ValueError(f"{rows} rows of {len(tokens)} tokens, at most {self.max_rows}")
        if len(self._tokens) + len(tokens) > self.n_ctx:
            raise ContextOverflow(
                f"{len(self._tokens) + len(tokens):,} tokens do not fit into the context of "
                f"{self.n_ctx:,}; ask for a larger one with --ctx-size."
            )
        self._repair()
        self.mark(rows - 1)
        done = 0
        while len(tokens) - done > self.n_batch:
            step = min(self.n_batch, len(tokens) - rows - done)
            self._decode(tokens[done : done + step], rows=0)
            done += step
            if self.on_progress is not None:
                self.on_progress(done, len(tokens))
        self._decode(tokens[done:], rows)
        started = perf_counter()
        logits = lib.llama_get_logits(self.handle)  # waits for the device
        self.decode_seconds += perf_counter() - started
        return np.ctypeslib.as_array(logits, (rows, self.n_vocab))

    def _decode(self, tokens: Sequence[int], rows: int) -> None:
        count, start = len(tokens), len(self._tokens)
        self._batch_tokens[:count] = tokens
        self._batch_positions[:count] = np.arange(start, start + count)
        self._batch_outputs[: count - rows] = 0
        self._batch_outputs[count - rows : count] = 1
        self._batch.n_tokens = count
        self._dirty = True
        started = perf_counter()
        with computing(self._threads):
            status = lib.llama_decode(self.handle, self._batch)
        self.decode_seconds += perf_counter() - started
        self.decode_calls += 1
        if status == ABORTED:
            raise Interrupted("The evaluation was stopped.")
        if status != 0:
            self._repair()
            raise EngineError(f"llama.cpp could not evaluate {count} tokens (status {status}).")
        self._tokens.extend(tokens)
        self._dirty = False

    def truncate(self, length: int) -> None:
        """Forget everything after the first `length` tokens; fewer are left as they are."""
        if length < len(self._tokens):
            self._dirty = True
            del self._tokens[length:]
        if not self._abort.is_set:  # else before the next evaluation, as it may take long
            self._repair()

    def sync(self, tokens: Sequence[int]) -> int:
        """Keep only the common prefix with `tokens` and return its length."""
        common = common_prefix(self._tokens, tokens)
        self.truncate(common)
        return common

    def _repair(self) -> None:
        """Make the memory hold exactly the mirrored tokens."""
        if not self._dirty or self._handle is None or not self._process.is_this:
            return
        length = len(self._tokens)
        if not self._remove_after(length):
            self._replay(length)
        self._dirty = False

    def _remove_after(self, length: int) -> bool:
        """Drop later positions in place; False if this memory cannot."""
        if self._checkpoint is not None and length < self._checkpoint.length:
            self._checkpoint = None  # it remembers tokens that are dropped now
        if length == 0:
            lib.llama_memory_clear(self._memory, False)
            return True
        if not lib.llama_memory_seq_rm(self._memory, _SEQUENCE, length, -1):
            return False
        if self.capabilities.rollback != "window":
            return True
        # Removing succeeds even when the window before `length` has already been overwritten.
        oldest = lib.llama_memory_seq_pos_min(self._memory, _SEQUENCE)
        return 0 <= oldest <= max(0, length - self.model.sliding_window)

    def mark(self, depth: int) -> None:
        """Prepare for dropping up to `depth` tokens that are evaluated from here on.

        Only recurrent memory needs it, which saves its state; elsewhere it is free. `evaluate`
        marks by itself when several rows are asked for.
        """
        if depth <= self.capabilities.depth or not self._tokens:
            return
        flags = lib.LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY
        size = lib.llama_state_seq_get_size_ext(self.handle, _SEQUENCE, flags)
        saved, self._checkpoint = self._checkpoint, None  # none is valid while one is written
        reuse = saved is not None and len(saved.state) == size
        buffer = saved.state if saved and reuse else ctypes.create_string_buffer(size)
        state = ctypes.cast(buffer, ctypes.POINTER(ctypes.c_uint8))
        lib.llama_state_seq_get_data_ext(self.handle, state, size, _SEQUENCE, flags)
        self._checkpoint = Checkpoint(len(self._tokens), buffer)

    def _replay(self, length: int) -> None:
        """Rebuild the first `length` tokens from the last checkpoint before them, or from none.

        The mirror is cut before the memory is touched, so an interruption leaves a shorter mirror,
        never one that claims more than the memory holds.
        """
        tokens = self._tokens[:length]
        saved = self._checkpoint
        del self._tokens[0 if saved is None else saved.length :]
        if saved is None or not self._restore(saved):
            self._tokens.clear()
            self._remove_after(0)
        while len(self._tokens) < length:
            done = len(self._tokens)
            self._decode(tokens[done : done + self.n_batch], rows=0)

    def _restore(self, saved: Checkpoint) -> bool:
        """Bring a recurrent state back and drop the attention cache after it."""
        state = ctypes.cast(saved.state, ctypes.POINTER(ctypes.c_uint8))
        flags, size = lib.LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY, len(saved.state)
        if not lib.llama_state_seq_set_data_ext(self.handle, state, size, _SEQUENCE, flags):
            return False
        return lib.llama_memory_seq_rm(self._memory, _SEQUENCE, saved.length, -1)

    def digest(self) -> bytes:
        """A hash of the bytes the memory holds for the tokens, as llama.cpp saves them."""
        size = lib.llama_state_seq_get_size(self.handle, _SEQUENCE)
        state = (ctypes.c_uint8 * size)()
        written = lib.llama_state_seq_get_data(self.handle, state, size, _SEQUENCE)
        if not 0 < written == size:
            raise EngineError("llama.cpp cannot save the state of this model's memory.")
        return hashlib.blake2b(memoryview(state), digest_size=16).digest()

    def interrupt(self, stop: bool = True) -> None:
        """Stop the evaluation that runs and those to come, from any thread, or let them run again.

        What was evaluated in full stays in the cache.
        """
        self._abort.set(stop)

    def synchronize(self) -> None:
        """Wait until the device has finished what was given to it."""
        lib.llama_synchronize(self.handle)

    def close(self) -> None:
        """Free the context; the model stays."""
        handle, self._handle = self._handle, None
        if handle is not None and self._process.is_this:
            lib.llama_batch_free(self._batch)
            lib.llama_free(handle)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
