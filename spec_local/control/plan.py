"""What the controller is told of drafters, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass

from spec_local.control.stopping import DraftPace

CALIBRATION = "calibration"
"""Drafter of a plan that only wants a width measured: any tokens will do."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a drafter could do now."""

    drafter: str
    confidences: tuple[float, ...] | None = None
    """Confidence of each token drafted already, for free; None: to be drafted one by one."""
    behind: int = 0
    """Tokens its model has to evaluate before the first drafted one is there."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the next round does."""

    drafter: str = ""
    """Empty: nothing is drafted."""
    k: int = 0
    """Tokens to draft; at most so many, if there is a pace."""
    pace: DraftPace | None = None
    """For a drafter that drafts one by one."""


PLAIN = Plan()
