"""Tables as they come from TOML or JSON, into frozen dataclasses, field by field.

Every mistake is one sentence that names the key: an unknown one, a missing one, a wrong type.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from spec_local.errors import ConfigError, require
from spec_local.util.files import text_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Record = TypeVar("Record")


def read_toml(path: Path) -> dict[str, Any]:
    """The document in a file; raises ConfigError if it cannot be read."""
    try:
        document: dict[str, Any] = tomllib.loads(text_of(path.read_bytes()))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    except (UnicodeDecodeError, RecursionError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}.") from None
    return document


def table(value: Any, key: str) -> dict[str, Any]:
    """A table's entries; raises ConfigError if it is none."""
    require(isinstance(value, dict), f"{key} must be a table.")
    return dict(value)


def record(spec: type[Record], value: Any, key: str) -> Record:
    """Make a frozen dataclass of a table; raises ConfigError naming the key that is wrong."""
    entries = table(value, key)
    hints = get_type_hints(spec)
    known = {field.name: field for field in fields(spec)}  # type: ignore[arg-type]
    for name in (name for name in entries if name not in known):
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}."
        raise ConfigError(f"{key}.{name}: unknown key; {hint}")
    for name, field in known.items():
        optional = field.default is not MISSING or field.default_factory is not MISSING
        require(name in entries or optional, f"{key}.{name} is missing.")
    values = {name: _value(hints[name], item, f"{key}.{name}") for name, item in entries.items()}
    try:
        return spec(**values)
    except ConfigError as error:
        raise ConfigError(f"{key}: {error}") from None


def _value(hint: Any, value: Any, key: str) -> Any:
    """Check a value against a field's type; tables and arrays become records and tuples."""
    if hint is Any:
        return value
    if get_origin(hint) is UnionType or type(None) in get_args(hint):
        if value is None:
            return None
        kinds = [kind for kind in get_args(hint) if kind is not type(None)]
        is_array = isinstance(value, list)
        hint = next((kind for kind in kinds if (get_origin(kind) is tuple) is is_array), kinds[0])
    if get_origin(hint) is tuple:
        return _tuple(get_args(hint), value, key)
    if get_origin(hint) is Mapping:
        of = get_args(hint)[1]
        return {name: _value(of, item, f"{key}.{name}") for name, item in table(value, key).items()}
    if get_origin(hint) is Literal:
        known = get_args(hint)
        require(value in known, f"{key} must be one of {', '.join(known)}.")
        return value
    if hasattr(hint, "__dataclass_fields__"):
        return record(hint, value, key)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    names = {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}
    matches = isinstance(value, hint) and isinstance(value, bool) is (hint is bool)
    require(matches, f"{key} must be {names[hint]}.")
    return value


def _tuple(items: tuple[Any, ...], value: Any, key: str) -> tuple[Any, ...]:
    """An array of one type of item, or of one item of each type."""
    require(isinstance(value, list), f"{key} must be an array.")
    if items[-1] is Ellipsis:
        items = items[:1] * len(value)
    require(len(items) == len(value), f"{key} must have {len(items)} items.")
    pairs = enumerate(zip(items, value, strict=True))
    return tuple(_value(hint, item, f"{key}[{i}]") for i, (hint, item) in pairs)
