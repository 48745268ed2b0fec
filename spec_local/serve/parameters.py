"""Parameters that every generating endpoint takes: OpenAI's and llama.cpp's names."""

from __future__ import annotations

from math import isfinite
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from spec_local.text import as_stops

MOST_CHOICES = 128
"""As OpenAI has it."""
MOST_LISTED = 1024
"""Token ids in a list: each costs time in preparing."""
_DEEPEST = 100
"""Levels of lists and objects within each other."""
MOST_TEXTS, LONGEST_TEXT = 64, 256
"""Texts in a list, and characters of each: they are looked for in every round."""

TokenId = Annotated[int, Field(ge=0, lt=1 << 31)]

Texts = Annotated[
    list[Annotated[str, Field(max_length=LONGEST_TEXT)]], Field(max_length=MOST_TEXTS)
]


class Wire(BaseModel):
    """Something that is sent: what it does not name is refused, and nothing is converted."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Body(BaseModel):
    """What a whole request is, cleaned of what JSON can spell and answers cannot."""

    @model_validator(mode="before")
    @classmethod
    def _cleaned(cls, given: Any) -> Any:
        return _cleaned(given)


def _cleaned(value: Any, levels: int = _DEEPEST) -> Any:
    """Halves of characters become question marks; 1.0 is 1, as JSON has one kind of numbers.

    Raises ValueError for NaN and Infinity, and for more levels than that.
    """
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, float) and not isfinite(value):
        raise ValueError("numbers must be finite")
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, list | dict):
        return value
    if levels == 0:
        raise ValueError(f"lists and objects may be nested {_DEEPEST} levels deep")
    if isinstance(value, list):
        return [_cleaned(each, levels - 1) for each in value]
    return {_cleaned(name): _cleaned(each, levels - 1) for name, each in value.items()}


_MEANINGLESS = object()
Meaningless = Annotated[Any, _MEANINGLESS]
"""What OpenAI's clients send by habit and has no meaning here; said in a header."""
Unsupported = Annotated[None, Field(description="Not done here; null, or left out.")]
"""What OpenAI has and this server has not; clients may say so."""


class Ignoring(Wire):
    """A request that may have some of that."""

    def ignored(self) -> list[str]:
        """Those that were given."""
        return [
            name
            for name, field in type(self).model_fields.items()
            if _MEANINGLESS in field.metadata and getattr(self, name) is not None
        ]


class SamplingParameters(Wire):
    """How tokens are drawn; what is left out is as the server was started. See `Sampling`."""

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    typical_p: float | None = None
    top_n_sigma: float | None = None
    xtc_probability: float | None = None
    xtc_threshold: float | None = None
    dynatemp_range: float | None = None
    dynatemp_exponent: float | None = None
    repeat_penalty: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repeat_last_n: int | None = None
    dry_multiplier: float | None = None
    dry_base: float | None = None
    dry_allowed_length: int | None = None
    dry_penalty_last_n: int | None = None
    dry_sequence_breakers: Texts | None = None
    logit_bias: dict[str, float] | None = Field(
        None, max_length=MOST_LISTED, description="By token id."
    )
    banned_tokens: list[TokenId] | None = Field(None, max_length=MOST_LISTED)
    banned_strings: Texts | None = None
    grammar: str | None = Field(None, description="GBNF, with a rule `root`.")
    json_schema: dict[str, Any] | None = Field(None, description="As `response_format` has it.")
    acceptance: str | None = Field(None, description="keyed, rejection or block.")
    seed: int | None = Field(None, description="The same seed gives the same text.")


class Speculative(Wire):
    """How this answer is drafted; its text stays the same."""

    drafter: str | None = Field(
        None, description="auto, none, lookup, model, tree ..., or several: lookup,model."
    )
    k: int | None = Field(None, ge=0, le=32, description="Tokens that a named drafter drafts.")
    off: bool = Field(False, description="Draft nothing.")

    @property
    def who(self) -> str | None:
        """The drafter; None is the server's own."""
        return "none" if self.off else self.drafter


class StreamOptions(Wire):
    """What a stream says besides the text."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = Field(None, description="Ignored.")


class ChatParameters(Wire):
    """How messages become a prompt, and an answer a message."""

    reasoning_format: Literal["none", "auto", "deepseek"] | None = Field(
        None, description="none leaves what a model thinks in its text."
    )
    chat_template_kwargs: dict[str, Any] | None = Field(
        None, description="Variables of the chat template, such as enable_thinking."
    )


class Parameters(SamplingParameters, Ignoring, Body):
    """Of a chat's answer and of a text's continuation alike."""

    model: str | None = Field(None, description="One of /v1/models; the first without.")
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = Field(None, ge=1, le=MOST_CHOICES)
    stop: Annotated[str, Field(max_length=LONGEST_TEXT)] | Texts | None = None
    max_tokens: int | None = Field(None, ge=1)
    speculative: Speculative | None = None
    user: Meaningless = None
    store: Meaningless = None
    metadata: Meaningless = None
    service_tier: Meaningless = None
    safety_identifier: Meaningless = None
    prompt_cache_key: Meaningless = None
    prompt_cache_options: Meaningless = None
    prompt_cache_retention: Meaningless = None
    reasoning_effort: Meaningless = None
    verbosity: Meaningless = None
    cache_prompt: Meaningless = None
    parallel_tool_calls: Meaningless = None

    @property
    def stops(self) -> tuple[str, ...]:
        """Strings that end the text."""
        return as_stops(self.stop or ())

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with what it took."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)
