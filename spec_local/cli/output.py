"""Writing to people: answers as they are or made safe, sentences that wrap between words."""

from __future__ import annotations

import sys
from textwrap import fill
from typing import TextIO

from spec_local.cli import streams
from spec_local.util.terminal import visible


def write(text: str) -> None:
    """Write at once, so that an answer is seen as it comes; on a terminal nothing is obeyed."""
    sys.stdout.write(visible(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def say(sentence: str, *, err: bool = False) -> None:
    """A line of the program's own: on a terminal wrapped between words, else left whole.

    err: on stderr, where whatever is not the result belongs, and may be lost.
    """
    try:
        _say(sentence, sys.stderr if err else sys.stdout)
    except OSError:
        if not err:
            raise
        streams.forget(sys.stderr)


def _say(sentence: str, stream: TextIO) -> None:
    if not stream.isatty():
        print(sentence, file=stream)
        return
    from rich.console import Console

    width = Console(file=stream).width or 80  # COLUMNS may be 0
    for line in visible(sentence).split("\n"):
        # A path longer than a line stays whole: the terminal folds it, and it can be copied.
        print(fill(line, width, break_long_words=False, break_on_hyphens=False), file=stream)
