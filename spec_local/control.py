"""How much to draft. For now a fixed number of tokens every round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spec_local.errors import require
from spec_local.types import Round


@dataclass(frozen=True, slots=True)
class FixedK:
    """Draft k tokens in every round; k = 0 is plain decoding."""

    k: int

    def __post_init__(self) -> None:
        require(self.k >= 0, "k, the number of drafted tokens, must be 0 or more.")

    def budget(self, context: Sequence[int]) -> int:
        return self.k

    def observe(self, round_: Round) -> None:
        """A fixed policy learns nothing."""
