"""What the controller is told when a round is over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple


class Judged(NamedTuple):
    """What became of a draft, whether it was submitted or only watched."""

    confidences: Sequence[float]
    accepted: int
    rejected: bool
    """Whether the token after the accepted ones was judged, and wrong."""


UNJUDGED = Judged((), 0, rejected=False)


class RoundReport(NamedTuple):
    """One round: what it evaluated, emitted and took, and what it showed of every drafter."""

    tokens: int
    """Tokens emitted."""
    width: int
    """Tokens the target evaluated at once; in the first round what it lacked of the prompt."""
    context: int
    """Tokens in the target's cache before."""
    evaluate_seconds: float
    """Seconds of the target's evaluation."""
    drafter: str = ""
    """Drafter of the round's plan; empty if nothing was drafted."""
    steps: Sequence[tuple[int, float]] = ()
    """(tokens, seconds) of each evaluation of the draft model."""
    judged: Mapping[str, Judged] = MappingProxyType({})
    """Drafts by drafter, also those that were not asked to submit theirs."""
    certainty: float | None = None
    """Probability of the target's best token at the first position; None: not looked at."""
    other_seconds: float = 0.0
    """Seconds beyond evaluating and sampling, deciding above all."""
