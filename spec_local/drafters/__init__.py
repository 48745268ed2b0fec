"""Drafters by name. A new one is a file here and a line in `BUILDERS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from spec_local.drafters.lookup import LookupDrafter
from spec_local.drafters.model import ModelDrafter
from spec_local.drafters.none import NoDrafter
from spec_local.drafters.staged import StagedDrafter
from spec_local.errors import require
from spec_local.types import Drafter, EvaluationSession

SURE_MATCH = 6
"""Tokens that must agree before lookup goes first where a draft model could be asked instead."""

AUTO = "auto"
"""Not a drafter but all that can be had, and a controller that chooses."""

DraftSessions = Callable[[], tuple[EvaluationSession, int, Callable[[int], bool]]]
"""Opens the draft model's session; gives it, the size of the shared vocabulary, and what tells
end-of-generation tokens.

Raises ConfigError where no draft model was loaded.
"""


def _lookup_then_model(open_draft: DraftSessions) -> Drafter:
    return StagedDrafter([LookupDrafter(min_match=SURE_MATCH), ModelDrafter(*open_draft())])


BUILDERS: Mapping[str, Callable[[DraftSessions], Drafter]] = {
    "none": lambda _open_draft: NoDrafter(),
    "lookup": lambda _open_draft: LookupDrafter(),
    "model": lambda open_draft: ModelDrafter(*open_draft()),
    "lookup-then-model": _lookup_then_model,
}

NAMES = (AUTO, *BUILDERS)
"""What can be asked for by name."""

_NEED_MODEL = frozenset({"model", "lookup-then-model"})


def needs_model(name: str) -> bool:
    """Whether that drafter must have a draft model; raises ConfigError for an unknown drafter."""
    _check(name)
    return name in _NEED_MODEL


def uses_model(name: str) -> bool:
    """Whether that drafter can use a draft model; raises ConfigError for an unknown drafter."""
    return needs_model(name) or name == AUTO


def build(name: str, open_draft: DraftSessions) -> Drafter:
    """The drafter of that name; raises ConfigError for an unknown drafter."""
    _check(name)
    return BUILDERS[name](open_draft)


def _check(name: str) -> None:
    require(name in NAMES, f"There is no drafter {name!r}; choose from: {', '.join(NAMES)}.")
