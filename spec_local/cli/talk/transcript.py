"""Conversations in files: JSON that can be taken up again, Markdown to read."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from spec_local.chat import checked_messages
from spec_local.errors import ConfigError, require
from spec_local.llama.messages import Message
from spec_local.llama.quoting import NOT_SHOWN, PICTURE
from spec_local.util.files import read_text, write_text


def save(path: Path, messages: Sequence[Message]) -> None:
    """Write them as Markdown if the name ends in .md, else as JSON; never over another file."""
    require(bool(messages), "Nothing has been said yet.")
    require(not os.path.lexists(path), f"{path} is there already; choose another name.")
    if path.suffix == ".md":
        text = "\n\n".join(f"## {each['role']}\n\n{each['content'].strip()}" for each in messages)
    else:
        text = json.dumps([dict(each) for each in messages], ensure_ascii=False, indent=2)
    write_text(path, PICTURE.sub(NOT_SHOWN, text) + "\n")


def load(path: Path) -> list[dict[str, str]]:
    """Messages from JSON; raises ConfigError if they are no conversation."""
    try:
        found = json.loads(read_text(path))
    except (ValueError, RecursionError):
        raise ConfigError(f"{path} is not JSON; load what /save has written.") from None
    try:
        return checked_messages(found)
    except ConfigError as error:
        raise ConfigError(f"{path} cannot be loaded: {error}") from None
