"""Drafters and the rules about their names; one file each, `build.py` makes them.

The names alone are needed in many places, so nothing is imported here but errors.
"""

from __future__ import annotations

from spec_local.errors import require

AUTO = "auto"
"""Not a drafter but all that can be had, and a controller that chooses."""

NAMES = (AUTO, "none", "lookup", "model", "lookup-then-model")
"""What can be asked for by name."""

DEFAULT_K = 3
"""Tokens that a named drafter drafts per round, unless told otherwise."""

_NEED_MODEL = frozenset({"model", "lookup-then-model"})


def needs_model(name: str) -> bool:
    """Whether that drafter must have a draft model; raises ConfigError for an unknown drafter."""
    check_name(name)
    return name in _NEED_MODEL


def uses_model(name: str) -> bool:
    """Whether that drafter can use a draft model; raises ConfigError for an unknown drafter."""
    return needs_model(name) or name == AUTO


def check_name(name: str) -> None:
    """Raise ConfigError for an unknown drafter."""
    require(name in NAMES, f"There is no drafter {name!r}; choose from: {', '.join(NAMES)}.")
