"""Structured output: a JSON schema as a constraint on the generated text, by llguidance."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper
from numpy.typing import NDArray

from spec_local.errors import ConfigError, NoTokenAllowed, require
from spec_local.sampling.constraints import Constraint
from spec_local.sampling.distribution import Ids
from spec_local.sampling.schema import Schema, read_schema
from spec_local.util.stack import on_stack

TokenTable: TypeAlias = LLTokenizer
"""What llguidance keeps of a vocabulary."""

_SPELLING = {"whitespace_pattern": " ", "json_allowed_escapes": 'nrbtf\\"'}
"""White space is at most one space, so that a model cannot run away in it. Without \\u, a property
cannot be spelled so that its schema does not apply."""
_FREE = {"no_forcing": True}
"""Without it, text that must follow may have one tokenization only, but only if all tokens are
asked about, not if one is."""
_WORDINGS = {
    'failed to parse "%json": ': "",
    "Unsatisfiable schema: ": "nothing satisfies it: ",
    "NoExtensionBias": "nothing satisfies it",
    "error: ": "a pattern cannot be read: ",
}
"""What llguidance says first, and what is said here instead."""
_STACK = 256 << 20
"""Bytes: more than twice what `schema.py` lets through can take, some 10 kB for each schema."""


class SchemaConstraint:
    """Which tokens may come next in a text that satisfies a JSON schema.

    Copies share llguidance's automaton; once that is as large as it may be, all of them fail.
    """

    def __init__(self, text: str, table: TokenTable) -> None:
        """text: the schema, as JSON. Raises ConfigError for what cannot be obeyed."""
        try:
            document = json.loads(text)
            if '"oneOf"' in json.dumps(document):
                _compiled(read_schema(document, closed=False), table)
            self._matcher = _compiled(read_schema(document, closed=True), table)
        except RecursionError:
            raise _refusal("it is nested too deeply") from None
        except (ConfigError, ValueError) as error:
            raise _refusal(str(error)) from None

    def allows(self, ids: Ids) -> NDArray[np.bool_]:
        # Where nothing but an end can follow, single questions are not answered any more.
        if len(ids) == 1 and not self._matcher.is_stopped():
            allowed = np.array([self._matcher.validate_tokens([int(ids[0])]) == 1])
        else:
            bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint32)
            allowed = (bits[ids >> 5] >> (ids & 31).astype(np.uint32)) & 1 == 1
        self._require_sound()
        return allowed

    def accept(self, token: int) -> None:
        self._matcher.consume_token(int(token))
        self._require_sound()

    def _require_sound(self) -> None:
        """Raise NoTokenAllowed after an error, when a matcher would let the text end anywhere."""
        if self._matcher.is_error():
            reason = _reason(self._matcher.get_error())
            raise NoTokenAllowed(f"The JSON schema cannot be followed here; simplify it: {reason}.")

    def copy(self) -> SchemaConstraint:
        twin = object.__new__(type(self))
        twin._matcher = self._matcher.deep_copy()
        return twin

    def follow(self, other: Constraint) -> None:
        assert isinstance(other, SchemaConstraint)
        self._matcher = other._matcher.deep_copy()

    def close(self) -> None:
        """Nothing to free."""


def _compiled(schema: Schema, table: TokenTable) -> LLMatcher:
    """The matcher; raises ConfigError with llguidance's reason."""
    document = json.dumps(schema | {"x-guidance": _SPELLING})
    grammar = f"%llguidance {json.dumps(_FREE)}\nstart: %json {document}"
    limits = LLParserLimits(verbose_errors=False)
    # It recurses along references, and overflowing a stack ends the process.
    matcher = on_stack(_STACK, lambda: LLMatcher(table, grammar, log_level=0, limits=limits))
    matcher.compute_bitmask()  # finds out whether any token can come first
    require(not matcher.is_error(), _reason(matcher.get_error()))
    return matcher


def token_table(pieces: Sequence[bytes], ends: Sequence[int]) -> TokenTable:
    """What llguidance keeps of a vocabulary; takes about a second for 100,000 tokens.

    pieces: the bytes that each token writes, none for tokens that are no text.
    ends: the ids of the tokens that end a generation, which are no text either.
    """
    return LLTokenizer(TokenizerWrapper(_Words(pieces, ends)), eos_token=list(ends) or None)


class _Words:
    """What llguidance asks about a vocabulary."""

    bos_token_id = None

    def __init__(self, pieces: Sequence[bytes], ends: Sequence[int]) -> None:
        mute = {token for token, piece in enumerate(pieces) if not piece}.union(ends)
        # A first byte 0xFF, which no text has, marks them.
        self.tokens = [b"\xff%d" % i if i in mute else piece for i, piece in enumerate(pieces)]
        self.special_token_ids = sorted(mute)
        self.eos_token_id = next(iter(ends), None)

    def __call__(self, _text: bytes) -> list[int]:
        raise NotImplementedError("only text that is forced is tokenized, and none is")


def _refusal(reason: str) -> ConfigError:
    # It may quote names and patterns of the schema, which may be anything.
    shown = " ".join(reason.encode(errors="replace").decode().split())
    return ConfigError(f"The JSON schema cannot be obeyed; change this: {shown[:300]}.")


def _reason(error: str) -> str:
    """What llguidance complains about, without where in the grammar, which nobody has seen."""
    if error.startswith("panic"):
        return "it is too large"
    if "coerce_one_of" in error:
        return "the options of a oneOf may overlap; use anyOf"
    lines = [line for line in error.splitlines() if line[:1] not in ("", " ", "<")]
    reason = lines[-1] if lines else error
    reason = reason.rpartition("failed to compile JSON schema: ")[2]
    for theirs, ours in _WORDINGS.items():
        if reason.startswith(theirs):
            reason = ours + reason.removeprefix(theirs)
    return reason.partition(";")[0].strip(" .")
