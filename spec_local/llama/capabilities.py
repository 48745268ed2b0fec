"""How a context forgets tokens."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from spec_local.llama.model import Model


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


def capabilities_of(model: Model, snapshots: int, n_ctx: int, n_batch: int) -> Capabilities:
    """Of a context with so many snapshots, of n_ctx tokens, evaluated n_batch at a time."""
    if model.is_recurrent:
        return Capabilities("snapshot" if snapshots else "checkpoint", depth=0)
    if model.sliding_window:
        # The cache holds the window and one batch more; half of that is surely still there.
        return Capabilities("window", depth=n_batch // 2)
    return Capabilities("remove", depth=n_ctx)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A recurrent state, after so many tokens."""

    length: int
    state: ctypes.Array[ctypes.c_char]
