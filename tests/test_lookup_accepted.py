"""On a real model: an answer that lookup can know beforehand is drafted almost whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from spec_local import LoadOptions, Runner, Sampling

pytestmark = [pytest.mark.llama, pytest.mark.model("smollm2-135m")]

STORY = [{"role": "user", "content": "Tell a story about a lighthouse."}]
OPTIONS = LoadOptions(n_ctx=1024)
SAMPLINGS = [Sampling(temperature=0), Sampling(temperature=0.8, seed=1)]


@pytest.fixture
def runner(model_files: list[Path]) -> Iterator[Runner]:
    with Runner.load(target=model_files[0], drafter="lookup", k=8, options=OPTIONS) as runner:
        yield runner


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=lambda sampling: str(sampling.temperature))
def test_a_right_prediction_is_accepted_and_the_next_answer_has_none(
    runner: Runner, sampling: Sampling
) -> None:
    plain = runner.complete(STORY, max_tokens=100, sampling=sampling)
    done = runner.complete(STORY, max_tokens=100, sampling=sampling, prediction=plain.text)
    assert done.tokens == plain.tokens
    assert done.stats.acceptance_rate >= 0.9
    assert done.stats.rounds <= 15
    again = runner.complete(STORY, max_tokens=100, sampling=sampling)
    assert again.stats.rounds == plain.stats.rounds


def test_a_prediction_serves_after_what_it_did_not_foresee(runner: Runner) -> None:
    sampling = SAMPLINGS[0]
    plain = runner.complete(STORY, max_tokens=100, sampling=sampling)
    words = plain.text.split(" ")
    edited = " ".join([*words[:20], "quite", "another", *words[25:]])
    done = runner.complete(STORY, max_tokens=100, sampling=sampling, prediction=edited)
    assert done.tokens == plain.tokens
    assert done.stats.rounds < plain.stats.rounds / 2
