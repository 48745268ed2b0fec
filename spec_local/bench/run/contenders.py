"""Who runs: plain decoding, and what is compared with it."""

from __future__ import annotations

from collections.abc import Sequence

from spec_local import drafters
from spec_local.bench.record.result import PLAIN, Contender
from spec_local.errors import ConfigError, require
from spec_local.policies.named import POLICIES, policy

HEAT = 4
"""Most contenders that run side by side; each has contexts of its own."""


def line_up(
    named: Sequence[str], sweep: Sequence[int], drafts: int, heads: Sequence[str] = ()
) -> list[Contender]:
    """Plain decoding first, then the contenders named (`auto`, `model=5`, `p-min` …), then a sweep.

    Without names, lookup, every draft model, what drafts with heads that are given, and `auto`.
    sweep: values of k, for the first of so many draft models or, without one, for lookup. Raises
    ConfigError for what cannot run.
    """
    default = ["lookup", *drafters.of_each("model", drafts), *heads, drafters.AUTO]
    contenders = [contender(PLAIN)]
    contenders += [contender(name) for name in named or default]
    contenders += [contender(f"{'model' if drafts else 'lookup'}={k}") for k in sweep]
    for each in contenders:
        drafters.check(each.drafter, drafts=drafts + (each.drafter in heads))
    return list(dict.fromkeys(contenders))


def contender(text: str) -> Contender:
    """A drafter or a policy, perhaps with its number, as in `model=5` or `p-min=0.9`; or several
    drafters to choose from, as in `lookup,model`.

    The name a report gives it is understood as well: `model k=5`, `p-min 0.9`.
    """
    name, _, number = text.replace(" k=", "=").replace(" ", "=").partition("=")
    known = [*drafters.RULES, *POLICIES]
    if drafters.chosen_from(name):
        drafters.uses_draft(name)  # raises for one that there is not
        require(not number, f"{name} has no k; leave out ={number}.")
        return Contender(name, name)
    is_there = name in POLICIES or drafters.is_known(name)
    require(is_there, f"There is no contender {name!r}; choose from: {', '.join(known)}.")
    if name in POLICIES:
        named = f"{name} {number}" if number else name
        policy(named)
        return Contender(named, "model", policy=named)
    if name == PLAIN:
        require(not number, f"{name} has no k; leave out ={number}.")
        return Contender(name, name)
    try:
        k = int(number) if number else drafters.default_k(name)
    except ValueError:
        raise ConfigError(f"{text}: k must be a whole number, as in {name}=5.") from None
    require(1 <= k <= 32, f"{text}: k must be 1 to 32.")
    return Contender(f"{name} k={k}", name, k)


def heats(contenders: Sequence[Contender], size: int = HEAT) -> list[list[Contender]]:
    """Groups that run side by side, each with plain decoding in it."""
    plain, *others = contenders
    step = size - 1
    groups = [others[i : i + step] for i in range(0, len(others), step)]
    return [[plain, *group] for group in groups] or [[plain]]
