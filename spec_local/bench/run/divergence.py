"""Is the text the same? Answers compared with plain decoding's, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

import numpy as np

from spec_local.llama.sampler_factory import SamplerFactory
from spec_local.llama.session import Session
from spec_local.sampling.noise import keyed_gumbel
from spec_local.sampling.settings import Sampling


def first_difference(plain: Sequence[int], other: Sequence[int]) -> int | None:
    """The first token at which two answers differ; one that was cut off earlier does not."""
    pairs = enumerate(zip(plain, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), None)


def margin(
    target: Session,
    sampling: Sampling,
    context: Sequence[int],
    plain: Sequence[int],
    other: Sequence[int],
    at: int,
) -> float | None:
    """How far plain decoding prefers its own token at a difference, in logits.

    Evaluated one token wide, as plain decoding does. Of sampled text it is the distance of the log
    probabilities after the sampler chain, with their noise; None if the chain cuts the other token
    off, so that the two evaluations differ in what can be drawn at all.
    """
    before = [*context, *plain[:at]]
    target.sync(before[:-1])
    row = target.evaluate(before[len(target.tokens) :])[-1]
    if sampling.greedy:
        return float(row[plain[at]] - row[other[at]])
    with (
        closing(SamplerFactory(target)) as samplers,
        closing(samplers.open(sampling, before)) as sampler,
    ):
        possible = sampler.distribution(row)
    weights = [possible.probability(token) for token in (plain[at], other[at])]
    if not all(weights):
        return None
    noise = keyed_gumbel(sampling.seed, len(before), np.array([plain[at], other[at]], np.int32))
    own, others = np.log(weights) + noise
    return float(own - others)
