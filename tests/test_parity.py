"""On real logits our sampler gives what llama.cpp's gives on the whole vocabulary."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from spec_local.errors import ConfigError
from spec_local.llama.backend import lib
from spec_local.llama.chain import LlamaChain
from spec_local.llama.model import Model
from spec_local.llama.options import LoadOptions
from spec_local.llama.sampler_factory import SamplerFactory
from spec_local.llama.session import Session
from spec_local.sampling.noise import xtc_coin
from spec_local.sampling.settings import Sampling
from tests.table_chain import TableChain

pytestmark = pytest.mark.llama

SMALL, LARGE = "smollm2-135m", "qwen2.5-coder-1.5b"
N_CTX = 512
TEXT = (
    "The quick brown fox jumps over the lazy dog. The quick brown fox jumps over the lazy cat. "
    "def add(a, b):\n    return a + b\n\ndef sub(a, b):\n    return a - b\n\ndef mul(a, b):\n"
    "    return a * b\n\nThe quick brown fox jumps over the"
)
ALL = {"top_k": 0, "top_p": 1.0, "min_p": 0.0}

SETTINGS: list[dict[str, object]] = [
    {},
    {"temperature": 0.3},
    {"temperature": 1.7, "top_k": 100, "top_p": 0.99},
    {"top_k": 1},
    {"top_k": 5, "min_p": 0.0},
    {**ALL, "top_p": 0.9},
    {**ALL, "top_p": 0.5, "temperature": 1.3},
    {**ALL, "min_p": 0.1},
    {**ALL, "min_p": 0.01, "temperature": 2.0},
    {"typical_p": 0.9},
    {**ALL, "top_k": 200, "typical_p": 0.5},
    {"top_n_sigma": 1.0},
    {**ALL, "top_n_sigma": 2.5},
    {"top_n_sigma": 1.5, "repeat_penalty": 1.3, "dry_multiplier": 0.8},
    {"dynatemp_range": 0.5},
    {**ALL, "dynatemp_range": 0.8, "dynatemp_exponent": 2.0},
    {**ALL, "top_p": 0.8, "dynatemp_range": 0.3, "temperature": 0.4},
    {"top_k": 1000, "dynatemp_range": 0.4, "temperature": 0.6, "min_p": 0.0, "top_p": 1.0},
    {"xtc_probability": 0.5},
    {"xtc_probability": 1.0, "xtc_threshold": 0.02, "min_p": 0.0, "top_p": 1.0},
    {"xtc_probability": 0.7, "xtc_threshold": 0.05, "temperature": 1.5, "dynatemp_range": 0.2},
    {"repeat_penalty": 1.1},
    {"repeat_penalty": 1.4, "frequency_penalty": 0.7, "presence_penalty": 0.2},
    {**ALL, "repeat_penalty": 1.4, "repeat_last_n": -1, "min_p": 0.02},
    {"frequency_penalty": -1.0, "repeat_last_n": 12, "top_k": 8},
    {"repeat_penalty": 0.7, "repeat_last_n": -1, "dry_multiplier": 1.0, "dry_penalty_last_n": 99},
    {"presence_penalty": 4.0, "repeat_last_n": -1, "top_k": 3},
    {"dry_multiplier": 0.8},
    {"dry_multiplier": 3.0, "dry_base": 1.2, "dry_allowed_length": 1, "dry_penalty_last_n": -1},
    {"dry_multiplier": 2.0, "dry_sequence_breakers": ("fox", "\n"), "top_k": 10},
    {"dry_multiplier": 1.0, "repeat_penalty": 1.2, "repeat_last_n": 8, "top_k": 0},
    {"logit_bias": ((11, 5.0), (13, -5.0), (278, 12.5), (900, 30.0))},
    {**ALL, "min_p": 0.05, "logit_bias": ((284, 20.0), (260, -20.0))},
    {"banned_tokens": (260, 284, 28, 15, 198)},
    {"logit_bias": ((198, 3.0),), "dry_multiplier": 0.8, "repeat_penalty": 1.1, "typical_p": 0.95},
]
GREEDY: list[dict[str, object]] = [
    {},
    {"repeat_penalty": 1.5},
    {"dry_multiplier": 5.0, "logit_bias": ((11, 3.0),)},
    {"typical_p": 0.3},
    {"xtc_probability": 1.0, "xtc_threshold": 0.05},
    {"xtc_probability": 0.5, "typical_p": 0.8, "top_n_sigma": 2.0},
]


class Reference:
    """llama.cpp's common sampler (common/sampling.cpp) on all tokens, without the draw."""

    def __init__(self, sampling: Sampling, session: Session, history: list[int]) -> None:
        s, self._s, self._position = sampling, sampling, len(history)
        n_vocab, vocab = session.n_vocab, session.model.vocab.handle
        window = N_CTX if s.repeat_last_n < 0 else s.repeat_last_n
        dry_window = N_CTX if s.dry_penalty_last_n < 0 else s.dry_penalty_last_n
        bias = {**dict(s.logit_bias), **dict.fromkeys(s.banned_tokens, -np.inf)}
        biases = (lib.llama_logit_bias * len(bias))(
            *(lib.llama_logit_bias(*b) for b in bias.items())
        )
        breakers = [text.encode() for text in s.dry_sequence_breakers]
        breakers_c = (ctypes.c_char_p * len(breakers))(*breakers)
        dry = (s.dry_multiplier, s.dry_base, s.dry_allowed_length, dry_window)
        penalties = (s.repeat_penalty, s.frequency_penalty, s.presence_penalty)
        before = [
            lib.llama_sampler_init_logit_bias(n_vocab, len(bias), biases),
            lib.llama_sampler_init_penalties(n_vocab, window, *penalties),
            lib.llama_sampler_init_dry(vocab, *dry, breakers_c, len(breakers)),
            lib.llama_sampler_init_top_n_sigma(s.top_n_sigma),
            lib.llama_sampler_init_top_k(s.top_k),
            lib.llama_sampler_init_typical(s.typical_p, 0),
            lib.llama_sampler_init_top_p(s.top_p, 0),
            lib.llama_sampler_init_min_p(s.min_p, 0),
        ]
        xtc = lib.llama_sampler_init_xtc(1.0, s.xtc_threshold, 0, 0)
        temperature = (s.temperature, s.dynatemp_range, s.dynatemp_exponent)
        self._before, self._xtc = before, xtc
        self._after = lib.llama_sampler_init_temp_ext(*temperature)
        for sampler in before:
            for token in history:
                lib.llama_sampler_accept(sampler, token)

    def __call__(self, row: np.ndarray) -> dict[int, float]:
        """Tokens that are left, with their probabilities."""
        excludes = xtc_coin(self._s.seed, self._position) <= self._s.xtc_probability
        excludes &= self._s.xtc_probability > 0
        array = (lib.llama_token_data * len(row))(
            *(lib.llama_token_data(i, logit, 0.0) for i, logit in enumerate(row.tolist()))
        )
        candidates = lib.llama_token_data_array(array, len(row), -1, False)
        for sampler in [*self._before, *[self._xtc] * excludes, self._after]:
            lib.llama_sampler_apply(sampler, ctypes.byref(candidates))
        left = candidates.data[: candidates.size]
        ids, logits = [t.id for t in left], np.array([t.logit for t in left], float)
        weights = np.exp(logits - logits.max())
        probabilities = (weights / weights.sum()).tolist()
        return {i: p for i, p in zip(ids, probabilities, strict=True) if p > 0}

    def close(self) -> None:
        for sampler in (*self._before, self._xtc, self._after):
            lib.llama_sampler_free(sampler)


@contextmanager
def real_rows(path: Path, count: int) -> Iterator[tuple[Session, list[int], np.ndarray]]:
    """A session, a text's tokens, and the logits rows after each of its last `count` tokens."""
    with Model(path, LoadOptions(n_ctx=N_CTX)) as model, Session(model) as session:
        tokens = model.vocab.tokenize(TEXT, add_special=True, parse_special=False)
        yield session, tokens, session.evaluate(tokens, rows=count).copy()


MODELS = [pytest.param(name, marks=pytest.mark.model(name)) for name in (SMALL, LARGE)]


@pytest.mark.parametrize("_name", MODELS)
def test_the_distribution_is_llama_cpps(model_files: list[Path], _name: str) -> None:
    with real_rows(model_files[0], count=6) as (session, tokens, rows):
        samplers = SamplerFactory(session)
        for setting in SETTINGS:
            for i, row in enumerate(rows[::2]):
                sampling = Sampling(seed=i, **setting)  # type: ignore[arg-type]
                history = tokens[: len(tokens) - 5 + 2 * i]
                reference = Reference(sampling, session, history)
                sampler = samplers.open(sampling, history)
                wanted, found = reference(row), sampler.distribution(row)
                ours = dict(zip(found.ids.tolist(), found.probabilities.tolist(), strict=True))
                negligible = sum(p for token, p in wanted.items() if token not in ours)
                assert ours.keys() <= wanted.keys(), setting
                assert negligible < 2.1e-6, setting
                for token, probability in ours.items():
                    assert probability == pytest.approx(wanted[token], abs=3e-6), setting
                reference.close()
                sampler.close()
        samplers.close()


@pytest.mark.parametrize("_name", MODELS)
def test_greedy_takes_llama_cpps_token(model_files: list[Path], _name: str) -> None:
    with real_rows(model_files[0], count=6) as (session, tokens, rows):
        samplers = SamplerFactory(session)
        for setting in GREEDY:
            for seed, row in enumerate(rows):
                sampling = Sampling(temperature=0, seed=seed, **setting)  # type: ignore[arg-type]
                reference = Reference(sampling, session, tokens)
                sampler = samplers.open(sampling, tokens)
                (only,) = reference(row)
                assert sampler.distribution(row).ids.tolist() == [only]
                assert sampler.draw(row) == only
                reference.close()
                sampler.close()
        samplers.close()


@pytest.mark.model(SMALL)
def test_banned_tokens_and_strings_are_never_drawn(model_files: list[Path]) -> None:
    with real_rows(model_files[0], count=1) as (session, tokens, rows):
        samplers = SamplerFactory(session)
        best = int(rows[0].argmax())
        piece = session.model.vocab.piece(best).decode()
        for setting in ({"banned_tokens": (best,)}, {"banned_strings": (piece,)}):
            for temperature in (0.0, 0.8):
                sampling = Sampling(temperature=temperature, **setting)  # type: ignore[arg-type]
                sampler = samplers.open(sampling, tokens)
                distribution = sampler.distribution(rows[0])
                assert distribution.probability(best) == 0
                assert distribution.probabilities.sum() == pytest.approx(1)
                sampler.close()
        with pytest.raises(ConfigError, match="no token"):
            samplers.open(Sampling(banned_tokens=(10**6,)), tokens)
        samplers.close()


@pytest.mark.parametrize(
    "settings",
    [*SETTINGS, *({**each, "temperature": 0.0} for each in GREEDY)],
    ids=str,
)
@pytest.mark.parametrize("exclude_top", [False, True])
def test_the_chain_of_the_tests_is_llama_cpps(
    settings: dict[str, object], exclude_top: bool
) -> None:
    """`tests/table_chain.py`, which the engine is tested with, as far as it goes."""
    sampling = Sampling(**settings)  # type: ignore[arg-type]
    if sampling.dries or sampling.typical_p < 1 or sampling.top_n_sigma > 0:
        return
    if sampling.dynatemp_range or (exclude_top and not sampling.excludes_top):
        return
    chains = (LlamaChain(sampling, n_vocab=1000, n_ctx=N_CTX), TableChain(sampling))
    if sampling.repeat_last_n < 0:
        return  # the table knows no whole context
    rng = np.random.default_rng(1)
    for token in rng.integers(0, 40, 80).tolist():
        for chain in chains:
            chain.accept(token)
    for _ in range(20):
        ids = np.sort(rng.choice(1000, 60, replace=False)).astype(np.int32)
        logits = (rng.normal(size=60) * 3).astype(np.float32)
        found = []
        for chain in chains:
            left, values = chain.apply(ids.copy(), logits.copy(), exclude_top)
            kept = values > -np.inf
            found.append(dict(zip(left[kept].tolist(), values[kept].tolist(), strict=True)))
        assert found[0].keys() == found[1].keys()
        assert found[1] == pytest.approx(found[0], rel=1e-5, abs=1e-5)
