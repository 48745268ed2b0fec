"""What a JSON schema's values must not be, because llguidance would not obey them as they are."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from spec_local.errors import require

_FIRST_INEXACT = 2**53
"""llguidance reads numbers as doubles."""
_CONTROL = re.compile(r"[\x00-\x07\x0b\x0e-\x1f\x7f]")
"""Characters that JSON has no short escape for. Where one stands alone llguidance leaves it out, so
that another text would get through."""
_CONTROL_ESCAPE = re.compile(
    r"(?<!-)\\(?:[va]|(?:x|u00)(?:0[0-7bef]|1.|7f)|[xu]\{0*(?:[0-7bef]|1.|7f)\})(?!-)",
    re.IGNORECASE,
)
"""The same as a pattern spells them, except at the ends of a range."""
_HALF_ESCAPE = re.compile(r"(?<!\\)(?:\\\\)*\\$")


def count_values(value: Any, where: str) -> int:
    """How many values a JSON value is made of; raises ConfigError for one that is not obeyed."""
    if isinstance(value, (int, float)):
        exact = abs(value) < _FIRST_INEXACT
        require(exact, f"numbers in {where} must be below 2**53 to be exact, unlike {value}")
    elif isinstance(value, str):
        require(not _CONTROL.search(value), f"{where} has a control character, leave it out")
    elif isinstance(value, (list, dict)):
        inside = value.values() if isinstance(value, dict) else value
        return 1 + sum(count_values(each, where) for each in inside)
    return 1


def check_pattern(pattern: Any, where: str) -> None:
    """Raise ConfigError for a regular expression that is not obeyed, though it is taken."""
    require(isinstance(pattern, str), f"the pattern of {where} must be a text")
    half = _HALF_ESCAPE.search(pattern)
    require(not half, f"the pattern of {where} ends with half an escape: {pattern}")
    control = _CONTROL.search(pattern) or _CONTROL_ESCAPE.search(pattern)
    require(not control, f"the pattern of {where} has a control character: {pattern}")


def remainders(number: Any, where: str) -> int:
    """How many remainders the multiples of a number are told apart by, but for powers of ten."""
    is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
    require(is_number and number > 0, f"multipleOf of {where} must be a number above 0")
    return int("".join(map(str, Decimal(str(number)).normalize().as_tuple().digits)))
