"""The standard streams of the program, which may be closed, full, or lack a letter."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper
from typing import TextIO


def prepare() -> None:
    """Make all three there, and able to take any text.

    One that is closed leads nowhere: else the next file to be opened would have its number, and
    what C code prints would be written into that.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            nowhere = open(os.devnull, mode)  # noqa: SIM115 - as long as the process is there
            os.set_inheritable(nowhere.fileno(), True)
            setattr(sys, name, nowhere)
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # an ASCII terminal shows "?" for what it lacks
            stream.reconfigure(errors="replace")


def forget(stream: TextIO) -> None:
    """Let it lead nowhere: what it did not take would be written again at the end, and fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
