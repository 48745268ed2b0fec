"""Asking for what is only reported: what cannot be found out is None, whatever the reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")


def told(ask: Callable[[], Answer]) -> Answer | None:
    """What is answered; None if that fails, as with a library or a file that is missing."""
    try:
        return ask()
    except Exception:
        return None
