"""What is asked of a runner, in tokens and checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from spec_local.errors import ContextOverflow, require
from spec_local.sampling.settings import Sampling


class Request(NamedTuple):
    """What is generated."""

    context: list[int]
    """The prompt; what is generated is appended."""
    max_tokens: int
    sampling: Sampling
    stop: Sequence[str]
    logprobs: int | None
    prediction: Sequence[int]
    """What much of the answer will be; empty if nothing was predicted."""


def checked_request(
    prompt: list[int],
    n_ctx: int,
    *,
    max_tokens: int | None,
    sampling: Sampling,
    stop: Sequence[str],
    logprobs: int | None,
    prediction: Sequence[int],
) -> Request:
    """For a context of n_ctx tokens, which is how many an answer has at most.

    Raises ConfigError for numbers that mean nothing and ContextOverflow for a prompt too long.
    """
    require(bool(prompt), "The prompt is empty; give at least one token.")
    require(max_tokens is None or max_tokens >= 1, "max_tokens must be at least 1.")
    require(logprobs is None or logprobs >= 0, "logprobs must be 0 or more.")
    if len(prompt) > n_ctx:
        raise ContextOverflow(
            f"The prompt has {len(prompt):,} tokens and the context {n_ctx:,}; "
            "shorten it or ask for a larger context with --ctx-size."
        )
    return Request(prompt, max_tokens or n_ctx, sampling, stop, logprobs, prediction)
