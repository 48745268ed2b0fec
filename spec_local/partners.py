"""Draft models for a target: which there are, the most promising first, and taking that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from spec_local.drafters import uses_draft
from spec_local.engine.types import Drafter
from spec_local.gguf.header import model_bytes
from spec_local.llama.options import LoadOptions
from spec_local.machine.prediction import Prediction, by_size, experts_in, predict
from spec_local.machine.profile import ProfileStore
from spec_local.models.adapters import with_adapters
from spec_local.models.download import pulled, resolve
from spec_local.models.loading import BEST_DRAFT
from spec_local.models.needs import placing_of
from spec_local.models.pairing import drafts_for, drafts_listed
from spec_local.models.present import OWN_STORE, here, known_bytes
from spec_local.models.registry import PairSpec, Registry, load_registry
from spec_local.util.progress import Progress


@dataclass(frozen=True, slots=True)
class Partner:
    """A model that could draft for a target."""

    name: str
    store: str
    """Whose file it is; empty if it is still to be pulled."""
    path: Path | None
    """None if it is still to be pulled."""
    bytes: int
    """0 if that is not known."""
    share: float | None
    """Of the target's bytes; None if that is not known."""
    prediction: Prediction | None
    """None if not even the sizes are known."""


def partners(
    target: str,
    registry: Registry,
    folders: Iterable[Path] = (),
    profiles: ProfileStore | None = None,
) -> list[Partner]:
    """Models here that could draft for a target, as `at_hand` has them; then those to pull.

    target: a name or path; one that is not here has what models.toml knows for it. folders: others
    to look into. profiles: None is the user's. Raises SpecLocalError for a name nobody knows, or a
    damaged target.
    """
    path, whole = resolve(target, registry), known_bytes(target, registry)
    firsts, found = _firsts(target, registry), list[Partner]()
    if path is not None:
        found = at_hand(path, registry, folders, profiles=profiles, firsts=firsts)
    names = {each.name for each in found}
    for name in drafts_listed(target, path, registry):
        if name not in names:
            place, size = here(name, registry), known_bytes(name, registry)
            share = size / whole if size and whole else None
            experts = None if path is None else experts_in(path)
            worth = by_size(size, whole, experts) if size and whole else None
            if path and place:
                options = placing_of(path, LoadOptions())([place]).options
                store = profiles or ProfileStore.of_user()
                worth = predict(path, place, options, store, firsts.get(name))
            found.append(Partner(name, OWN_STORE if place else "", place, size, share, worth))
    return sorted(found, key=_rank)


def at_hand(
    target: Path,
    registry: Registry,
    folders: Iterable[Path] = (),
    *,
    options: LoadOptions | None = None,
    profiles: ProfileStore | None = None,
    firsts: Mapping[str, Path] | None = None,
) -> list[Partner]:
    """Those that are here: first what has been seen to pay, the best first; then the smallest.

    What has been seen not to pay comes last. options: with which costs were measured. firsts: of
    those that draft beside another one, that one. Raises ModelFileError if the target is damaged.
    """
    profiles = profiles or ProfileStore.of_user()
    place, firsts = placing_of(target, options or LoadOptions()), firsts or {}
    found, whole = [], model_bytes(target)
    for each in drafts_for(target, registry, folders):
        size, loaded = model_bytes(each.path), place([each.path]).options
        worth = predict(target, each.path, loaded, profiles, firsts.get(each.name))
        found.append(Partner(each.name, each.store, each.path, size, size / whole, worth))
    return sorted(found, key=_rank)


def _firsts(target: str, registry: Registry) -> dict[str, Path]:
    """Of the drafts that models.toml has for a target beside another one, that one, if it is here.

    What is the first of some pair is not among them.
    """
    pairs = [pair.drafts for pair in registry.pairs.values() if pair.target == target]
    alone = {drafts[0] for drafts in pairs if drafts}
    found = {
        draft: here(drafts[0], registry)
        for drafts in pairs
        for draft in drafts[1:]
        if draft not in alone
    }
    return {draft: path for draft, path in found.items() if path is not None}


def best_draft(
    target: Path,
    registry: Registry,
    options: LoadOptions | None = None,
    profiles: ProfileStore | None = None,
) -> str | None:
    """The first of those at hand, by a name or path that loads it; None if there is none."""
    for best in at_hand(target, registry, options=options, profiles=profiles):
        return best.name if best.store == OWN_STORE else str(best.path)
    return None


def with_best_draft(
    spec: PairSpec,
    drafter: str | Drafter,
    options: LoadOptions | None,
    profiles: ProfileStore | None,
    progress: Progress,
) -> PairSpec:
    """The pair with the best draft at hand, if that is what it asks for and the drafter uses one.

    The target is pulled if it is not here yet, as its header says what fits; drafts never are.
    """
    if spec.draft != BEST_DRAFT:
        return spec
    if not uses_draft(drafter):
        return replace(spec, draft=None)
    registry = load_registry()
    target = pulled(spec.target, registry, progress)
    options = with_adapters(spec, options)
    return replace(spec, draft=best_draft(target, registry, options, profiles))


def _rank(partner: Partner) -> tuple[int, float]:
    worth = partner.prediction
    if partner.path is None:
        return 3, partner.bytes
    if worth is None or worth.accepted is None:
        return 1, partner.bytes
    return (0, -worth.speedup) if worth.speedup > 1.0 else (2, partner.bytes)
