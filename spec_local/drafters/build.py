"""Drafters from their names. A new one is a file here and a line in `RULES` and in `BUILDERS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from spec_local.drafters import AUTO
from spec_local.drafters.library import Library
from spec_local.drafters.logitspec import LogitSpecDrafter
from spec_local.drafters.lookahead import LookaheadDrafter
from spec_local.drafters.lookup import LookupDrafter
from spec_local.drafters.lookup_tree import LookupTreeDrafter
from spec_local.drafters.merged import MergedDrafter
from spec_local.drafters.model import ModelDrafter
from spec_local.drafters.none import NoDrafter
from spec_local.drafters.own_words import OwnWords
from spec_local.drafters.pard import PardDrafter
from spec_local.drafters.preference import FirstThatDrafts
from spec_local.drafters.recycling import RecyclingDrafter
from spec_local.drafters.staged import StagedDrafter
from spec_local.drafters.tree import TreeDrafter
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
    words: OwnWords | None = None
    """Of a model that drafts in its own tokens."""

    @property
    def plainly(self) -> tuple[EvaluationSession, int, Callable[[int], bool]]:
        """What drafting in the target's tokens takes."""
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
    if (mine := next((each for each in heads if each.name == drafter), None)) is not None:
        return mine
    if drafter == PardDrafter.name:
        assert draft is not None
        assert draft.mask is not None
        return PardDrafter(draft.session, draft.mask, draft.n_vocab, draft.is_end)
    return BUILDERS[drafter](draft, library)


def build_some(
    names: Sequence[str], draft: DraftModel | None, library: Library, heads: Sequence[Drafter] = ()
) -> list[Drafter]:
    """Those of these names that a controller chooses from, or with `auto` all that pay somewhere.

    A draft model also drafts from the end of a long context. Drafters of one model share its cache.
    heads: what drafts from the target's hidden states.
    """
    if AUTO in names:
        names = ["lookup", *(["model"] if draft else []), *(each.name for each in heads)]
    found, whole = list[Drafter](), None
    for name in names:
        drafter = build(name, draft, library, heads)
        if isinstance(drafter, ModelDrafter) and drafter not in heads:
            whole = whole or drafter
            drafter.cache = whole.cache
        found.append(drafter)
        if name == ModelDrafter.name and isinstance(drafter, ModelDrafter):
            found.append(WindowDrafter(drafter))
    return found


def _model(draft: DraftModel | None, _library: Library) -> Drafter:
    assert draft is not None
    return ModelDrafter(*draft.plainly, draft.words)


def _tree(draft: DraftModel | None, _library: Library) -> Drafter:
    assert draft is not None
    return TreeDrafter(*draft.plainly)


def _lookup_then_model(draft: DraftModel | None, library: Library) -> Drafter:
    return FirstThatDrafts([LookupDrafter(SURE_MATCH, library), _model(draft, library)])


def _staged(draft: DraftModel | None, library: Library) -> Drafter:
    assert draft is not None
    return StagedDrafter(*draft.plainly, lookup=LookupDrafter(library=library))


def _lookup_and_model(draft: DraftModel | None, library: Library) -> Drafter:
    return MergedDrafter([LookupDrafter(library=library), _model(draft, library)])


BUILDERS: Mapping[str, Callable[[DraftModel | None, Library], Drafter]] = {
    "none": lambda _draft, _library: NoDrafter(),
    "lookup": lambda _draft, library: LookupDrafter(library=library),
    "model": _model,
    "tree": _tree,
    "lookup-tree": lambda _draft, library: LookupTreeDrafter(library=library),
    "recycling": lambda _draft, _library: RecyclingDrafter(),
    "logitspec": lambda _draft, library: LogitSpecDrafter(library=library),
    "lookahead": lambda _draft, _library: LookaheadDrafter(),
    "lookup-and-model": _lookup_and_model,
    "lookup-then-model": _lookup_then_model,
    "staged": _staged,
}
"""Those that any pair can have; others want files that were trained for them."""
