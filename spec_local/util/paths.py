"""Where spec-local keeps files of its own."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_directory() -> Path:
    """$SPEC_LOCAL_CACHE, else the user's cache directory."""
    root = os.environ.get("SPEC_LOCAL_CACHE")
    return Path(root or platformdirs.user_cache_dir("spec-local", appauthor=False))


def state_directory() -> Path:
    """Where what a person said is kept; nobody else should read it."""
    return Path(platformdirs.user_state_dir("spec-local", appauthor=False))
