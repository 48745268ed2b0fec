"""Arguments that may be one thing or several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

One = TypeVar("One")


def as_tuple(given: One | Sequence[One] | None) -> tuple[One, ...]:
    """All that was given; nothing for None. A string is one thing."""
    if given is None:
        return ()
    several = isinstance(given, Sequence) and not isinstance(given, str)
    return tuple(given) if several else (given,)  # type: ignore[arg-type, return-value]
