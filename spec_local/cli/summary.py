"""The line of statistics under an answer."""

from __future__ import annotations

from spec_local.engine.rounds import FinishReason, Stats

_REASONS: dict[FinishReason, str] = {
    "stop": "",
    "length": ", stopped by --max-tokens",
    "context": ", the context is full",
    "cancelled": ", cancelled",
}


def summary(stats: Stats, reason: FinishReason | None = None) -> str:
    """Tokens, speed, and what the drafter earned, in one line."""
    cached = f" ({stats.cached_tokens:,} cached)" if stats.cached_tokens else ""
    tokens = "1 token" if stats.tokens == 1 else f"{stats.tokens:,} tokens"
    line = (
        f"[{stats.prompt_tokens:,} prompt tokens{cached} in {stats.prompt_seconds:.2f} s, then "
        f"{tokens} at {stats.tokens_per_second:.1f}/s"
    )
    if stats.drafted:
        line += (
            f"; {stats.acceptance_rate:.0%} of {stats.drafted:,} drafted accepted, "
            f"{stats.mean_accepted_length:.2f} tokens per evaluation"
        )
        if stats.speedup:
            line += f", about {stats.speedup:.2f} x plain decoding"
    if stats.rechecked:
        line += f"; {stats.rechecked:,} near ties decided anew, {stats.guard_seconds:.2f} s"
    return line + ("" if reason is None else _REASONS[reason]) + "]"
