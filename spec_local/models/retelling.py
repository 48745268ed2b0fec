"""What a draft wrote in tokens of its own, told in the target's: string-level drafting.

As transformers' universal assisted generation and the string-level match of Timor et al. (arXiv
2502.05202) have it, the draft's text is divided anew by the target's tokenizer, from where the last
word of the context begins. What that makes of the context's end must be the context's own tokens,
or the draft's text is taken for itself.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from spec_local.llama.shared_vocabulary import SharedVocabulary, Tokens

_LOOK_BACK = 16
"""Tokens in which the beginning of the last word is looked for."""


class Told(NamedTuple):
    """A token of the target's."""

    token: int
    own: int
    """How many of the draft's tokens begin before it ends."""


class Retelling:
    """From the draft's tokens to the target's."""

    def __init__(self, target: Tokens, draft: Tokens, shared: SharedVocabulary) -> None:
        """shared: of these two."""
        self._target, self._draft, self._shared = target, draft, shared
        self._adds_space = self._text(self._tokens("a")) == b" a"

    def is_last(self, own: int) -> bool:
        """Whether nothing can be told of what follows that token: it is no text."""
        return not self._draft.plain_piece(own) or self._draft.is_end(own)

    def tell(self, context: Sequence[int], own: Sequence[int]) -> list[Told]:
        """The target's tokens for the draft's, which follow the context.

        An end of an answer is the target's. Nothing is told from the first byte on that belongs to
        no character, or to one whose end is missing.
        """
        closing = own[-1] if own and self.is_last(own[-1]) else None
        words = own if closing is None else own[:-1]
        pieces = [*map(self._draft.plain_piece, words)]
        begins = [0, *accumulate(map(len, pieces))][:-1]
        read = self._read(context, b"".join(pieces))
        told = [Told(token, bisect_left(begins, end)) for token, end in read]
        end = None if closing is None else self._end(closing)
        is_whole = bool(read) and read[-1][1] == sum(map(len, pieces))
        if end is not None and (is_whole or not words):
            told.append(Told(end, len(own)))
        return told

    def _end(self, own: int) -> int | None:
        """The target's token for one of the draft's that is no text; None if it has none."""
        closing = self._shared.closing if self._draft.is_end(own) else None
        return self._shared.to_target.get(own, closing)

    def _read(self, context: Sequence[int], text: bytes) -> list[tuple[int, int]]:
        """The target's tokens for a text after a context, each with where it ends, in bytes."""
        last = self._last_word(context)
        before = self._text(last)
        found = self._divided(before + text)
        if not last or [token for token, _end in found[: len(last)]] != [*last]:
            return self._divided(text)
        return [(token, end - len(before)) for token, end in found[len(last) :]]

    def _last_word(self, context: Sequence[int]) -> Sequence[int]:
        """The tokens from where white space last began, or after what is no text.

        None of them if that is too far back.
        """
        after = b""
        for length in range(1, min(len(context), _LOOK_BACK) + 1):
            token = context[-length]
            piece = self._target.plain_piece(token) if token >= 0 else b""  # an image's are below
            if not piece or (after[:1].isspace() and not piece[-1:].isspace()):
                return context[len(context) - length + 1 :]
            after = piece
        return ()

    def _divided(self, data: bytes) -> list[tuple[int, int]]:
        """The target's tokens for whole characters, each with its end; none if it changes them.

        Some tokenizers put a space before every text, which is left out again.
        """
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            text = data[: error.start].decode()
        given = text[1:] if self._adds_space and text[:1] == " " else text
        tokens = self._tokens(given)
        if self._text(tokens[:1]) == b" " and self._text(tokens[1:]) == text.encode():
            tokens = tokens[1:]
        if self._text(tokens) != text.encode():
            return []
        return [*zip(tokens, accumulate(len(self._text([token])) for token in tokens), strict=True)]

    def _tokens(self, text: str) -> list[int]:
        return self._target.tokenize(text, add_special=False, parse_special=False)

    def _text(self, tokens: Sequence[int]) -> bytes:
        return b"".join(map(self._target.plain_piece, tokens))
