"""What the controller is told when a round is over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple


class Judged(NamedTuple):
    """What became of a draft, whether it was submitted or only watched: the confidences of tokens.

    What comes after a wrong token is not judged.
    """

    right: Sequence[float] = ()
    wrong: Sequence[float] = ()
    first: float | None = None
    """Of the first token drafted; None if nothing was."""

    @classmethod
    def of_chain(cls, confidences: Sequence[float], accepted: int, rejected: bool) -> Judged:
        """The first `accepted` tokens were right; whether the next one was judged, and wrong."""
        first = confidences[0] if confidences else None
        end = accepted + rejected
        return cls(confidences[:accepted], confidences[accepted:end], first)


UNJUDGED = Judged()


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
