"""Draft models for a target: which there are, the most promising first, and taking that."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from spec_local.drafters import uses_draft
from spec_local.engine.types import Drafter
from spec_local.gguf.header import model_bytes
from spec_local.llama.options import LoadOptions
from spec_local.machine.prediction import Prediction, by_size, predict
from spec_local.machine.profile import ProfileStore
from spec_local.models.adapters import with_adapters
from spec_local.models.download import pulled, resolve
from spec_local.models.loading import BEST_DRAFT
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
    found = [] if path is None else at_hand(path, registry, folders, profiles=profiles)
    names = {each.name for each in found}
    for name in drafts_listed(target, path, registry):
        if name not in names:
            place, size = here(name, registry), known_bytes(name, registry)
            share = size / whole if size and whole else None
            worth = None if share is None else by_size(share)
            if path and place:
                worth = predict(path, place, LoadOptions(), profiles or ProfileStore.of_user())
            found.append(Partner(name, OWN_STORE if place else "", place, size, share, worth))
    return sorted(found, key=_rank)


def at_hand(
    target: Path,
    registry: Registry,
    folders: Iterable[Path] = (),
    *,
    options: LoadOptions | None = None,
    profiles: ProfileStore | None = None,
) -> list[Partner]:
    """Those that are here: first what has been seen to pay, the best first; then the smallest.

    What has been seen not to pay comes last. options: with which costs were measured. Raises
    ModelFileError if the target is damaged.
    """
    options, profiles = options or LoadOptions(), profiles or ProfileStore.of_user()
    found, whole = [], model_bytes(target)
    for each in drafts_for(target, registry, folders):
        size, worth = model_bytes(each.path), predict(target, each.path, options, profiles)
        found.append(Partner(each.name, each.store, each.path, size, size / whole, worth))
    return sorted(found, key=_rank)


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
