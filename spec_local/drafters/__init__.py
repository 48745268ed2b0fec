"""Drafters by name, and the rules about them; one file each, `build.py` makes them.

The rules alone are needed in many places, so nothing is imported here but errors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from spec_local.errors import require

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


RULES: Mapping[str, Rules] = {
    AUTO: Rules(uses_draft=True, takes_k=False),
    "none": Rules(),
    "lookup": Rules(),
    "model": Rules(uses_draft=True, needs_draft=True),
    "lookup-then-model": Rules(uses_draft=True, needs_draft=True),
}


def uses_draft(name: str) -> bool:
    """Whether that drafter uses a draft model; raises ConfigError for an unknown drafter."""
    return _rules(name).uses_draft


def check(name: str, *, has_draft: bool, k: int | None = None) -> None:
    """Raise ConfigError if that drafter cannot run like that; k: None if nobody asked for one."""
    rules = _rules(name)
    require(
        has_draft or not rules.needs_draft,
        f"The drafter {name} needs a draft model: a pair with one, or a target and a draft.",
    )
    require(
        k is None or rules.takes_k,
        f"The drafter {name} decides by itself how much to draft; name another one to set k.",
    )


def _rules(name: str) -> Rules:
    require(name in RULES, f"There is no drafter {name!r}; choose from: {', '.join(RULES)}.")
    return RULES[name]
