"""The line of statistics under an answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spec_local.engine.rounds import FinishReason, Stats

_REASONS: dict[FinishReason, str] = {
    "stop": "",
    "length": ", stopped by --max-tokens",
    "context": ", the context is full",
    "cancelled": ", cancelled",
}
_ALIKE = 0.02
"""A speed-up nearer to 1 than that is called none."""


def summary(stats: Stats, reason: FinishReason | None = None) -> str:
    """Tokens, speed, and what the drafter earned, in one line."""
    ended = "" if reason is None else _REASONS[reason]
    if not stats.tokens:
        return f"[{stats.prompt_tokens:,} prompt tokens, nothing written{ended}]"
    cached = f" ({stats.cached_tokens:,} cached)" if stats.cached_tokens else ""
    line = (
        f"[{stats.prompt_tokens:,} prompt tokens{cached} in {stats.prompt_seconds:.2f} s, then "
        f"{_written(stats)}"
    )
    if stats.drafted:
        line += (
            f"; {stats.acceptance_rate:.0%} of {stats.drafted:,} drafted accepted{_by(stats)}, "
            f"{stats.mean_accepted_length:.2f} tokens per evaluation"
        )
        if stats.speedup:
            line += f", about {stats.speedup:.2f} x plain decoding"
    if stats.rechecked:
        line += f"; {stats.rechecked:,} near ties decided anew, {stats.guard_seconds:.2f} s"
    return f"{line}{ended}]"


def gain(stats: Stats, reason: FinishReason | None = None, drafter: str = "auto") -> str:
    """The same for whoever does not know speculative decoding: how fast, and why not faster."""
    ended = "" if reason is None else _REASONS[reason]
    if not stats.tokens:
        return f"nothing written{ended}"
    line = f"{_written(stats)}{ended}"
    if drafter == "none":
        return f"{line} · plain decoding"
    if not stats.drafted:
        return f"{line} · nothing worth drafting in this text; plain decoding"
    if not stats.speedup:
        return line
    share = f"{stats.acceptance_rate:.0%} of {stats.drafted:,} drafted accepted"
    if stats.speedup < 1.0 - _ALIKE:
        return f"{line} · {stats.speedup:.2f}x plain decoding: {share}, too few to pay"
    if stats.speedup < 1.0 + _ALIKE:
        return f"{line} · as fast as plain decoding: {share}"
    return f"{line} · {stats.speedup:.2f}x plain decoding, {share}"


def _by(stats: Stats) -> str:
    """Who drafted, where that was more than one."""
    if len(stats.by_drafter) < 2:
        return ""
    each = (f"{name} {e.accepted:,} of {e.drafted:,}" for name, e in stats.by_drafter.items())
    return f" ({', '.join(each)})"


def _written(stats: Stats) -> str:
    tokens = "1 token" if stats.tokens == 1 else f"{stats.tokens:,} tokens"
    # Of a single token nothing but the reading of the prompt was timed.
    return f"{tokens} at {stats.tokens_per_second:.1f}/s" if stats.tokens_per_second else tokens
