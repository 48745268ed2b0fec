"""Text to measure evaluations with: real words, and every evaluation gets others.

What an evaluation costs can depend on its tokens. In a mixture of experts one token, repeated, asks
for the same experts again and again, and so do the same tokens in every pass; those of a text ask
for many, each of which is read from memory (`gguf/experts.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, islice
from typing import TYPE_CHECKING

from spec_local.workloads.workloads import bundled

if TYPE_CHECKING:
    from spec_local.llama.vocab import Vocabulary


def running_text(vocab: Vocabulary) -> Iterator[int]:
    """Tokens of the benchmark's prompts, one after the other, from the first again after the last.

    The prompts are read when the first token is asked for.
    """
    text = "\n\n".join(turn for prompt in bundled() for turn in prompt.turns)
    yield from cycle(vocab.tokenize(text, add_special=False, parse_special=False))


def taken(text: Iterator[int], count: int) -> list[int]:
    """The next so many tokens."""
    return list(islice(text, count))
