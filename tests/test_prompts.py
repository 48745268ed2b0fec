"""What is taken for a prompt, and what is refused in a sentence instead of being misread."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from spec_local import ConfigError, LoadOptions, Runner
from tests.tiny_gguf import write_tiny

pytestmark = pytest.mark.llama

OPTIONS = LoadOptions(n_ctx=256, n_batch=32)
HELLO = [{"role": "user", "content": "hello there"}]


@pytest.fixture(scope="module")
def runner(tiny: Path) -> Iterator[Runner]:
    with Runner.load(target=tiny, drafter="none", options=OPTIONS) as runner:
        yield runner


@pytest.mark.parametrize(
    ("prompt", "complaint"),
    [
        (b"hello", "is bytes; decode them to a text first"),
        (bytearray(b"hello"), "is bytes; decode them to a text first"),
        (memoryview(b"hello"), "is bytes; decode them to a text first"),
        (HELLO[0], "is a single message; put it into a list"),
        (None, "must be a text, messages or tokens, not of type NoneType"),
        (7, "must be a text, messages or tokens, not of type int"),
        ([1.5], "needs a role and a content"),
        (["hello"], "needs a role and a content"),
        ([5, "hello"], "needs a role and a content"),
        (np.ones((2, 3), int), "has rows of tokens; give one row"),
        ([-1], "token ids the model lacks"),
        ([{"role": "user", "content": None}], "must be text or a list of text parts"),
        ([{"role": "user", "content": b"x"}], "must be text or a list of text parts"),
    ],
)
def test_what_is_no_prompt_is_one_sentence(runner: Runner, prompt: object, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        runner.complete(prompt)  # type: ignore[arg-type]


def test_tokens_may_be_held_in_anything(runner: Runner) -> None:
    for tokens in ([5, 6], (5, 6), np.array([5, 6]), [np.int64(5), np.int32(6)], iter([5, 6])):
        found = runner.tokenize(tokens)  # type: ignore[arg-type]
        assert found == [5, 6]
        assert {type(token) for token in found} == {int}


def test_messages_may_be_held_in_anything_and_parts_are_joined(runner: Runner) -> None:
    expected = runner.tokenize(HELLO)
    for same in (tuple(HELLO), iter(HELLO), (each for each in HELLO)):
        assert runner.tokenize(same) == expected  # type: ignore[arg-type]
    parts = [{"type": "text", "text": "hello there"}]
    assert runner.tokenize([{"role": "user", "content": parts}]) == expected


def test_halves_of_characters_are_replaced(runner: Runner) -> None:
    assert runner.tokenize("a\ud800b") == runner.tokenize("a?b")
    half = [{"role": "user", "content": "a\udcffb"}]
    assert runner.tokenize(half) == runner.tokenize([{"role": "user", "content": "a?b"}])


def test_a_prompt_is_to_go_on_whatever_a_model_wants_behind_a_text(
    runner: Runner, tmp_path: Path
) -> None:
    ending = write_tiny(tmp_path / "ending.gguf", add_eos=True)
    with Runner.load(target=ending, drafter="none", options=OPTIONS) as other:
        for prompt in (HELLO, "hello"):
            assert other.tokenize(prompt) == runner.tokenize(prompt)
            assert not other.vocab.is_end(other.tokenize(prompt)[-1])
