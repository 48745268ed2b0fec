"""How a duel ended, in one sentence that says no more than was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spec_local.bench.run.duel import Outcome

_ALIKE = 0.02
"""Nearer to 1 a ratio is not told from it."""


def sentence(outcome: Outcome) -> str:
    """Speed against plain decoding, whether the text is the same, and what was accepted."""
    return f"{_speed(outcome)}: {_text(outcome)}, {_drafts(outcome)}."


def together(outcomes: Sequence[Outcome]) -> str:
    """The same for several: all tokens in the time that all of them took."""
    written = [each.tokens - 1 for each in outcomes]
    pairs = list(zip(written, outcomes, strict=True))
    plain = sum(tokens / each.plain_per_second for tokens, each in pairs)
    ours = sum(tokens / each.per_second for tokens, each in pairs)
    return f"Together: {plain / ours:.2f} times as fast as plain decoding."


def _speed(outcome: Outcome) -> str:
    if abs(outcome.ratio - 1.0) < _ALIKE:
        return f"As fast as plain decoding ({outcome.ratio:.2f}x)"
    slower = " (slower)" if outcome.ratio < 1.0 else ""
    return f"{outcome.ratio:.2f} times as fast as plain decoding{slower}"


def _text(outcome: Outcome) -> str:
    if outcome.differs_at is None:
        return f"the same {outcome.tokens:,} tokens"
    alike = f"the same {outcome.differs_at:,} tokens, then a near tie"
    gap = "" if outcome.margin is None else f" of {abs(outcome.margin):.2g}"
    return f"{alike}{gap} was rounded otherwise (--exact prevents that)"


def _drafts(outcome: Outcome) -> str:
    if outcome.drafted == 0:
        return "nothing worth drafting in this text"
    share = outcome.accepted / outcome.drafted
    return f"{share:.0%} of the {outcome.drafted:,} drafted ones accepted"
