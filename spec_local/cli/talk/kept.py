"""Conversations that are kept between runs, each under a name; nothing is kept unless asked for.

A file of JSON for each, as /save writes it. Only its owner may read it, it is replaced in one step,
and one chat at a time has it. One that is damaged is moved aside, never overwritten.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path

from spec_local.cli.talk import transcript
from spec_local.errors import ConfigError, require
from spec_local.llama.messages import Message
from spec_local.util.files import replace_file
from spec_local.util.locks import Occupied, locked
from spec_local.util.paths import state_directory

FIRST = "last"
"""Name of what `--continue` keeps when nothing has been kept before."""
_SUFFIX = ".json"


class KeptConversation:
    """The file of one conversation; a context manager, inside which no other chat has it."""

    def __init__(self, name: str) -> None:
        """Raises ConfigError for a name that is no plain file name."""
        plain = re.fullmatch(r"\w[\w.-]*", name) is not None
        require(
            plain, f"A conversation's name has letters, digits, '.', '-' and '_', not {name!r}."
        )
        self.name = name
        self.path = directory() / f"{name}{_SUFFIX}"
        self._lock = ExitStack()
        self._written: list[dict[str, str]] = []
        self.trouble: str | None = None
        """A sentence about a file that was damaged."""

    def read(self) -> list[dict[str, str]]:
        """The messages kept so far, none for a new name or where `trouble` says why.

        Raises ConfigError if the file cannot be read, or is damaged and cannot be moved.
        """
        if not self.path.exists():
            return []
        try:
            self.path.open("rb").close()
        except OSError as error:
            raise ConfigError(f"{self.path} cannot be read: {error.strerror}.") from None
        try:
            self._written = transcript.load(self.path)
        except ConfigError:
            aside = self._moved_aside()
            self.trouble = f"{self.path} is damaged; it is now {aside}, and a new one begins."
        return [*self._written]

    def _moved_aside(self) -> Path:
        names = (self.path.with_name(f"{self.name}.damaged-{n}") for n in count(1))
        aside = next(each for each in names if not each.exists())
        try:
            return self.path.rename(aside)
        except OSError as error:
            reason = error.strerror
            raise ConfigError(f"{self.path} is damaged and cannot be moved: {reason}.") from None

    def write(self, messages: Sequence[Message]) -> None:
        """Keep these instead, if they are others; raises ConfigError if they cannot be written."""
        wanted = [dict(each) for each in messages]
        if wanted == self._written:
            return
        try:
            text = json.dumps(wanted, ensure_ascii=False, indent=2) + "\n"
            replace_file(self.path, text.encode(errors="replace"))
        except OSError as error:
            reason = error.strerror
            raise ConfigError(
                f"The conversation cannot be kept in {self.path}: {reason}."
            ) from None
        self._written = wanted

    def __enter__(self) -> KeptConversation:
        try:
            directory().mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock.enter_context(locked(directory() / f".{self.name}.lock", seconds=0))
        except Occupied:
            raise ConfigError(
                f"The conversation {self.name} is open in another chat; leave that, or choose "
                "another name."
            ) from None
        except OSError as error:
            raise ConfigError(f"Nothing can be kept in {directory()}: {error.strerror}.") from None
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()


def directory() -> Path:
    """Where conversations are kept."""
    return state_directory() / "conversations"


def all_kept() -> Iterator[str]:
    """Names, the latest first."""
    found = directory().glob(f"*{_SUFFIX}")
    return (path.stem for path in sorted(found, key=lambda each: -each.stat().st_mtime))


def latest() -> str:
    """Name of the conversation that went on last."""
    return next(all_kept(), FIRST)
