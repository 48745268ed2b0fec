"""What a token is drawn from, what a drafted one is, and who draws: the words as types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from spec_local.sampling.distribution import Distribution

Logits = NDArray[np.float32]
"""Logits, shape (rows, n_vocab) or (n_vocab,); often a view valid until the next evaluation."""


class Proposal(NamedTuple):
    """A token drawn for a draft."""

    token: int
    confidence: float
    """How likely it is to be right by what it was drawn from, in [0, 1]: under keyed verification
    its probability, else that of the most probable token, because leaving drawn tokens out of a
    draft for what they are would be biased."""
    distribution: Distribution | None
    """What it was drawn from, where the verification rule needs it."""


class Sampler(Protocol):
    """Knows the distribution at the present position, and all randomness (see `sampler.py`)."""

    @property
    def kind(self) -> str:
        """What the confidences it proposes with are; those of two kinds cannot be compared."""

    def distribution(self, row: Logits) -> Distribution:
        """What is drawn from at the present position, by its logits row (n_vocab,)."""

    def draw(self, row: Logits) -> int:
        """Draw the token of the present position from its logits row (n_vocab,) and move on.

        Raises NoTokenAllowed where nothing can be drawn; so do `distribution` and `propose`.
        """

    def is_certain(self, row: Logits, difference: float) -> bool:
        """Whether `draw` would draw the same token if every logit differed by up to so much."""

    def emit(self, distribution: Distribution) -> int:
        """Draw the token of the present position from a distribution and move on."""

    def propose(self, row: Logits) -> Proposal:
        """Draw for a draft and move on."""

    def alternatives(self, row: Logits, count: int) -> list[Proposal]:
        """What `propose` would draw, what without that one, and so on; at most `count`, the first
        one first. It does not move on."""

    def after(self, token: int) -> Sampler:
        """A copy that stands after that token, to draft with; the caller closes it. Raises
        NoTokenAllowed where nothing can follow.

        Copies after different tokens draw independently of each other where verification needs it.
        """

    def chance(self, probability: float) -> bool:
        """Whether something of that probability happens; independent of all draws."""

    def accept(self, token: int) -> None:
        """Move on to the next position; the token stands at this one."""

    def possible(self, tokens: Sequence[int]) -> int:
        """How many of these tokens, from the first, grammar and bans let through."""

    def copy(self) -> Sampler:
        """An independent sampler in the same state; the caller closes it."""

    def follow(self, other: Sampler) -> None:
        """Take over the state of `other`, of which this one is a copy, to draft after it."""

    def close(self) -> None: ...
