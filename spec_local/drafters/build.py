"""Drafters from their names. A new one is a file here and a line in `RULES` and in `BUILDERS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from spec_local.drafters import AUTO, numbered, parted
from spec_local.drafters.ahead import AheadDrafter
from spec_local.drafters.cache import DraftCache
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
    ahead: bool = False
    """Whether it may draft while the target verifies."""
    number: int = 1
    """Its place among the draft models, by which its drafters are named (`drafters.numbered`)."""

    @property
    def plainly(self) -> tuple[EvaluationSession, int, Callable[[int], bool]]:
        """What drafting in the target's tokens takes."""
        return self.session, self.n_vocab, self.is_end


def build(
    drafter: str | Drafter,
    drafts: Sequence[DraftModel],
    library: Library,
    heads: Sequence[Drafter] = (),
) -> Drafter:
    """The drafter of that name or the one given; its rules have been checked (`drafters.check`).

    drafts: all draft models. heads: it, if it drafts from the target's hidden states.
    """
    if not isinstance(drafter, str):
        return drafter
    if (mine := next((each for each in heads if each.name == drafter), None)) is not None:
        return mine
    name, number = parted(drafter)
    builder = _pard if name == PardDrafter.name else BUILDERS[name]
    return builder(drafts[number - 1 :], library)


def build_some(
    names: Sequence[str],
    drafts: Sequence[DraftModel],
    library: Library,
    heads: Sequence[Drafter] = (),
) -> list[Drafter]:
    """Those of these names that a controller chooses from, or with `auto` all that pay somewhere.

    A draft model also drafts from the end of a long context, unless it reads while the target does.
    Drafters of one model share its cache.
    heads: what drafts from the target's hidden states.
    """
    if AUTO in names:
        models = [numbered(ModelDrafter.name, draft.number) for draft in drafts]
        names = ["lookup", *models, *(each.name for each in heads)]
    found, caches = list[Drafter](), dict[int, DraftCache]()
    for name in names:
        drafter = build(name, drafts, library, heads)
        found.append(drafter)
        if isinstance(drafter, ModelDrafter):
            drafter.cache = caches.setdefault(id(drafter.cache.session), drafter.cache)
            plain, number = parted(name)
            if plain == ModelDrafter.name and not isinstance(drafter, AheadDrafter):
                found.append(_named(WindowDrafter(drafter), number))
    return found


def _named(drafter: ModelDrafter, number: int) -> ModelDrafter:
    """The same, called as is one of the draft model of that number."""
    drafter.name = numbered(drafter.name, number)
    return drafter


def _model(draft: DraftModel) -> Drafter:
    if draft.ahead:
        return _named(AheadDrafter(*draft.plainly), draft.number)
    return _named(ModelDrafter(*draft.plainly, draft.words), draft.number)


def _tree(drafts: Sequence[DraftModel], _library: Library) -> Drafter:
    return _named(TreeDrafter(*drafts[0].plainly), drafts[0].number)


def _staged(drafts: Sequence[DraftModel], library: Library) -> Drafter:
    staged = StagedDrafter(*drafts[0].plainly, lookup=LookupDrafter(library=library))
    return _named(staged, drafts[0].number)


def _pard(drafts: Sequence[DraftModel], _library: Library) -> Drafter:
    session, n_vocab, is_end = drafts[0].plainly
    assert drafts[0].mask is not None
    return _named(PardDrafter(session, drafts[0].mask, n_vocab, is_end), drafts[0].number)


def _lookup_then_model(drafts: Sequence[DraftModel], library: Library) -> Drafter:
    return FirstThatDrafts([LookupDrafter(SURE_MATCH, library), _model(drafts[0])])


def _lookup_and_model(drafts: Sequence[DraftModel], library: Library) -> Drafter:
    return MergedDrafter([LookupDrafter(library=library), *map(_model, drafts)], "lookup-and-model")


Builder = Callable[[Sequence[DraftModel], Library], Drafter]
"""Makes a drafter of the first of these draft models, or of all."""

BUILDERS: Mapping[str, Builder] = {
    "none": lambda _drafts, _library: NoDrafter(),
    "lookup": lambda _drafts, library: LookupDrafter(library=library),
    "model": lambda drafts, _library: _model(drafts[0]),
    "models": lambda drafts, _library: MergedDrafter([*map(_model, drafts)], "models"),
    "tree": _tree,
    "lookup-tree": lambda _drafts, library: LookupTreeDrafter(library=library),
    "recycling": lambda _drafts, _library: RecyclingDrafter(),
    "logitspec": lambda _drafts, library: LogitSpecDrafter(library=library),
    "lookahead": lambda _drafts, _library: LookaheadDrafter(),
    "lookup-and-model": _lookup_and_model,
    "lookup-then-model": _lookup_then_model,
    "staged": _staged,
}
"""Those that any pair can have; others want files that were trained for them."""
