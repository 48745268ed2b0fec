"""Past answers of a model, kept in a file between runs: from them a repeated answer is drafted.

One file for each model, which its content identifies. A line of JSON says what it is; then come the
answers in tokens, the oldest first, each behind the end of its prompt. A file that is damaged, or
of another version, is as if there were none, and is replaced; one that cannot be written is lost,
never fatal. Only its owner may read it, for it tells what was asked and answered.
"""

from __future__ import annotations

import hashlib
import json
import logging
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spec_local.drafters.suffix_index import BREAK
from spec_local.util.files import replace_file
from spec_local.util.locks import Occupied, locked
from spec_local.util.paths import cache_directory

logger = logging.getLogger("spec_local.drafters.past_answers")

VERSION = 1
"""Version of the files' form; files of another version are replaced."""

MOST_TOKENS = 1_000_000
"""Tokens kept for a model, 4 bytes each; beyond that the oldest answers are dropped."""

_LOCK_SECONDS = 5.0
"""Longest wait for another process that writes; after that, this answer is not kept."""

_SUFFIX = ".answers"

Tokens = NDArray[np.int32]
"""One answer behind the end of its prompt, shape (tokens,)."""


@dataclass(frozen=True, slots=True)
class PastAnswers:
    """The file of one model."""

    path: Path
    model: str
    """Name of the model's file, for people."""

    @classmethod
    def of_user(cls, identity: Mapping[str, str | int]) -> PastAnswers:
        """In the cache directory. identity: of a model (`Model.identity`); its content counts, and
        that of its adapters."""
        content = f"{identity['bytes']} {identity['hash']}"
        if "adapters" in identity:
            content += f" {identity['adapters']}"
        name = hashlib.sha256(content.encode()).hexdigest()[:16] + _SUFFIX
        return cls(directory() / name, str(identity["model"]))

    def read(self) -> list[Tokens]:
        """All that are kept, the oldest first."""
        try:
            head, _, body = self.path.read_bytes().partition(b"\n")
        except OSError:
            return []
        if _is_whole(head, body):
            tokens = np.frombuffer(body, "<i4").astype(np.int32)
            ends = np.flatnonzero(tokens == BREAK)
            return [part[part != BREAK] for part in np.split(tokens, ends + 1)[:-1]]
        logger.warning("%s is damaged or of another version; it will be replaced.", self.path)
        return []

    def add(self, answer: Sequence[int]) -> None:
        """Keep one more; the same one is not kept twice. A failure to write is logged."""
        new = np.array(answer, np.int32)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with locked(self.path.parent / ".lock", _LOCK_SECONDS):
                kept = [each for each in self.read() if not np.array_equal(each, new)]
                self._write(_latest([*kept, new]))
        except (OSError, Occupied) as error:
            logger.warning("%s could not be written: %s", self.path, error)

    def _write(self, answers: Sequence[Tokens]) -> None:
        """Replace the file in one step; raises OSError."""
        body = b"".join(np.append(each, BREAK).astype("<i4").tobytes() for each in answers)
        replace_file(self.path, _head(self.model, body) + b"\n" + body)


def _head(model: str, body: bytes) -> bytes:
    head = {"version": VERSION, "model": model, "crc32": zlib.crc32(body)}
    return json.dumps(head).encode()


def _is_whole(head: bytes, body: bytes) -> bool:
    try:
        found = json.loads(head)
        return bool((found["version"], found["crc32"]) == (VERSION, zlib.crc32(body)))
    except (ValueError, LookupError, TypeError, RecursionError):
        return False


def _latest(answers: list[Tokens]) -> list[Tokens]:
    """As many of the last ones as are kept."""
    first, total = len(answers), 0
    while first > 0 and total + len(answers[first - 1]) <= MOST_TOKENS:
        first -= 1
        total += len(answers[first])
    return answers[first:]


def directory() -> Path:
    """Where past answers are kept."""
    return cache_directory() / "answers"


def all_kept() -> Iterator[PastAnswers]:
    """The files of all models; one whose first line is damaged has the name of its file."""
    for path in sorted(directory().glob(f"*{_SUFFIX}")):
        try:
            with path.open("rb") as file:
                model = json.loads(file.readline())["model"]
        except (OSError, ValueError, LookupError, TypeError):
            model = path.name
        yield PastAnswers(path, str(model))
