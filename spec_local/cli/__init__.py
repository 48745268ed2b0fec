"""The command line. `main` is the console script; each command has a file of its own."""

from __future__ import annotations

import errno
import sys

from spec_local.cli import signals, streams
from spec_local.cli.output import say
from spec_local.errors import SpecLocalError


def main() -> None:
    """Run the command line; errors meant for a person become one line and exit code 1."""
    signals.end_at_once()
    streams.prepare()
    try:
        sys.exit(_run())
    except KeyboardInterrupt:
        sys.exit(signals.INTERRUPTED)
    finally:
        signals.end_at_once()  # Python, which has its own things to put in order, would complain


def _run() -> int:
    """Exit code of a command that failed; one that did not raises SystemExit."""
    from spec_local.cli.app import app, state

    signals.end_in_order()
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except SpecLocalError as error:
        if state.debug:
            raise
        say(f"error: {error}", err=True)
    except OSError as error:
        if state.debug:
            raise
        _say_what_the_system_says(error)
    except (MemoryError, RuntimeError) as error:
        if state.debug or not _is_want_of_memory(error):
            raise
        say("error: there is not enough memory; take a smaller model or --ctx-size.", err=True)
    except ModuleNotFoundError as error:
        if state.debug or error.name != "llama_cpp":
            raise
        say("error: llama.cpp is missing; run pip install llama-cpp-python.", err=True)
    return 1


def _is_want_of_memory(error: Exception) -> bool:
    """Whether it is that, of which Python has no exception for threads."""
    return isinstance(error, MemoryError) or "can't start new thread" in str(error)


def _say_what_the_system_says(error: OSError) -> None:
    if error.errno == errno.EPIPE:  # who read has gone, and knows it
        streams.forget(sys.stdout)
    elif error.errno == errno.ENOSPC:
        say("error: the disk is full; free some space and try again.", err=True)
        streams.forget(sys.stdout)
    else:
        where = f"{error.filename}: " if error.filename else ""
        say(f"error: {where}{error.strerror or error}.", err=True)
