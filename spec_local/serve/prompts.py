"""Prompts of a request, checked for their length."""

from __future__ import annotations

from collections.abc import Sequence

from spec_local.errors import ContextOverflow
from spec_local.serve.limits import Limits


def checked_length(tokens: Sequence[int], limits: Limits) -> Sequence[int]:
    """The tokens; raises ContextOverflow where the server allows fewer."""
    most = limits.prompt_tokens
    if most is not None and len(tokens) > most:
        raise ContextOverflow(
            f"The prompt has {len(tokens):,} tokens, and this server reads {most:,}; shorten it."
        )
    return tokens
