"""Certificates and exact modes in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spec_local.exactness import Exactness


def describe(exactness: Exactness | None) -> str:
    """How the target was evaluated, in a few words."""
    if exactness is None:
        return "not exact, any width."
    widths = ranges(exactness.widths.allowed)
    return f"exact ({exactness.mode}), evaluated at widths {widths} only."


def ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers as people write them: 1-3, 5."""
    parts = list[list[int]]()
    for number in numbers:
        if parts and parts[-1][-1] == number - 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(f"{p[0]}-{p[-1]}" if len(p) > 1 else str(p[0]) for p in parts)
