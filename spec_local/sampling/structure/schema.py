"""JSON schemas to GBNF: every answer that follows the grammar validates against the schema.

Written here, because the converter that comes with llama-cpp-python passes over keywords it does
not know and lets raw control characters into strings. Where a grammar cannot say what a schema asks
for, it is either stricter (objects have the properties that are named, in their order) or refused.
"""

from __future__ import annotations

import json
import re
from itertools import combinations
from typing import Any, NoReturn
from urllib.parse import unquote

from spec_local.errors import ConfigError, require
from spec_local.sampling.structure.constants import (
    TYPES,
    Schema,
    listed_values,
    lists_values,
    told_apart,
)
from spec_local.sampling.structure.digits import BOUNDS, bounds, whole_numbers
from spec_local.sampling.structure.pattern import literal, pattern_rule, repeated
from spec_local.sampling.structure.primitives import FORMATS, PRIMITIVES

_NOTES = {
    *("title", "description", "default", "examples", "example", "deprecated", "discriminator"),
    *("readOnly", "writeOnly", "$schema", "$id", "$anchor", "$comment", "$defs", "definitions"),
    *("contentMediaType", "contentEncoding", "contentSchema"),
}
"""Keywords that restrict nothing."""

_KEYWORDS = {
    "object": {"properties", "required", "additionalProperties", "patternProperties",
               "propertyNames", "minProperties", "maxProperties", "dependentRequired"},
    "array": {"items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains",
              "minContains", "maxContains"},
    "string": {"pattern", "minLength", "maxLength", "format"},
    "number": {*BOUNDS, "multipleOf"},
    "integer": {*BOUNDS, "multipleOf"},
    "boolean": set(),
    "null": set(),
}  # fmt: skip
"""Keywords that say something about values of one type only."""


def schema_grammar(text: str) -> str:
    """GBNF for a JSON schema given as JSON; raises ConfigError for what cannot be obeyed."""
    try:
        document = json.loads(text)
        writer = _Writer(document)
        return f"root ::= {writer.value(document, 'answer')}\n{writer.text()}"
    except ConfigError as error:
        _refuse(str(error))
    except (ValueError, TypeError, AttributeError, LookupError, OverflowError) as error:
        _refuse(f"it is not a schema ({error})")
    except RecursionError:
        _refuse("it is nested too deeply")


def _refuse(reason: str) -> NoReturn:
    raise ConfigError(f"The JSON schema cannot be turned into a grammar: {reason}.") from None


class _Writer:
    """Collects rules; every method named after a type returns an expression for its values."""

    def __init__(self, document: Any) -> None:
        self._document = document
        self._rules = dict(PRIMITIVES)
        self._names: dict[str, str] = {}

    def text(self) -> str:
        return "\n".join(f"{name} ::= {rule}" for name, rule in self._rules.items())

    def value(self, schema: Schema | bool, name: str) -> str:
        """The name of a rule for the values that a schema allows; `name` is used in messages."""
        require(isinstance(schema, (dict, bool)), f"{name} must be an object or true")
        require(schema is not False, f"nothing is allowed as {name}")
        restrictions = _without_notes(schema) if isinstance(schema, dict) else {}
        if not restrictions:
            return "value"
        rule = self._reserve(name)
        self._rules[rule] = self._body(restrictions, name)
        return rule

    def _reserve(self, name: str) -> str:
        base = re.sub("[^a-zA-Z0-9]+", "-", name) or "x"
        number = next(i for i in range(len(self._rules) + 1) if f"{base}-{i}" not in self._rules)
        self._rules[f"{base}-{number}"] = ""
        return f"{base}-{number}"

    def _body(self, schema: Schema, name: str) -> str:
        if "$ref" in schema:
            _require_only(schema, {"$ref"}, name)
            return self._reference(schema["$ref"], name)
        if "allOf" in schema:
            return self._body(self._merged(schema, name), name)
        for choice in ("anyOf", "oneOf"):
            if choice in schema:
                return self._choice(schema, choice, name)
        if lists_values(schema):
            return _constants(schema, name)
        kinds = schema["type"] if "type" in schema else _likely_type(schema, name)
        if isinstance(kinds, list):
            require(bool(kinds), f"{name} has no type")
            return " | ".join(self.value({**schema, "type": kind}, name) for kind in kinds)
        require(kinds in TYPES, f"{name} has the unknown type {kinds!r}")
        others = set().union(*_KEYWORDS.values()) - _KEYWORDS[kinds]
        schema = {key: value for key, value in schema.items() if key not in others}
        return str(getattr(self, f"_{kinds}")(schema, name))

    def _reference(self, ref: str, name: str) -> str:
        if ref not in self._names:
            rule = self._names[ref] = self._reserve(name)
            self._rules[rule] = self.value(self._lookup(ref), name)
        return self._names[ref]

    def _lookup(self, ref: str) -> Any:
        require(ref.startswith("#"), f"only references within the schema are followed, not {ref}")
        found = self._document
        for part in filter(None, unquote(ref[1:]).split("/")):
            key = part.replace("~1", "/").replace("~0", "~")
            require(isinstance(found, dict) and key in found, f"{ref} names nothing")
            found = found[key]
        return found

    def _merged(self, schema: Schema, name: str) -> Schema:
        """allOf as one schema: a single component, or objects whose properties add up."""
        rest = {key: value for key, value in schema.items() if key != "allOf"}
        parts = [rest] if rest else []
        parts += [self._followed(part, name) for part in schema["allOf"]]
        if len(parts) == 1:
            return parts[0]
        whole: Schema = {"type": "object", "properties": {}, "required": []}
        for part in parts:
            _require_only(part, {"type", "properties", "required"}, f"allOf of {name}")
            twice = whole["properties"].keys() & part.get("properties", {}).keys()
            fits = part.get("type", "object") == "object" and not twice
            require(fits, f"allOf of {name} has parts that are no objects or say things twice")
            whole["properties"] |= part.get("properties", {})
            whole["required"] += part.get("required", [])
        return whole

    def _choice(self, schema: Schema, choice: str, name: str) -> str:
        rest = {key: value for key, value in schema.items() if key != choice}
        options = [{**rest, **_without_notes(option)} for option in schema[choice]]
        require(bool(options), f"nothing is allowed as {name}")
        for option, given in zip(options, schema[choice], strict=True):
            same = all(option[key] == value for key, value in rest.items())
            require(same, f"{choice} of {name} contradicts what is beside it: {given}")
        if choice == "oneOf":
            meant = [self._followed(option, name) for option in options]
            distinct = all(told_apart(one, other) for one, other in combinations(meant, 2))
            require(distinct, f"oneOf of {name} may overlap; use anyOf")
        return " | ".join(self.value(option, name) for option in options)

    def _followed(self, schema: Schema, name: str) -> Schema:
        """What a schema says once its references are followed, without notes."""
        seen: set[str] = set()
        while "$ref" in (schema := _without_notes(schema)):
            _require_only(schema, {"$ref"}, name)
            require(schema["$ref"] not in seen, f"{name} refers to nothing but itself")
            seen.add(schema["$ref"])
            schema = self._lookup(schema["$ref"])
        return schema

    def _object(self, schema: Schema, name: str) -> str:
        _require_only(schema, {"type", "properties", "required", "additionalProperties"}, name)
        properties, required = schema.get("properties", {}), set(schema.get("required", []))
        missing = ", ".join(sorted(required - properties.keys()))
        require(not missing, f"{name} requires {missing}, which it does not describe")
        if properties:
            members = self._members(list(properties.items()), required, name)
            return f'"{{" space {members} space "}}"'
        more = schema.get("additionalProperties", True)
        if more is False:
            return '"{" space "}"'
        pair = f'string space ":" space {self.value(more, f"{name} entry")}'
        return f'"{{" space ({pair} ("," space {pair})*)? space "}}"'

    def _members(self, left: list[tuple[str, Any]], required: set[str], name: str) -> str:
        """The properties in order, the optional ones left out or not, with commas in between."""
        after = '""'  # what may follow once something stands there
        first = '""'  # the same while nothing does
        for key, schema in reversed(left):
            value = self.value(schema, f"{name}.{key}")
            pair = f'{literal(json.dumps(key, ensure_ascii=False))} space ":" space {value}'
            with_key, with_comma = self._reserve(f"{name} from"), self._reserve(f"{name} then")
            optional = key not in required
            self._rules[with_key] = f"{pair} {after}" + (f" | {first}" if optional else "")
            self._rules[with_comma] = f'"," space {pair} {after}' + (f" | {after}" * optional)
            first, after = with_key, with_comma
        return first

    def _array(self, schema: Schema, name: str) -> str:
        _require_only(schema, {"type", "items", "prefixItems", "minItems", "maxItems"}, name)
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        require(most is None or least <= most, f"no number of items is allowed for {name}")
        fixed = schema.get("prefixItems")
        if isinstance(schema.get("items"), list):  # as prefixItems was spelled before 2020
            fixed = schema["items"]
        if fixed is not None:
            fits = least <= len(fixed) and (most is None or most >= len(fixed))
            require(fits, f"{name} has {len(fixed)} prefixItems, and exactly those are written")
            items = [self.value(item, f"{name}[{i}]") for i, item in enumerate(fixed)]
            return '"[" space ' + ' "," space '.join(items) + ' space "]"'
        item = self.value(schema.get("items", True), f"{name} item")
        if most == 0:
            return '"[" space "]"'
        at_most = None if most is None else most - 1
        more = repeated(f'("," space {item})', max(0, least - 1), at_most)
        some = f"{item} {more}"
        return '"[" space ' + (some if least > 0 else f"({some})?") + ' space "]"'

    def _string(self, schema: Schema, name: str) -> str:
        _require_only(schema, {"type", "pattern", "minLength", "maxLength", "format"}, name)
        wanted = [key for key in ("pattern", "format") if key in schema]
        if schema.get("format") not in FORMATS and "format" in wanted:
            wanted.remove("format")
        sized = bool({"minLength", "maxLength"} & schema.keys())
        require(len(wanted) + sized <= 1, f"{name} can have only one of pattern, length and format")
        if wanted == ["pattern"]:
            return rf'"\"" ({pattern_rule(schema["pattern"])}) "\""'
        if wanted == ["format"]:
            return rf'"\"" {FORMATS[schema["format"]]} "\""'
        if not sized:
            return "string"
        chars = repeated("char", schema.get("minLength", 0), schema.get("maxLength"))
        return rf'"\"" {chars} "\""'

    def _integer(self, schema: Schema, name: str) -> str:
        _require_only(schema, {"type", *BOUNDS}, name)
        return whole_numbers(*bounds(schema, name)) if BOUNDS & schema.keys() else "integer"

    def _number(self, schema: Schema, name: str) -> str:
        _require_only(schema, {"type", "minimum"}, name)
        if "minimum" not in schema:
            return "number"
        require(schema["minimum"] == 0, f"{name} can only have the minimum 0; it is no integer")
        return "positive"

    def _boolean(self, _schema: Schema, _name: str) -> str:
        return "boolean"

    def _null(self, _schema: Schema, _name: str) -> str:
        return "null"


def _without_notes(schema: Schema) -> Schema:
    return {k: v for k, v in schema.items() if k not in _NOTES and not k.startswith("x-")}


def _require_only(schema: Schema, obeyed: set[str], name: str) -> None:
    unknown = ", ".join(sorted(schema.keys() - obeyed))
    require(not unknown, f"{unknown} of {name} would not be obeyed; leave it out")


def _likely_type(schema: Schema, name: str) -> str:
    kinds = [kind for kind, keywords in _KEYWORDS.items() if keywords & schema.keys()]
    require(bool(kinds), f"{', '.join(schema)} of {name} would not be obeyed; leave it out")
    return kinds[0]


def _constants(schema: Schema, name: str) -> str:
    _require_only(schema, {"const", "enum", "type"}, name)
    values = listed_values(schema)
    require(bool(values), f"nothing is allowed as {name}")
    return " | ".join(map(literal, values))
