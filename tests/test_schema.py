"""JSON schemas become grammars that let valid answers through, and no others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spec_local.errors import ConfigError
from spec_local.llama.digits import whole_numbers
from spec_local.llama.grammar import Grammar
from spec_local.llama.model import Model
from spec_local.llama.schema import schema_grammar
from spec_local.llama.vocab import Vocabulary
from tests.tiny_gguf import write_tiny


@pytest.fixture(scope="module")
def vocab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vocabulary]:
    path = write_tiny(tmp_path_factory.mktemp("schema") / "bytes.gguf")
    with Model(path, vocab_only=True) as model:
        yield model.vocab


class Language:
    """The texts that a grammar lets through, spelled in bytes."""

    def __init__(self, grammar: str, vocab: Vocabulary) -> None:
        self._start = Grammar(grammar, vocab)
        self._end = np.array([vocab.special_ids["eos"]], np.int32)

    def __contains__(self, text: str) -> bool:
        walker = self._start.copy()
        try:
            for byte in text.encode():
                token = byte + 4  # the tiny vocabulary has its bytes after four special tokens
                if not walker.allows(np.array([token], np.int32))[0]:
                    return False
                walker.accept(token)
            return bool(walker.allows(self._end)[0])
        finally:
            walker.close()


PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 5, "title": "Name", "description": "x"},
        "age": {"type": "integer", "minimum": 0, "maximum": 120, "default": 3},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 1, "maxItems": 2},
    },
    "required": ["name"],
}
ADDRESS = {
    "$defs": {
        "City": {
            "type": "object",
            "properties": {"zip": {"type": "string", "pattern": "^[0-9]{5}$"}},
            "required": ["zip"],
        },
    },
    "type": "object",
    "properties": {"city": {"$ref": "#/$defs/City", "description": "where"}},
    "required": ["city"],
}  # fmt: skip

# schema, answers that must be possible, answers that must not
CASES: list[tuple[Any, list[Any], list[Any]]] = [
    ({"type": "integer"}, [0, -5, 123], ["1", 1.5, None]),
    ({"type": "integer", "minimum": 3}, [3, 10, 999_999], [2, -3, 0]),
    ({"type": "integer", "exclusiveMaximum": 0}, [-1, -10, -99], [0, 1, 5]),
    ({"type": "integer", "minimum": -7, "maximum": 112}, [-7, 0, 99, 112], [-8, 113, 200]),
    ({"type": "integer", "exclusiveMinimum": 1.5, "maximum": 2.5}, [2], [1, 3]),
    ({"type": "number"}, [1, -2.5, 1e10], ["1", None]),
    ({"type": "boolean"}, [True, False], [0, "true"]),
    ({"type": ["string", "null"], "maxLength": 2}, ["ab", None, ""], ["abc", 1]),
    ({"type": "string", "minLength": 2}, ["ab", "quote \" and \\ back"], ["a"]),
    ({"const": "line\nbreak \\ \"q\" é"}, ["line\nbreak \\ \"q\" é"], ["line break"]),
    ({"enum": ["x", 3, None, {"a": [1]}]}, ["x", 3, None, {"a": [1]}], ["y", 4]),
    ({"type": "array", "items": {"type": "integer"}, "minItems": 1}, [[1], [1, 2]], [[], ["a"]]),
    ({"type": "array", "minItems": 2}, [[1, "a"], [None, {}]], [[1]]),
    ({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}]}, [[1, "a"]],
     [["a", 1]]),
    ({"anyOf": [{"type": "integer"}, {"type": "null"}], "title": "Maybe"}, [1, None], ["1"]),
    ({"type": "string", "pattern": "^(a|b)[0-9]{2}-x+$"}, ["a12-x", "b00-xxx"], ["c12-x", "a1-x"]),
    ({"type": "string", "format": "date"}, ["2024-12-31"], ["2024-13-01", "x"]),
    ({"title": "Anything"}, [1, "a", [], {"b": None}], []),
    (True, [1, "a", None], []),
    (PERSON, [{"name": "Ada"}, {"name": "", "age": 120, "tags": ["a", "b"]}],
     [{}, {"name": "abcdef"}, {"name": "a", "age": 121}, {"name": "a", "tags": []}]),
    (ADDRESS, [{"city": {"zip": "01234"}}], [{"city": {"zip": "123"}}, {"city": {}}, {}]),
    ({"type": "object", "additionalProperties": {"type": "integer"}}, [{"a": 1, "b": 2}, {}],
     [{"a": "x"}]),
    ({"allOf": [{"properties": {"a": {"type": "integer"}}, "required": ["a"]},
                {"properties": {"b": {"type": "null"}}, "required": ["b"]}]},
     [{"a": 1, "b": None}], [{"a": 1}, {"b": None}]),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: json.dumps(case[0])[:50])
def test_valid_answers_are_possible_and_others_are_not(
    case: tuple[Any, list[Any], list[Any]], vocab: Vocabulary
) -> None:
    schema, valid, invalid = case
    language = Language(schema_grammar(json.dumps(schema)), vocab)
    for answer in valid:
        jsonschema.validate(answer, schema)
        assert json.dumps(answer) in language, answer
    for answer in invalid:
        assert json.dumps(answer) not in language, answer
        assert json.dumps(answer, separators=(",", ":")) not in language, answer


def test_strings_hold_no_raw_control_characters(vocab: Vocabulary) -> None:
    for schema in ({"type": "string"}, {"type": "string", "maxLength": 9}, {}):
        language = Language(schema_grammar(json.dumps(schema)), vocab)
        assert '"a é \\n \\u00e9"' in language
        for bad in ('"a\nb"', '"\x01"', '"a\tb"', '"\\x"', '"'):
            assert bad not in language


@pytest.mark.parametrize(
    ("schema", "complaint"),
    [
        ({"type": "number", "minimum": 0}, "does not obey minimum"),
        ({"type": "integer", "multipleOf": 3}, "does not obey multipleOf"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "no whole number"),
        ({"type": "array", "items": {}, "uniqueItems": True}, "does not obey uniqueItems"),
        ({"type": "object", "properties": {"a": {"not": {}}}}, "does not obey not of a"),
        ({"type": "object", "minProperties": 1}, "does not obey minProperties"),
        ({"type": "string", "pattern": "^a$", "maxLength": 3}, "either the pattern or the length"),
        ({"type": "string", "pattern": "a"}, 'must start with "\\^"'),
        ({"type": "string", "pattern": "^.*$"}, "may match quotes"),
        ({"type": "string", "pattern": "^[^a]+$"}, "may match quotes"),
        ({"type": "string", "pattern": "^[!-~]+$"}, "may match quotes"),
        ({"type": "string", "pattern": "^[A-z]+$"}, "may match quotes"),
        ({"type": "string", "allOf": [{"minLength": 3}]}, "turned into a grammar"),
        ({"$ref": "#/$defs/none"}, "Error resolving ref"),
        ({"$ref": "https://x.org/y"}, "[Rr]emote"),
        ({"type": "teapot"}, "teapot"),
        (False, "allows nothing"),
        ("text", "turned into a grammar"),
        ({"type": "array", "prefixItems": [{}, {}], "minItems": 1}, "exactly the prefixItems"),
    ],
    ids=str,
)
def test_what_would_not_be_obeyed_is_refused(schema: Any, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        schema_grammar(json.dumps(schema))


bound = st.one_of(st.none(), st.integers(-3000, 3000))


@settings(max_examples=60, deadline=None)
@given(bound, bound, st.lists(st.integers(-4000, 4000), max_size=20))
def test_whole_numbers_are_exactly_those_within_the_bounds(
    vocab: Vocabulary, low: int | None, high: int | None, numbers: list[int]
) -> None:
    if low is not None and high is not None and low > high:
        low, high = high, low
    language = Language("root ::= " + whole_numbers(low, high), vocab)
    edges = [n + d for n in (low, high) if n is not None for d in (-1, 0, 1)]
    for number in (*numbers, *edges, 0, 9, 10, 99, 100, 999, 1000):
        within = (low is None or number >= low) and (high is None or number <= high)
        assert (str(number) in language) == within
    assert "007" not in language
    assert "" not in language
