"""Which models are here, what was learned of them, and what drafts for them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from spec_local.doctor.facts import DefaultPair, ModelFacts, PairFacts
from spec_local.llama.options import LoadOptions
from spec_local.util.told import told

if TYPE_CHECKING:
    from spec_local.models.registry import Registry
    from spec_local.models.stores import StoredFile


def facts_of_models(registry: Registry, options: LoadOptions) -> tuple[ModelFacts, ...]:
    """Those that are here, by name. options: with which evaluations are made."""
    from spec_local.models.present import models_here

    found = sorted(models_here(registry), key=lambda each: each.name)
    facts = (told(partial(_model, each, options)) for each in found)
    return tuple(each for each in facts if each is not None)


def _model(found: StoredFile, options: LoadOptions) -> ModelFacts:
    """Raises OSError for a file that has gone meanwhile."""
    from spec_local.gguf.header import model_bytes
    from spec_local.models.download import store

    tuned_at, is_learned = told(partial(_profile, found.path, options)) or (None, None)
    return ModelFacts(
        name=found.name,
        path=str(found.path),
        bytes=model_bytes(found.path),
        is_pulled=found.path.is_relative_to(store()),
        tuned_at=tuned_at,
        is_learned=is_learned,
        certified=told(partial(_certified, found.path, options)),
    )


def _profile(path: Path, options: LoadOptions) -> tuple[float, bool]:
    """When the model was tuned, and whether its costs are known."""
    from spec_local.llama.identity import identity
    from spec_local.machine.profile import ProfileStore

    who, profiles = identity(path, options), ProfileStore.of_user()
    return profiles.tuned_at(who), profiles.curve(who).is_known


def _certified(path: Path, options: LoadOptions) -> tuple[int, ...]:
    """Widths that are certified for a context of that size."""
    from spec_local.exact.modes import exact_options
    from spec_local.llama.identity import identity
    from spec_local.machine.profile import ProfileStore

    who = identity(path, exact_options("certified", options))
    certificate = ProfileStore.of_user().certificate(who, 1)
    if certificate is None or not certificate.covers(options.n_ctx):
        return ()
    return certificate.widths


def facts_of_pairs(registry: Registry, options: LoadOptions) -> tuple[PairFacts, ...]:
    """Pairs of models.toml that have a draft, and both models here."""
    from spec_local.machine.prediction import most_speedup, predict
    from spec_local.machine.profile import ProfileStore
    from spec_local.models.adapters import with_adapters
    from spec_local.models.present import here

    found, profiles = list[PairFacts](), ProfileStore.of_user()
    named = [(name, pair, draft) for name, pair in registry.pairs.items() for draft in pair.drafts]
    for name, pair, drafting in named:
        target, draft = here(pair.target, registry), here(drafting, registry)
        if target is None or draft is None:
            continue
        models = target, draft, with_adapters(pair, options), profiles
        accepted = predict(*models).accepted
        found.append(PairFacts(name, pair.target, drafting, accepted, most_speedup(*models)))
    return tuple(found)


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
