"""Reading and writing what the user names."""

from __future__ import annotations

from pathlib import Path

from spec_local.errors import ConfigError


def read_text(path: Path) -> str:
    """The text of a file; raises ConfigError if it cannot be read or is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"{path} cannot be read: {reason}.") from None


def write_text(path: Path, text: str) -> None:
    """Replace a file's text; raises ConfigError if it cannot be written."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.") from None
