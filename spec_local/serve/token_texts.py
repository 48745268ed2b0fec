"""Which tokens wrote the text that is let out, so that log-probabilities are of that text."""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from spec_local.engine.logprobs import TokenLogprobs
from spec_local.generation import Chunk


class PlacedToken(NamedTuple):
    """A token, and the index of the character of the text that it begins with or goes on with."""

    logprobs: TokenLogprobs
    offset: int


def placed(tokens: Sequence[int], piece: Callable[[int], bytes]) -> list[int]:
    """For each token, the index of the character that it begins or goes on with."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    offsets, written = list[int](), 0
    for token in tokens:
        offsets.append(written)
        written += len(decoder.decode(piece(token)))
    return offsets


class TokenTexts:
    """Follows one generation, which must report log-probabilities.

    Text lags behind the tokens by half a character or the beginning of a stop string; a token is
    reported with the first of its text. What spelled a stop string never is.
    """

    def __init__(
        self, piece: Callable[[int], bytes], offset: int = 0, *, with_end: bool = False
    ) -> None:
        """offset: length of the text before the first token.

        with_end: report a token at the end that writes nothing, too, such as an end token.
        """
        self._piece, self._with_end = piece, with_end
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._written = self._out = offset
        self._held = deque[PlacedToken]()

    def of(self, chunk: Chunk) -> list[PlacedToken]:
        """The tokens of the chunk's text."""
        for found in chunk.logprobs:
            self._held.append(PlacedToken(found, self._written))
            self._written += len(self._decoder.decode(self._piece(found.token)))
        self._out += len(chunk.text)
        tokens = list[PlacedToken]()
        while self._held and self._held[0].offset < self._out:
            tokens.append(self._held.popleft())
        if self._with_end and chunk.finish_reason is not None:
            while self._held and not self._piece(self._held[0].logprobs.token):
                tokens.append(self._held.popleft())
        return tokens
