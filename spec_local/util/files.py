"""Reading and writing what the user names."""

from __future__ import annotations

import glob
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from spec_local.errors import ConfigError, require
from spec_local.util.progress import Share, no_share

_BLOCK = 1 << 22
_LARGEST_TEXT = 1 << 30
_SAMPLES, _SAMPLE_BYTES = 64, 1 << 14


def read_text(path: Path) -> str:
    """The text of a file; raises ConfigError if it cannot be read, is not UTF-8 or has no end."""
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_TEXT + 1)
        require(len(data) <= _LARGEST_TEXT, f"{path} cannot be read: it is too large for a text.")
        return text_of(data)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"{path} cannot be read: {reason}.") from None


def text_of(data: bytes, errors: str = "strict") -> str:
    """UTF-8 as text: without a byte order mark, and every line ends in a newline alone.

    errors: what to do with what is not UTF-8; by default UnicodeDecodeError is raised.
    """
    return data.decode("utf-8-sig", errors).replace("\r\n", "\n").replace("\r", "\n")


def write_text(path: Path, text: str) -> None:
    """Replace a file's text; raises ConfigError if it cannot be written."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.") from None
    except UnicodeError:
        raise ConfigError(f"{path} cannot be written: the text has half a character.") from None


def replace_file(path: Path, data: bytes) -> None:
    """Write a file that is the old one or the new one at any moment, for its owner alone.

    Only one may write at a time, see `replacing`. Raises OSError.
    """
    with replacing(path) as file:
        file.write(data)


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """What is written in the block is in the place of that file at its end, for its owner alone.

    If the block raises, the file is as it was. What a killed process has left of such a write goes,
    so that only one may write at a time. Raises OSError.
    """
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.partial"):
        left.unlink(missing_ok=True)
    handle, partial = tempfile.mkstemp(".partial", f".{path.name}.", path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def size_of(path: Path) -> int:
    """Bytes of a file; 0 if there is none, no longer any, or none to be seen."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def sha256_of(path: Path, progress: Share = no_share) -> str:
    """The hash of a whole file, in lower-case hexadecimal digits; raises OSError."""
    size, done, digest = path.stat().st_size, 0, hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            done += len(block)
            progress(done / size)
    return digest.hexdigest()


def hash_of_samples(path: Path) -> str:
    """Hash of places evenly spread over a file, its beginning and its end among them.

    Reading gigabytes would cost seconds. Raises OSError.
    """
    size, found = path.stat().st_size, hashlib.sha256()
    with path.open("rb") as file:
        for sample in range(_SAMPLES):
            file.seek(max(0, size - _SAMPLE_BYTES) * sample // (_SAMPLES - 1))
            found.update(file.read(_SAMPLE_BYTES))
    return found.hexdigest()
