"""A small vocabulary, the texts a constraint lets through, and random walks through one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np

from spec_local.sampling.constraints import Constraint
from spec_local.sampling.schema_constraint import SchemaConstraint, token_table

CONTROL, END, OTHER_END = 0, 1, 2
FIRST_BYTE = 3
WORDS = (b'{"', b'":', b'": ', b'", "', b'"}', b"}]", b"true", b"null", b"12", b"-1.", b"ab")
PIECES = [b"", b"</s>", b"", *(bytes([i]) for i in range(256)), *WORDS, b"a", "€".encode()[:2]]
"""A control token, two ends (one of them visible), bytes, words, a byte again, half a character."""
TABLE = token_table(PIECES, [END, OTHER_END])
EVERY = np.arange(len(PIECES), dtype=np.int32)
ENDS = np.array([END, OTHER_END], np.int32)

KEYWORDS = Path(__file__).with_name("schema_keywords.jsonl")
"""A keyword a line: a schema, answers that are valid and answers that are not."""

_LONGEST = 1_500
_CLOSING = np.array([40.0 if piece[:1] in b'"]},:' else 1.0 for piece in PIECES])
"""Weights: brackets, quotes and commas are drawn more often, so that texts end."""


def constraint(schema: Any) -> SchemaConstraint:
    """The constraint of a schema over the small vocabulary."""
    return SchemaConstraint(json.dumps(schema), TABLE)


def lets_through(start: Constraint, text: str) -> bool:
    """Whether a constraint allows a whole text, byte by byte, and its end."""
    here = start.copy()
    for byte in text.encode():
        if not here.allows(np.array([FIRST_BYTE + byte], np.int32))[0]:
            return False
        here.accept(FIRST_BYTE + byte)
    return bool(here.allows(ENDS).all())


def walk(start: Constraint, rng: np.random.Generator) -> str | None:
    """A text that the constraint lets end, by random tokens; None after too many without an end.

    Wherever all tokens are asked about, each alone gets the same answer, on a copy as well.
    """
    here, text = start.copy(), b""
    for _ in range(_LONGEST):
        allowed = here.allows(EVERY)
        some = rng.choice(EVERY, 12)
        alone = [here.allows(np.array([token], np.int32))[0] for token in (*some, *ENDS)]
        assert alone == allowed[[*some, *ENDS]].tolist()
        assert here.copy().allows(EVERY).tolist() == allowed.tolist()
        assert not allowed[CONTROL]
        assert allowed[END] == allowed[OTHER_END]
        ids = np.setdiff1d(EVERY[allowed], ENDS)
        if allowed[END] and (not len(ids) or rng.random() < 0.5):
            return text.decode()
        token = int(rng.choice(ids, p=_CLOSING[ids] / _CLOSING[ids].sum()))
        here.accept(token)
        text += PIECES[token]
    return None


def validates(text: str, schema: Any) -> bool:
    """Whether a text is JSON that jsonschema accepts, its formats checked as well."""
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    try:
        jsonschema.validate(json.loads(text), schema, format_checker=checker)
    except (ValueError, jsonschema.ValidationError):
        return False
    return True
