"""What a text must not become, token by token: the protocol, and banned strings.

A constraint refuses tokens whatever their probability. It is asked about what the sampler chain
leaves, and moves with every emitted token. Two more are JSON schemas (`schema_constraint.py`) and
grammars (`llama/grammar.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from spec_local.sampling.distribution import Ids
from spec_local.sampling.prefilter import NO_IDS, margin, needs_all
from spec_local.sampling.settings import Sampling
from spec_local.sampling.types import Logits

_FIRST_LOOK, _SECOND_LOOK = 64, 2_048
"""How many of the most probable tokens are asked about, before all are, which takes long."""


class Constraint(Protocol):
    """Which tokens may stand at the present position of the generated text."""

    def allows(self, ids: Ids) -> NDArray[np.bool_]:
        """For each of the tokens (n,), whether it may come next."""

    def accept(self, token: int) -> None:
        """Move on past a token that is allowed."""

    def copy(self) -> Constraint:
        """An independent constraint in the same state; the caller closes it."""

    def follow(self, other: Constraint) -> None:
        """Take over the state of `other`, of which this one is a copy."""

    def close(self) -> None: ...


def all_allow(constraints: Sequence[Constraint], ids: Ids) -> NDArray[np.bool_]:
    """For each of the tokens (n,), whether every constraint lets it through."""
    allowed = np.ones(len(ids), np.bool_)
    for constraint in constraints:
        allowed[allowed] = constraint.allows(ids[allowed])
    return allowed


def all_allow_token(constraints: Sequence[Constraint], token: int) -> bool:
    """Whether every constraint lets one token through."""
    if not constraints:
        return True
    one = np.array([token], np.int32)
    return all(constraint.allows(one)[0] for constraint in constraints)


def allowed_candidates(
    row: Logits, sampling: Sampling, constraints: Sequence[Constraint], shifted: Ids = NO_IDS
) -> Ids:
    """Ids (n,) that the constraints allow and that can survive the chain, as `candidates` has it.

    The search goes down from the most probable tokens. Where the settings cut off improbable tokens
    anyway, it ends after the second look if that has found any.
    """
    special = shifted[all_allow(constraints, shifted)]
    everything = needs_all(sampling, len(row))
    for count in (_FIRST_LOOK, _SECOND_LOOK, len(row)):
        if count < len(row) and everything:
            continue
        top = np.argpartition(row, -min(count, len(row)))[-count:].astype(np.int32)
        lowest = float(row[top].min())
        top = np.setdiff1d(top, shifted, assume_unique=True)
        allowed = top[all_allow(constraints, top)]
        if _suffice(row[allowed], lowest, sampling):
            break
        if count == _SECOND_LOOK and len(allowed) and sampling.truncates:
            break
    return np.concatenate((allowed, special))


def _suffice(allowed: Logits, lowest: float, sampling: Sampling) -> bool:
    """Whether no token below the lowest one asked about can matter beside those allowed (n,)."""
    only_best = sampling.greedy and not sampling.reorders
    enough = 1 if only_best else sampling.top_k or np.inf
    if len(allowed) >= enough:
        return True
    return bool(len(allowed) and lowest < allowed.max() - margin(sampling))


class BannedStrings:
    """Refuses the token that would complete a banned string in the generated text.

    What came before it stays, so nothing emitted is ever taken back.
    """

    def __init__(self, banned: Sequence[str], piece: Callable[[int], bytes]) -> None:
        """piece: the bytes that a token writes."""
        self._settings = (banned, piece)
        self._banned = tuple(text.encode() for text in banned)
        self._piece = piece
        self._keep = max(map(len, self._banned)) - 1
        self._tail = b""

    def allows(self, ids: Ids) -> NDArray[np.bool_]:
        return np.fromiter((self._is_allowed(int(token)) for token in ids), np.bool_, len(ids))

    def _is_allowed(self, token: int) -> bool:
        text = self._tail + self._piece(token)
        return not any(banned in text for banned in self._banned)

    def accept(self, token: int) -> None:
        text = self._tail + self._piece(token)
        self._tail = text[len(text) - self._keep :] if self._keep < len(text) else text

    def copy(self) -> BannedStrings:
        twin = BannedStrings(*self._settings)
        twin.follow(self)
        return twin

    def follow(self, other: Constraint) -> None:
        assert isinstance(other, BannedStrings)
        self._tail = other._tail

    def close(self) -> None:
        """Nothing to free."""
