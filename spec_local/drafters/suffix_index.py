"""Where did these tokens stand before? The longest match of any ending, in a text that grows.

A suffix array (Manber and Myers, SIAM Journal on Computing 22, 1993) of the text read backwards:
its positions are sorted by what stands before them, nearest token first. The places where an ending
stood before are then neighbours, the longest matches nearest. It answers what a suffix automaton
answers (arXiv 2411.10666), in 12 bytes a token instead of hundreds.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from itertools import takewhile
from struct import pack

import numpy as np
from numpy.typing import NDArray

DEPTH = 64
"""Tokens by which positions are sorted; longer matches count as equal, the latest found first."""

BREAK = -1
"""Stands between texts that have nothing to do with each other; matches and drafts end there."""

_NEIGHBOURS = 16
"""Most matches reported from either side of where an ending belongs; bounds the work of a draft."""

_INSERTED = 8
"""A text that grows by less than 1 / so much is sorted in token by token; by more, anew."""

_WIDTH = 4
"""Bytes of a token."""


class SuffixIndex:
    """A text and its positions in order; a position is known once a token follows it.

    To append n tokens to N costs n binary searches, or one sort where n > N / 8: amortised
    O(log N) comparisons a token. To find a match costs one binary search. Both stay that in the
    worst texts, because no more than DEPTH tokens are compared.
    """

    def __init__(self, tokens: Sequence[int] = ()) -> None:
        self.tokens = array("i")
        self._order = array("i")
        self._backwards = bytearray()
        """The last token first, 4 bytes each, the most significant first: bytes sort as tokens."""
        self._room = 0
        """Bytes at its beginning that are still free."""
        self.extend(tokens)

    def __len__(self) -> int:
        return len(self.tokens)

    def extend(self, tokens: Sequence[int]) -> None:
        """Append tokens, or BREAK between two texts."""
        if len(tokens) * _INSERTED > len(self.tokens):
            self.tokens.extend(tokens)
            self._prepend(_backwards(tokens))
            self._order = _sorted_positions(self.tokens)
            return
        for token in tokens:
            place = self._place(self._backwards[self._room : self._room + DEPTH * _WIDTH])
            self._order.insert(place, len(self.tokens))
            self.tokens.append(token)
            self._prepend(_backwards((token,)))

    def longest(self, ending: Sequence[int], beyond: int = 0) -> tuple[int, list[int]]:
        """How many of the ending's last tokens stood here before, and what positions follow them.

        beyond: no positions are reported of a match that has no more tokens than that. The latest
        position is last. If there are many, only those whose earlier text is nearest in order are
        reported, or the latest of those that agree in DEPTH tokens.
        """
        wanted = _backwards(ending[-DEPTH:])
        order, text, size = self._order, self._backwards, len(self._backwards)
        place = self._place(wanted)
        nearest = [size - _WIDTH * p for p in order[max(0, place - 1) : place + 1]]
        length = max((_common(wanted, text[at : at + len(wanted)]) for at in nearest), default=0)
        if length <= beyond:
            return length, []
        start = wanted[: length * _WIDTH]

        def matches(position: int) -> bool:
            return text.startswith(start, size - _WIDTH * position)

        left = order[max(0, place - _NEIGHBOURS) : place][::-1]
        right = order[place : place + _NEIGHBOURS]
        return length, sorted((*takewhile(matches, left), *takewhile(matches, right)))

    def _prepend(self, tokens: bytes) -> None:
        """Put tokens in front, where room is made for more than these."""
        if len(tokens) > self._room:
            more = len(tokens) + len(self._backwards) // _INSERTED
            self._backwards[:0] = bytes(more)
            self._room += more
        self._room -= len(tokens)
        self._backwards[self._room : self._room + len(tokens)] = tokens

    def _place(self, ending: bytes | bytearray) -> int:
        """Where in the order an ending belongs, given backwards; after those that are the same."""
        text, size, depth = self._backwards, len(self._backwards), DEPTH * _WIDTH

        def before(position: int) -> bytearray:
            at = size - _WIDTH * position
            return text[at : at + depth]

        return bisect_right(self._order, ending, key=before)


def _backwards(tokens: Sequence[int]) -> bytes:
    return pack(f">{len(tokens)}i", *reversed(tokens))


def _common(one: bytes, other: bytes | bytearray) -> int:
    """How many tokens of two endings are the same."""
    size = min(len(one), len(other))
    differing = int.from_bytes(one[:size], "big") ^ int.from_bytes(other[:size], "big")
    return (size - (differing.bit_length() + 7) // 8) // _WIDTH


def _sorted_positions(tokens: array[int]) -> array[int]:
    """All positions, sorted by the DEPTH tokens before them; equal ones in the order of the text.

    By prefix doubling: once sorted by h tokens, the rank of the position h tokens earlier decides
    between equals, and they are sorted by 2 h. Rank 0 is that of no token at all.
    """
    size, known = len(tokens), 1
    key = np.zeros(size, np.int64)
    key[1:] = np.frombuffer(tokens, np.uint32)[:-1].astype(np.int64) + 1
    order = np.argsort(key, kind="stable")
    while known < DEPTH and size:
        rank = _ranks(key, order)
        if rank[order[-1]] == size:
            break
        key = rank * (size + 1)
        key[known:] += rank[:-known]
        order = np.argsort(key, kind="stable")
        known *= 2
    return array("i", order.astype(np.intc).tobytes())


def _ranks(key: NDArray[np.int64], order: NDArray[np.int64]) -> NDArray[np.int64]:
    """The place of every key among all different ones, from 1."""
    ordered = key[order]
    rank = np.empty_like(key)
    rank[order] = np.concatenate([[1], 1 + np.cumsum(ordered[1:] != ordered[:-1])])
    return rank
