"""Why an answer ended, in OpenAI's words."""

from __future__ import annotations

from typing import Literal

from spec_local.engine import rounds

FinishReason = Literal["stop", "length", "tool_calls"]


def finish_reason(reason: rounds.FinishReason | None) -> Literal["stop", "length"] | None:
    """A full context and a time limit are lengths as well; None while it goes on."""
    if reason is None:
        return None
    return "stop" if reason == "stop" else "length"
