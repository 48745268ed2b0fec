"""What cannot be obeyed is refused with a sentence, whatever is given as a schema, and soon."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spec_local.errors import ConfigError, NoTokenAllowed
from spec_local.sampling.schema_constraint import SchemaConstraint
from tests.schema_walks import EVERY, FIRST_BYTE, TABLE, constraint, lets_through

LOOP = {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}


@pytest.mark.parametrize(
    ("schema", "complaint"),
    [
        ({"type": "integer", "maximun": 3}, "maximun of answer would not be obeyed; leave it out"),
        ({"maximun": 3}, "maximun of answer would not be obeyed"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "minimum .* greater than maximum"),
        ({"type": "integer", "multipleOf": 0}, "multipleOf of answer must be a number above 0"),
        ({"type": "integer", "multipleOf": "3"}, "multipleOf of answer must be a number above 0"),
        ({"type": "array", "items": {}, "uniqueItems": True}, "uniqueItems of answer would not"),
        ({"type": "array", "contains": {}}, "contains of answer would not"),
        ({"type": "array", "minItems": 3, "maxItems": 2}, "minItems .* greater than maxItems"),
        ({"type": "array", "items": [{}], "additionalItems": False}, "additionalItems of answer"),
        ({"type": "array", "items": [{}], "prefixItems": [{}]}, "items of answer must be a schema"),
        ({"type": "object", "properties": {"a": {"not": {}}}}, "not of answer.a would not"),
        ({"type": "object", "properties": {"a": {"items": {"if": {}}}}}, "if of answer.a item"),
        ({"type": "object", "minProperties": 2, "maxProperties": 1}, "minProperties"),
        ({"type": "object", "properties": [], "required": []}, "properties of answer must be an"),
        ({"type": "object", "required": "id"}, "required of answer must be a list"),
        ({"type": "object", "required": [1]}, "required of answer must be a list of names"),
        ({"type": "object", "unevaluatedProperties": False}, "unevaluatedProperties of answer"),
        ({"type": "string", "format": "json-pointer"}, "Unknown format: json-pointer"),
        ({"type": "string", "minLength": 4, "maxLength": 3}, "minLength .* greater than maxLength"),
        ({"type": "string", "minLength": -1}, "minLength"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "may overlap; use anyOf"),
        ({"oneOf": [{"properties": {"a": {}}}, {"const": {"b": 1}}]}, "may overlap; use anyOf"),
        ({"anyOf": [{"type": "integer"}], "type": "string"}, "incompatible types"),
        ({"anyOf": {}}, "anyOf of answer must be a list"),
        ({"anyOf": []}, "nothing satisfies it"),
        ({"enum": []}, "nothing satisfies it"),
        ({"anyOf": [{"$ref": "#"}]}, "nothing satisfies it"),
        ({"$ref": "#/$defs/none"}, "names nothing"),
        ({"$ref": "https://x.org/y"}, "only references within the schema are followed"),
        ({"$ref": ["#"]}, "only references within the schema are followed"),
        ({"$ref": "#"}, "refers to nothing but itself"),
        ({"$ref": "#", "minLength": 3}, "contains itself"),
        ({"$defs": LOOP, "allOf": [{"$ref": "#/$defs/a"}]}, "but itself"),
        ({"$defs": LOOP, "oneOf": [{"$ref": "#/$defs/a"}]}, "but itself"),
        ({"type": "teapot"}, "Invalid type: teapot"),
        ({"type": []}, "nothing satisfies it"),
        ({"type": 3}, "type must be a string or array of strings"),
        ({"type": "string", "nullable": 1}, "nullable of answer must be true or false"),
        ({"name": "n", "schema": {"type": "teapot"}}, "Invalid type: teapot"),
        ({"type": "json_schema", "json_schema": 5}, "answer must be an object, true or false"),
        (False, "nothing satisfies it"),
        ("text", "answer must be an object, true or false"),
        ([], "answer must be an object, true or false"),
        (None, "answer must be an object, true or false"),
        ({"type": "number", "minimum": float("nan")}, "must be below 2"),
        ({"type": "number", "maximum": float("inf")}, "must be below 2"),
        ({"type": "integer", "minimum": 2**53 + 1}, "must be below 2"),
        ({"const": {"a": [2**53 + 1]}}, "must be below 2"),
        ({"enum": ["a", "\0b"]}, "control character"),
        ({"const": {"a": ["\x7f"]}}, "control character"),
        ({"type": "object", "properties": {"\ud800": {}}}, "hex escape"),
        ({"type": "object", "properties": {"\ud800": {"not\n": {}}}}, "would not be obeyed"),
    ],
    ids=lambda value: ascii(value)[:60],
)
def test_what_would_not_be_obeyed_is_refused(schema: Any, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as error:
        constraint(schema)
    assert str(error.value).startswith("The JSON schema cannot be obeyed; change this: ")
    assert "\n" not in str(error.value)
    assert str(error.value).encode()


@pytest.mark.parametrize(
    "pattern",
    ["^(a$", "^a)$", "^[a$", "^a{x}$", "^a{3,2}$", "^(?=a)$", "^\\b$", "^\\1$", "^*a$",
     "^a$b$", "^[z-a]$", "^\\xZZ$", "^\\", "^a\\\\\\", "^\0$", "^\\x00$",
     "^\\u001F$", "^\\u{7f}$", "^a\\vb$", "^[\\x0B]$", 3, None, "(" * 5_000 + ")" * 5_000],
    ids=lambda pattern: str(pattern)[:20],
)  # fmt: skip
def test_patterns_that_are_not_understood_are_refused(pattern: Any) -> None:
    with pytest.raises(ConfigError, match="cannot be obeyed"):
        constraint({"type": "string", "pattern": pattern})
    with pytest.raises(ConfigError, match="cannot be obeyed"):
        constraint({"type": "object", "patternProperties": {pattern: {}, "^(?=b)": {}}})


def chain(length: int) -> Any:
    """Definitions each of which refers to the next one."""
    links = {str(i): {"properties": {"a": {"$ref": f"#/$defs/{i + 1}"}}} for i in range(length)}
    return {"$defs": links | {str(length): {"type": "null"}}, "$ref": "#/$defs/0"}


def doubled(times: int) -> Any:
    """A schema whose parts are the same two schemas, and so on."""
    links = {str(i): {"allOf": [{"$ref": f"#/$defs/{i + 1}"}] * 2} for i in range(times)}
    return {"$defs": links | {str(times): {"type": "null"}}, "$ref": "#/$defs/0"}


def nested(levels: int) -> Any:
    return json.loads('{"items":' * levels + "{}" + "}" * levels)


MANY = [str(i) for i in range(20_000)]


@pytest.mark.parametrize(
    ("schema", "complaint"),
    [
        (nested(60), "nested too deeply"),
        (nested(400), "nested too deeply"),
        ({"const": json.loads("[" * 200 + "]" * 200)}, "recursion limit"),
        ({"const": json.loads("[" * 900 + "]" * 900)}, "recursion|nested"),
        (chain(6_000), "too large"),
        (doubled(40), "nested too deeply"),
        (doubled(20), "too large"),
        ({"type": "object", "properties": {key: {"type": "null"} for key in MANY}}, "too large"),
        ({"type": "object", "properties": {key: {"$ref": "#"} for key in MANY}}, "too large"),
        ({"type": "object", "patternProperties": {key: {} for key in MANY[:500]}}, "too large"),
        ({"type": "object", "required": MANY}, "too large"),
        ({"enum": MANY}, "too large"),
        ({"const": dict.fromkeys(MANY)}, "too large"),
        ({"allOf": [{"anyOf": [{"pattern": c} for c in "abcd"]}] * 9}, "too large"),
        ({"type": "integer", "multipleOf": 1_000_003}, "a rounder number"),
        ({"allOf": [{"multipleOf": 997}, {"multipleOf": 991}]}, "a rounder number"),
        ({"type": "number", "multipleOf": 1e-300}, "too many digits"),
        ({"type": "integer", "minimum": 10**400}, "must be below 2"),
        ({"type": "string", "minLength": 2**52}, "decimal literal invalid"),
        ({"type": "string", "pattern": "^(a{999})*$", "minLength": 9**9}, "Unable to determine"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_would_take_all_time_or_memory_is_refused(schema: Any, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        constraint(schema)


@pytest.mark.parametrize(
    ("schema", "begin"),
    [
        (chain(2_000), '{"a": ' * 2_000),
        ({"type": "string", "minLength": 9**9}, '"aa'),
        ({"type": "string", "maxLength": 9**9}, '"aa'),
        ({"type": "array", "minItems": 9**9, "items": {"type": "null"}}, "[null, null"),
        ({"type": "array", "maxItems": 9**9}, "[1, 2"),
        ({"type": "object", "minProperties": 9**9}, '{"a": 1, "b"'),
        ({"type": "string", "pattern": "^((a{999}){999}){999}$"}, '"aaa'),
        ({"type": "string", "pattern": "^(a|b)*a(a|b){300}$"}, '"' + "abba" * 200),
        ({"type": "string", "pattern": "a?" * 300}, '"aaa'),
        ({"type": "string", "pattern": "|".join(MANY)}, '"19999'),
        ({"enum": MANY[:9_000]}, '"8999'),
        ({"type": "integer", "multipleOf": 99_991}, "999"),
        ({"$schema": "https://x.org/y", "$id": "no uri", "const": 1}, "1"),
        ({"$schema": "http://json-schema.org/draft-04/schema#", "prefixItems": [{}]}, "[1"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_large_can_be_followed(schema: Any, begin: str) -> None:
    here = constraint(schema)
    for byte in begin.encode():
        assert here.allows(np.array([FIRST_BYTE + byte], np.int32))[0]
        here.accept(FIRST_BYTE + byte)
    assert here.allows(EVERY).any()


def test_a_text_that_is_no_json_is_refused() -> None:
    for text in (
        "",
        "{",
        "[" * 100_000,
        "\ud800",
        '{"const": 1} x',
        '{"const": %s}' % ("9" * 5_000),
    ):
        with pytest.raises(ConfigError, match="cannot be obeyed"):
            SchemaConstraint(text, TABLE)


def test_a_constraint_is_made_in_any_thread_and_leaves_their_stacks_as_they_were() -> None:
    before = threading.stack_size(1 << 20)
    try:
        found: list[bool] = []
        deep = chain(1_000)
        thread = threading.Thread(target=lambda: found.append(lets_through(constraint(deep), "{}")))
        thread.start()
        thread.join()
        assert found == [True]
        assert threading.stack_size() == 1 << 20
    finally:
        threading.stack_size(before)


def test_where_the_library_gives_up_the_text_does_not_end() -> None:
    """A row of so many optional properties is beyond its limits, but only once an object begins."""
    schema = {"type": "object", "properties": {str(i): {"type": "null"} for i in range(900)}}
    here = constraint(schema)
    brace = FIRST_BYTE + ord("{")
    assert here.allows(np.array([brace], np.int32))[0]
    with pytest.raises(NoTokenAllowed, match=r"followed here; simplify it: .* 3599 items"):
        here.accept(brace)
    with pytest.raises(NoTokenAllowed, match="cannot be followed here"):
        here.copy().allows(EVERY)
    with pytest.raises(NoTokenAllowed, match="cannot be followed here"):
        here.allows(EVERY[:1])


def test_llguidance_is_not_loaded_before_a_schema_is_used() -> None:
    code = (
        "import sys, spec_local.cli, spec_local.sampling.sampler, spec_local.sampling.schema; "
        "sys.exit('llguidance' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


KEYWORDS = (
    *("type", "properties", "required", "items", "prefixItems", "maxItems", "minLength", "pattern"),
    *("format", "enum", "const", "anyOf", "oneOf", "allOf", "$ref", "minimum", "exclusiveMaximum"),
    *("additionalProperties", "patternProperties", "multipleOf", "not"),
)
keyword = st.sampled_from(KEYWORDS)
scalar = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.floats(), st.sampled_from(["#", "object", "a"])
)
anything = st.recursive(
    scalar, lambda inner: st.one_of(st.lists(inner), st.dictionaries(keyword, inner)), max_leaves=8
)


@settings(max_examples=300)
@given(st.dictionaries(keyword, anything, max_size=4))
def test_nonsense_is_a_constraint_or_a_sentence(schema: dict[str, Any]) -> None:
    with suppress(ConfigError):
        assert constraint(schema).allows(EVERY).any()
