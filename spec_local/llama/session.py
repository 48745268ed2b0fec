"""A context of a model with exactly one sequence in it: evaluate, read logits, roll back.

The session mirrors which tokens the memory (KV cache or recurrent state) holds. Whatever interrupts
it, a failed decode or Ctrl-C between any two instructions, the mirror decides: before the next
use the memory is made to hold exactly the mirrored tokens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from time import perf_counter

import numpy as np

from spec_local.errors import EngineError
from spec_local.llama.abort import AbortFlag
from spec_local.llama.backend import lib
from spec_local.llama.batch import Batch
from spec_local.llama.branches import Branches
from spec_local.llama.capabilities import Checkpoint, capabilities_of
from spec_local.llama.context import free_context, make_context
from spec_local.llama.hidden import HiddenStates
from spec_local.llama.model import Model
from spec_local.llama.state import (
    ALL,
    RUNNING,
    SEQUENCE,
    Held,
    read_state,
    state_bytes,
    write_state,
)
from spec_local.llama.status import require_evaluated, require_room
from spec_local.llama.team import Team
from spec_local.sampling.types import Logits
from spec_local.util.prefix import common_prefix
from spec_local.util.process import OwnStack, Process, closed_when_dropped


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
        self.model, self._wants_all_rows = model, model.wants_all_rows
        self.on_progress: Callable[[int, int], None] | None = None
        """Called between the batches of a long evaluation with (tokens done, tokens in all). An
        exception it raises abandons the evaluation; what is done stays in the cache."""
        self.decode_calls = 0
        """Calls of llama_decode, to check the promise of one per round."""
        self.decode_seconds = 0.0
        """Time spent in llama_decode and in waiting for its logits."""
        self._tokens: list[int] = []
        self._dirty = False
        self._checkpoint: Checkpoint | None = None
        self.hidden: dict[tuple[int, ...], HiddenStates] = {}
        """Of the last tokens, for what drafts from them: behind all layers (), or before some."""
        self._process = Process()
        wanted = model.context_size(model.options.n_ctx if n_ctx is None else n_ctx)
        self._handle: lib.llama_context_p | None = make_context(model, wanted, max_rows)
        resources = OwnStack()
        self._free = closed_when_dropped(self, resources)
        resources.callback(free_context, model, self._handle)
        self._abort = AbortFlag(self.handle)
        self._team = Team(self.handle, model.options, model.header.architecture)
        self._memory = lib.llama_get_memory(self.handle)
        self._snapshots = lib.llama_n_rs_seq(self.handle)
        self._removable = 0
        """How many of the tokens evaluated last llama.cpp can take back from a recurrent state."""
        # llama.cpp rounds up to a multiple of 256; what was asked for is what counts.
        self.n_ctx = min(wanted, lib.llama_n_ctx(self.handle))
        self.n_batch, self.n_vocab = lib.llama_n_batch(self.handle), model.vocab.n_tokens
        self.max_rows = min(max_rows, self.n_batch)
        self.capabilities = capabilities_of(model, self._snapshots, self.n_ctx, self.n_batch)
        self.branches = lib.llama_n_seq_max(self.handle)
        self._tree = Branches(self._memory, self.branches)
        self._batch = Batch(self.n_batch, self.branches)
        resources.callback(self._batch.close)

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

    def evaluate(
        self, tokens: Sequence[int], rows: int = 1, parents: Sequence[int] | None = None
    ) -> Logits:
        """Evaluate tokens after those held; logits of the last `rows` of them, (rows, n_vocab).

        parents: of the last so many tokens, at most `rows`, which are nodes of a tree that begins
        after those held, or goes on. None: every token is held from here on.
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
        if parents is None and self._tree:
            self._forget_after(len(self._tokens))
        require_room(len(self._tokens) + len(self._tree.tokens) + len(tokens), self.n_ctx)
        tokens = [*self._mend(), *tokens]
        if rows - 1 > self._snapshots:
            self.mark(rows - 1)
        done = 0
        while len(tokens) - done > self.n_batch:
            step = min(self.n_batch, len(tokens) - rows - done)
            self._decode(tokens[done : done + step], rows=0)
            done += step
            if self.on_progress is not None:
                self.on_progress(done, len(tokens))
        given = len(tokens) - done if self._wants_all_rows else rows
        self._decode(tokens[done:], given, parents or ())
        started = perf_counter()
        logits = lib.llama_get_logits(self.handle)  # waits for the device
        self.decode_seconds += perf_counter() - started
        return np.ctypeslib.as_array(logits, (given, self.n_vocab))[-rows:]

    def _decode(self, tokens: Sequence[int], rows: int, parents: Sequence[int] = ()) -> None:
        count, start, chain = len(tokens), len(self._tokens), len(tokens) - len(parents)
        self._dirty, self._removable = True, 0
        self._batch.fill(tokens, start, rows)
        if parents:
            depths, sequences = self._tree.grow(tokens[chain:], parents, start)
            self._batch.place(chain, [start + chain - 1 + each for each in depths], sequences)
        started = perf_counter()
        with self._team.computing(start + count):
            status = lib.llama_decode(self.handle, self._batch.struct)
        self.decode_seconds += perf_counter() - started
        self.decode_calls += 1
        require_evaluated(status, count, was_stopped=self._abort.is_set)
        for states in self.hidden.values():
            states.take(start, count, rows)
        self._tokens.extend(tokens[:chain])
        self._dirty, self._removable = False, min(self._snapshots, count - 1)

    def truncate(self, length: int) -> None:
        """Forget everything after the first `length` tokens; fewer are left as they are.

        A memory that cannot go back there forgets more, unless evaluating as much again as a round
        has brings it there: see `mark`.
        """
        lost = self._forget_after(length)
        if 0 < len(lost) <= self.max_rows and not self._abort.is_set:
            self._decode(lost, rows=0)

    def keep(self, path: Sequence[int]) -> None:
        """Hold these nodes of the tree, in their order, and drop all others."""
        if self._tree and not self._dirty:
            self._dirty = True
            self._tokens += self._tree.keep(path, len(self._tokens))
            self._dirty = False

    def sync(self, tokens: Sequence[int]) -> int:
        """Keep what the memory can of the common prefix with `tokens`, and return its length.

        Nothing is evaluated.
        """
        self._forget_after(common_prefix(self._tokens, tokens))
        return len(self._tokens)

    def _forget_after(self, length: int) -> list[int]:
        """Bring the memory to the first `length` tokens, or before; what is missing then."""
        if length < len(self._tokens) or self._tree:
            self._dirty = True
            del self._tokens[length:]
        return self._mend()

    def _mend(self) -> list[int]:
        """Make the memory hold no more than the mirrored tokens, and the mirror what it holds.

        Returns the tokens that would have to be evaluated again. The mirror is cut before the
        memory is touched, so an interruption leaves a shorter mirror, never one that claims more
        than the memory holds.
        """
        if not self._dirty or self._handle is None or not self._process.is_this:
            return []
        lost: list[int] = []
        self._tree.forget()
        if not self._remove_after(len(self._tokens)):
            saved = self._checkpoint
            start = 0 if saved is None else saved.length
            lost = self._tokens[start:]
            del self._tokens[start:]
            if saved is None or not self._restore(saved):
                lost = [*self._tokens, *lost]
                self._tokens.clear()
                self._remove_after(0)
        self._dirty = False
        return lost

    def _remove_after(self, length: int) -> bool:
        """Drop later positions in place; False if this memory cannot."""
        if self._checkpoint is not None and length < self._checkpoint.length:
            self._checkpoint = None  # it remembers tokens that are dropped now
        if length == 0:
            lib.llama_memory_clear(self._memory, False)
            return True
        if self._snapshots and not self._may_go_back_to(length):
            return False
        if not self._tree.remove_after(length):
            return False
        if self.capabilities.rollback != "window":
            return True
        # Removing succeeds even when the window before `length` has already been overwritten.
        oldest = lib.llama_memory_seq_pos_min(self._memory, SEQUENCE)
        return 0 <= oldest <= max(0, length - self.model.sliding_window)

    def _may_go_back_to(self, length: int) -> bool:
        """Whether a snapshot is of this length; llama.cpp would also take one of an older batch."""
        back = lib.llama_memory_seq_pos_max(self._memory, SEQUENCE) + 1 - length
        removable, self._removable = self._removable, 0  # going back twice is not possible
        return back <= removable

    def mark(self, depth: int) -> None:
        """Prepare for dropping up to `depth` tokens that are evaluated from here on.

        Only recurrent memory needs it, which saves its state; elsewhere it is free. `evaluate`
        marks by itself when several rows are asked for.
        """
        if depth <= self.capabilities.depth or not self._tokens:
            return
        saved, self._checkpoint = self._checkpoint, None  # none is valid while one is written
        state = read_state(self.handle, RUNNING, None if saved is None else saved.state)
        self._checkpoint = Checkpoint(len(self._tokens), state)

    def _restore(self, saved: Checkpoint) -> bool:
        """Bring a recurrent state back and drop the attention cache after it."""
        if not write_state(self.handle, RUNNING, saved.state):
            return False
        return lib.llama_memory_seq_rm(self._memory, SEQUENCE, saved.length, -1)

    def digest(self) -> bytes:
        """A hash of the bytes the memory holds for the tokens, as llama.cpp saves them."""
        return hashlib.blake2b(memoryview(self.saved().state), digest_size=16).digest()

    @property
    def state_bytes(self) -> int:
        """How large a copy of what the memory holds is."""
        return state_bytes(self.handle)

    def saved(self) -> Held:
        """What the memory holds now, for `adopt`; EngineError where llama.cpp cannot save it."""
        self._mend()
        return Held(tuple(self._tokens), read_state(self.handle, ALL))

    def adopt(self, held: Held) -> None:
        """Hold that instead, which a session of the same model and options has saved.

        Raises EngineError if llama.cpp refuses; then nothing is held.
        """
        self._forget_after(0)
        self._dirty, self._removable = True, 0
        if not write_state(self.handle, ALL, held.state):
            raise EngineError("llama.cpp cannot take back the state of this model's memory.")
        self._tokens, self._dirty = list(held.tokens), False
        for states in self.hidden.values():
            states.forget()

    def interrupt(self, stop: bool = True) -> None:
        """Stop the evaluation that runs and those to come, from any thread, or let them run again.

        What was evaluated in full stays in the cache.
        """
        self._abort.set(stop)

    def synchronize(self) -> None:
        """Wait until the device has finished what was given to it."""
        lib.llama_synchronize(self.handle)

    def close(self) -> None:
        """Free the context, as dropping it does; the model stays."""
        self._handle = None
        self._free()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
