"""What llama_decode returns when it has not evaluated everything, as sentences."""

from __future__ import annotations

from spec_local.errors import ContextOverflow, EngineError, Interrupted

_STOPPED = 2
"""What was evaluated until then stays in the memory."""
_REASONS = {
    1: "its memory has no room for them; ask for a larger context with --ctx-size",
    _STOPPED: "it stopped though nobody asked for that; try again",
    -1: "it does not take these tokens; check the model with spec-local models verify",
    -2: "there is not enough memory; ask for a smaller --ctx-size or --batch",
    -3: "the computation failed; spec-local --debug shows why",
}


def require_evaluated(status: int, tokens: int, *, was_stopped: bool) -> None:
    """Raise Interrupted or EngineError for anything but success.

    tokens: how many were to be evaluated. was_stopped: whether somebody asked for that.
    """
    if status == 0:
        return
    if status == _STOPPED and was_stopped:
        raise Interrupted("The evaluation was stopped.")
    reason = _REASONS.get(status, _REASONS[-3])
    raise EngineError(
        f"llama.cpp could not evaluate {tokens:,} tokens (status {status}): {reason}."
    )


def require_room(tokens: int, n_ctx: int) -> None:
    """Raise ContextOverflow if a context cannot hold so many tokens."""
    if tokens > n_ctx:
        raise ContextOverflow(
            f"{tokens:,} tokens do not fit into the context of {n_ctx:,}; ask for a larger one "
            "with --ctx-size."
        )
