"""What a JSON schema lists value by value, and whether two schemas can be told apart by it."""

from __future__ import annotations

import json
from typing import Any

Schema = dict[str, Any]

TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")


def lists_values(schema: Schema) -> bool:
    """Whether the schema names its values one by one."""
    return "const" in schema or "enum" in schema


def listed_values(schema: Schema) -> list[str]:
    """The JSON texts of const and enum, of those that have the schema's type."""
    values = schema.get("enum", [schema.get("const")])
    if "const" in schema:
        values = [value for value in values if value == schema["const"]]
    return [
        json.dumps(value, ensure_ascii=False)
        for value in values
        if "type" not in schema or _types_of_value(value) & types_of(schema)
    ]


def types_of(schema: Schema) -> set[str]:
    """The types a schema allows by its keyword; all without it."""
    kinds = schema.get("type", TYPES)
    return {kinds} if isinstance(kinds, str) else set(kinds)


def told_apart(one: Schema, other: Schema) -> bool:
    """Whether it is plain that no value satisfies both schemas.

    By their values, by their types, or by a required property that differs (a tag).
    """
    if lists_values(one) and lists_values(other):
        return set(listed_values(one)).isdisjoint(listed_values(other))
    if _with_integer(types_of(one)).isdisjoint(_with_integer(types_of(other))):
        return True
    mine, theirs = _tags(one), _tags(other)
    return any(mine[key].isdisjoint(theirs[key]) for key in mine.keys() & theirs.keys())


def _with_integer(kinds: set[str]) -> set[str]:
    return kinds | {"integer"} if "number" in kinds else kinds


def _tags(schema: Schema) -> dict[str, set[str]]:
    """Required properties of an object whose values are listed."""
    if types_of(schema) != {"object"}:
        return {}
    properties, required = schema.get("properties", {}), schema.get("required", [])
    return {
        key: set(listed_values(value))
        for key, value in properties.items()
        if key in required and isinstance(value, dict) and lists_values(value)
    }


def _types_of_value(value: Any) -> set[str]:
    if isinstance(value, bool):
        return {"boolean"}
    if isinstance(value, (int, float)):
        return {"number", "integer"} if value == int(value) else {"number"}
    names = {str: "string", list: "array", dict: "object", type(None): "null"}
    return {names[type(value)]}
