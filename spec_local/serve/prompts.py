"""Prompts of a request, checked for their length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spec_local.errors import ContextOverflow
from spec_local.serve.limits import Limits
from spec_local.serve.serving import Serving
from spec_local.serve.tool_choice import Calling


def conversation(
    messages: list[dict[str, Any]], tools: Calling, runner: Serving, limits: Limits
) -> list[int]:
    """Tokens of messages and, where a call must follow, of how it begins.

    Raises ContextOverflow where the server allows fewer.
    """
    prompt = runner.tokenize(messages, tools=tools.tools)
    prompt += runner.vocab.tokenize(tools.opening, add_special=False, parse_special=True)
    checked_length(prompt, limits)
    return prompt


def checked_length(tokens: Sequence[int], limits: Limits) -> Sequence[int]:
    """The tokens; raises ContextOverflow where the server allows fewer."""
    most = limits.prompt_tokens
    if most is not None and len(tokens) > most:
        raise ContextOverflow(
            f"The prompt has {len(tokens):,} tokens, and this server reads {most:,}; shorten it."
        )
    return tokens
