"""Log-probabilities: the target's own, for every token, whoever drafted it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.special import log_softmax

from spec_local import ConfigError, LoadOptions, Runner, Sampling
from spec_local.drafters.build import BUILDERS
from spec_local.engine.logprobs import token_logprobs

pytestmark = pytest.mark.llama

HELLO = [{"role": "user", "content": "hello there"}]


def test_they_are_the_log_softmax_of_the_rows() -> None:
    rows = np.random.default_rng(0).normal(size=(3, 50)).astype(np.float32) * 5
    tokens = (4, 49, 0)
    found = token_logprobs(rows, range(len(tokens) - 1), tokens, n=3)
    for row, token, one in zip(log_softmax(rows.astype(float), axis=1), tokens, found, strict=True):
        assert one.token == token
        assert one.logprob == pytest.approx(row[token], abs=1e-9)
        best = np.argsort(-row)[:3]
        assert [rival for rival, _ in one.top] == best.tolist()
        assert [logprob for _, logprob in one.top] == pytest.approx(row[best].tolist(), abs=1e-9)


def test_equal_rivals_come_in_the_order_of_their_ids_and_n_may_be_anything() -> None:
    row = np.array([[1.0, 2.0, 2.0, -np.inf]], np.float32)
    (one,) = token_logprobs(row, (), (0,), n=2)
    assert [rival for rival, _ in one.top] == [1, 2]
    assert token_logprobs(row, (), (0,), n=0)[0].top == ()
    assert len(token_logprobs(row, (), (0,), n=99)[0].top) == 4


@pytest.mark.parametrize("sampling", [Sampling(temperature=0), Sampling(top_k=5, seed=3)], ids=str)
def test_drafting_does_not_change_them(tiny: Path, tiny_draft: Path, sampling: Sampling) -> None:
    answers = {}
    for drafter in BUILDERS:
        with Runner.load(
            target=tiny, draft=tiny_draft, drafter=drafter, k=4, options=LoadOptions(n_ctx=256)
        ) as runner:
            answers[drafter] = runner.complete(HELLO, max_tokens=40, sampling=sampling, logprobs=2)
    plain = answers.pop("none")
    assert [found.token for found in plain.logprobs] == list(plain.tokens)
    for answer in answers.values():
        for mine, theirs in zip(plain.logprobs, answer.logprobs, strict=True):
            assert mine.token == theirs.token
            assert mine.logprob == pytest.approx(theirs.logprob, abs=1e-4)
            assert [i for i, _ in mine.top] == [i for i, _ in theirs.top]


def test_they_cost_nothing_unless_asked_for(tiny: Path) -> None:
    with Runner.load(target=tiny) as runner:
        assert runner.complete(HELLO, max_tokens=5).logprobs == ()
        assert runner.complete(HELLO, max_tokens=5, logprobs=0).logprobs[0].top == ()
        with pytest.raises(ConfigError, match="logprobs must be 0 or more"):
            runner.generate(HELLO, logprobs=-1)
