"""What is said in a conversation is text: no part of it can begin or end a turn.

A chat template writes turns with control tokens such as <|im_start|>. Spelled out in a message they
would become the same tokens, and whoever wrote the message could speak for others. So such places
are marked before the template is rendered, and tokenized as the plain text they are. Messages
without any are tokenized as always: what stands next to a marked place is the only text that may
become other tokens than llama.cpp makes of the whole.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spec_local.llama.vocab import Vocabulary

OPEN, CLOSE = "\ufdd0", "\ufdd1"
"""Noncharacters, which Unicode keeps for the inside of programs."""
_NO_MARKS = {ord(mark): "\ufffd" for mark in (OPEN, CLOSE)}
NOT_SHOWN = "[image]"
"""What a conversation has for an image that its model was not shown."""
PICTURE = re.compile("(\ufdd2[0-9a-f]{32}\ufdd3)")
"""What stands for something that is no text, such as an image (`pictures.py`)."""
_MARKED = re.compile(f"{OPEN}([^{OPEN}{CLOSE}]*){CLOSE}")


def quoted(text: str, vocab: Vocabulary) -> str:
    """The text with every spelled-out control token marked."""
    text = text.translate(_NO_MARKS)
    as_read, as_text = (
        vocab.tokenize(text, add_special=False, parse_special=parse) for parse in (True, False)
    )
    if as_read == as_text:  # as nearly always
        return text
    return vocab.control_tokens.sub(lambda found: f"{OPEN}{found[0]}{CLOSE}", text)


def tokenize_quoted(text: str, vocab: Vocabulary, *, add_special: bool) -> list[int]:
    """Tokens of a rendered template, control tokens read as such where they are not marked."""
    begin = [vocab.special_ids["bos"]] if add_special and vocab.adds_bos else []
    parts = PICTURE.split(text)
    if len(parts) == 1:
        return _tokenized(text, vocab, begin, add_special=add_special)
    found = begin
    for number, part in enumerate(parts):
        if number % 2 == 0:
            found += _tokenized(part, vocab, [])
        else:  # what was shown to another model, or long ago, is not there any more
            found += vocab.marked.get(part) or _tokenized(NOT_SHOWN, vocab, [])
    return found


def _tokenized(
    text: str, vocab: Vocabulary, begin: Sequence[int], *, add_special: bool = False
) -> list[int]:
    """begin: the tokens that add_special puts in front."""
    plain, *rest = _MARKED.split(text)
    if not rest:
        return vocab.tokenize(plain, add_special=add_special, parse_special=True)
    parts = [
        vocab.tokenize(part, add_special=False, parse_special=number % 2 == 0)
        for number, part in enumerate([plain, *rest])
    ]
    return sum(parts, [*begin])
