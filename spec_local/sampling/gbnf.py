"""What a GBNF grammar must not contain, because llama.cpp ends the process over it."""

from __future__ import annotations

import re

from spec_local.errors import require

_DEEPEST = 200
_MOST_REPETITIONS = 2_000
"""llama.cpp takes no more, and silently reads a larger number as no bound."""

_QUOTED = re.compile(r'"(?:\\.|[^"\\])*"|\[(?:\\.|[^\]\\])*\]|#[^\n]*', re.DOTALL)
"""Literals, character classes and comments."""
_BOUNDS = re.compile(r"\{\s*(\d*)\s*(,?)\s*(\d*)\s*\}")


def require_harmless(grammar: str) -> None:
    """Raise ConfigError for grammars llama.cpp cannot be trusted with.

    A repetition from more to less, or of more than it counts, takes all memory; deep nesting
    overflows its stack; and after a token reference (`<…>`) it may refuse what it has just allowed.
    """
    bare = _QUOTED.sub(" ", grammar)
    require("<" not in bare, "The grammar refers to tokens (<…>); spell their text instead.")
    for least, comma, most in _BOUNDS.findall(bare):
        low = int(least or 0)
        high = int(most) if most else low
        fits = low <= high <= _MOST_REPETITIONS or (comma and not most and low <= _MOST_REPETITIONS)
        require(
            bool(fits),
            f"The grammar repeats {{{least}{comma}{most}}} times; write the smaller number first "
            f"and at most {_MOST_REPETITIONS}.",
        )
    depth = deepest = 0
    for char in bare:
        depth += (char == "(") - (char == ")")
        deepest = max(deepest, depth)
    require(deepest <= _DEEPEST, f"The grammar nests more than {_DEEPEST} parentheses; use rules.")
