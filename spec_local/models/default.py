"""Which pair a command takes that was given no name."""

from __future__ import annotations

import os
from pathlib import Path

from spec_local.models.download import final_path
from spec_local.models.registry import Registry

OWN = "default"
"""A pair of this name in the user's own models.toml is taken before any other."""

SMALLEST = "smollm2"
"""What is taken where nothing has been pulled: a small download, though without a draft."""


def default_pair(registry: Registry) -> str:
    """The user's own default; else the first pair with a draft whose files are here; else SMALLEST.

    So after the first pair with a draft was tried, all that follows uses it, and gains by it.
    """
    if OWN in registry.pairs:
        return OWN
    with_draft = (name for name, pair in registry.pairs.items() if pair.draft is not None)
    return next((name for name in with_draft if _is_here(name, registry)), SMALLEST)


def _is_here(pair: str, registry: Registry) -> bool:
    """Whether all files are in the store, or where models.toml says; nothing is asked or read."""
    models = ((name, registry.models[name]) for name in registry.pairs[pair].models)
    places = (
        Path(os.path.expanduser(m.path)) if m.path else final_path(name, m) for name, m in models
    )
    return all(map(os.path.exists, places))
