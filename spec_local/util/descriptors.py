"""Where a file descriptor leads, for output of C code that Python's `sys.stderr` never sees."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

STDOUT, STDERR = 1, 2
_LOCK = threading.RLock()  # descriptors are the process's: two at once could leave one changed


@contextmanager
def redirected(source: int, target: int) -> Iterator[None]:
    """Let what the whole process writes to descriptor `source` go to descriptor `target` meanwhile.

    Where `source` is not open, as in a desktop application without a terminal, nothing happens.
    """
    with _LOCK:
        try:
            kept = os.dup(source)
        except OSError:
            yield
            return
        os.dup2(target, source)
        try:
            yield
        finally:
            os.dup2(kept, source)
            os.close(kept)
