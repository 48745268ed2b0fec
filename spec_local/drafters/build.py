"""Drafters from their names. A new one is a file here, a line in `BUILDERS`, a name in `NAMES`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from spec_local.drafters import check_name
from spec_local.drafters.lookup import LookupDrafter
from spec_local.drafters.model import ModelDrafter
from spec_local.drafters.none import NoDrafter
from spec_local.drafters.staged import StagedDrafter
from spec_local.engine.types import Drafter, EvaluationSession

SURE_MATCH = 6
"""Tokens that must agree before lookup goes first where a draft model could be asked instead."""

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


def build(name: str, open_draft: DraftSessions) -> Drafter:
    """The drafter of that name; raises ConfigError for an unknown drafter."""
    check_name(name)
    return BUILDERS[name](open_draft)
