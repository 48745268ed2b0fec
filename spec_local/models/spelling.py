"""How a draft reads a token of the target's: as one of its own, or as several.

That a draft of another family reads each token for itself, and not the text as its own tokenizer
would divide it, costs no acceptance and needs no going back (docs/drafts.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

_FILLER = (0,)
"""What is read for a token of which a draft has nothing: that takes a position even so. It only
makes drafts worse."""


class Spelling:
    """The draft's tokens for each of the target's."""

    def __init__(
        self,
        known: Mapping[int, int],
        pieces: Callable[[], Mapping[bytes, int]],
        written: Callable[[int], bytes],
        first: int | None = None,
    ) -> None:
        """known: the draft's id of each token of the target's that it has.

        pieces: the draft's ids by the bytes that tokens write; asked for when they are needed.
        written: the bytes that a token of the target's is read as, if it is not known.
        first: what the draft wants at the beginning of every text; None: nothing.
        """
        self._spelled: dict[int, tuple[int, ...]] = {token: (new,) for token, new in known.items()}
        self._make_pieces, self._written = pieces, written
        self._first = () if first is None else (first,)

    def spell(self, tokens: Sequence[int], *, begins: bool) -> list[tuple[int, ...]]:
        """The draft's tokens for each of the target's, at least one; begins: these are the first
        ones of a text.
        """
        each = [*map(self._of, tokens)]
        if begins and each and each[0] != self._first:
            each[0] = (*self._first, *each[0])
        return each

    def _of(self, token: int) -> tuple[int, ...]:
        found = self._spelled.get(token)
        if found is None:
            found = self._spelled[token] = self._by_pieces(self._written(token))
        return found

    def _by_pieces(self, text: bytes) -> tuple[int, ...]:
        """The longest piece that fits, again and again; bytes no piece begins with are left out."""
        found, start = list[int](), 0
        while start < len(text):
            lengths = range(min(self._longest, len(text) - start), 0, -1)
            fitting = (n for n in lengths if text[start : start + n] in self._pieces)
            length = next(fitting, 0)
            if length:
                found.append(self._pieces[text[start : start + length]])
            start += max(length, 1)
        return tuple(found) or _FILLER

    @cached_property
    def _pieces(self) -> Mapping[bytes, int]:
        return self._make_pieces()

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self._pieces), default=0)
