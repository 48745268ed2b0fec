"""Drafters by name, and the rules about them; one file each, `build.py` makes them.

The rules alone are needed in many places, so nothing is imported here but errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from spec_local.errors import require

if TYPE_CHECKING:
    from spec_local.engine.types import Drafter

AUTO = "auto"
"""Not a drafter but all that can be had, and a controller that chooses."""

DEFAULT_K = 3
"""Tokens that a named drafter drafts per round, unless told otherwise."""


class Rules(NamedTuple):
    """What a drafter needs."""

    uses_draft: bool = False
    """Whether it drafts with a draft model where there is one."""
    needs_draft: bool = False
    """Whether it cannot run without one."""
    takes_k: bool = True
    """Whether the user may say how many tokens it drafts per round."""
    looks_up: bool = False
    """Whether it looks into a library."""
    uses_heads: bool = False
    """Whether it drafts with the target's multi-token prediction layers where there are any."""


RULES: Mapping[str, Rules] = {
    AUTO: Rules(uses_draft=True, takes_k=False, looks_up=True, uses_heads=True),
    "none": Rules(),
    "lookup": Rules(looks_up=True),
    "model": Rules(uses_draft=True, needs_draft=True),
    "lookup-then-model": Rules(uses_draft=True, needs_draft=True, looks_up=True),
    "mtp": Rules(uses_heads=True),
    "eagle3": Rules(uses_draft=True, needs_draft=True),
    "dflash": Rules(uses_draft=True, needs_draft=True),
    "pard": Rules(uses_draft=True, needs_draft=True),
}


def uses_draft(drafter: str | Drafter) -> bool:
    """Whether that drafter uses a draft model; raises ConfigError for an unknown drafter."""
    return _rules(drafter).uses_draft


def needs_draft(drafter: str | Drafter) -> bool:
    """Whether that drafter cannot run without one; raises ConfigError for an unknown drafter."""
    return _rules(drafter).needs_draft


def uses_heads(drafter: str | Drafter) -> bool:
    """Whether that drafter uses the target's prediction layers; ConfigError for an unknown one."""
    return _rules(drafter).uses_heads


def check(drafter: str | Drafter, *, has_draft: bool, k: int | None = None) -> None:
    """Raise ConfigError if that drafter cannot run like that; k: None if nobody asked for one."""
    rules = _rules(drafter)
    require(
        has_draft or not rules.needs_draft,
        f"The drafter {drafter} needs a draft model: a pair with one, or a target and a draft.",
    )
    require(
        k is None or rules.takes_k,
        f"The drafter {drafter} decides by itself how much to draft; name another one to set k.",
    )


def looks_up(drafter: str | Drafter) -> bool:
    """Whether that drafter looks into a library; raises ConfigError for an unknown drafter."""
    return _rules(drafter).looks_up


def check_looks_up(drafter: str | Drafter, what: str) -> None:
    """Raise ConfigError if that drafter has no use for `what`, a text to look into."""
    looking = [name for name, rules in RULES.items() if rules.looks_up]
    name = drafter if isinstance(drafter, str) else drafter.name
    require(
        looks_up(drafter),
        f"The drafter {name} has no use for {what}; take {', '.join(looking[:-1])} "
        f"or {looking[-1]}.",
    )


def _rules(drafter: str | Drafter) -> Rules:
    if not isinstance(drafter, str):
        return Rules()  # one of the caller's own, which opens by itself what it needs
    require(drafter in RULES, f"There is no drafter {drafter!r}; choose from: {', '.join(RULES)}.")
    return RULES[drafter]
