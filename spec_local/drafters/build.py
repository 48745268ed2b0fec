"""Drafters from their names. A new one is a file here and a line in `RULES` and in `BUILDERS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from spec_local.drafters.library import Library
from spec_local.drafters.lookup import LookupDrafter
from spec_local.drafters.model import ModelDrafter
from spec_local.drafters.none import NoDrafter
from spec_local.drafters.own_words import OwnWords
from spec_local.drafters.staged import StagedDrafter
from spec_local.drafters.window import WindowDrafter
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
    words: OwnWords | None = None
    """Of a model that drafts in its own tokens."""


def build(drafter: str | Drafter, draft: DraftModel | None, library: Library) -> Drafter:
    """The drafter of that name or the one given; its rules have been checked (`drafters.check`)."""
    return BUILDERS[drafter](draft, library) if isinstance(drafter, str) else drafter


def build_all(draft: DraftModel | None, library: Library) -> list[Drafter]:
    """Those that a controller chooses from."""
    lookup = LookupDrafter(library=library)
    if draft is None:
        return [lookup]
    whole = ModelDrafter(*draft)
    return [lookup, whole, WindowDrafter(whole)]


def _model(draft: DraftModel | None, _library: Library) -> Drafter:
    assert draft is not None
    return ModelDrafter(*draft)


def _lookup_then_model(draft: DraftModel | None, library: Library) -> Drafter:
    return StagedDrafter([LookupDrafter(SURE_MATCH, library), _model(draft, library)])


BUILDERS: Mapping[str, Callable[[DraftModel | None, Library], Drafter]] = {
    "none": lambda _draft, _library: NoDrafter(),
    "lookup": lambda _draft, library: LookupDrafter(library=library),
    "model": _model,
    "lookup-then-model": _lookup_then_model,
}
