"""Policies by name. A new one is a file here and a line in `POLICIES`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from spec_local.errors import ConfigError, require
from spec_local.policies.assisted import Assisted
from spec_local.policies.disco import Disco
from spec_local.policies.dynamic import Dynamic
from spec_local.policies.p_min import PMin
from spec_local.policies.policy import Policy

POLICIES: Mapping[str, Callable[..., Policy]] = {
    "assisted": Assisted,
    "disco": Disco,
    "p-min": PMin,
    "dynamic": Dynamic,
}


def policy(text: str) -> Policy:
    """A new policy of that name, perhaps with its first parameter, as in `p-min 0.9`.

    Raises ConfigError.
    """
    name, _, number = text.partition(" ")
    require(name in POLICIES, f"There is no policy {name!r}; choose from: {', '.join(POLICIES)}.")
    if not number:
        return POLICIES[name]()
    try:
        value = float(number)
    except ValueError:
        raise ConfigError(f"{text}: give a number after the policy, as in p-min=0.75.") from None
    return POLICIES[name](value)
