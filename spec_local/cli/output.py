"""Writing an answer to stdout: as it is into a pipe or a file, made safe on a terminal."""

from __future__ import annotations

import sys

from spec_local.util.terminal import visible


def write(text: str) -> None:
    """Write at once, so that an answer is seen as it comes."""
    sys.stdout.write(visible(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()
