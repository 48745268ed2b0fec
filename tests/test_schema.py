"""JSON schemas become constraints that let valid answers through, and no others."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.schema_walks import constraint, lets_through

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
    ({"type": "integer", "maximum": 2**53 - 1}, [2**53 - 1, -5], [2**53, 2**60]),
    ({"type": "number", "exclusiveMinimum": 0, "multipleOf": 0.5}, [0.5, 20], [0, -0.5, 0.3]),
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
    case: tuple[Any, list[Any], list[Any]],
) -> None:
    schema, valid, invalid = case
    start = constraint(schema)
    for answer in valid:
        jsonschema.validate(answer, schema)
        assert lets_through(start, json.dumps(answer, ensure_ascii=False)), answer
    for answer in invalid:
        assert not lets_through(start, json.dumps(answer)), answer
        assert not lets_through(start, json.dumps(answer, separators=(",", ":"))), answer


# The same of what is no JSON schema, but common: of OpenAPI 3.0, and of OpenAI's protocol.
FROM_ELSEWHERE: list[tuple[Any, list[Any], list[Any]]] = [
    ({"type": "string", "nullable": True, "maxLength": 2}, ["ab", None], ["abc", 1]),
    ({"type": "string", "nullable": False}, ["ab"], [None]),
    ({"type": "string", "nullable": True, "enum": ["a"]}, ["a"], [None, "b"]),
    ({"type": "string", "nullable": True, "enum": ["a", None]}, ["a", None], ["b"]),
    ({"name": "n", "strict": True, "schema": {"type": "integer"}}, [1], ["1", {}]),
    ({"type": "json_schema", "json_schema": {"schema": {"const": 1}}}, [1], ["1", {}]),
]


@pytest.mark.parametrize("case", FROM_ELSEWHERE, ids=lambda case: json.dumps(case[0])[:50])
def test_what_others_write_for_schemas_is_understood(
    case: tuple[Any, list[Any], list[Any]],
) -> None:
    schema, valid, invalid = case
    start = constraint(schema)
    assert all(lets_through(start, json.dumps(answer)) for answer in valid)
    assert not any(lets_through(start, json.dumps(answer)) for answer in invalid)


ANIMAL = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
DOG = {"allOf": [{"$ref": "#/$defs/Animal"}, {"properties": {"barks": {"type": "boolean"}}}]}
NUMBER = {"type": "object", "properties": {"kind": {"const": "number"}}, "required": ["kind"]}
SUM = {
    "type": "object",
    "properties": {
        "kind": {"const": "sum"},
        "left": {"oneOf": [{"$ref": "#/$defs/Number"}, {"$ref": "#/$defs/Sum"}]},
    },
    "required": ["kind", "left"],
}
A, B = ({"type": "object", "properties": {key: {"type": "integer"}}} for key in "ab")

# schema, answers with properties that it names, valid answers with others
CLOSED: list[tuple[Any, list[Any], list[Any]]] = [
    (A, [{}, {"a": 1}], [{"b": 1}, {"a": 1, "b": 1}]),
    ({"anyOf": [A, B]}, [{"a": 1}, {"b": 1}], [{"a": 1, "b": 2}, {"c": 1}]),
    ({"allOf": [A, B]}, [{"a": 1, "b": 2}, {"b": 2}], [{"a": 1, "c": 1}]),
    (A | {"allOf": [B]}, [{"a": 1, "b": 2}], [{"c": 1}]),
    (A | {"anyOf": [{"required": ["a"]}, B]}, [{"a": 1, "b": 2}, {"b": 2}], [{"a": 1, "c": 1}]),
    ({"$defs": {"A": A}, "$ref": "#/$defs/A", "properties": B["properties"]},
     [{"a": 1, "b": 2}], [{"a": 1, "c": 1}]),
    ({"$defs": {"Animal": ANIMAL, "Dog": DOG}, "type": "array",
      "items": {"$ref": "#/$defs/Dog"}, "minItems": 1},
     [[{"name": "Rex", "barks": True}, {"name": "Ida"}]], [[{"name": "Rex", "age": 2}]]),
    ({"$defs": {"Animal": ANIMAL}, "type": "array", "prefixItems": [{"$ref": "#/$defs/Animal"}]},
     [[{"name": "Rex"}]], [[{"name": "Rex", "age": 2}]]),
    ({"$defs": {"Number": NUMBER, "Sum": SUM},
      "oneOf": [{"$ref": "#/$defs/Number"}, {"$ref": "#/$defs/Sum"}]},
     [{"kind": "number"}, {"kind": "sum", "left": {"kind": "sum", "left": {"kind": "number"}}}],
     [{"kind": "number", "left": 1}, {"kind": "sum", "left": {"kind": "number", "x": 1}}]),
    ({"oneOf": [A | {"required": ["a"]}, B | {"required": ["b"]} | {"properties": {"a": False}}]},
     [{"a": 1}], [{"a": 1, "c": 2}]),
    (A | {"required": ["a", "id"]}, [{"a": 1, "id": None}], [{"a": 1, "id": 2, "b": 3}]),
    (A | {"patternProperties": {"^x": {"type": "null"}}}, [{"a": 1, "xy": None}], [{"b": 1}]),
]  # fmt: skip


@pytest.mark.parametrize("case", CLOSED, ids=lambda case: json.dumps(case[0])[:60])
def test_objects_have_the_properties_that_are_named(
    case: tuple[Any, list[Any], list[Any]],
) -> None:
    schema, named, others = case
    start = constraint(schema)
    for answer in (*named, *others):
        jsonschema.validate(answer, schema)
        assert lets_through(start, json.dumps(answer)) == (answer in named), answer


@pytest.mark.parametrize(
    "schema",
    [
        A | {"additionalProperties": True},
        A | {"additionalProperties": {"type": "string"}},
        {"allOf": [A, {"additionalProperties": True}]},
        {"allOf": [A, {"patternProperties": {"^z": {}}}]},
        {"type": "object"},
        {"type": "object", "required": ["z"]},
        {"type": "object", "minProperties": 1},
    ],
    ids=json.dumps,
)
def test_objects_are_open_where_the_schema_says_so_or_names_nothing(schema: Any) -> None:
    assert lets_through(constraint(schema), '{"z": "x"}')


def test_an_open_object_does_not_hide_a_property_by_its_spelling() -> None:
    start = constraint(A | {"additionalProperties": True})
    assert not lets_through(start, '{"a": "x"}')
    assert not lets_through(start, '{"\\u0061": "x"}')


def test_properties_come_in_the_order_in_which_they_are_named() -> None:
    schema = {"allOf": [B, A]} | {"properties": {"c": {}, "a": {}}, "required": ["a", "b", "c"]}
    start = constraint(schema)
    assert lets_through(start, '{"b": 1, "a": 2, "c": 3}')
    assert not lets_through(start, '{"c": 3, "b": 1, "a": 2}')


def test_strings_hold_no_raw_control_characters() -> None:
    for schema in ({"type": "string"}, {"type": "string", "maxLength": 9}, {}):
        start = constraint(schema)
        assert lets_through(start, '"a é \\n \\""')
        for bad in ('"a\nb"', '"\x01"', '"a\tb"', '"\\x"', '"'):
            assert not lets_through(start, bad)


def test_white_space_is_at_most_one_space_between_elements() -> None:
    start = constraint(A | {"required": ["a"]})
    assert lets_through(start, '{ "a" : 1 }')
    for bad in ('{  "a": 1}', '{\n"a": 1}', ' {"a": 1}', '{"a": 1} '):
        assert not lets_through(start, bad)


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
    ('^["\\t]$', ['"', "\t"], ["x", "\n"]),
    ("^[ -~]+$", ["a~ b"], ["é", ""]),
    ("^[^\\x00-\\x1F\\x7F-\\x9F]+$", ["a é"], ["\t", "a\nb"]),
    ("^[\\x00-\\x7F]+$", ["a~\t"], ["é"]),
    ("^\\x09\\\\$", ["\t\\"], ["\\"]),
    ("^a+b?c*$", ["aa", "abcc"], ["b", "abb"]),
]


@pytest.mark.parametrize("case", PATTERNS, ids=lambda case: case[0])
def test_patterns_match_what_they_match(case: tuple[str, list[str], list[str]]) -> None:
    pattern, matching, others = case
    start = constraint({"type": "string", "pattern": pattern})
    for text in matching:
        assert re.search(pattern, text)
        assert lets_through(start, json.dumps(text, ensure_ascii=False)), text
    for text in others:
        assert not re.search(pattern, text)
        assert not lets_through(start, json.dumps(text, ensure_ascii=False)), text
    assert not lets_through(start, '"a""')
    assert not lets_through(start, '"a\n"')


bound = st.one_of(st.none(), st.integers(-3000, 3000))


@settings(max_examples=60)
@given(bound, bound, st.lists(st.integers(-4000, 4000), max_size=20))
def test_whole_numbers_are_exactly_those_within_the_bounds(
    low: int | None, high: int | None, numbers: list[int]
) -> None:
    if low is not None and high is not None and low > high:
        low, high = high, low
    given_bounds = {"minimum": low, "maximum": high}
    bounds = {key: value for key, value in given_bounds.items() if value is not None}
    start = constraint({"type": "integer", **bounds})
    edges = [n + d for n in (low, high) if n is not None for d in (-1, 0, 1)]
    for number in (*numbers, *edges, 0, 9, 10, 99, 100, 999, 1000):
        within = (low is None or number >= low) and (high is None or number <= high)
        assert lets_through(start, str(number)) == within
    assert not lets_through(start, "007")
    assert not lets_through(start, "")
