"""A JSON schema as it is handed to llguidance: known keywords, closed objects, references gathered.

llguidance passes over keywords it does not know, and lets objects have properties that no schema
names. So what is handed over is written anew, of the keywords that are obeyed. It is also bounded,
where llguidance's own limits would let a schema take minutes.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import lcm
from typing import Any
from urllib.parse import unquote

from spec_local.errors import require
from spec_local.sampling.schema_values import check_pattern, count_values, remainders

Schema = dict[str, Any]

_NOTES = {
    *("title", "description", "default", "examples", "example", "deprecated", "discriminator"),
    *("readOnly", "writeOnly", "$schema", "$id", "$anchor", "$comment", "$defs", "definitions"),
    *("contentMediaType", "contentEncoding", "contentSchema"),
}
"""Keywords that restrict nothing; those that begin with x- are more of them."""
_PLAIN = {
    *("type", "const", "enum", "required", "minProperties", "maxProperties", "minItems"),
    *("maxItems", "minLength", "maxLength", "pattern", "format", "multipleOf"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
}
"""Keywords with values that are no schemas."""
_OF_ITS_PARTS = {"items", "prefixItems", "additionalProperties", "properties", "patternProperties"}
_OF_THE_VALUE = {"$ref", "allOf", "anyOf", "oneOf"}
"""Keywords with schemas of the value's parts, and of the value itself."""
_OF_THE_OBJECT = {"properties", "patternProperties", "additionalProperties", "allOf"}
"""Keywords that say, beside a choice, which properties there are."""

_WRAPPING = {"name", "description", "strict", "schema"}

_LONGEST_NAME = 200
"""Characters of where a schema stands, as messages have it."""
_DEEPEST = 50
"""Levels of one schema, not counting what it refers to."""
_MOST_VALUES, _PER_PATTERN = 10_000, 100
"""Schemas, names and values in all, and how many of them a pattern of names counts for: llguidance
takes some seconds for so many, and more than twice as long for twice as many."""
_MOST_REMAINDERS = 100_000
"""How many remainders numbers may be told apart by: llguidance takes a fifth of a second for so
many, and minutes for a hundred times as many."""


def read_schema(document: Any, *, closed: bool) -> Schema:
    """The schema with the same meaning, but that objects have only the properties it names.

    An object stays open where the schema says so by additionalProperties. closed: false leaves all
    as the standard has it. Only so can llguidance tell whether the options of a oneOf exclude each
    other; closed, they are those of an anyOf. Raises ConfigError with half a sentence: what would
    not be obeyed, is no schema, or is too large.
    """
    return _Reader(_unwrapped(document), closed).read()


def _unwrapped(document: Any) -> Any:
    """The schema itself, where it came in what the OpenAI protocol puts around it."""
    if isinstance(document, dict) and document.get("type") == "json_schema":
        document = document.get("json_schema")
    if isinstance(document, dict) and "schema" in document and document.keys() <= _WRAPPING:
        return document["schema"]
    return document


class _Reader:
    """Reads the document's schemas; what is referred to is read once, and stands in `$defs`."""

    def __init__(self, document: Any, closed: bool) -> None:
        self._document = document
        self._closes = closed
        self._referred: list[tuple[Any, str]] = []  # the schemas in `$defs`, and where they are
        self._numbers: dict[int, int] = {}  # by a schema's identity, its place among them
        self._values = 0
        self._remainders = 1

    def read(self) -> Schema:
        root = self._reference(self._document, "answer")
        found: dict[str, Any] = {}
        while len(found) < len(self._referred):  # reading may find more
            schema, where = self._referred[len(found)]
            found[str(len(found))] = self._schema(schema, where, 1)
        return {**root, "$defs": found}

    def _reference(self, schema: Any, where: str) -> Schema:
        schema = self._followed(schema, where)
        if id(schema) not in self._numbers:
            self._numbers[id(schema)] = len(self._referred)
            self._referred.append((schema, where))
        return {"$ref": f"#/$defs/{self._numbers[id(schema)]}"}

    def _followed(self, schema: Any, where: str) -> Any:
        """What a schema refers to if it does nothing else, and so on; otherwise itself."""
        seen = set[str]()
        while isinstance(schema, dict) and _restrictions(schema).keys() == {"$ref"}:
            self._count(1)
            ref = schema["$ref"]
            schema = self._target(ref)
            require(ref not in seen, f"{where} refers to nothing but itself")
            seen.add(ref)
        return schema

    def _target(self, ref: Any) -> Any:
        inside = isinstance(ref, str) and ref.startswith("#")
        require(inside, f"only references within the schema are followed, not {ref}")
        found = self._document
        for part in filter(None, unquote(ref[1:]).split("/")):
            key = part.replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and key.isdecimal() and int(key) < len(found):
                found = found[int(key)]
            else:
                require(isinstance(found, dict) and key in found, f"{ref} names nothing")
                found = found[key]
        return found

    def _schema(self, schema: Any, where: str, depth: int, *, whole: bool = True) -> Any:
        """whole: nothing else says something of the same value, so that its object is closed."""
        require(isinstance(schema, (dict, bool)), f"{where} must be an object, true or false")
        require(depth <= _DEEPEST, "it is nested too deeply, or contains itself")
        self._count(1)
        if isinstance(schema, bool):
            return schema
        schema = self._understood(schema, where)
        if whole and schema.keys() == {"$ref"}:
            return self._reference(schema, where)
        if "$ref" in schema:  # its object is closed together with what stands beside
            beside = schema.pop("allOf", [])
            schema = {"allOf": [self._target(schema.pop("$ref")), *beside], **schema}
        if schema.keys() == {"allOf"} and len(schema["allOf"]) == 1:
            return self._schema(schema["allOf"][0], where, depth + 1, whole=whole)
        one_choice = len(schema.keys() & {"anyOf", "oneOf"}) == 1
        whole_options = whole and one_choice and not schema.keys() & _OF_THE_OBJECT
        written: Schema = {}
        for key, value in schema.items():
            if key in ("allOf", "anyOf", "oneOf"):
                # llguidance does not look behind references to see that options are distinct.
                options = [self._followed(v, where) for v in value] if key == "oneOf" else value
                written["anyOf" if whole_options and self._closes else key] = [
                    self._schema(option, where, depth + 1, whole=whole_options)
                    for option in options
                ]
            else:
                written[key] = self._parts(key, value, where, depth)
        return _closed(written) if whole and self._closes else written

    def _understood(self, schema: Schema, where: str) -> Schema:
        """The keywords that restrict something, all of them known and of the right type."""
        found = _restrictions(schema)
        if "nullable" in found:  # of OpenAPI 3.0, where it is said beside a type
            nullable, kind = found.pop("nullable"), found.get("type")
            require(isinstance(nullable, bool), f"nullable of {where} must be true or false")
            if nullable and isinstance(kind, str):
                found["type"] = [kind, "null"]
        unknown = found.keys() - _PLAIN - _OF_ITS_PARTS - _OF_THE_VALUE
        names = ", ".join(sorted(unknown))
        require(not unknown, f"{names} of {where} would not be obeyed; leave it out")
        if isinstance(found.get("items"), list):  # as prefixItems was spelled before 2020
            require("prefixItems" not in found, f"items of {where} must be a schema")
            found["prefixItems"] = found.pop("items")
        for key in found.keys() & {"prefixItems", "allOf", "anyOf", "oneOf", "required"}:
            require(isinstance(found[key], list), f"{key} of {where} must be a list")
        for key in found.keys() & {"properties", "patternProperties"}:
            require(isinstance(found[key], dict), f"{key} of {where} must be an object")
        for pattern in (found.get("pattern", ""), *found.get("patternProperties", ())):
            check_pattern(pattern, where)
        names_only = all(isinstance(name, str) for name in found.get("required", []))
        require(names_only, f"required of {where} must be a list of names")
        return found

    def _parts(self, key: str, value: Any, where: str, depth: int) -> Any:
        """A keyword's value, the schemas in it read."""
        if key in ("items", "additionalProperties"):
            return self._part(value, f"{where} item" if key == "items" else f"{where} entry", depth)
        if key == "prefixItems":
            return [self._part(item, f"{where}[{i}]", depth) for i, item in enumerate(value)]
        if key in ("properties", "patternProperties"):
            self._count(_PER_PATTERN * len(value) if key == "patternProperties" else 0)
            return {name: self._part(v, f"{where}.{name}", depth) for name, v in value.items()}
        self._count(count_values(value, where))
        if key == "multipleOf":  # of all together, for in allOf they meet
            self._remainders = lcm(self._remainders, remainders(value, where))
            fits = self._remainders <= _MOST_REMAINDERS
            require(fits, f"multipleOf of {where} takes too long to count; use a rounder number")
        return value

    def _part(self, schema: Any, where: str, depth: int) -> Any:
        """The schema of one of a value's parts. What could contain itself is read by reference."""
        where = where[:_LONGEST_NAME]
        if isinstance(schema, dict) and schema.keys() & _OF_THE_VALUE:
            self._count(1)
            return self._reference(schema, where)
        return self._schema(schema, where, depth + 1)

    def _count(self, values: int) -> None:
        self._values += values
        require(self._values <= _MOST_VALUES, "it is too large")


def _restrictions(schema: Schema) -> Schema:
    return {k: v for k, v in schema.items() if k not in _NOTES and not k.startswith("x-")}


def _closed(schema: Schema) -> Schema:
    """The schema, its object closed if it names properties and does not say otherwise."""
    named = dict.fromkeys(name for _, names in _said(schema, "properties") for name in names)
    decided = any(True for _ in _said(schema, "additionalProperties")) or any(
        each is not schema for each, _ in _said(schema, "patternProperties")
    )
    if not named or decided:
        return schema
    named |= dict.fromkeys(name for _, names in _said(schema, "required") for name in names)
    own = schema.get("properties", {})
    properties = {name: own.get(name, True) for name in named}
    rest = {key: value for key, value in schema.items() if key != "properties"}
    return {"properties": properties, "additionalProperties": False, **rest}


def _said(schema: Any, keyword: str) -> Iterator[tuple[Schema, Any]]:
    """Where a keyword stands in what is said of one value, and what it says, in order."""
    for key, value in schema.items() if isinstance(schema, dict) else ():
        if key == keyword:
            yield schema, value
        elif key in ("allOf", "anyOf", "oneOf"):
            for part in value:
                yield from _said(part, keyword)
