"""Doing something in a forked child, and hearing what came of it."""

from __future__ import annotations

import os
import select
import signal
import warnings
from collections.abc import Callable

SECONDS = 20.0
"""After so long a child is taken to hang."""


def in_child(work: Callable[[], object]) -> str:
    """What the work returned in a forked child, or raised, as text; "hangs" if it does not end."""
    ours, childs = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads
        child = os.fork()
    if child == 0:
        try:
            said = str(work())
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(childs, said.encode()[:4000])
        os._exit(0)
    os.close(childs)
    try:
        if not select.select([ours], [], [], SECONDS)[0]:
            os.kill(child, signal.SIGKILL)
            return "hangs"
        return os.read(ours, 4000).decode()
    finally:
        os.waitpid(child, 0)
        os.close(ours)
