"""Drafters from their names. A new one is a file here and a line in `RULES` and in `BUILDERS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from spec_local.drafters.lookup import LookupDrafter
from spec_local.drafters.model import ModelDrafter
from spec_local.drafters.none import NoDrafter
from spec_local.drafters.staged import StagedDrafter
from spec_local.engine.types import Drafter, EvaluationSession

SURE_MATCH = 6
"""Tokens that must agree before lookup goes first where a draft model could be asked instead."""


class DraftModel(NamedTuple):
    """What a drafter drafts with, if it uses a draft model."""

    session: EvaluationSession
    """In the target's token ids."""
    n_vocab: int
    """How many token ids target and draft share."""
    is_end: Callable[[int], bool]
    """Tells end-of-generation tokens."""


def build(name: str, draft: DraftModel | None) -> Drafter:
    """The drafter of that name, for which the rules have been checked (`drafters.check`)."""
    return BUILDERS[name](draft)


def _model(draft: DraftModel | None) -> Drafter:
    assert draft is not None
    return ModelDrafter(*draft)


def _lookup_then_model(draft: DraftModel | None) -> Drafter:
    return StagedDrafter([LookupDrafter(min_match=SURE_MATCH), _model(draft)])


BUILDERS: Mapping[str, Callable[[DraftModel | None], Drafter]] = {
    "none": lambda _draft: NoDrafter(),
    "lookup": lambda _draft: LookupDrafter(),
    "model": _model,
    "lookup-then-model": _lookup_then_model,
}
