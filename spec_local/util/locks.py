"""One process at a time, by a lock on a file that is there for nothing else."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform != "win32":
    import fcntl

_PAUSE = 0.05
"""Seconds between two tries."""
_HELD = frozenset((errno.EACCES, errno.EAGAIN, errno.EWOULDBLOCK))
_UNKNOWN = frozenset((errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL))
"""What systems say of files that cannot be locked, as on some network drives."""


class Occupied(Exception):
    """Somebody else has the lock."""


@contextmanager
def locked(path: Path, seconds: float | None = None) -> Iterator[None]:
    """Nobody else, in any thread or process, has the lock of that file while the block runs.

    seconds: longest wait; None waits as long as it takes. Where files cannot be locked at all, the
    block runs without. Raises Occupied after the wait, and OSError if the file cannot be made.
    """
    descriptor = _acquired(path, None if seconds is None else time.monotonic() + seconds)
    try:
        yield
    finally:
        os.close(descriptor)  # which unlocks it


def _acquired(path: Path, deadline: float | None) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if _lock(descriptor) and _is_file_of(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if deadline is not None and time.monotonic() >= deadline:
            raise Occupied(f"{path} is locked by somebody else")
        time.sleep(_PAUSE)


def _lock(descriptor: int) -> bool:
    """Whether the lock is ours now, or there is none to have."""
    if sys.platform == "win32":
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            return False
        if error.errno not in _UNKNOWN:
            raise
    return True


def _is_file_of(descriptor: int, path: Path) -> bool:
    """Whether the file is still the one of that name; who had the lock may have removed it."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
