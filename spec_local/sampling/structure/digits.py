"""Whole numbers between bounds, as GBNF over their digits."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from spec_local.errors import require

BOUNDS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}

_MOST_DIGITS = 15  # what every JSON reader keeps exactly


def bounds(schema: Mapping[str, float], name: str) -> tuple[int | None, int | None]:
    """The least and the greatest whole number that a schema's keywords allow; None is no bound."""
    given = {key: schema[key] for key in BOUNDS & schema.keys()}
    for key, bound in given.items():
        number = isinstance(bound, (int, float)) and not isinstance(bound, bool)
        require(number and math.isfinite(bound), f"{key} of {name} is not a number")
    lows = [math.ceil(given["minimum"])] if "minimum" in given else []
    highs = [math.floor(given["maximum"])] if "maximum" in given else []
    if "exclusiveMinimum" in given:
        lows.append(math.floor(given["exclusiveMinimum"]) + 1)
    if "exclusiveMaximum" in given:
        highs.append(math.ceil(given["exclusiveMaximum"]) - 1)
    low, high = max(lows, default=None), min(highs, default=None)
    within = low is None or high is None or low <= high
    require(within, f"no whole number is within the bounds of {name}")
    return low, high


def whole_numbers(low: int | None, high: int | None) -> str:
    """GBNF alternatives for the whole numbers from low to high; None is no bound."""
    rules: list[str] = []
    if low is None or low < 0:
        nearest = 1 if high is None else max(1, -high)
        farthest = None if low is None else -low
        rules += [f'"-" ({" | ".join(_positive(nearest, farthest))})']
    if high is None or high >= 0:
        rules += _positive(max(0, low or 0), high)
    return " | ".join(rules)


def _positive(low: int, high: int | None) -> list[str]:
    """Alternatives for low, low + 1, … high, none of them negative."""
    rules: list[str] = []
    last = len(str(low)) if high is None else len(str(high))
    for length in range(len(str(low)), last + 1):
        first = max(low, 10 ** (length - 1) if length > 1 else 0)
        final = 10**length - 1 if high is None else min(high, 10**length - 1)
        rules += _same_length(str(first), str(final))
    if high is None and last < _MOST_DIGITS:
        rules.append(f"[1-9] [0-9]{{{last},{_MOST_DIGITS - 1}}}")
    return rules


def _same_length(low: str, high: str) -> Iterator[str]:
    """Alternatives for the numbers between two of the same number of digits."""
    rest = len(low) - 1
    if low[1:] == "0" * rest and high[1:] == "9" * rest:
        yield _digit(low[0], high[0]) + (f" [0-9]{{{rest}}}" if rest else "")
    elif low[0] == high[0]:
        for end in _same_length(low[1:], high[1:]):
            yield f"{_digit(low[0], low[0])} {end}"
    else:
        for end in _same_length(low[1:], "9" * rest):
            yield f"{_digit(low[0], low[0])} {end}"
        if int(high[0]) - int(low[0]) > 1:
            middle = _digit(str(int(low[0]) + 1), str(int(high[0]) - 1))
            yield f"{middle} [0-9]{{{rest}}}"
        for end in _same_length("0" * rest, high[1:]):
            yield f"{_digit(high[0], high[0])} {end}"


def _digit(low: str, high: str) -> str:
    return f'"{low}"' if low == high else f"[{low}-{high}]"
