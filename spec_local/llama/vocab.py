"""A model's vocabulary: text to tokens, tokens to bytes, and whether two vocabularies agree."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING

from spec_local.errors import EngineError, require
from spec_local.llama.backend import lib
from spec_local.thoughts import MARKS
from spec_local.util.stack import on_stack

if TYPE_CHECKING:
    from spec_local.sampling.schema_constraint import TokenTable

PADDING_TOLERANCE = 128
"""Models of one family may pad the embedding to different sizes; llama.cpp allows the same."""

_SPECIALS = {
    "bos": lib.llama_vocab_bos,
    "eos": lib.llama_vocab_eos,
    "eot": lib.llama_vocab_eot,
    "sep": lib.llama_vocab_sep,
    "nl": lib.llama_vocab_nl,
    "pad": lib.llama_vocab_pad,
}
_SPECIAL = (
    lib.LLAMA_TOKEN_ATTR_CONTROL
    | lib.LLAMA_TOKEN_ATTR_USER_DEFINED
    | lib.LLAMA_TOKEN_ATTR_UNKNOWN
    | lib.LLAMA_TOKEN_ATTR_BYTE
)
_RUNS = re.compile(r"\s+|[^\n]+")
"""What a pattern of a tokenizer can match at once, at most: white space, or a part of a line."""
_SHORT_RUN = 1_000
"""Characters that any thread's stack has room for."""
_LONGEST_RUN = 1_000_000
_STACK_PER_CHARACTER = 2_048
"""Bytes; twice what the hungriest tokenizer takes (tests/test_long_texts.py has them all)."""
_CALL_MARKS = (
    *("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"),  # Mistral
    "<|START_ACTION|>",  # Command R7B, Command A
    "<|function_call|>",  # GigaChat 3.1
    *("<tool_call>", "<tool_calls>"),  # ordinary text in most vocabularies
)
"""Control tokens by which calls of tools are told from text."""
_TYPES = {0: "none", 1: "SPM", 2: "BPE", 3: "WPM", 4: "UGM", 5: "RWKV", 6: "PLaMo-2"}


class Vocabulary:
    """View of the vocabulary inside a loaded model; raises EngineError once that is closed."""

    def __init__(self, handle: lib.llama_vocab_p) -> None:
        self._handle: lib.llama_vocab_p | None = handle
        self._pieces: dict[int, bytes] = {}
        self.marked: dict[str, Sequence[int]] = {}
        """Tokens of what is no text, such as an image, by the mark that stands for it in a text."""
        self.n_tokens = lib.llama_vocab_n_tokens(handle)

    @property
    def handle(self) -> lib.llama_vocab_p:
        """llama.cpp's pointer."""
        if self._handle is None:
            raise EngineError("This model is closed; load it again.")
        return self._handle

    def close(self) -> None:
        """The model is about to be freed, and this is part of it."""
        self._handle = None

    @property
    def kind(self) -> str:
        """Tokenizer family, such as BPE or SPM."""
        number = lib.llama_vocab_type(self.handle)
        return _TYPES.get(number, str(number))

    @cached_property
    def special_ids(self) -> dict[str, int]:
        """Ids of the special tokens the model defines, by name."""
        ids = {name: token_of(self.handle) for name, token_of in _SPECIALS.items()}
        return {name: token for name, token in ids.items() if token >= 0}

    @cached_property
    def suppressed(self) -> tuple[int, ...]:
        """Ids the model file says must never be drawn."""
        count = ctypes.c_int32()
        ids = lib.llama_vocab_get_suppress_tokens(self.handle, lib.byref(count))
        return tuple(ids[: count.value]) if count.value else ()

    @property
    def adds_bos(self) -> bool:
        """Whether plain text is tokenized with a beginning-of-sequence token in front."""
        return lib.llama_vocab_get_add_bos(self.handle)

    @cached_property
    def _adds_eos(self) -> bool:
        """Whether an end token is put behind a text."""
        return lib.llama_vocab_get_add_eos(self.handle)

    def is_end(self, token: int) -> bool:
        """Whether the token ends a generation (end of text, of turn, of message …)."""
        return lib.llama_vocab_is_eog(self.handle, token)

    def is_special(self, token: int) -> bool:
        """Whether it is no ordinary text: control, user-defined, unknown, a raw byte, an end."""
        return bool(lib.llama_vocab_get_attr(self.handle, token) & _SPECIAL) or self.is_end(token)

    @cached_property
    def control_tokens(self) -> re.Pattern[str]:
        """Finds the spelling of every token that is read only where special ones are."""
        hidden = lib.LLAMA_TOKEN_ATTR_CONTROL | lib.LLAMA_TOKEN_ATTR_UNKNOWN
        attributes = partial(lib.llama_vocab_get_attr, self.handle)
        tokens = [token for token in range(self.n_tokens) if attributes(token) & hidden]
        spelled = {self.text(token).decode(errors="replace") for token in tokens} - {""}
        longest_first = sorted(spelled, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def text(self, token: int) -> bytes:
        """The token as the vocabulary spells it (escaped, unlike `piece`)."""
        return lib.llama_vocab_get_text(self.handle, token)

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """Token ids of the text.

        add_special: put the tokens in front that the model wants there (BOS). An end token that it
        may want behind is left out, as every text is to go on.
        parse_special: read spelled-out control tokens such as <|im_start|> as such.
        Raises ConfigError for a text without a break that is too long for it.
        """
        data = text.encode(errors="replace")  # halves of characters, which no text has
        read = partial(self._read_tokens, data, add_special, parse_special)
        longest = self._longest_run(text)
        return read() if longest <= _SHORT_RUN else on_stack(longest * _STACK_PER_CHARACTER, read)

    def _longest_run(self, text: str) -> int:
        """Characters that llama.cpp may match at once, which it does by recursion; 0 if it is none.

        Only byte-pair tokenizers have patterns.
        """
        if len(text) <= _SHORT_RUN or self.kind != "BPE":
            return 0
        longest = max(map(len, _RUNS.findall(text)))
        require(
            longest <= _LONGEST_RUN,
            f"The text has a line of {longest:,} characters, and this model's tokenizer takes "
            f"{_LONGEST_RUN:,}; break it into lines.",
        )
        return longest

    def _read_tokens(self, data: bytes, add_special: bool, parse_special: bool) -> list[int]:
        size = len(data) + 8  # no tokenizer makes more tokens than bytes, save special ones
        for _attempt in range(2):
            buffer = (lib.llama_token * size)()
            count = lib.llama_tokenize(
                self.handle, data, len(data), buffer, size, add_special, parse_special
            )
            if count >= 0:
                ended = add_special and self._adds_eos and count > 0
                return list(buffer[: count - ended])
            size = -count
        raise EngineError("The text could not be tokenized.")

    @cached_property
    def _shown(self) -> frozenset[int]:
        """Control tokens that mark thoughts or calls; none where the marks are ordinary text."""
        control = lib.LLAMA_TOKEN_ATTR_CONTROL
        # Of gpt-oss llama.cpp writes all but the mark that closes.
        own = control | lib.LLAMA_TOKEN_ATTR_USER_DEFINED
        found = set[int]()
        for marks in MARKS:
            if any(self._has(token, own) for token in self._tokens_of(marks.opens)):
                tokens = map(self._tokens_of, (marks.opens, marks.closes, *marks.leads))
                found.update(token for each in tokens for token in each)
        for spelled in map(self._tokens_of, _CALL_MARKS):
            found.update(spelled if len(spelled) == 1 else ())
        return frozenset(token for token in found if self._has(token, control))

    def _tokens_of(self, mark: str) -> list[int]:
        return self.tokenize(mark, add_special=False, parse_special=True)

    def _has(self, token: int, attributes: int) -> bool:
        return bool(lib.llama_vocab_get_attr(self.handle, token) & attributes)

    def piece(self, token: int) -> bytes:
        """The bytes it writes; nothing for a control token, unless it marks thoughts or calls.

        Nor anything for an image's, which are below zero.
        """
        found = self._pieces.get(token) if token >= 0 else b""
        if found is None:
            found = self.plain_piece(token)
            if self._has(token, lib.LLAMA_TOKEN_ATTR_CONTROL) and token in self._shown:
                found = self.text(token)
            self._pieces[token] = found
        return found

    def plain_piece(self, token: int) -> bytes:
        """The bytes the token writes as ordinary text; nothing for any control token."""
        size = 64
        for _attempt in range(2):
            buffer = ctypes.create_string_buffer(size)
            count = lib.llama_token_to_piece(self.handle, token, buffer, size, 0, False)
            if count >= 0:
                return buffer.raw[:count]
            size = -count
        raise EngineError(f"Token {token} has no text.")

    def spelled(self, token: int) -> bytes:
        """What the token writes, or how it is spelled if that is nothing."""
        return self.plain_piece(token) or self.text(token)

    def pieces(self, tokens: Sequence[int]) -> bytes:
        """The bytes the tokens write."""
        return b"".join(map(self.piece, tokens))

    @cached_property
    def token_table(self) -> TokenTable:
        """What JSON schemas need of it, made once; about a second for 100,000 tokens."""
        from spec_local.sampling.schema_constraint import token_table

        ends = [token for token in range(self.n_tokens) if self.is_end(token)]
        return token_table([self.plain_piece(token) for token in range(self.n_tokens)], ends)

    def differences(
        self, other: Vocabulary, token_map: Sequence[int] | None = None
    ) -> Iterator[str]:
        """What keeps `other` from drafting for this vocabulary, one phrase each; none if nothing.

        token_map: of a trimmed draft, this vocabulary's id of each of its tokens. Without one,
        sizes may differ by padding at the end; a drafted token beyond the smaller one is never
        proposed.
        """
        if self.kind != other.kind:
            yield f"the tokenizer is {self.kind} here and {other.kind} there"
        if token_map is None:
            if abs(self.n_tokens - other.n_tokens) > PADDING_TOLERANCE:
                yield f"the size is {self.n_tokens:,} here and {other.n_tokens:,} there"
            token_map = range(min(self.n_tokens, other.n_tokens))
        elif max(token_map) >= self.n_tokens:
            yield f"the size is {self.n_tokens:,} here, but {max(token_map)} is a token there"
            return
        for name in ("bos", "eos"):
            mine, theirs = self.special_ids.get(name), other.special_ids.get(name)
            if theirs is not None and theirs < len(token_map):
                theirs = token_map[theirs]
            if mine != theirs and not (name == "bos" and not (self.adds_bos or other.adds_bos)):
                yield f"the {name.upper()} token is {mine} here and {theirs} there"
        pairs = [(token, self.text(token), other.text(i)) for i, token in enumerate(token_map)]
        differing = [pair for pair in pairs if pair[1] != pair[2]]
        if differing:
            first, *texts = differing[0]
            mine_text, their_text = (text.decode(errors="replace") for text in texts)
            yield (
                f"{len(differing):,} of {len(pairs):,} tokens are spelled differently, "
                f"the first is {first} ({mine_text!r} here, {their_text!r} there)"
            )
