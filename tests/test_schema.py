"""JSON schemas become grammars that let valid answers through, and no others."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spec_local.errors import ConfigError
from spec_local.llama.grammar import Grammar
from spec_local.llama.model import Model
from spec_local.llama.vocab import Vocabulary
from spec_local.sampling.structure.digits import whole_numbers
from spec_local.sampling.structure.pattern import pattern_rule
from spec_local.sampling.structure.primitives import PRIMITIVES
from spec_local.sampling.structure.schema import schema_grammar
from tests.tiny_gguf import write_tiny

pytestmark = pytest.mark.llama


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

NODE = {
    "type": "object",
    "properties": {
        "v": {"type": "integer"},
        "next": {"anyOf": [{"$ref": "#/$defs/Tree_Node"}, {"type": "null"}], "default": None},
    },
    "required": ["v"],
}

# schema, answers that must be possible, answers that must not
CASES: list[tuple[Any, list[Any], list[Any]]] = [
    ({"type": "integer"}, [0, -5, 123], ["1", 1.5, None]),
    ({"type": "integer", "minimum": 3}, [3, 10, 999_999], [2, -3, 0]),
    ({"type": "integer", "exclusiveMaximum": 0}, [-1, -10, -99], [0, 1, 5]),
    ({"type": "integer", "minimum": -7, "maximum": 112}, [-7, 0, 99, 112], [-8, 113, 200]),
    ({"type": "integer", "exclusiveMinimum": 1.5, "maximum": 2.5}, [2], [1, 3]),
    ({"type": "number"}, [1, -2.5, 1e10, 1.5e-7], ["1", None]),
    ({"type": "number", "minimum": 0}, [1, 2.5, 0], [-1, -0.5]),
    ({"type": "boolean"}, [True, False], [0, "true"]),
    ({"type": ["string", "null"], "maxLength": 2}, ["ab", None, ""], ["abc", 1]),
    ({"type": ["string", "null"], "enum": ["a", None, 1]}, ["a", None], [1, "b"]),
    ({"const": "a", "enum": ["a", "b"], "type": "string"}, ["a"], ["b"]),
    ({"type": "string", "enum": ["a", 1]}, ["a"], [1]),
    ({"type": "string", "minLength": 2}, ["ab", 'quote " and \\ back'], ["a"]),
    ({"type": "string", "maxLength": 5000}, ["ab"], [1]),
    ({"const": 'line\nbreak \\ "q" é'}, ['line\nbreak \\ "q" é'], ["line break"]),
    ({"enum": ["x", 3, None, {"a": [1]}]}, ["x", 3, None, {"a": [1]}], ["y", 4]),
    ({"type": "array", "items": {"type": "integer"}, "minItems": 1}, [[1], [1, 2]], [[], ["a"]]),
    ({"type": "array", "minItems": 2}, [[1, "a"], [None, {}]], [[1]]),
    ({"type": "array", "items": {"type": "null"}, "maxItems": 2}, [[], [None] * 2], [[None] * 3]),
    ({"type": "array", "maxItems": 0}, [[]], [[1]]),
    ({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}]}, [[1, "a"]],
     [["a", 1]]),
    ({"anyOf": [{"type": "integer"}, {"type": "null"}], "title": "Maybe"}, [1, None], ["1"]),
    ({"oneOf": [{"type": "integer"}, {"type": "string"}]}, [1, "a"], [None]),
    ({"oneOf": [
        {"type": "object", "properties": {"kind": {"const": "a"}, "x": {"type": "integer"}},
         "required": ["kind", "x"]},
        {"type": "object", "properties": {"kind": {"const": "b"}}, "required": ["kind"]},
    ]}, [{"kind": "a", "x": 1}, {"kind": "b"}], [{"kind": "a"}]),
    ({"type": "string", "pattern": "^(a|b)[0-9]{2}-x+$"}, ["a12-x", "b00-xxx"], ["c12-x", "a1-x"]),
    ({"type": "string", "format": "date"}, ["2024-12-31", "2023-02-28"],
     ["2024-13-01", "2023-04-31", "x"]),
    ({"type": "string", "format": "email"}, ["a@b"], [1]),
    ({"title": "Anything"}, [1, "a", [], {"b": None}], []),
    (True, [1, "a", None], []),
    (PERSON,
     [{"name": "Ada"}, {"name": "", "age": 120, "tags": ["a", "b"]}, {"name": "", "tags": ["b"]}],
     [{}, {"name": "abcdef"}, {"name": "a", "age": 121}, {"name": "a", "tags": []}]),
    (ADDRESS, [{"city": {"zip": "01234"}}], [{"city": {"zip": "123"}}, {"city": {}}, {}]),
    ({"type": "object", "properties": {"ä b": {"const": 1}, "c": {"const": 2}, "d": {"const": 3}}},
     [{}, {"ä b": 1}, {"c": 2}, {"ä b": 1, "d": 3}, {"c": 2, "d": 3}, {"ä b": 1, "c": 2, "d": 3}],
     [{"c": 1}, {"e": 1}]),
    ({"type": "object", "additionalProperties": {"type": "integer"}}, [{"a": 1, "b": 2}, {}],
     [{"a": "x"}]),
    ({"type": "object", "properties": {"age": {"type": "integer"}}, "additionalProperties": True},
     [{"age": 1}, {}], [{"age": "x"}]),
    ({"type": "object", "additionalProperties": False}, [{}], [{"a": 1}]),
    ({"allOf": [{"properties": {"a": {"type": "integer"}}, "required": ["a"]},
                {"properties": {"b": {"type": "null"}}, "required": ["b"]}]},
     [{"a": 1, "b": None}], [{"a": 1}, {"b": None}, {}]),
    ({"$defs": {"Color": {"enum": ["red", "blue"]}}, "type": "object", "required": ["c"],
      "properties": {"c": {"allOf": [{"$ref": "#/$defs/Color"}], "default": "red"}}},
     [{"c": "red"}], [{"c": {}}, {"c": "green"}]),
    ({"$defs": {"tag": {"type": "integer"}, "value": {"type": "null"}}, "type": "object",
      "properties": {"tag": {"enum": ["x"]}, "a": {"$ref": "#/$defs/tag"},
                     "b": {"$ref": "#/$defs/value"}}},
     [{"tag": "x", "a": 1, "b": None}], [{"a": "x"}, {"b": 1}]),
    ({"$defs": {"Tree_Node": NODE}, "$ref": "#/$defs/Tree_Node"},
     [{"v": 1}, {"v": 1, "next": {"v": 2, "next": None}}], [{"next": None}, {"v": 1, "next": 3}]),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: json.dumps(case[0])[:50])
def test_valid_answers_are_possible_and_others_are_not(
    case: tuple[Any, list[Any], list[Any]], vocab: Vocabulary
) -> None:
    schema, valid, invalid = case
    language = Language(schema_grammar(json.dumps(schema)), vocab)
    for answer in valid:
        jsonschema.validate(answer, schema)
        assert json.dumps(answer, ensure_ascii=False) in language, answer
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
        ({"type": "number", "minimum": 1}, "only have the minimum 0"),
        ({"type": "integer", "multipleOf": 3}, "multipleOf of answer would not be obeyed"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "no whole number"),
        ({"type": "integer", "exclusiveMaximum": True}, "exclusiveMaximum of answer is not a"),
        ({"type": "array", "items": {}, "uniqueItems": True}, "uniqueItems of answer would not"),
        ({"type": "array", "minItems": 3, "maxItems": 2}, "no number of items"),
        ({"type": "object", "properties": {"a": {"not": {}}}}, "not of answer.a would not"),
        ({"type": "object", "minProperties": 1}, "minProperties of answer would not"),
        ({"type": "object", "required": ["id"]}, "requires id, which it does not describe"),
        ({"type": "string", "pattern": "^a$", "maxLength": 3}, "only one of pattern, length"),
        ({"type": "string", "minLength": 4, "maxLength": 3}, "no repetitions from 4 to 3"),
        ({"type": "string", "minLength": 4000}, "at most 2000"),
        ({"type": "string", "allOf": [{"minLength": 3}]}, "parts that are no objects"),
        ({"allOf": [{"type": "object"}], "additionalProperties": False}, "additionalProperties"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "may overlap; use anyOf"),
        ({"anyOf": [{"type": "integer"}], "type": "string"}, "contradicts"),
        ({"anyOf": []}, "nothing is allowed"),
        ({"enum": []}, "nothing is allowed"),
        ({"$ref": "#/$defs/none"}, "names nothing"),
        ({"$ref": "https://x.org/y"}, "only references within the schema"),
        ({"$ref": "#", "minLength": 3}, "minLength of answer"),
        ({"$defs": {"a": {"$ref": "#/$defs/a"}}, "allOf": [{"$ref": "#/$defs/a"}]}, "but itself"),
        ({"type": "teapot"}, "unknown type 'teapot'"),
        ({"type": []}, "answer has no type"),
        ({"properties": 3}, "not a schema"),
        (False, "nothing is allowed"),
        ("text", "answer must be an object or true"),
        ([], "answer must be an object or true"),
        ({"type": "array", "prefixItems": [{}, {}], "minItems": 3}, "exactly those are written"),
        (json.loads('{"items":' * 400 + "{}" + "}" * 400), "nested too deeply"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_what_would_not_be_obeyed_is_refused(schema: Any, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        schema_grammar(json.dumps(schema))


KEYWORDS = (
    *("type", "properties", "required", "items", "prefixItems", "maxItems", "minLength", "pattern"),
    *("format", "enum", "const", "anyOf", "oneOf", "allOf", "$ref", "minimum", "exclusiveMaximum"),
    *("additionalProperties", "not"),
)
keyword = st.sampled_from(KEYWORDS)
scalar = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.floats(), st.sampled_from(["#", "object", "a"])
)
anything = st.recursive(
    scalar, lambda inner: st.one_of(st.lists(inner), st.dictionaries(keyword, inner)), max_leaves=8
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(keyword, anything, max_size=4))
def test_nonsense_is_a_grammar_or_a_sentence(schema: dict[str, Any]) -> None:
    with suppress(ConfigError):
        assert schema_grammar(json.dumps(schema)).startswith("root ::= ")


# pattern, strings it matches, strings it does not
PATTERNS: list[tuple[str, list[str], list[str]]] = [
    ("^yes|no$", ["yes", "yes!", "no", "oh no"], ["y", "not", "n"]),
    ("^yes$|^no$", ["yes", "no"], ["yesno", ""]),
    ("^1\\+?$", ["1", "1+"], ["", "11"]),
    ("^[A-Z]{2}-\\(?[0-9]{2}\\)?$", ["AB-12", "AB-(12)"], ["AB12", "A-12"]),
    ("^\\d+\\.\\d{2}$", ["3.14"], ["3,14", "3.1"]),
    ("^[\\w-]+@[\\w.]+$", ["a-b@c.d"], ["a b@c", "@"]),
    ("^[^,;]+$", ["abc", "é"], ["a,b", ""]),
    ("^.*$", ["", "anything at all"], ["two\nlines"]),
    ("^(?:ab|c)*?d$", ["d", "ababcd"], ["ab"]),
    ("^a{2,3}$", ["aa", "aaa"], ["a", "aaaa"]),
    ("b", ["abc", "b"], ["ac"]),
    ('^"\\\\\\x22\\n$', ['"\\"\n'], ["x"]),
    ("^[\\x41-\\u0043]$", ["A", "B", "C"], ["D"]),
    ("^[a\\]b-]$", ["a", "]", "b", "-"], ["c"]),
    ("^\\S\\s\\D$", ["a b", "1 -"], ["a 1"]),
    ("", ["", "x"], []),
]


@pytest.mark.parametrize("case", PATTERNS, ids=lambda case: case[0])
def test_patterns_match_what_they_match(
    case: tuple[str, list[str], list[str]], vocab: Vocabulary
) -> None:
    pattern, matching, others = case
    language = Language(f"root ::= {pattern_rule(pattern)}\nchar ::= {PRIMITIVES['char']}", vocab)
    for text in matching:
        assert re.search(pattern, text)
        assert json.dumps(text, ensure_ascii=False)[1:-1] in language, text
    for text in others:
        assert not re.search(pattern, text)
        assert json.dumps(text, ensure_ascii=False)[1:-1] not in language, text
    assert 'a"' not in language
    assert "a\n" not in language


@pytest.mark.parametrize(
    "pattern",
    ["^(a$", "^a)$", "^[a$", "^a{x}$", "^a{3,2}$", "^(?=a)$", "^\\b$", "^\\1$", "^a**$", "^*a$",
     "^a$b$", "^[z-a]$", "^\\xZZ$", "^\\", '^["]$', "^\\p{L}$", "^a++$"],
)  # fmt: skip
def test_patterns_that_are_not_understood_are_refused(pattern: str) -> None:
    with pytest.raises(ConfigError):
        schema_grammar(json.dumps({"type": "string", "pattern": pattern}))


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
