"""JSON schemas to GBNF: llama-cpp-python's converter, held to what it promises.

The converter passes over keywords it does not know, lets raw control characters into strings, and
writes escapes of constants as the characters they stand for. Here those are mended, whole numbers
get their bounds, and a keyword that would not be obeyed is an error: an answer that follows the
grammar validates against the schema.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from llama_cpp.llama_grammar import PRIMITIVE_RULES, BuiltinRule, SchemaConverter

from spec_local.errors import ConfigError, require
from spec_local.llama.digits import whole_numbers

Schema = dict[str, Any]

_CHAR = r'[^"\\\x7F\x00-\x1F] | [\\] (["\\bfnrt/] | "u" [0-9a-fA-F]{4})'

_NOTES = {
    *("title", "description", "default", "examples", "example", "deprecated", "discriminator"),
    *("readOnly", "writeOnly", "$schema", "$id", "$comment", "$defs", "definitions", "format"),
}
"""Keywords that restrict nothing. `format` is one by the standard; some formats are obeyed."""

_OBEYED = {
    "object": {"properties", "required", "additionalProperties", "allOf"},
    "array": {"items", "prefixItems", "minItems", "maxItems"},
    "string": {"pattern", "minLength", "maxLength"},
    "integer": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
    "number": set(),
    "boolean": set(),
    "null": set(),
}
_MORE = {
    "object": {"patternProperties", "propertyNames", "minProperties", "maxProperties"},
    "array": {"uniqueItems", "contains", "minContains", "maxContains"},
    "number": {"multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
}
"""Keywords that only restrict values of that type, and are not obeyed."""

_BARE = re.compile(r'"|\\\\|\[\^|(?<!\\)\.|\[[^\]]*[ -!]-[#-~]|\[[^\]]*[!-\[]-[\]-~]')
"""In a pattern, what may match a quote, a backslash or a control character, unescaped."""


def schema_grammar(text: str) -> str:
    """GBNF for a JSON schema given as JSON; raises ConfigError for what cannot be obeyed."""
    converter = _Converter(prop_order={}, allow_fetch=False, dotall=False, raw_pattern=False)
    try:
        schema = converter.resolve_refs(json.loads(text), "schema")
        converter.visit(schema, "")
        return str(converter.format_grammar())
    except Exception as error:  # the converter raises whatever its code stumbles over
        reason = " ".join(str(error).split()) or type(error).__name__
        reason = reason.removesuffix(".")
        raise ConfigError(f"The JSON schema cannot be turned into a grammar: {reason}.") from None


class _Converter(SchemaConverter):  # type: ignore[misc]
    def visit(self, schema: Schema | bool, name: str) -> str:
        """Add the rules of a schema; the name of its rule."""
        require(schema is not False and isinstance(schema, (dict, bool)), f"{name} allows nothing")
        schema = {} if isinstance(schema, bool) else _without_notes(schema)
        types = schema.get("type")
        if isinstance(types, list) and not {"const", "enum", "anyOf", "oneOf"} & schema.keys():
            schema = {"anyOf": [{**schema, "type": one} for one in types]}
        schema = _of_one_type(schema)
        _require_obeyed(schema, name)
        if not schema.keys() - {"format"}:
            value = self._add_primitive("value", PRIMITIVE_RULES["value"])
            return str(self._add_rule(name or "root", value))
        if (
            schema.get("type") == "integer"
            and len(schema) > 1
            and not {"const", "enum"} & {*schema}
        ):
            rule = whole_numbers(*_bounds(schema))
            return str(self._add_rule(f"{name}-integer" if name else "root", f"({rule}) space"))
        if schema.get("type") == "array" and "prefixItems" not in schema:
            schema = {"items": True, **schema}
        return str(super().visit(schema, name))

    def _add_primitive(self, name: str, rule: BuiltinRule) -> str:
        if rule is PRIMITIVE_RULES["char"]:
            rule = BuiltinRule(_CHAR)
        return str(super()._add_primitive(name, rule))

    def _format_literal(self, literal: str) -> str:
        return str(super()._format_literal(literal.replace("\\", "\\\\")))


def _without_notes(schema: Schema) -> Schema:
    keep = {"format"} if schema.get("type") == "string" else set()
    return {key: value for key, value in schema.items() if key not in _NOTES - keep}


def _of_one_type(schema: Schema) -> Schema:
    """Without the keywords that say nothing about values of its type."""
    kind = schema.get("type")
    if kind not in _OBEYED:
        return schema
    others = {key for of in (_OBEYED, _MORE) for t in of if t != kind for key in of[t]}
    others -= {"allOf"}
    if kind == "integer":
        others -= _MORE["number"]
    mine = _OBEYED[kind] | _MORE.get(kind, set())
    return {key: value for key, value in schema.items() if key not in others - mine}


def _require_obeyed(schema: Schema, name: str) -> None:
    """Raise ConfigError for keywords that the grammar would not follow."""
    where = f" of {name}" if name else ""
    obeyed = {"type", "format"}
    for chosen in ("$ref", "oneOf", "anyOf", "const", "enum"):
        if chosen in schema:
            obeyed |= {chosen}
            break
    else:
        kind = schema.get("type")
        obeyed |= _OBEYED.get(kind, set()) if kind else {k for ks in _OBEYED.values() for k in ks}
    unknown = sorted(schema.keys() - obeyed)
    require(not unknown, f"it does not obey {', '.join(unknown)}{where}; leave that out")
    if "pattern" in schema:
        single = not {"minLength", "maxLength"} & schema.keys()
        require(single, f"it obeys either the pattern or the length{where}, not both")
        bare = _BARE.search(schema["pattern"])
        require(bare is None, f"the pattern{where} may match quotes or backslashes")
    if "allOf" in schema:
        require("properties" not in schema, f"it does not obey allOf beside properties{where}")
    if "prefixItems" in schema:
        sizes = {schema.get(key, len(schema["prefixItems"])) for key in ("minItems", "maxItems")}
        fixed = sizes == {len(schema["prefixItems"])} and schema.get("items") in (None, False)
        require(fixed, f"it writes exactly the prefixItems{where}")


def _bounds(schema: Schema) -> tuple[int | None, int | None]:
    """The least and the greatest whole number a schema allows."""
    lows = [math.ceil(schema["minimum"])] if "minimum" in schema else []
    highs = [math.floor(schema["maximum"])] if "maximum" in schema else []
    if "exclusiveMinimum" in schema:
        lows.append(math.floor(schema["exclusiveMinimum"]) + 1)
    if "exclusiveMaximum" in schema:
        highs.append(math.ceil(schema["exclusiveMaximum"]) - 1)
    low, high = max(lows, default=None), min(highs, default=None)
    require(low is None or high is None or low <= high, "no whole number is within the bounds")
    return low, high
