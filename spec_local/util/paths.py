"""Where spec-local keeps files of its own, and where others may have theirs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import platformdirs

from spec_local.errors import ConfigError


def cache_directory() -> Path:
    """$SPEC_LOCAL_CACHE, else the user's cache directory; ConfigError if there is neither."""
    own = os.environ.get("SPEC_LOCAL_CACHE")
    return Path(os.path.expanduser(own)) if own else _required(user_directory("cache"))


def state_directory() -> Path:
    """Where what a person said is kept; nobody else should read it. Raises ConfigError."""
    return _required(user_directory("state"))


def user_directory(
    kind: Literal["cache", "config", "state"], program: str = "spec-local"
) -> Path | None:
    """The user's directory for a program's files; None if no home directory is known.

    So it is with a user id that the system does not know, as containers often have.
    """
    try:
        found = Path(getattr(platformdirs, f"user_{kind}_dir")(program, appauthor=False))
    except RuntimeError:
        return None
    return found if found.is_absolute() else None


def home_directory() -> Path | None:
    """The user's home directory, if it is known."""
    try:
        return Path.home()
    except RuntimeError:
        return None


def _required(found: Path | None) -> Path:
    if found is None:
        raise ConfigError(
            "No home directory is known; set HOME, or SPEC_LOCAL_CACHE to a folder for models and "
            "what is learned."
        )
    return found
