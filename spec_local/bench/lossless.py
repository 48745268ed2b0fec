"""Is the text the same? Answers compared with plain decoding's, token by token."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spec_local.noise import keyed_gumbel
from spec_local.settings import Sampling
from spec_local.types import EvaluationSession


def first_difference(plain: Sequence[int], other: Sequence[int]) -> int | None:
    """The first token at which two answers differ; one that was cut off earlier does not."""
    pairs = enumerate(zip(plain, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), None)


def margin(
    target: EvaluationSession,
    sampling: Sampling,
    context: Sequence[int],
    plain: Sequence[int],
    other: Sequence[int],
    at: int,
) -> float:
    """How far plain decoding prefers its own token at a difference, in logits.

    Evaluated one token wide, as plain decoding does. Of sampled text the logits are divided by the
    temperature and have their noise; whether the sampler chain has cut a token off does not show.
    """
    before = [*context, *plain[:at]]
    target.sync(before[:-1])
    row = target.evaluate(before[len(target.tokens) :])[-1]
    ids = np.array([plain[at], other[at]], np.int32)
    scores = row[ids].astype(np.float64)
    if not sampling.greedy:
        noise = keyed_gumbel(sampling.seed, len(before), ids)
        scores = scores / sampling.temperature + noise
    return float(scores[0] - scores[1])
