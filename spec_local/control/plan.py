"""What the controller is told of drafters, and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from spec_local.control.stopping import DraftPace


class Offer(NamedTuple):
    """What a drafter could do now."""

    drafter: str
    confidences: tuple[float, ...] | None = None
    """Confidence of each token drafted already, for free; None: to be drafted one by one."""
    behind: int = 0
    """Tokens its model has to evaluate before the first drafted one is there."""
    parents: tuple[int, ...] | None = None
    """Of a tree that is drafted the index of the token before each, -1 after the text."""


class Moment(NamedTuple):
    """What a plan is made from."""

    offers: Sequence[Offer]
    context: int
    """Tokens in the target's cache."""
    room: int
    """Most tokens that may be drafted."""
    plain: float
    """Seconds of one plain token, padding included."""
    costs: Sequence[float]
    """V(w) / V(1) for every width w from 0 to MAX_WIDTH, padding included."""
    rate: float
    """r: tokens emitted lately in the time of one plain token; at least 1."""


class Plan(NamedTuple):
    """What the next round does."""

    drafter: str = ""
    """Empty: nothing is drafted."""
    k: int = 0
    """Tokens to draft; at most so many, if there is a pace."""
    pace: DraftPace | None = None
    """For a drafter that drafts one by one."""


PLAIN = Plan()
