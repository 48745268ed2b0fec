"""How a context forgets tokens."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Capabilities:
    """How this session forgets its last tokens."""

    rollback: Literal["remove", "window", "snapshot", "checkpoint"]
    """remove: cached positions are dropped. window: the same while the sliding window is intact.
    checkpoint: a recurrent state is restored and the tokens after it are evaluated again.
    snapshot: the same, but llama.cpp keeps the states after the last tokens of a batch (`n_rs_seq`)
    and goes back to one of them, once, without evaluating anything.
    """
    depth: int
    """Tokens that can be dropped without evaluating anything again, at least."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A recurrent state, after so many tokens."""

    length: int
    state: ctypes.Array[ctypes.c_char]
