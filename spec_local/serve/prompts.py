"""Prompts of a request, checked for their length."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from spec_local.errors import ContextOverflow
from spec_local.sampling.settings import Sampling
from spec_local.serve.failures import Refused
from spec_local.serve.limits import Limits
from spec_local.serve.serving import Serving
from spec_local.serve.tool_choice import Calling


def conversation(
    messages: list[dict[str, Any]],
    tools: Calling,
    runner: Serving,
    limits: Limits,
    sampling: Sampling,
    variables: Mapping[str, Any] | None = None,
) -> list[int]:
    """Tokens of messages and, where a call must follow, of how it begins.

    variables: of the chat template, besides the server's own.
    Raises ContextOverflow where the server allows fewer, ConfigError for other variables.
    """
    if len(json.dumps(variables)) > limits.schema_bytes:
        raise Refused("chat_template_kwargs are too large; shorten them.")
    prompt = runner.tokenize(
        messages,
        tools=tools.tools,
        variables=variables or {},
        thinks=sampling.json_schema is None,  # a demanded call has one
    )
    if tools.demand is not None:
        opening = tools.demand.opening
        prompt += runner.vocab.tokenize(opening, add_special=False, parse_special=True)
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
