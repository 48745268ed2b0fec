"""How a context forgets tokens."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Capabilities:
    """How this session forgets its last tokens."""

    rollback: Literal["remove", "window", "checkpoint"]
    """remove: cached positions are dropped. window: the same while the sliding window is intact.
    checkpoint: a recurrent state is restored and the tokens after it are evaluated again.

    llama.cpp's own snapshots of recurrent states (`n_rs_seq`) are not used: they cover the last
    batch only, and it does not refuse to go back to an older, stale one.
    """
    depth: int
    """Tokens that can be dropped without evaluating anything again, at least."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A recurrent state, after so many tokens."""

    length: int
    state: ctypes.Array[ctypes.c_char]
