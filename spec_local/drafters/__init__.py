"""Drafters by name, and the rules about them; one file each, `build.py` makes them.

The rules alone are needed in many places, so nothing is imported here but errors.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from spec_local.errors import require

if TYPE_CHECKING:
    from spec_local.engine.types import Drafter
    from spec_local.policies.policy import Policy

AUTO = "auto"
"""Not a drafter but all that can be had, and a controller that chooses.

It also chooses where several are named, with commas between them.
"""

DEFAULT_K = 3
"""Tokens of a chain that a named drafter drafts per round, unless told otherwise."""

_NUMBERED = re.compile("(.+)-([2-9]|[1-9][0-9]+)")


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
    k: int = DEFAULT_K
    """Tokens it drafts per round, unless told otherwise."""
    numbered: bool = False
    """Whether it drafts with one draft model; a number after its name says which (`parted`)."""
    priced: bool = True
    """Whether a controller can choose it: what it drafts is there for nothing, costs an evaluation
    for each token, after which it can be told to stop, or one for all of them."""


RULES: Mapping[str, Rules] = {
    AUTO: Rules(uses_draft=True, takes_k=False, looks_up=True, uses_heads=True, priced=False),
    "none": Rules(priced=False),
    "lookup": Rules(looks_up=True),
    "model": Rules(uses_draft=True, needs_draft=True, numbered=True),
    "tree": Rules(uses_draft=True, needs_draft=True, numbered=True, k=8),
    "models": Rules(uses_draft=True, needs_draft=True, priced=False),
    "lookup-tree": Rules(looks_up=True, k=8),
    "recycling": Rules(k=8),
    "logitspec": Rules(looks_up=True, k=8),
    "lookahead": Rules(priced=False, k=16),
    "lookup-and-model": Rules(uses_draft=True, needs_draft=True, looks_up=True, priced=False),
    "lookup-then-model": Rules(
        uses_draft=True, needs_draft=True, numbered=True, looks_up=True, priced=False
    ),
    "staged": Rules(uses_draft=True, needs_draft=True, numbered=True, looks_up=True),
    "mtp": Rules(uses_heads=True),
    "eagle3": Rules(uses_draft=True, needs_draft=True),
    "dflash": Rules(uses_draft=True, needs_draft=True),
    "pard": Rules(uses_draft=True, needs_draft=True, numbered=True),
}


def parted(name: str) -> tuple[str, int]:
    """A drafter's name without its number, and which draft model that means: `tree-2` the second.

    Without a number it is the first.
    """
    found = _NUMBERED.fullmatch(name)
    return (found[1], int(found[2])) if found else (name, 1)


def numbered(name: str, number: int) -> str:
    """What that drafter is called with the draft model of that number."""
    return name if number == 1 else f"{name}-{number}"


def of_each(name: str, drafts: int) -> list[str]:
    """What that drafter is called with each of so many draft models."""
    return [numbered(name, number) for number in range(1, drafts + 1)]


def is_known(name: str) -> bool:
    """Whether there is a single drafter of that name, perhaps with a number."""
    plain, number = parted(name)
    return plain in RULES and (number == 1 or RULES[plain].numbered)


def uses_draft(drafter: str | Drafter) -> bool:
    """Whether that drafter uses a draft model; raises ConfigError for an unknown drafter."""
    return _rules(drafter).uses_draft


def needs_draft(drafter: str | Drafter) -> bool:
    """Whether that drafter cannot run without one; raises ConfigError for an unknown drafter."""
    return _rules(drafter).needs_draft


def default_k(drafter: str | Drafter) -> int:
    """Tokens that it drafts per round, unless told otherwise."""
    return _rules(drafter).k


def uses_heads(drafter: str | Drafter) -> bool:
    """Whether that drafter uses the target's prediction layers; ConfigError for an unknown one."""
    return _rules(drafter).uses_heads


def check(drafter: str | Drafter, *, drafts: int, k: int | Policy | None = None) -> None:
    """Raise ConfigError if that drafter cannot run like that.

    drafts: how many there are. k: None if nobody asked for one.
    """
    rules = _rules(drafter)
    require(
        drafts > 0 or not rules.needs_draft,
        f"The drafter {drafter} needs a draft model: a pair with one, or a target and a draft.",
    )
    check_numbers(drafter, drafts)
    require(
        k is None or rules.takes_k,
        f"The drafter {drafter} decides by itself how much to draft; name another one to set k.",
    )


def check_numbers(drafter: str | Drafter, models: int) -> None:
    """Raise ConfigError if that drafter, or one of several, is of a draft model beyond so many."""
    for name in (chosen_from(drafter) or (drafter,)) if isinstance(drafter, str) else ():
        number = parted(name)[1]
        require(
            number <= max(1, models),
            f"The drafter {name} needs {number} draft models, not {models}; name another draft, "
            "or take another drafter.",
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


def chosen_from(drafter: str | Drafter) -> tuple[str, ...]:
    """The drafters a controller chooses from, by name; empty if it is a single one."""
    if drafter == AUTO:
        return (AUTO,)
    several = isinstance(drafter, str) and "," in drafter
    return tuple(name.strip() for name in drafter.split(",")) if several else ()  # type: ignore[union-attr]


def _rules(drafter: str | Drafter) -> Rules:
    if not isinstance(drafter, str):
        return Rules()  # one of the caller's own, which opens by itself what it needs
    if "," in drafter:
        return _rules_of_several(chosen_from(drafter))
    require(is_known(drafter), f"There is no drafter {drafter!r}; choose from: {', '.join(RULES)}.")
    return RULES[parted(drafter)[0]]


def _rules_of_several(names: Sequence[str]) -> Rules:
    each = [_rules(name) for name in names]
    priced = [name for name, rules in RULES.items() if rules.priced]
    odd = next((name for name, rules in zip(names, each, strict=True) if not rules.priced), "")
    require(
        not odd, f"Nobody can choose {odd} among other drafters; choose from: {', '.join(priced)}."
    )
    require(len(set(names)) == len(names), "Name each drafter once.")
    return Rules(
        uses_draft=any(rules.uses_draft for rules in each),
        needs_draft=any(rules.needs_draft for rules in each),
        takes_k=False,
        looks_up=any(rules.looks_up for rules in each),
        uses_heads=any(rules.uses_heads for rules in each),
    )
