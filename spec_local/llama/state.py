"""What a context's memory holds, as bytes: to go back to it, to keep it, or to compare it."""

from __future__ import annotations

import ctypes
from typing import NamedTuple, TypeAlias

from spec_local.errors import EngineError
from spec_local.llama.backend import lib

State: TypeAlias = "ctypes.Array[ctypes.c_char]"

SEQUENCE = 0
"""The only one of a context."""
ALL, RUNNING = 0, lib.LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY
"""Everything, or only what every token changes: recurrent states, and no keys and values."""


class Held(NamedTuple):
    """Tokens, and what a memory holds of them."""

    tokens: tuple[int, ...]
    state: State


def state_bytes(context: lib.llama_context_p) -> int:
    """How large all of it is."""
    return lib.llama_state_seq_get_size_ext(context, SEQUENCE, ALL)


def read_state(context: lib.llama_context_p, what: int, reuse: State | None = None) -> State:
    """What the memory holds; reuse: written into, if it is as large. EngineError if refused."""
    size = lib.llama_state_seq_get_size_ext(context, SEQUENCE, what)
    fits = reuse is not None and len(reuse) == size
    state = reuse if reuse is not None and fits else ctypes.create_string_buffer(size)
    written = lib.llama_state_seq_get_data_ext(context, _bytes(state), size, SEQUENCE, what)
    if not 0 < written == size:
        raise EngineError("llama.cpp cannot save the state of this model's memory.")
    return state


def write_state(context: lib.llama_context_p, what: int, state: State) -> bool:
    """Let the memory hold that; False if llama.cpp refuses."""
    size = len(state)
    return bool(lib.llama_state_seq_set_data_ext(context, _bytes(state), size, SEQUENCE, what))


def _bytes(state: State) -> ctypes.Array[ctypes.c_uint8]:
    """As llama.cpp takes it; `ctypes.cast` would keep it alive until garbage is collected."""
    return (ctypes.c_uint8 * len(state)).from_buffer(state)
