"""Candidates, keyed noise, the keyed draw: exact where promised, statistics with fixed seeds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from spec_local.llama.chain import LlamaChain
from spec_local.sampling.distribution import Probabilities, top_probability, top_token, top_tokens
from spec_local.sampling.noise import keyed_gumbel
from spec_local.sampling.prefilter import candidates
from spec_local.sampling.sampler import TokenSampler
from spec_local.sampling.settings import Sampling
from spec_local.sampling.types import Logits

pytestmark = pytest.mark.llama


def softmax(logits: NDArray[np.floating]) -> Probabilities:
    weights = np.exp(logits.astype(float) - logits.max())
    shares: Probabilities = weights / weights.sum()
    return shares


def full_chain(row: Logits, sampling: Sampling, history: tuple[int, ...]) -> dict[int, float]:
    """Token probabilities by the chain over the whole vocabulary, without the prefilter."""
    chain = LlamaChain(sampling, n_vocab=len(row), n_ctx=512)
    for token in history if sampling.penalizes else ():
        chain.accept(token)
    ids, logits = chain.apply(np.arange(len(row), dtype=np.int32), row, exclude_top=False)
    chain.close()
    return dict(zip(ids.tolist(), softmax(logits).tolist(), strict=True))


def filtered_chain(row: Logits, sampling: Sampling, history: tuple[int, ...]) -> dict[int, float]:
    chain = LlamaChain(sampling, n_vocab=len(row), n_ctx=512)
    for token in history if sampling.penalizes else ():
        chain.accept(token)
    recent = history[-sampling.repeat_last_n :] if sampling.penalizes else ()
    kept = candidates(row, sampling, np.array(sorted(set(recent)), np.int32))
    ids, logits = chain.apply(kept, row[kept], exclude_top=False)
    chain.close()
    return dict(zip(ids.tolist(), softmax(logits).tolist(), strict=True))


# ---- noise ---------------------------------------------------------------------------------------


def test_noise_is_standard_gumbel() -> None:
    noise = keyed_gumbel(7, 3, np.arange(200_000, dtype=np.int32))
    assert stats.kstest(noise, "gumbel_r").pvalue > 0.01
    assert np.isfinite(noise).all()


def test_noise_is_a_function_of_seed_position_and_token() -> None:
    ids = np.array([5, 0, 151_935], np.int32)
    noise = keyed_gumbel(1, 2, ids)
    assert np.array_equal(noise, keyed_gumbel(1, 2, ids))
    assert np.array_equal(noise[::-1], keyed_gumbel(1, 2, ids[::-1].copy()))
    assert not np.isin(noise, keyed_gumbel(2, 2, ids)).any()
    assert not np.isin(noise, keyed_gumbel(1, 3, ids)).any()


@pytest.mark.parametrize("axis", ["seed", "position", "token"])
def test_noise_is_independent_along_every_axis(axis: str) -> None:
    one = np.array([11], np.int32)
    if axis == "token":
        series = keyed_gumbel(0, 0, np.arange(50_000, dtype=np.int32))
    elif axis == "position":
        series = np.concatenate([keyed_gumbel(0, i, one) for i in range(50_000)])
    else:
        series = np.concatenate([keyed_gumbel(i, 0, one) for i in range(50_000)])
    assert stats.kstest(series, "gumbel_r").pvalue > 0.01
    for lag in (1, 2, 3):
        assert abs(np.corrcoef(series[:-lag], series[lag:])[0, 1]) < 0.02


def test_large_seeds_are_accepted() -> None:
    ids = np.arange(4, dtype=np.int32)
    assert not np.array_equal(keyed_gumbel(2**63, 0, ids), keyed_gumbel(0, 0, ids))


# ---- candidates ----------------------------------------------------------------------------------

ROWS = {
    "peaked": lambda rng, n: rng.normal(size=n) * 6,
    "flat": lambda rng, n: rng.normal(size=n) * 0.3,
    "spiked": lambda rng, n: np.where(rng.random(n) < 0.001, 40.0, 0.0) + rng.normal(size=n),
}


@pytest.mark.parametrize("shape", ROWS)
@pytest.mark.parametrize("n_vocab", [300, 20_000])
@pytest.mark.parametrize(
    "setting",
    [
        {},
        {"top_k": 0},
        {"top_k": 5, "top_p": 1.0, "min_p": 0.0},
        {"top_k": 0, "top_p": 0.7, "min_p": 0.0},
        {"top_k": 0, "top_p": 1.0, "min_p": 0.02},
        {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "typical_p": 0.8},
        {"top_k": 100, "top_p": 0.99, "min_p": 0.001, "temperature": 2.0},
        {"repeat_penalty": 1.5, "presence_penalty": 1.0},
        {"repeat_penalty": 0.6, "frequency_penalty": -1.5, "top_k": 8},
        {"frequency_penalty": 30.0, "top_k": 0, "top_p": 1.0, "min_p": 0.1},
    ],
    ids=str,
)
def test_the_prefilter_is_invisible(shape: str, n_vocab: int, setting: dict[str, Any]) -> None:
    rng = np.random.default_rng(1)
    row = ROWS[shape](rng, n_vocab).astype(np.float32)
    top = np.argsort(row)[-6:]
    history = (*top.tolist(), 3, 3, 3, *rng.integers(0, n_vocab, 40).tolist())
    sampling = Sampling(**setting)
    full = full_chain(row, sampling, history)
    filtered = filtered_chain(row, sampling, history)
    assert filtered.keys() == full.keys()
    for token, probability in full.items():
        assert filtered[token] == pytest.approx(probability, abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 1000),
    st.integers(0, 60),
    st.floats(0.05, 1.0),
    st.floats(0.0, 1.0),
    st.floats(0.1, 3.0),
)
def test_the_prefilter_is_invisible_for_any_setting(
    seed: int, top_k: int, top_p: float, min_p: float, temperature: float
) -> None:
    row = (np.random.default_rng(seed).normal(size=6_000) * 4).astype(np.float32)
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    full, filtered = full_chain(row, sampling, ()), filtered_chain(row, sampling, ())
    lost = full.keys() - filtered.keys()
    assert sum(full[token] for token in lost) < 1e-5
    assert filtered.keys() <= full.keys()


def test_without_truncation_only_negligible_tokens_are_dropped() -> None:
    row = np.linspace(-60, 0, 10_000).astype(np.float32)
    sampling = Sampling(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0)
    kept = candidates(row, sampling)
    assert row[kept].min() == pytest.approx(-25, abs=0.01)
    hot = candidates(row, Sampling(temperature=2.0, top_k=0, top_p=1.0, min_p=0.0))
    assert row[hot].min() == pytest.approx(-50, abs=0.01)


def test_a_top_k_prefilter_is_small() -> None:
    row = np.random.default_rng(0).normal(size=151_936).astype(np.float32)
    assert 40 <= len(candidates(row, Sampling())) < 200


@pytest.mark.parametrize(
    ("setting", "rival", "alone"),
    [
        ({}, 16.5, True),
        ({}, 17.1, False),  # min-p keeps what is less than ln 20 = 3.0 below the best
        ({"min_p": 0.0}, 16.5, False),
        ({"typical_p": 0.9}, 16.5, False),  # may remove the best one
    ],
    ids=str,
)
def test_a_token_that_min_p_is_sure_to_leave_alone_is_alone(
    setting: dict[str, Any], rival: float, alone: bool
) -> None:
    row = np.random.default_rng(0).normal(size=20_000).astype(np.float32)
    row[[7, 7 + 40 * 32]] = 20.0, rival  # both in the same block
    sampling = Sampling(**setting)
    assert (candidates(row, sampling).tolist() == [7]) == alone
    full, filtered = full_chain(row, sampling, ()), filtered_chain(row, sampling, ())
    assert filtered == pytest.approx(full, abs=1e-5)


@pytest.mark.parametrize("n_vocab", [1, 5, 4096, 5000, 40_000])
def test_top_tokens_are_those_of_a_sort(n_vocab: int) -> None:
    rng = np.random.default_rng(n_vocab)
    for row in (
        rng.normal(size=n_vocab),
        rng.integers(0, 3, n_vocab),  # ties
        np.where(rng.random(n_vocab) < 0.9, -np.inf, rng.normal(size=n_vocab)),
    ):
        logits = row.astype(np.float32)
        for count in (1, 8, 300):
            wanted = np.argsort(-logits, kind="stable")[:count].tolist()
            assert top_tokens(logits, count) == wanted


@pytest.mark.parametrize("n_vocab", [300, 20_000, 151_936])
def test_the_top_tokens_probability_is_about_that_of_the_softmax(n_vocab: int) -> None:
    rng = np.random.default_rng(3)
    for spread in (2.0, 3.0, 4.0):
        row = (rng.normal(size=n_vocab) * spread).astype(np.float32)
        row[-1] = row.max()  # an equal one
        token, probability = top_token(row)
        assert token == row.argmax()
        assert probability == top_probability(row)
        assert probability == pytest.approx(softmax(row).max(), rel=0.2, abs=0.02)


# ---- the draw ------------------------------------------------------------------------------------


EVERYTHING = Sampling(top_k=0, top_p=1.0, min_p=0.0)
"""Without truncation."""


def draws(row: Logits, sampling: Sampling, count: int) -> NDArray[np.int64]:
    chain = LlamaChain(sampling, n_vocab=len(row), n_ctx=512)
    sampler = TokenSampler(sampling, chain, ())
    drawn = np.array([sampler.draw(row) for _ in range(count)])
    sampler.close()
    return drawn


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.5])
@pytest.mark.parametrize("truncation", [EVERYTHING, Sampling()], ids=["no truncation", "defaults"])
def test_keyed_draws_have_the_target_distribution(temperature: float, truncation: Sampling) -> None:
    row = np.array([1.2, -0.3, 0.8, -1.0, 0.1, 2.0, -2.5, 0.4], np.float32)
    sampling = replace(truncation, temperature=temperature, seed=11)
    expected = full_chain(row, sampling, ())
    counts = np.bincount(draws(row, sampling, 20_000), minlength=len(row))
    assert not counts[[i for i in range(len(row)) if i not in expected]].any()
    ids = sorted(expected)
    probabilities = np.array([expected[i] for i in ids])
    assert stats.chisquare(counts[ids], probabilities * counts.sum()).pvalue > 0.01


def test_acceptance_is_at_least_what_the_coupling_promises() -> None:
    """P(accept) >= (1 - TV) / (1 + TV), arXiv 2408.07978."""
    rng = np.random.default_rng(2)
    sampling = replace(EVERYTHING, temperature=1.0)
    for scale in (0.3, 1.0, 2.0):
        p_row = rng.normal(size=12).astype(np.float32)
        q_row = (p_row + rng.normal(size=12) * scale).astype(np.float32)
        distance = np.abs(softmax(p_row) - softmax(q_row)).sum() / 2
        agree = np.mean(draws(p_row, sampling, 8_000) == draws(q_row, sampling, 8_000))
        assert agree >= (1 - distance) / (1 + distance) - 0.02
        assert agree <= 1 - distance + 0.02


def test_greedy_takes_the_lowest_of_equal_maxima_with_and_without_penalties() -> None:
    row = np.array([0, 3, 1, 3, 3], np.float32)
    assert draws(row, Sampling(temperature=0), 1).tolist() == [1]
    # The first draw penalizes its token, so the next equal one follows.
    drawn = draws(row, Sampling(temperature=0, presence_penalty=1.0), 4)
    assert drawn.tolist() == [1, 3, 4, 1]


def test_penalties_look_back_over_the_prompt_as_far_as_asked() -> None:
    row = np.array([0, 2, 1, 0], np.float32)
    for look_back, expected in ((1, 1), (2, 2), (-1, 2)):
        sampling = Sampling(temperature=0, presence_penalty=5, repeat_last_n=look_back)
        chain = LlamaChain(sampling, n_vocab=4, n_ctx=64)
        sampler = TokenSampler(sampling, chain, (1, 0))
        assert sampler.draw(row) == expected
        sampler.close()


def test_a_copy_draws_the_same_and_leaves_the_original_alone() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(12, 40)).astype(np.float32)
    sampling = Sampling(repeat_penalty=1.4, seed=9)
    sampler = TokenSampler(sampling, LlamaChain(sampling, n_vocab=40, n_ctx=64), (1, 2, 3))
    copy = sampler.copy()
    ahead = [copy.draw(row) for row in rows]
    copy.follow(sampler)
    assert [copy.draw(row) for row in rows[:5]] == ahead[:5]
    assert [sampler.draw(row) for row in rows] == ahead
    copy.close()
    sampler.close()
    sampler.close()
