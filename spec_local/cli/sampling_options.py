"""Sampling options of the commands, and what they change in the pair's sampling."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from spec_local.errors import require
from spec_local.util.files import read_text

_SAMPLING = "Sampling (default: the pair's)"
_PENALTIES = "Penalties and bans"
_STRUCTURE = "Structured output"

_BIAS = re.compile(r"(\d+)([+-]\d*\.?\d+)")


def _option(panel: str | None, *flags: str, help: str, **more: Any) -> Any:
    return typer.Option(*flags, help=help, show_default=False, rich_help_panel=panel, **more)


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """What differs from the pair's sampling."""

    temperature: Annotated[
        float | None, _option(None, "--temperature", metavar="T", help="0 is greedy.")
    ] = None
    top_k: Annotated[
        int | None, _option(_SAMPLING, "--top-k", help="Keep the k likeliest; 0: off.")
    ] = None
    top_p: Annotated[
        float | None, _option(_SAMPLING, "--top-p", help="Keep this mass; 1: off.")
    ] = None
    min_p: Annotated[
        float | None, _option(_SAMPLING, "--min-p", help="Relative minimum; 0: off.")
    ] = None
    typical_p: Annotated[
        float | None, _option(_SAMPLING, "--typical-p", help="Locally typical sampling; 1: off.")
    ] = None
    top_n_sigma: Annotated[
        float | None, _option(_SAMPLING, "--top-n-sigma", help="Standard deviations; 0: off.")
    ] = None
    xtc_probability: Annotated[
        float | None, _option(_SAMPLING, "--xtc-probability", help="Exclude top choices; 0: off.")
    ] = None
    xtc_threshold: Annotated[
        float | None, _option(_SAMPLING, "--xtc-threshold", help="What counts as a top choice.")
    ] = None
    dynatemp_range: Annotated[
        float | None, _option(_SAMPLING, "--dynatemp-range", help="Temperature +/- this; 0: off.")
    ] = None
    dynatemp_exponent: Annotated[
        float | None, _option(_SAMPLING, "--dynatemp-exp", help="From entropy to temperature.")
    ] = None
    seed: Annotated[
        int | None,
        _option(None, "--seed", metavar="N", help="Same seed, same text; random without."),
    ] = None
    acceptance: Annotated[
        str | None,
        _option(_SAMPLING, "--acceptance", help="Rule: keyed, rejection or block."),
    ] = None
    repeat_penalty: Annotated[
        float | None,
        _option(_PENALTIES, "--repeat-penalty", help="Divide logits of recent tokens; 1: off."),
    ] = None
    frequency_penalty: Annotated[
        float | None,
        _option(_PENALTIES, "--frequency-penalty", help="Subtract per occurrence; 0: off."),
    ] = None
    presence_penalty: Annotated[
        float | None, _option(_PENALTIES, "--presence-penalty", help="Subtract once; 0: off.")
    ] = None
    repeat_last_n: Annotated[
        int | None, _option(_PENALTIES, "--repeat-last-n", help="How many are recent; -1: all.")
    ] = None
    dry_multiplier: Annotated[
        float | None, _option(_PENALTIES, "--dry-multiplier", help="Penalize repetition; 0: off.")
    ] = None
    dry_base: Annotated[
        float | None, _option(_PENALTIES, "--dry-base", help="Growth per repeated token.")
    ] = None
    dry_allowed_length: Annotated[
        int | None, _option(_PENALTIES, "--dry-allowed-length", help="Free repeated tokens.")
    ] = None
    dry_penalty_last_n: Annotated[
        int | None, _option(_PENALTIES, "--dry-penalty-last-n", help="Tokens back; -1: all.")
    ] = None
    dry_sequence_breaker: Annotated[
        list[str] | None,
        _option(_PENALTIES, "--dry-sequence-breaker", help="Ends a repetition; repeatable."),
    ] = None
    logit_bias: Annotated[
        list[str] | None,
        _option(_PENALTIES, "--logit-bias", help="TOKEN_ID(+/-)BIAS, as 15043-1; repeatable."),
    ] = None
    ban_token: Annotated[
        list[int] | None, _option(_PENALTIES, "--ban-token", help="Token id; repeatable.", min=0)
    ] = None
    ban_string: Annotated[
        list[str] | None,
        _option(_PENALTIES, "--ban-string", help="Text that must not appear; repeatable."),
    ] = None
    grammar_file: Annotated[
        Path | None, _option(_STRUCTURE, "--grammar-file", help="GBNF grammar of the answer.")
    ] = None
    json_schema: Annotated[
        str | None,
        _option(
            None, "--json-schema", metavar="SCHEMA", help="JSON schema of the answer, or its file."
        ),
    ] = None

    def changes(self) -> dict[str, Any]:
        """Fields of `Sampling` to replace; raises ConfigError for what cannot be read."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        given = {name: value for name, value in given.items() if value not in (None, [])}
        for name, meant in _RENAMED.items():
            if name in given:
                given[meant] = tuple(given.pop(name))
        if "logit_bias" in given:
            given["logit_bias"] = tuple(map(_read_bias, given["logit_bias"]))
        if "grammar_file" in given:
            given["grammar"] = read_text(given.pop("grammar_file"))
        schema = given.get("json_schema", "")
        if schema and not schema.lstrip().startswith("{"):
            given["json_schema"] = read_text(Path(schema))
        return given


_RENAMED = {
    "dry_sequence_breaker": "dry_sequence_breakers",
    "ban_token": "banned_tokens",
    "ban_string": "banned_strings",
}


OPTIONS_OF_FIELDS = {meant: f"--{name.replace('_', '-')}" for name, meant in _RENAMED.items()} | {
    "grammar": "--grammar-file"
}
"""Options of fields of `Sampling` that are named otherwise."""


def drawn_seed() -> int:
    """A seed that nobody chose."""
    return secrets.randbelow(1 << 32)


def _read_bias(text: str) -> tuple[int, float]:
    match = _BIAS.fullmatch(text.strip())
    require(match is not None, f"--logit-bias {text} must be like 15043+1 or 15043-0.5.")
    assert match is not None
    return int(match[1]), float(match[2])
