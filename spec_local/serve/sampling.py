"""From the parameters of a request to how its tokens are drawn."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from spec_local.errors import require
from spec_local.sampling.settings import Sampling
from spec_local.serve.failures import Refused
from spec_local.serve.parameters import SamplingParameters

_SEEDS = 1 << 64
_DIGITS = 10
"""Of a token id fewer: it has 31 bits."""


def sampling_of(
    given: SamplingParameters, default: Sampling, schema: Mapping[str, Any] | None, most_bytes: int
) -> Sampling:
    """The server's own sampling with what was given; a seed that nobody chose without one.

    schema: of the answer, instead of a `json_schema`; None demands none.
    most_bytes: of a schema or grammar. Raises ConfigError or Refused.
    """
    names = SamplingParameters.model_fields
    changes = {name: value for name in names if (value := getattr(given, name)) is not None}
    for name in ("dry_sequence_breakers", "banned_tokens", "banned_strings"):
        if name in changes:
            changes[name] = tuple(changes[name])
    if "logit_bias" in changes:
        changes["logit_bias"] = tuple(map(_bias, changes["logit_bias"].items()))
    if schema is not None:
        require(given.json_schema is None, "Give response_format or json_schema, not both.")
        changes["json_schema"] = schema
    if "json_schema" in changes:
        changes["json_schema"] = json.dumps(changes["json_schema"])
    for name in ("json_schema", "grammar"):
        if len(changes.get(name, "")) > most_bytes:
            raise Refused(f"{name} has more than {most_bytes:,} characters; shorten it.")
    seed = secrets.randbelow(1 << 32) if given.seed is None else given.seed % _SEEDS
    return replace(default, **{**changes, "seed": seed})


def _bias(entry: tuple[str, float]) -> tuple[int, float]:
    token, bias = entry
    known = token.isdecimal() and token.isascii() and len(token) < _DIGITS
    require(known, f"logit_bias: {token!r} is no token id.")
    return int(token), bias
