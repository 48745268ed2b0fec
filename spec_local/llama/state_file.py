"""What contexts hold, in a file: so that another process need not evaluate it again.

The first line says what the file is. Then come its parts, one for each context: a line of JSON says
by what it was computed, which tokens it is of, and how long what follows is, the state as llama.cpp
saves it, with a hash of all. llama.cpp believes what it is given, and may end the process over what
is damaged; so nothing reaches it that does not have its hash.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from spec_local.errors import ConfigError, PrefixMismatch
from spec_local.llama.state import Held, State
from spec_local.util.files import replacing, size_of

FIRST_LINE = b"spec-local prefix\n"
VERSION = 1
"""Of the parts' form."""
_LONGEST_LINE = 1 << 26

Key = Mapping[str, str | int]
"""By what a state was computed: whatever could make it another."""


class Part(NamedTuple):
    """What one context held."""

    key: Key
    tokens: tuple[int, ...]
    digest: str
    bytes: int
    at: int
    """Where in the file its state begins."""


class StateFile:
    """One such file, opened for reading; a context manager."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigError for what cannot be read or is none, PrefixMismatch if it is damaged.

        States are read, and compared with their hashes, by `held` alone.
        """
        self.path = path
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
        try:
            self.parts = self._read_parts()
        except OSError as error:
            self.close()
            raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
        except BaseException:
            self.close()
            raise

    def _read_parts(self) -> tuple[Part, ...]:
        if self._file.readline(len(FIRST_LINE)) != FIRST_LINE:
            raise ConfigError(f"{self.path} holds no prefix; name another file.")
        end, parts = os.fstat(self._file.fileno()).st_size, list[Part]()
        while line := self._file.readline(_LONGEST_LINE):
            part = self._part(line)
            if part.at + part.bytes > end:
                raise self._damaged()
            parts.append(part)
            self._file.seek(part.at + part.bytes)
        if not parts:
            raise self._damaged()
        return tuple(parts)

    def _part(self, line: bytes) -> Part:
        with suppress(ValueError, ArithmeticError, LookupError, TypeError, RecursionError):
            found = json.loads(line)
            if found["version"] != VERSION:
                raise PrefixMismatch(
                    f"{self.path} was written by another release of spec-local; have it written "
                    "anew."
                )
            size, tokens = int(found["bytes"]), tuple(map(int, found["tokens"]))
            if size > 0 and tokens:
                return Part(dict(found["key"]), tokens, found["digest"], size, self._file.tell())
        raise self._damaged()

    def held(self, part: Part) -> Held:
        """The tokens and the state of a part; raises PrefixMismatch if it is damaged."""
        state = ctypes.create_string_buffer(part.bytes)
        self._file.seek(part.at)
        read = self._file.readinto(state)
        if read != part.bytes or _digest(part.key, part.tokens, state) != part.digest:
            raise self._damaged()
        return Held(part.tokens, state)

    def _damaged(self) -> PrefixMismatch:
        return PrefixMismatch(f"{self.path} is damaged; have it written anew.")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> StateFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def write_states(path: Path, parts: Iterable[tuple[Key, Held]]) -> None:
    """Replace the file in one step; only its owner may read it.

    parts: asked for one by one. Raises ConfigError if it cannot be written, or if what is there is
    another kind of file, before anything is asked for.
    """
    _require_ours(path)
    try:
        with replacing(path) as file:
            file.write(FIRST_LINE)
            for key, held in parts:
                _write(file, key, held)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.") from None


def _require_ours(path: Path) -> None:
    if os.path.isfile(path) and size_of(path):  # an empty one was made for it
        with suppress(PrefixMismatch):
            StateFile(path).close()


def _write(file: BinaryIO, key: Key, held: Held) -> None:
    about: dict[str, Any] = {
        "version": VERSION,
        "key": dict(key),
        "tokens": held.tokens,
        "bytes": len(held.state),
        "digest": _digest(key, held.tokens, held.state),
    }
    file.write(json.dumps(about).encode() + b"\n")
    file.write(memoryview(held.state))


def _digest(key: Key, tokens: tuple[int, ...], state: State) -> str:
    found = hashlib.blake2b(json.dumps([dict(key), tokens]).encode(), digest_size=16)
    found.update(memoryview(state))
    return found.hexdigest()
