"""Ids below zero that stand for images in contexts: one for each position that an image takes.

An image is read in parts. Ids of a part follow one another downwards, so that of each its part and
its place in it are known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

_SPAN = 1 << 14
MOST_POSITIONS, MOST_PARTS = _SPAN, (1 << 31) // _SPAN - 1
"""Of a part; and of parts that can be told apart."""


def tokens_of(part: int, positions: int) -> range:
    """The ids of a part with that number, which begins from 0, and so many positions."""
    first = -2 - part * _SPAN
    return range(first, first - positions, -1)


def part_of(token: int) -> tuple[int, int]:
    """Of an image's token: the number of its part, and its place in it."""
    number, place = divmod(-token - 2, _SPAN)
    return number, place


def runs(tokens: Sequence[int], positions: Callable[[int], int]) -> Iterator[tuple[int, int]]:
    """Where parts of images begin and end in a sequence of tokens.

    positions: how many the part has that begins with a token.
    """
    at = 0
    while at < len(tokens):
        if tokens[at] >= 0:
            at += 1
            continue
        end = at + positions(tokens[at])
        yield at, end
        at = end


def are_whole(tokens: Sequence[int], positions: Callable[[int], int]) -> bool:
    """Whether every part of an image is there from its beginning to its end, and a text follows."""
    parts = (tokens[start:end] for start, end in runs(tokens, positions))
    return tokens[-1] >= 0 and all(
        [*part] == [*tokens_of(part_of(part[0])[0], len(part))] for part in parts
    )
