"""Which tokens two vocabularies have in common, by the bytes they write and the roles they play.

A draft model whose vocabulary is another than its target's drafts with what both have: token-level
intersection (TLI; Timor et al., arXiv 2502.05202). Ordinary tokens are the same if they write the
same bytes, control tokens if they are spelled alike. What ends an answer in one ends it in the
other, and so does what begins a text, whatever they are called.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Protocol

_END_OF_TEXT = b"<|endoftext|>"
_RAW_BYTE = re.compile(rb"<0x[0-9A-F]{2}>")


class Tokens(Protocol):
    """What is asked of a vocabulary (`vocab.py`, or a small one in the tests)."""

    n_tokens: int

    @property
    def special_ids(self) -> Mapping[str, int]:
        """Ids by role: bos, eos, eot …"""

    @property
    def adds_bos(self) -> bool:
        """Whether a text begins with a token of its own."""

    def is_end(self, token: int) -> bool:
        """Whether it ends a generation."""

    def text(self, token: int) -> bytes:
        """The token as the vocabulary spells it."""

    def plain_piece(self, token: int) -> bytes:
        """The bytes it writes as ordinary text; nothing for a control token."""

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """Ids of the text's tokens."""


class SharedVocabulary:
    """The tokens that a target and its draft have in common, under the ids of both."""

    def __init__(self, target: Tokens, draft: Tokens, sample: str = "") -> None:
        """Reads every token of both: about half a second for 200,000 of them.

        sample: a text to tell by how much of the target's texts is written in common tokens.
        """
        mine, theirs = _All(target), _All(draft)
        written = _pairs(mine.written, theirs.written)
        alike = _pairs(mine.control, theirs.control)
        by_role = {} if theirs.closing is None else dict.fromkeys(mine.ends, theirs.closing)
        if mine.bos is not None and theirs.bos is not None:
            by_role[mine.bos] = theirs.bos
        self.n_target, self.n_draft = target.n_tokens, draft.n_tokens
        self.written = len(written)
        """How many of them write text."""
        self.draft_pieces: Mapping[bytes, int] = theirs.written
        """The draft's ordinary tokens, by the bytes they write."""
        self.to_draft: Mapping[int, int] = by_role | alike | written
        """The draft's token for one of the target's; the same for several that end an answer."""
        to_target = {other: token for token, other in (alike | written).items()}
        if mine.closing is not None and theirs.closing is not None and mine.closing not in alike:
            to_target[theirs.closing] = mine.closing
        self.to_target: Mapping[int, int] = to_target
        """The target's token for one of the draft's; each once."""
        self.closing = mine.closing
        """What an answer of the target's ends with; None if it has no such token."""
        tokens = target.tokenize(sample, add_special=False, parse_special=False)
        known = [token in self.to_draft for token in tokens]
        self.share_of_text = sum(known) / len(known) if known else 1.0
        """Of the target's tokens of the sample, how many the draft has, in [0, 1]."""

    @property
    def share_of_target(self) -> float:
        """Of the target's tokens, how many the draft has, in [0, 1]."""
        return len(self.to_target) / self.n_target

    @property
    def share_of_draft(self) -> float:
        """Of the draft's tokens, how many the target has, in [0, 1]."""
        return len(self.to_target) / self.n_draft


class _All:
    """A vocabulary's tokens by what they are."""

    def __init__(self, vocab: Tokens) -> None:
        self.written: dict[bytes, int] = {}
        """Ordinary tokens by their bytes; of several the first that is no raw byte."""
        self.control: dict[bytes, int] = {}
        """Others by how they are spelled."""
        self.ends: list[int] = []
        self.bos = vocab.special_ids.get("bos")
        roles = map(vocab.special_ids.get, ("eot", "eos"))
        closing = [token for token in roles if token is not None]
        # llama.cpp takes the end of a text for that of a turn where it finds no other by name.
        turns = [token for token in closing if vocab.text(token) != _END_OF_TEXT]
        self.closing = next(iter(turns + closing), None)
        """What an answer ends with: its turn, or its text where there are no turns."""
        for token in reversed(range(vocab.n_tokens)):
            piece, is_end = vocab.plain_piece(token), vocab.is_end(token)
            if is_end:
                self.ends.append(token)
            if piece and not is_end:
                if piece not in self.written or not _RAW_BYTE.fullmatch(vocab.text(token)):
                    self.written[piece] = token
            elif spelled := vocab.text(token):
                self.control[spelled] = token


def _pairs(mine: Mapping[bytes, int], theirs: Mapping[bytes, int]) -> dict[int, int]:
    return {mine[each]: theirs[each] for each in mine.keys() & theirs.keys()}
