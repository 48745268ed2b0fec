"""A JSON schema's constraint: what comes out of it validates, and it answers as samplers ask."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spec_local.errors import ConfigError
from tests.schema_walks import (
    ENDS,
    EVERY,
    FIRST_BYTE,
    KEYWORDS,
    PIECES,
    constraint,
    lets_through,
    validates,
    walk,
)

CASES = [json.loads(line) for line in KEYWORDS.read_text().splitlines()]
PROMPTS = Path(__file__).parents[1] / "scripts" / "schemas.jsonl"
SCHEMAS = [json.loads(line)["schema"] for line in PROMPTS.read_text().splitlines()]

REFUSED = {
    *("pattern with look-around", "format json-pointer", "oneOf that overlaps", "not"),
    *("if, then, else", "propertyNames", "dependentRequired", "uniqueItems", "contains"),
    "unknown keyword",
}
STRICTER = {"properties and others", "multipleOf a fraction"}
"""Some valid answers are not possible: closed objects, and as many digits as multipleOf has."""
WALKS = 12


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["feature"])
def test_every_keyword_is_obeyed_or_refused(case: dict[str, Any]) -> None:
    if case["feature"] in REFUSED:
        with pytest.raises(ConfigError, match="cannot be obeyed"):
            constraint(case["schema"])
        return
    start = constraint(case["schema"])
    texts = {
        kind: [json.dumps(value, ensure_ascii=False) for value in case[kind]]
        + case.get(f"{kind} texts", [])
        for kind in ("valid", "invalid")
    }
    possible = [lets_through(start, text) for text in texts["valid"]]
    assert all(possible) == (case["feature"] not in STRICTER)
    assert not any(lets_through(start, text) for text in texts["invalid"])
    check_walks(case["schema"])


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: json.dumps(schema)[:50])
def test_what_random_tokens_write_validates(schema: Any) -> None:
    check_walks(schema)


def check_walks(schema: Any) -> None:
    """Random walks mostly end, and what they wrote then validates."""
    start = constraint(schema)
    texts = [walk(start, np.random.default_rng(seed)) for seed in range(WALKS)]
    ended = [text for text in texts if text is not None]
    assert len(ended) > WALKS / 2
    assert [text for text in ended if not validates(text, schema)] == []


def test_a_copy_moves_by_itself_and_follows() -> None:
    def step(here: Any, text: bytes) -> None:
        for byte in text:
            here.accept(FIRST_BYTE + byte)

    def next_bytes(here: Any) -> bytes:
        allowed = EVERY[here.allows(EVERY)]
        return b"".join(PIECES[i] for i in allowed if FIRST_BYTE <= i < FIRST_BYTE + 256)

    first = constraint({"enum": ["ab", "ac", "b"]})
    assert next_bytes(first) == b'"'
    step(first, b'"')
    second = first.copy()
    step(first, b"a")
    assert (next_bytes(first), next_bytes(second)) == (b"bc", b"ab")
    step(second, b"b")
    assert (next_bytes(first), next_bytes(second)) == (b"bc", b'"')
    second.follow(first)
    step(first, b"b")
    assert (next_bytes(first), next_bytes(second)) == (b'"', b"bc")
    for here in (first, second, second):
        here.close()
    assert next_bytes(second) == b"bc"


def test_after_the_answer_comes_nothing_but_an_end() -> None:
    here = constraint({"const": 7})
    here.accept(FIRST_BYTE + ord("7"))
    assert EVERY[here.allows(EVERY)].tolist() == ENDS.tolist()
    assert [here.allows(EVERY[i : i + 1])[0] for i in range(5)] == [False, True, True, False, False]
    here.accept(int(ENDS[0]))
    assert here.copy().allows(EVERY).any()


def test_no_control_token_is_ever_allowed() -> None:
    """Not even where any text is; they write nothing, or the visible name of an end."""
    here = constraint({"type": "string"})
    here.accept(FIRST_BYTE + ord('"'))
    assert not here.allows(EVERY[:FIRST_BYTE]).any()
    assert here.allows(np.array([PIECES.index(b"ab")], np.int32)).all()
