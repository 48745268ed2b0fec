"""Where the context ends: whatever drafts, every last token of it is written, and none beyond."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spec_local import Completion, ContextOverflow, LoadOptions, Runner, Sampling
from spec_local.exact.modes import ExactMode
from spec_local.llama.model import Model
from spec_local.llama.session import Session
from tests.test_zoo import TOLERANCE
from tests.zoo.recipes import recipes, write

pytestmark = pytest.mark.llama

N_CTX = 64
MEMORIES = ("llama", "gemma3", "mamba", "lfm2")
"""Dense, with a sliding window, recurrent, and both attention and a recurrent state."""
DRAFTERS = ("none", "lookup", "model", "lookup-then-model", "staged", "auto")
SAMPLINGS = (Sampling(temperature=0), Sampling(temperature=1, seed=3))


@pytest.fixture(params=MEMORIES)
def models(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    """A target, and a draft model of the same architecture."""
    recipe = recipes()[request.param]
    return write(recipe, tmp_path / "target.gguf"), write(recipe, tmp_path / "draft.gguf", seed=1)


def prompt_of(runner: Runner, n_tokens: int) -> str:
    """A text of so many tokens, with much to look up."""
    text = ("hello there, " * n_tokens)[: 2 * n_tokens]
    while runner.count_tokens(text) > n_tokens:
        text = text[:-1]
    assert runner.count_tokens(text) == n_tokens
    return text


def each_runner(models: tuple[Path, Path], **options: Any) -> Iterator[Runner]:
    target, draft = models
    loaded = LoadOptions(**{"n_ctx": N_CTX, "n_threads": 1, "trial": False, **options})
    for drafter in DRAFTERS:
        with Runner.load(target=target, draft=draft, drafter=drafter, options=loaded) as runner:
            yield runner


def said(answer: Completion) -> tuple[object, ...]:
    return answer.tokens, answer.text, answer.finish_reason


def agreed(answers: list[Completion]) -> Completion:
    """The one answer of all drafters."""
    for answer in answers:
        assert said(answer) == said(answers[0])
    return answers[0]


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=["greedy", "sampled"])
@pytest.mark.parametrize("missing", [0, 1, 2, 3, 5, 9])
def test_the_last_tokens_of_the_context(
    models: tuple[Path, Path], missing: int, sampling: Sampling
) -> None:
    """The last one written needs no place: nothing is evaluated after it."""
    answers = []
    for runner in each_runner(models):
        answer = runner.complete(prompt_of(runner, N_CTX - missing), sampling=sampling)
        assert len(runner.target.tokens) <= N_CTX
        answers.append(answer)
    answer = agreed(answers)
    if answer.finish_reason != "stop":
        assert (answer.finish_reason, len(answer.tokens)) == ("context", missing + 1)


def test_a_prompt_beyond_the_context_is_refused_alike(models: tuple[Path, Path]) -> None:
    errors = set()
    for runner in each_runner(models):
        with pytest.raises(ContextOverflow) as refused:
            runner.complete(prompt_of(runner, N_CTX + 1))
        errors.add(str(refused.value))
        assert runner.complete("hello", max_tokens=3).stats.prompt_tokens > 0
    assert len(errors) == 1
    assert "\n" not in errors.pop()


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=["greedy", "sampled"])
@pytest.mark.parametrize("length", [60, 90, 150])
def test_batches_smaller_than_the_prompt(
    models: tuple[Path, Path], length: int, sampling: Sampling
) -> None:
    """Every drafter's text is the same, and it runs into the context's end."""
    answer = agreed(
        [
            runner.complete(prompt_of(runner, length), sampling=sampling)
            for runner in each_runner(models, n_ctx=160, n_batch=32, n_ubatch=8)
        ]
    )
    if answer.finish_reason != "stop":
        assert (answer.finish_reason, len(answer.tokens)) == ("context", 160 - length + 1)


@pytest.mark.parametrize("n_ubatch", [1, 2, 3, 8, 9, 10, 11])
@pytest.mark.parametrize("arch", ["mamba", "lfm2", "qwen35", "deepseek4"])
def test_snapshots_fit_into_what_is_computed_at_once(
    arch: str, n_ubatch: int, tmp_path: Path
) -> None:
    """llama.cpp ended the process where a batch could not hold the snapshots of its last tokens."""
    recipe = recipes()[arch]
    models = (write(recipe, tmp_path / "target"), write(recipe, tmp_path / "draft", seed=1))
    answers = [
        runner.complete(prompt_of(runner, 40), max_tokens=20)
        for runner in each_runner(models, n_batch=32, n_ubatch=n_ubatch)
    ]
    assert agreed(answers).tokens


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=["greedy", "sampled"])
@pytest.mark.parametrize("length", [10, 38, 39, 40, 41, 60])
@pytest.mark.parametrize("arch", MEMORIES)
def test_a_draft_context_that_ends_first(
    arch: str, length: int, sampling: Sampling, tmp_path: Path
) -> None:
    """In the prompt or in the answer: the target goes on, to its own end."""
    recipe = recipes()[arch]
    short = replace(recipe, keys={**recipe.keys, "context_length": 40})
    models = (write(recipe, tmp_path / "target"), write(short, tmp_path / "draft", seed=1))
    answers = []
    for runner in each_runner(models, n_ctx=96):
        answers.append(runner.complete(prompt_of(runner, length), sampling=sampling))
        assert runner.draft is None or runner.draft.n_ctx == 40
    answer = agreed(answers)
    if answer.finish_reason != "stop":
        assert (answer.finish_reason, len(answer.tokens)) == ("context", 96 - length + 1)


@pytest.mark.parametrize("mode", ["certified", "fixed", "guard"])
@pytest.mark.parametrize("missing", [0, 1, 2, 5])
def test_the_last_tokens_of_an_exact_context(
    tiny: Path, tiny_draft: Path, tmp_path: Path, missing: int, mode: ExactMode
) -> None:
    """A context that keeps a few places for fixed widths ends where it says, for every drafter."""
    from spec_local.llama.quantize import quantize

    exact_tiny = tmp_path / "tiny-Q8_0.gguf"
    quantize(tiny, exact_tiny, "Q8_0")
    options = LoadOptions(n_ctx=320, n_batch=32, n_ubatch=32, n_threads=1)
    answers, ends = [], set()
    for drafter in DRAFTERS:
        with Runner.load(
            target=exact_tiny, draft=tiny_draft, drafter=drafter, options=options, exact=mode
        ) as runner:
            ends.add(runner.n_ctx)
            answers.append(runner.complete(prompt_of(runner, runner.n_ctx - missing)))
            with pytest.raises(ContextOverflow):
                runner.complete(prompt_of(runner, runner.n_ctx + 1))
    assert len(ends) == 1
    answer = agreed(answers)
    if answer.finish_reason != "stop":
        assert (answer.finish_reason, len(answer.tokens)) == ("context", missing + 1)


@pytest.mark.model("smollm2-135m")
def test_the_last_token_of_a_real_model(model_files: list[Path]) -> None:
    """Of a text that no rounding changes, and that there is much to look up for."""
    prompt = "one two three four five one two three four five one two three"
    options = LoadOptions(n_ctx=N_CTX, n_threads=1)
    answers = []
    for drafter in ("none", "lookup", "auto"):
        with Runner.load(target=model_files[0], drafter=drafter, options=options) as runner:
            answers.append(runner.complete(prompt, sampling=Sampling(temperature=0)))
            length = runner.count_tokens(prompt)
    answer = agreed(answers)
    assert answer.finish_reason == "context"
    assert len(answer.tokens) == N_CTX - length + 1
    assert answers[1].stats.accepted > 0


@pytest.mark.parametrize("arch", MEMORIES)
def test_the_last_logits_are_those_of_any_batches(arch: str, tmp_path: Path) -> None:
    path = write(recipes()[arch], tmp_path / "model.gguf")
    tokens = [1, *(260 + 7 * place % 25 for place in range(N_CTX - 1))]
    found = []
    for n_batch in (N_CTX, 32, 16):
        options = LoadOptions(n_ctx=N_CTX, n_batch=n_batch, n_threads=1, trial=False)
        with Model(path, options) as model, Session(model) as session:
            assert (session.n_ctx, session.n_batch) == (N_CTX, n_batch)
            found.append(session.evaluate(tokens, rows=2).copy())
    for logits in found[1:]:
        assert np.abs(logits - found[0]).max() < TOLERANCE * found[0].std()
