"""The command line. `main` is the console script; each command has a file of its own."""

from __future__ import annotations

import os
import sys

from spec_local.errors import SpecLocalError


def main() -> None:
    """Run the command line; errors meant for a person become one line and exit code 1."""
    from spec_local.cli.app import app, state

    try:
        app()
    except SpecLocalError as error:
        if state.debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader of the pipe has gone, as after `| head`; keep Python from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
