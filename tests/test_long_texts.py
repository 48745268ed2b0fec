"""No text ends the process, however long: neither while it is tokenized nor when it is read."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from spec_local.errors import ConfigError, ContextOverflow
from spec_local.llama.model import Model
from spec_local.llama.options import LoadOptions
from spec_local.llama.session import Session
from spec_local.llama.vocab import Vocabulary
from spec_local.models.loading import draft_session
from spec_local.runner import Runner
from spec_local.sampling.settings import Sampling
from spec_local.util.stack import on_stack
from tests.tiny_gguf import write_tiny

pytestmark = pytest.mark.llama


SPLITTERS = (
    *("afmoe", "bailingmoe", "bloom", "chameleon", "deepseek-coder", "deepseek-llm", "deepseek-v3"),
    *("default", "exaone-moe", "falcon", "gpt-2", "gpt-4o", "kimi-k2"),
    *("laguna", "llama-bpe", "minicpm5", "qwen2", "seed-coder", "smollm", "tekken"),
    *("tiny_aya", "viking", "youtu"),
)
"""Names of what llama.cpp splits texts by, each with other patterns."""
LONG = 30_000
"""Characters of one kind in a row that overflow a stack of 8 MB."""
RUNS = ("a", "A", "aA", "-", "1", "一", " ", "\n", "é", "e\u0301", "ab cd ", "a1-b2 ", "。\u3000")


@pytest.fixture(scope="module", params=SPLITTERS)
def vocab(request: pytest.FixtureRequest, tiny_directory: Path) -> Iterator[Vocabulary]:
    path = write_tiny(tiny_directory / f"{request.param}.gguf", bpe=True, pre=request.param)
    with Model(path, vocab_only=True) as model:
        yield model.vocab


@pytest.mark.parametrize("run", RUNS)
def test_a_long_run_is_tokenized_in_any_thread(vocab: Vocabulary, run: str) -> None:
    text = run * (LONG // len(run))
    tokens = on_stack(1 << 18, lambda: vocab.tokenize(text, add_special=False, parse_special=False))
    assert vocab.pieces(tokens).decode() == text


def test_an_absurd_run_is_one_sentence_and_many_short_ones_are_not(tiny_directory: Path) -> None:
    path = write_tiny(tiny_directory / "lines.gguf", bpe=True)
    with Model(path, vocab_only=True) as model:
        with pytest.raises(ConfigError, match=r"line of 1,000,001 characters.*takes 1,000,000"):
            model.vocab.tokenize("a" * 1_000_001, add_special=False, parse_special=False)
        lines = "of\n" * 400_000
        assert model.vocab.tokenize(lines, add_special=False, parse_special=False)


def test_an_ordinary_text_needs_no_thread(
    tiny_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spec_local.llama.vocab.on_stack", None)
    path = write_tiny(tiny_directory / "ordinary.gguf", bpe=True)
    with Model(path, vocab_only=True) as model:
        text = ("the and of the " * 60 + "\n") * 50
        assert model.vocab.tokenize(text, add_special=False, parse_special=False)


def test_what_is_done_on_a_stack_returns_and_raises_and_leaves_the_size_as_it_was() -> None:
    before = threading.stack_size()
    assert on_stack(1 << 24, lambda: threading.current_thread().name) == "large stack"
    with pytest.raises(ZeroDivisionError):
        on_stack(1 << 24, lambda: 1 // 0)
    with pytest.raises(ConfigError, match="for which there is no room; break it into lines"):
        on_stack(1 << 60, lambda: None)
    assert threading.stack_size() == before


def test_a_stack_is_whole_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other sizes are refused on macOS."""
    asked = list[int]()

    def stack_size(*size: int) -> int:
        asked.extend(size)
        return 0

    monkeypatch.setattr(threading, "stack_size", stack_size)
    assert on_stack(1001 * 2048, lambda: 3) == 3
    assert asked == [32 << 16, 0]


def notes(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What is said of models; llama.cpp's own log, which counts in steps of 256, is another one."""
    return [each.getMessage() for each in caplog.records if each.name == "spec_local.llama.model"]


@pytest.mark.parametrize("arch", ["llama", "gpt2", "mamba"])
def test_a_context_ends_where_the_model_s_training_did(
    arch: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_tiny(tmp_path / f"trained-{arch}.gguf", arch, n_ctx=300)
    with Model(path) as model, Session(model) as session, Session(model):
        assert session.n_ctx == 300
        session.evaluate([5] * 300)
        with pytest.raises(ContextOverflow):
            session.evaluate([5])
    assert notes(caplog) == [
        f"note: trained-{arch}.gguf was trained on texts of 300 tokens; its context is 300 instead "
        "of 4,096."
    ]


def test_nothing_is_said_of_a_context_that_was_not_asked_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_tiny(tmp_path / "unasked.gguf", n_ctx=300)
    with Model(path, LoadOptions(n_ctx=0)) as model, Session(model) as session:
        assert session.n_ctx == 300
    with Model(path, LoadOptions(n_ctx=200)) as model, Session(model) as session:
        assert session.n_ctx == 200
    assert notes(caplog) == []


def test_a_draft_trained_on_shorter_texts_drafts_to_the_end_of_a_long_one(tmp_path: Path) -> None:
    """Where the draft's positions end, the target's text goes on, and is what it is without."""
    target = write_tiny(tmp_path / "long.gguf", "gpt2", n_ctx=1024, seed=2)  # no near ties
    draft = write_tiny(tmp_path / "short.gguf", "gpt2", n_ctx=300, seed=1)
    sampling = Sampling(temperature=0.0, banned_tokens=(2,))
    one_thread = LoadOptions(n_threads=1)  # more of them round otherwise beyond 256 tokens
    texts = []
    for drafter in ("none", "model"):
        with Runner.load(
            target=target, draft=draft, drafter=drafter, sampling=sampling, options=one_thread
        ) as runner:
            assert (runner.draft is None) == (drafter == "none")
            texts.append(runner.complete("the ", max_tokens=400).tokens)
    assert len(texts[0]) == 400
    assert texts[1] == texts[0]
    with Model(draft) as model, draft_session(model) as session:
        assert session.n_ctx == 300


@pytest.mark.parametrize(
    "options",
    [{"n_threads": 513}, {"n_threads": 100_000}, {"n_batch": 1 << 32}, {"n_ctx": 1 << 32}],
)
def test_numbers_that_llama_cpp_cannot_take_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"must be at most (512|2,147,483,647), not"):
        LoadOptions(**options)  # type: ignore[arg-type]
