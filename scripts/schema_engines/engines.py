"""The ways from a JSON schema to a constraint that are compared."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psutil import Process

from spec_local.errors import ConfigError, EngineError
from spec_local.llama.grammar import Grammar
from spec_local.llama.vocab import Vocabulary
from spec_local.sampling.constraints import Constraint
from spec_local.sampling.distribution import Ids
from spec_local.sampling.structure.schema import schema_grammar

Schema = dict[str, Any]
Start = Callable[[Schema], Constraint]
"""From a schema to a constraint; raises ConfigError where it is refused."""

_FREE = {"no_forcing": True}
"""Without it, text that must follow is allowed in one tokenization only, though only by the mask:
`validate_tokens` lets others through."""
_SPELLING = {"whitespace_pattern": " ", "json_allowed_escapes": 'nrbtf\\"'}
"""White space is at most one space, as the own grammar has it. Without \\u, a property cannot be
spelled so that its schema does not apply."""


class Guided:
    """llguidance's matcher as a constraint."""

    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher

    def allows(self, ids: Ids) -> NDArray[np.bool_]:
        # Where nothing but an end can follow, single questions are not answered any more.
        if len(ids) == 1 and not self._matcher.is_stopped():
            return np.array([self._matcher.validate_tokens([int(ids[0])]) == 1])
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint32)
        self._require_sound()
        found: NDArray[np.bool_] = (bits[ids >> 5] >> (ids & 31).astype(np.uint32)) & 1 == 1
        return found

    def accept(self, token: int) -> None:
        self._matcher.consume_token(int(token))
        self._require_sound()

    def _require_sound(self) -> None:
        """After an error, or beyond its limits, a matcher would let the text end anywhere."""
        if self._matcher.is_error():
            raise EngineError(f"llguidance gave up: {self._matcher.get_error()}")

    def copy(self) -> Guided:
        return Guided(self._matcher.deep_copy())

    def follow(self, other: Constraint) -> None:
        assert isinstance(other, Guided)
        self._matcher = other._matcher.deep_copy()

    def close(self) -> None:
        """Python frees it."""


class Words:
    """What llguidance wants to know of a vocabulary; the first bytes 0xFF mark no text."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, vocab: Vocabulary) -> None:
        pieces = [vocab.piece(token) for token in range(vocab.n_tokens)]
        self.tokens = [piece or b"\xff" + vocab.text(i) for i, piece in enumerate(pieces)]
        self.special_token_ids = [token for token, piece in enumerate(pieces) if not piece]
        self.ends = [token for token in range(vocab.n_tokens) if vocab.is_end(token)]
        self.eos_token_id = self.ends[0]
        self._vocab = vocab

    def __call__(self, text: str) -> list[int]:
        return self._vocab.tokenize(text, add_special=False, parse_special=False)


def engines(vocab: Vocabulary) -> tuple[dict[str, Start], dict[str, float]]:
    """All by name, and what llguidance needs once for a vocabulary, in seconds and bytes."""
    try:
        from llguidance import LLMatcher, LLTokenizer
    except ImportError:
        sys.exit("llguidance is missing; install it with: pip install llguidance")
    memory, started = Process().memory_info().rss, perf_counter()
    words: Any = Words(vocab)
    tokenizer = LLTokenizer(words, eos_token=words.ends)
    once = {"seconds": perf_counter() - started, "bytes": Process().memory_info().rss - memory}

    def own(schema: Schema) -> Grammar:
        return Grammar(schema_grammar(json.dumps(schema)), vocab)

    def guided(schema: Schema, options: Schema = _FREE, spelling: Schema = _SPELLING) -> Guided:
        document = json.dumps({**schema, "x-guidance": spelling})
        grammar = f"%llguidance {json.dumps(options)}\nstart: %json {document}"
        matcher = LLMatcher(tokenizer, grammar, log_level=0)
        if matcher.is_error():
            raise ConfigError(" ".join(matcher.get_error().split()))
        return Guided(matcher)

    found: dict[str, Start] = {"own": own, "llguidance": guided}
    return found | {"llguidance, defaults": lambda schema: guided(schema, {}, {})}, once
