"""Which models are here, what was learned of them, and what drafts for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from spec_local.doctor.facts import DefaultPair, ModelFacts, PairFacts, PlacementFacts
from spec_local.llama.options import LoadOptions
from spec_local.util.told import told

if TYPE_CHECKING:
    from spec_local.models.registry import Registry
    from spec_local.models.stores import StoredFile


def facts_of_models(registry: Registry, options: LoadOptions) -> tuple[ModelFacts, ...]:
    """Those that are here, by name. options: with which evaluations are made."""
    from spec_local.models.present import models_here

    found = sorted(models_here(registry), key=lambda each: each.name)
    facts = (told(partial(_model, each, registry, options)) for each in found)
    return tuple(each for each in facts if each is not None)


def _model(found: StoredFile, registry: Registry, options: LoadOptions) -> ModelFacts:
    """Raises OSError for a file that has gone meanwhile."""
    from spec_local.gguf.header import model_bytes
    from spec_local.models.download import store

    known = told(partial(_profile, found.path, registry, options))
    tuned_at, is_learned = known or (None, None)
    return ModelFacts(
        name=found.name,
        path=str(found.path),
        bytes=model_bytes(found.path),
        is_pulled=found.path.is_relative_to(store()),
        tuned_at=tuned_at,
        is_learned=is_learned,
        certified=told(partial(_certified, found.path, registry, options)),
    )


def _profile(path: Path, registry: Registry, options: LoadOptions) -> tuple[float, bool]:
    """When the model was tuned, and whether its costs are known."""
    from spec_local.machine.profile import ProfileStore

    profiles, known = ProfileStore.of_user(), _identities(path, registry, options)
    return max(map(profiles.tuned_at, known)), any(profiles.curve(who).is_known for who in known)


def _certified(path: Path, registry: Registry, options: LoadOptions) -> tuple[int, ...]:
    """Widths that are certified for a context of that size."""
    from spec_local.exact.modes import exact_options
    from spec_local.machine.profile import ProfileStore

    store = ProfileStore.of_user()
    for who in _identities(path, registry, exact_options("certified", options)):
        certificate = store.certificate(who, 1)
        if certificate is not None and certificate.covers(options.n_ctx):
            return certificate.widths
    return ()


def _identities(path: Path, registry: Registry, options: LoadOptions) -> list[dict[str, str | int]]:
    """By what a model is known here: with as many layers on GPUs as it gets by itself, and beside
    the drafts of its pairs.
    """
    from spec_local.llama.identity import identity
    from spec_local.models.needs import placing_of
    from spec_local.models.present import here

    place, beside = placing_of(path, options), list[list[Path]]([[]])
    for pair in registry.pairs.values():
        if here(pair.target, registry) == path:
            beside.append([found for each in pair.drafts if (found := here(each, registry))])
    placed = (told(partial(place, drafts)) for drafts in beside)
    ways = dict.fromkeys(options if each is None else each.options for each in placed)
    return [identity(path, way) for way in ways]


def facts_of_pairs(registry: Registry, options: LoadOptions) -> tuple[PairFacts, ...]:
    """Pairs of models.toml that have a draft, and both models here."""
    from spec_local.machine.prediction import most_speedup, predict
    from spec_local.machine.profile import ProfileStore
    from spec_local.models.adapters import with_adapters
    from spec_local.models.present import here

    found, profiles = list[PairFacts](), ProfileStore.of_user()
    for name, pair in registry.pairs.items():
        target = here(pair.target, registry)
        drafts = {each: path for each in pair.drafts if (path := here(each, registry))}
        if target is None or not drafts:
            continue
        loaded = _as_placed(target, [*drafts.values()], with_adapters(pair, options))
        first = _first_model(drafts, registry)
        for draft, path in drafts.items():
            models = target, path, loaded, profiles, None if path == first else first
            accepted = predict(*models).accepted
            found.append(PairFacts(name, pair.target, draft, accepted, most_speedup(*models)))
    return tuple(found)


def _as_placed(target: Path, drafts: Sequence[Path], options: LoadOptions) -> LoadOptions:
    """With what would be decided of layers now, if that can be told."""
    from spec_local.models.needs import placing_of

    found = told(partial(placing_of(target, options), drafts))
    return options if found is None else found.options


def _first_model(drafts: Mapping[str, Path], registry: Registry) -> Path | None:
    """The first of several that is no head: what the others earn is known beside that."""
    from spec_local.models.loading import names_head

    if len(drafts) < 2:
        return None
    models = (path for name, path in drafts.items() if not names_head(name, registry))
    return told(lambda: next(models))


def default_facts(registry: Registry, options: LoadOptions) -> DefaultPair:
    """The pair that commands take without a name, and what drafts there."""
    from spec_local.models.default import default_pair
    from spec_local.models.present import here, known_bytes

    name = default_pair(registry)
    pair, drafts = registry.pairs[name], registry.pairs[name].drafts
    draft = next(iter(drafts), None)
    if draft is None and (target := here(pair.target, registry)) is not None:
        draft = told(partial(_best_draft, target, registry, options))
    loaded = {pair.target, *drafts, *filter(None, [draft])}
    sizes = [known_bytes(each, registry) for each in loaded]
    with_draft = (other for other, each in registry.pairs.items() if each.draft is not None)
    size = sum(sizes) if all(sizes) else 0
    return DefaultPair(name, pair.target, draft, size, next(with_draft, None))


def _best_draft(target: Path, registry: Registry, options: LoadOptions) -> str | None:
    from spec_local.partners import best_draft

    return best_draft(target, registry, options)


def placement_facts(
    registry: Registry, options: LoadOptions, default: DefaultPair | None
) -> PlacementFacts:
    """What GPUs would get of the default pair, as far as that is here."""
    from spec_local.llama.devices import gpus
    from spec_local.models.needs import placing_of
    from spec_local.models.present import here

    drafting = options.for_draft()
    used = [each for each in (options, drafting) if each.n_gpu_layers != 0]
    names = tuple(dict.fromkeys(device.name for each in used for device in gpus(each)))
    target = None if default is None else here(default.target, registry)
    if default is None or target is None:
        return PlacementFacts(names, True, "")
    own = registry.pairs[default.name].drafts or filter(None, [default.draft])
    drafts = [found for each in own if (found := here(each, registry))]
    placed = placing_of(target, options)(drafts)
    return PlacementFacts(names, placed.has_all, placed.said)
