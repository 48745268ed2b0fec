"""The command line. `main` is the console script; each command has a file of its own."""

from __future__ import annotations

import sys

from spec_local.cli.interrupt import INTERRUPTED
from spec_local.errors import SpecLocalError


def main() -> None:
    """Run the command line; errors meant for a person become one line and exit code 1."""
    try:
        from spec_local.cli.app import app, state
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    try:
        app()
    except SpecLocalError as error:
        if state.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except ModuleNotFoundError as error:
        if state.debug or error.name != "llama_cpp":
            raise
        print("error: llama.cpp is missing; run pip install llama-cpp-python.", file=sys.stderr)
        sys.exit(1)
