"""GBNF of the values every JSON schema is built from."""

from __future__ import annotations

_PLAIN_CHAR = r'[^"\\\x7F\x00-\x1F]'
_HEX_CHAR = "[0-9a-cefA-CEF] [0-9a-fA-F]{3} | [dD] [0-7] [0-9a-fA-F]{2}"  # no half surrogate pair

PRIMITIVES = {
    "char": rf'{_PLAIN_CHAR} | [\\] (["\\bfnrt/] | "u" ({_HEX_CHAR}))',
    "space": '" "?',
    "string": r'"\"" char* "\""',
    "integer": '"-"? ("0" | [1-9] [0-9]{0,14})',
    "positive": '("0" | [1-9] [0-9]{0,14}) ("." [0-9]{1,15})? ([eE] [-+]? [0-9]{1,2})?',
    "number": '"-"? positive',
    "boolean": '"true" | "false"',
    "null": '"null"',
    "value": "object | array | string | number | boolean | null",
    "object": '"{" space (member ("," space member)*)? space "}"',
    "member": 'string space ":" space value',
    "array": '"[" space (value ("," space value)*)? space "]"',
}
"""Rules by name. White space is at most one space, so that a model cannot run away in it."""

_DAYS = '"0" [1-9] | "1" [0-9] | "2" [0-8]'
_DATE = (
    f'[0-9]{{4}} "-" (("0" [13578] | "10" | "12") "-" ({_DAYS} | "29" | "3" [01]) | '
    f'("0" [469] | "11") "-" ({_DAYS} | "29" | "30") | "02-" ({_DAYS}))'
)
_CLOCK = '([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9]'
_TIME = f'{_CLOCK} ":" [0-5] [0-9] ("." [0-9]{{1,6}})? ("Z" | [+-] {_CLOCK})'

FORMATS = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f'{_DATE} "T" {_TIME}',
    "uuid": ' "-" '.join(f"[0-9a-f]{{{n}}}" for n in (8, 4, 4, 4, 12)),
}
"""Formats that are obeyed; others restrict nothing, as the standard has it by default."""
