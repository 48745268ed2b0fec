"""Prompts of a request, checked for their length."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from spec_local.errors import ContextOverflow
from spec_local.serve.failures import Refused
from spec_local.serve.limits import Limits
from spec_local.serve.serving import Serving, Vocabulary
from spec_local.serve.tool_choice import Calling
from spec_local.thoughts import closed, opened

_MARK = 32
"""Tokens that any mark has at most, with blank ones after it."""


def conversation(
    messages: list[dict[str, Any]],
    tools: Calling,
    runner: Serving,
    limits: Limits,
    variables: Mapping[str, Any] | None = None,
) -> list[int]:
    """Tokens of messages and, where a call must follow, of how it begins.

    variables: of the chat template, besides the server's own.
    Raises ContextOverflow where the server allows fewer, ConfigError for other variables.
    """
    if len(json.dumps(variables)) > limits.schema_bytes:
        raise Refused("chat_template_kwargs are too large; shorten them.")
    prompt = runner.tokenize(messages, tools=tools.tools, variables=variables or {})
    if tools.demand is not None:
        # A thought that the template opens would take the call for a part of it.
        opening = closed(begun(prompt, runner.vocab)) + tools.demand.opening
        prompt += runner.vocab.tokenize(opening, add_special=False, parse_special=True)
    checked_length(prompt, limits)
    return prompt


def begun(prompt: Sequence[int], vocab: Vocabulary) -> str:
    """The mark by which a prompt opens a thought at its end; else nothing."""
    return opened(b"".join(map(vocab.piece, prompt[-_MARK:])).decode(errors="replace"))


def checked_length(tokens: Sequence[int], limits: Limits) -> Sequence[int]:
    """The tokens; raises ContextOverflow where the server allows fewer."""
    most = limits.prompt_tokens
    if most is not None and len(tokens) > most:
        raise ContextOverflow(
            f"The prompt has {len(tokens):,} tokens, and this server reads {most:,}; shorten it."
        )
    return tokens
