"""Writing to people: answers as they are or made safe, sentences that wrap between words."""

from __future__ import annotations

import sys

from spec_local.util.terminal import visible


def write(text: str) -> None:
    """Write at once, so that an answer is seen as it comes; on a terminal nothing is obeyed."""
    sys.stdout.write(visible(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def say(sentence: str, *, err: bool = False) -> None:
    """A line of the program's own: on a terminal wrapped between words, else left whole.

    err: on stderr, where whatever is not the result belongs.
    """
    stream = sys.stderr if err else sys.stdout
    if not stream.isatty():
        print(sentence, file=stream)
        return
    from rich.console import Console
    from rich.text import Text

    Console(file=stream, highlight=False).print(Text(sentence))
