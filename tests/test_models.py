"""Real models: SmolLM2 in every run, the Qwen pair where it has been pulled."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from spec_local import LoadOptions, Runner, Sampling

pytestmark = pytest.mark.llama

SMALL, LARGE, DRAFT = "smollm2-135m", "qwen2.5-coder-1.5b", "qwen2.5-coder-0.5b"
GREEDY = Sampling(temperature=0)
QUESTION = [{"role": "user", "content": "Name three colours of the rainbow, then say them again."}]


@pytest.mark.model(SMALL)
def test_a_pulled_model_answers(model_files: list[Path]) -> None:
    with Runner.load("smollm2") as runner:
        done = runner.complete(
            [
                {
                    "role": "user",
                    "content": "Which city is the capital of France? Answer in one sentence.",
                }
            ],
            max_tokens=20,
            sampling=GREEDY,
        )
        assert "Paris" in done.text
        assert runner.target.model.path == model_files[0]


@pytest.mark.model(SMALL)
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_lookup_leaves_the_text_unchanged(model_files: list[Path], temperature: float) -> None:
    sampling = Sampling(temperature=temperature, seed=1)
    texts = set()
    for drafter in ("none", "lookup"):
        # One draft token: two rows, which this CPU backend computes like one.
        with Runner.load(target=model_files[0], drafter=drafter, k=1) as runner:
            texts.add(runner.complete(QUESTION, max_tokens=80, sampling=sampling).text)
    assert len(texts) == 1


@pytest.mark.model(SMALL)
def test_a_chat_gives_what_the_whole_conversation_would_give(model_files: list[Path]) -> None:
    with Runner.load(target=model_files[0], drafter="none") as runner:
        chat = runner.chat(max_tokens=24, sampling=GREEDY)
        list(chat.send("Hello, who are you?"))
        answer = "".join(chunk.text for chunk in chat.send("Say that in other words."))
        assert chat.generation is not None
        assert chat.generation.stats.cached_tokens > 24
        again = runner.complete(chat.messages[:-1], max_tokens=24, sampling=GREEDY)
        assert again.text == answer


@pytest.mark.model(SMALL)
def test_memory_grows_by_what_is_said(model_files: list[Path]) -> None:
    """No buffer of n_ctx rows: that alone would be 1.6 GB here."""
    import psutil

    before = psutil.Process().memory_info().rss
    with Runner.load(target=model_files[0], options=LoadOptions(n_ctx=8192)) as runner:
        runner.complete(QUESTION, max_tokens=20)
        grown = psutil.Process().memory_info().rss - before
        weights = runner.target.model.size_bytes
        cache = 8192 * 30 * 3 * 64 * 2 * 2
    # Weights count twice where they are rearranged while mapped.
    assert grown < 2 * weights + cache + 100e6


@pytest.mark.model(LARGE, DRAFT)
def test_the_pair_agrees_on_code_and_counts_its_work(model_files: list[Path]) -> None:
    k = 3
    prompt = [{"role": "user", "content": "Write a Python function that reverses a string."}]
    with Runner.load(target=model_files[0], draft=model_files[1], drafter="model", k=k) as runner:
        rounds = list(runner.generate(prompt, max_tokens=80, sampling=GREEDY))
        stats = rounds[-1].stats
        assert runner.target.decode_calls == stats.rounds
        assert stats.acceptance_rate > 0.6
        assert stats.mean_accepted_length > 2.5
        evaluated = [chunk.stats.draft_evaluated for chunk in rounds]
        costs = [b - a for a, b in pairwise(evaluated)][1:]  # the first includes the prompt
        accepted = [sum(chunk.drafted) for chunk in rounds[1:-1]]
        budget_full = [len(chunk.tokens) for chunk in rounds]
        assert len(costs) == len(accepted)
        for cost, before in list(zip(costs, accepted, strict=True))[:-1]:
            assert cost == k + (before == k)
        assert sum(budget_full) == stats.tokens
