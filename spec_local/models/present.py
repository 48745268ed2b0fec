"""Which models of models.toml and of the store are here, and how large they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from spec_local.errors import ConfigError, ModelFileError
from spec_local.gguf.header import model_bytes
from spec_local.models.download import resolve
from spec_local.models.kept import kept_models
from spec_local.models.registry import Registry
from spec_local.models.stores import StoredFile

OWN_STORE = "spec-local"
"""The store of models that were pulled, or have a name in models.toml, which then is the name."""


def models_here(registry: Registry) -> Iterator[StoredFile]:
    """Models of models.toml that are here, and others that have been pulled."""
    places = {name: here(name, registry) for name in registry.models}
    kept = {each.name: each.path for each in kept_models()}
    for name, path in {**kept, **places}.items():
        if path is not None:
            yield StoredFile(name, OWN_STORE, path)


def here(name: str, registry: Registry) -> Path | None:
    """Where a model of models.toml or of the store is; None if it is not here, or not any more."""
    try:
        return resolve(name, registry)
    except (ConfigError, ModelFileError):  # a file of the user's that has gone
        return None


def known_bytes(name: str, registry: Registry) -> int:
    """Size of a model that is here, or as models.toml says; 0 if it is not known."""
    path, spec = here(name, registry), registry.models.get(name)
    return model_bytes(path) if path else (spec.bytes if spec else None) or 0
