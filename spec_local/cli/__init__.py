"""The command line. `main` is the console script; each command has a file of its own."""

from __future__ import annotations

import errno
import os
import sys
from io import TextIOWrapper

from spec_local.cli.interrupt import INTERRUPTED
from spec_local.cli.output import say
from spec_local.errors import SpecLocalError


def main() -> None:
    """Run the command line; errors meant for a person become one line and exit code 1."""
    try:
        from spec_local.cli.app import app, state
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # an ASCII terminal shows "?" for what it lacks
            stream.reconfigure(errors="replace")
    try:
        app()
    except SpecLocalError as error:
        if state.debug:
            raise
        say(f"error: {error}", err=True)
        sys.exit(1)
    except OSError as error:
        if state.debug:
            raise
        _say_what_the_system_says(error)
        sys.exit(1)
    except ModuleNotFoundError as error:
        if state.debug or error.name != "llama_cpp":
            raise
        say("error: llama.cpp is missing; run pip install llama-cpp-python.", err=True)
        sys.exit(1)


def _say_what_the_system_says(error: OSError) -> None:
    if error.errno == errno.ENOSPC:
        say("error: the disk is full; free some space and try again.", err=True)
        _forget_stdout()
    else:
        where = f"{error.filename}: " if error.filename else ""
        say(f"error: {where}{error.strerror or error}.", err=True)


def _forget_stdout() -> None:
    """What could not be written would be tried again at the end, and fail with a traceback."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
