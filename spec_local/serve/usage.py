"""What an answer took: OpenAI's `usage` and llama.cpp's `timings`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pydantic import BaseModel

from spec_local.engine.rounds import Stats


class PromptTokensDetails(BaseModel):
    """Of the prompt."""

    cached_tokens: int


class CompletionTokensDetails(BaseModel):
    """Of the answer."""

    accepted_prediction_tokens: int
    """Drafted tokens that are part of the text, whoever drafted them."""
    rejected_prediction_tokens: int
    """Drafted tokens that are not; they are not among the completion's."""


class Usage(BaseModel):
    """Tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails


class Timings(BaseModel):
    """Times in milliseconds, as llama.cpp's server names them."""

    cache_n: int
    prompt_n: int
    """Tokens of the prompt that were evaluated."""
    prompt_ms: float
    """Time to first token."""
    predicted_n: int
    predicted_ms: float
    """Time of all tokens after the first."""
    predicted_per_second: float
    draft_n: int
    draft_n_accepted: int
    speedup: float
    """Over plain decoding, estimated; 0 if that is not known."""


class Spent(NamedTuple):
    """What all choices of a request took together; a prompt counts once for all its choices."""

    stats: Sequence[Stats]
    choices_per_prompt: int

    def usage(self) -> Usage:
        """In OpenAI's words."""
        prompts = self.stats[:: self.choices_per_prompt]
        prompt = sum(each.prompt_tokens for each in prompts)
        completion = sum(each.tokens for each in self.stats)
        accepted = sum(each.accepted for each in self.stats)
        drafted = sum(each.drafted for each in self.stats)
        return Usage(
            prompt_tokens=prompt,
            completion_tokens=completion,
            total_tokens=prompt + completion,
            prompt_tokens_details=PromptTokensDetails(
                cached_tokens=sum(each.cached_tokens for each in prompts)
            ),
            completion_tokens_details=CompletionTokensDetails(
                accepted_prediction_tokens=accepted, rejected_prediction_tokens=drafted - accepted
            ),
        )

    def timings(self) -> Timings:
        """In llama.cpp's words."""
        cached = sum(each.cached_tokens for each in self.stats)
        seconds = sum(each.decode_seconds for each in self.stats)
        after_first = sum(each.tokens - 1 for each in self.stats if each.tokens)
        plain = sum(each.plain_seconds for each in self.stats)
        taken = sum(each.estimated_seconds for each in self.stats)
        return Timings(
            cache_n=cached,
            prompt_n=sum(each.prompt_tokens for each in self.stats) - cached,
            prompt_ms=1e3 * sum(each.prompt_seconds for each in self.stats),
            predicted_n=sum(each.tokens for each in self.stats),
            predicted_ms=1e3 * seconds,
            predicted_per_second=after_first / seconds if seconds > 0 else 0.0,
            draft_n=sum(each.drafted for each in self.stats),
            draft_n_accepted=sum(each.accepted for each in self.stats),
            speedup=plain / taken if taken > 0 else 0.0,
        )
