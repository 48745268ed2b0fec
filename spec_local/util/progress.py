"""How callers are told how far something is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, float], None]
"""Told what is going on ("pull NAME", "try NAME", "load NAME", "certify NAME", "ask NAME",
"search the layers", "prompt", "draft prompt") and how much of it is done, 0 to 1."""

Share = Callable[[float], None]
"""Told how much of one thing is done, 0 to 1; what it raises ends it."""


def no_progress(_stage: str, _share: float) -> None:
    """For callers that do not want to know."""


def no_share(_share: float) -> None:
    """For callers that do not want to know."""
