"""How near a tie a difference was: exact values on rows that can be worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from spec_local.bench.run.divergence import first_difference, margin
from spec_local.llama.model import Model
from spec_local.llama.options import LoadOptions
from spec_local.llama.session import Session
from spec_local.sampling.noise import keyed_gumbel
from spec_local.sampling.settings import Sampling
from spec_local.sampling.types import Logits

pytestmark = pytest.mark.llama

CONTEXT = [1, 270, 271]
PLAIN, OTHER = [265, 266, 267], [265, 268, 269]
AT = 1
LOGITS = {266: 5.0, 268: 4.75, 280: 3.0}
"""Of the tokens that can follow; all others are far below."""


class Written(Session):
    """A real session that answers with the row above, and notes what it was asked."""

    def evaluate(
        self, tokens: Sequence[int], rows: int = 1, parents: Sequence[int] | None = None
    ) -> Logits:
        self.asked = (list(self.tokens), list(tokens), rows)
        row = np.full((rows, self.n_vocab), -50.0, np.float32)
        row[:, list(LOGITS)] = list(LOGITS.values())
        return row


def measured(tiny: Path, sampling: Sampling) -> float | None:
    with (
        Model(tiny, LoadOptions(n_ctx=64, n_batch=32)) as model,
        closing(Written(model)) as target,
    ):
        found = margin(target, sampling, CONTEXT, PLAIN, OTHER, AT)
        assert target.asked == ([], [*CONTEXT, 265], 1)
    return found


def test_the_first_difference() -> None:
    assert first_difference(PLAIN, OTHER) == AT
    assert first_difference(PLAIN, PLAIN) is None
    assert first_difference(PLAIN, PLAIN[:2]) is None


def test_of_greedy_text_it_is_the_distance_of_the_logits(tiny: Path) -> None:
    assert measured(tiny, Sampling(temperature=0)) == 0.25


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_of_sampled_text_the_noise_counts(tiny: Path, temperature: float) -> None:
    """Normalising takes the same off both log probabilities."""
    sampling = Sampling(temperature=temperature, seed=7, top_p=1.0, min_p=0.0)
    own, other = keyed_gumbel(7, len(CONTEXT) + AT, np.array([266, 268], np.int32))
    expected = 0.25 / temperature + own - other
    assert measured(tiny, sampling) == pytest.approx(expected, abs=1e-6)


def test_what_the_chain_does_to_logits_counts(tiny: Path) -> None:
    sampling = Sampling(temperature=0.5, seed=7, top_p=1.0, min_p=0.0, logit_bias=((268, 1.0),))
    own, other = keyed_gumbel(7, len(CONTEXT) + AT, np.array([266, 268], np.int32))
    expected = (5.0 - 5.75) / 0.5 + own - other
    assert measured(tiny, sampling) == pytest.approx(expected, abs=1e-6)


def test_a_token_the_chain_cuts_off_has_no_distance(tiny: Path) -> None:
    assert measured(tiny, Sampling(temperature=0.5, top_k=1)) is None
    least = math.exp(-0.25) * 1.01  # more than the other has, relative to the best
    assert measured(tiny, Sampling(temperature=1.0, top_p=1.0, min_p=least)) is None
