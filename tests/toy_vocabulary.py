"""Two small vocabularies that divide the same texts differently, and drafts that have the other."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from spec_local.drafters.model import ModelDrafter
from spec_local.drafters.own_words import OwnWords
from spec_local.llama.shared_vocabulary import SharedVocabulary
from spec_local.models.mapped_session import Columns, MappedSession
from spec_local.models.retelling import Retelling
from spec_local.models.spelling import Spelling
from tests.fake import END, N_VOCAB, TableSession

_WORDS = re.compile(rb"\s*\S+|\s+")


class ToyVocabulary:
    """Divides a text into words, and each word into the longest pieces that fit.

    Bytes without a piece are left out.
    """

    def __init__(
        self,
        pieces: Sequence[bytes],
        control: Mapping[int, bytes],
        special_ids: Mapping[str, int],
        *,
        adds_bos: bool = False,
        adds_space: bool = False,
    ) -> None:
        """control: how tokens without a piece are spelled."""
        self._pieces, self._control = pieces, control
        self._ids = {piece: i for i, piece in enumerate(pieces) if piece}
        self.n_tokens = len(pieces)
        self.special_ids = special_ids
        self.adds_bos, self._adds_space = adds_bos, adds_space

    def is_end(self, token: int) -> bool:
        return token in (self.special_ids.get("eos"), self.special_ids.get("eot"))

    def text(self, token: int) -> bytes:
        return self._control.get(token, self._pieces[token])

    def plain_piece(self, token: int) -> bytes:
        return self._pieces[token]

    def spelled(self, token: int) -> bytes:
        return self.plain_piece(token) or self.text(token)

    def written(self, tokens: Sequence[int]) -> bytes:
        """The bytes that tokens write."""
        return b"".join(map(self.plain_piece, tokens))

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        return self.divide(((" " if self._adds_space and text else "") + text).encode())

    def divide(self, data: bytes) -> list[int]:
        """The tokens of a text, or of what is left of one."""
        return [token for word in _WORDS.findall(data) for token in self._longest(word)]

    def _longest(self, word: bytes) -> list[int]:
        found = list[int]()
        while word:
            length = next((n for n in range(len(word), 0, -1) if word[:n] in self._ids), 0)
            found += [self._ids[word[:length]]] if length else []
            word = word[max(length, 1) :]
        return found


E_ACUTE = "é".encode()
_BYTES = (b"a", b"b", b"c", b" ", b"\n", E_ACUTE[:1], E_ACUTE[1:])
_TARGET = (b"ab", b"bc", b" a", b" ab", b"abc", b" abc", b"cc", b"\n ", E_ACUTE, b" b", b"ca")
_DRAFT = (b"bca", b" abc", b"cab", b"ac", b" " + E_ACUTE, b" c", b"\n  ", b"bb", b"ab", b" a")
_CONTROL = (b"", b"", b"")
BOS, TURN = END - 2, END - 1

TARGET = ToyVocabulary(
    [*_BYTES, *_TARGET, b"aab", b"bba", b"cab", *_CONTROL],
    {BOS: b"<s>", TURN: b"<ab>", END: b"<end>"},
    {"bos": BOS, "eos": END},
)
DRAFT = ToyVocabulary(
    [*reversed(_BYTES), *_DRAFT, b"aa", b"ba", b"cb", b"abab", *_CONTROL],
    {BOS: b"<begin>", TURN: b"<other>", END: b"<eot>"},
    {"bos": BOS, "eot": END},
    adds_bos=True,
)
assert TARGET.n_tokens == DRAFT.n_tokens == N_VOCAB
SHARED = SharedVocabulary(TARGET, DRAFT)


def mapped(inner: TableSession) -> MappedSession:
    """A session of the draft's in the target's tokens."""
    pairs = np.array([*SHARED.to_target.items()])
    spelling = Spelling(SHARED.to_draft, lambda: SHARED.draft_pieces, TARGET.spelled, BOS)
    return MappedSession(inner, Columns(pairs[:, 0], pairs[:, 1]), TARGET.n_tokens, spelling)


def drawing(inner: TableSession) -> ModelDrafter:
    """Draws from the common tokens."""
    return ModelDrafter(mapped(inner), is_end=TARGET.is_end)


def writing(inner: TableSession) -> ModelDrafter:
    """Drafts in its own tokens."""
    session = mapped(inner)
    words = OwnWords(session, Retelling(TARGET, DRAFT, SHARED))
    return ModelDrafter(session, is_end=TARGET.is_end, words=words)
