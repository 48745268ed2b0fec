"""Drafters from their names. A new one is a file here and a line in `RULES` and in `BUILDERS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from spec_local.drafters.library import Library
from spec_local.drafters.lookup import LookupDrafter
from spec_local.drafters.model import ModelDrafter
from spec_local.drafters.none import NoDrafter
from spec_local.drafters.pard import PardDrafter
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
    mask: int | None = None
    """The mask token it was trained with; None if it was not."""

    @property
    def plainly(self) -> tuple[EvaluationSession, int, Callable[[int], bool]]:
        """What drafting token by token takes."""
        return self.session, self.n_vocab, self.is_end


def build(
    drafter: str | Drafter,
    draft: DraftModel | None,
    library: Library,
    heads: Sequence[Drafter] = (),
) -> Drafter:
    """The drafter of that name or the one given; its rules have been checked (`drafters.check`).

    heads: it, if it drafts from the target's hidden states.
    """
    if not isinstance(drafter, str):
        return drafter
    if heads:
        return heads[0]
    if drafter == PardDrafter.name:
        assert draft is not None
        assert draft.mask is not None
        return PardDrafter(draft.session, draft.mask, draft.n_vocab, draft.is_end)
    return BUILDERS[drafter](draft, library)


def build_all(
    draft: DraftModel | None, library: Library, heads: Sequence[Drafter] = ()
) -> list[Drafter]:
    """Those that a controller chooses from; heads: what drafts from the target's hidden states."""
    found: list[Drafter] = [LookupDrafter(library=library)]
    if draft is not None:
        whole = ModelDrafter(*draft.plainly)
        found += [whole, WindowDrafter(whole)]
    return [*found, *heads]


def _model(draft: DraftModel | None, _library: Library) -> Drafter:
    assert draft is not None
    return ModelDrafter(*draft.plainly)


def _lookup_then_model(draft: DraftModel | None, library: Library) -> Drafter:
    return StagedDrafter([LookupDrafter(SURE_MATCH, library), _model(draft, library)])


BUILDERS: Mapping[str, Callable[[DraftModel | None, Library], Drafter]] = {
    "none": lambda _draft, _library: NoDrafter(),
    "lookup": lambda _draft, library: LookupDrafter(library=library),
    "model": _model,
    "lookup-then-model": _lookup_then_model,
}
"""Those that any pair can have; others want files that were trained for them."""
