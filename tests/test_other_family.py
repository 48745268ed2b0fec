"""Drafts of another family, with llama.cpp's own tokenizers: the text stays plain decoding's."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from spec_local import Runner, Sampling
from spec_local.bench.hindsight.replay import record, with_draft
from spec_local.errors import VocabularyMismatch
from spec_local.llama.options import LoadOptions
from spec_local.models.loading import in_target_tokens, own_words
from spec_local.models.pairing import drafts_for
from spec_local.models.registry import Registry
from tests.tiny_gguf import write_tiny

pytestmark = pytest.mark.llama

OPTIONS = LoadOptions(n_ctx=512, n_threads=1)
PROMPT = [{"role": "user", "content": "the other thing and the ünïcode one\non her hand"}]


@pytest.fixture(scope="module")
def families(tiny_directory: Path) -> dict[str, Path]:
    """Letters, and pairs of them."""
    return {
        "letters": write_tiny(tiny_directory / "letters.gguf", seed=4),
        "pairs": write_tiny(tiny_directory / "pairs.gguf", bpe=True, seed=5),
        "recurrent letters": write_tiny(tiny_directory / "recurrent.gguf", "mamba", seed=6),
        "windowed letters": write_tiny(tiny_directory / "windowed.gguf", "gemma3", seed=7),
    }


@pytest.mark.parametrize(
    ("target", "draft", "writes"),
    [
        ("letters", "pairs", False),
        ("pairs", "letters", True),
        ("pairs", "recurrent letters", True),
        ("pairs", "windowed letters", True),
    ],
)
def test_the_text_is_plain_decodings(
    families: dict[str, Path], target: str, draft: str, writes: bool
) -> None:
    texts: dict[tuple[float, str], str] = {}
    for drafter in ("none", "model", "lookup-then-model", "auto"):
        with Runner.load(
            target=families[target], draft=families[draft], drafter=drafter, options=OPTIONS
        ) as runner:
            if runner.draft is not None:
                session = in_target_tokens(runner.draft, runner.target)
                words = own_words(session, runner.draft, runner.target)
                assert (words is not None) == writes
            for temperature in (0.0, 1.0):
                for rule in ("keyed", "rejection", "block") if temperature else ("keyed",):
                    sampling = Sampling(temperature=temperature, seed=3, acceptance=rule)
                    done = runner.complete(PROMPT, max_tokens=60, sampling=sampling)
                    assert drafter != "model" or done.stats.drafted > 0
                    if rule == "keyed":
                        text = texts.setdefault((temperature, rule), done.text)
                        assert done.text == text


def test_a_benchmark_looks_back_at_what_it_drafts(families: dict[str, Path]) -> None:
    with Runner.load(
        target=families["pairs"], draft=families["letters"], drafter="model", options=OPTIONS
    ) as runner:
        sampling = Sampling(temperature=0)
        done = runner.complete(PROMPT, max_tokens=40, sampling=sampling)
        context, answer = runner.tokenize(PROMPT), done.tokens
        recording = record(runner.target, sampling, context, answer)
        assert runner.draft is not None
        pair = (runner.draft, runner.target)
        drawn = with_draft(recording, *pair, sampling, context, answer).drawn
    assert len(drawn) == len(answer) - 1
    assert all(0 <= confidence <= 1 for _right, confidence in drawn)


def test_a_schema_is_kept(families: dict[str, Path]) -> None:
    schema = '{"type": "array", "items": {"enum": ["and the", "on"]}, "minItems": 2}'
    sampling = Sampling(temperature=1.0, json_schema=schema)
    texts = set[str]()
    for drafter in ("none", "model"):
        with Runner.load(
            target=families["pairs"], draft=families["letters"], drafter=drafter, options=OPTIONS
        ) as runner:
            texts.add(runner.complete(PROMPT, max_tokens=60, sampling=sampling).text)
    assert len(texts) == 1


def test_that_it_is_another_vocabulary_is_said_once(
    families: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "spec_local"):
        pair = families["pairs"], families["letters"]
        Runner.load(target=pair[0], draft=pair[1], options=OPTIONS).close()
    (said,) = caplog.messages
    assert said.startswith("note: letters.gguf has another vocabulary than pairs.gguf")


def test_it_is_never_proposed(families: dict[str, Path], tmp_path: Path) -> None:
    large = write_tiny(tmp_path / "large.gguf", bpe=True, pre="qwen2")
    found = drafts_for(large, Registry({}, {}), [families["letters"].parent])
    assert not {each.path for each in found} & set(families.values())


def test_a_trimmed_draft_of_another_family_is_refused(
    families: dict[str, Path], tmp_path: Path
) -> None:
    trimmed = write_tiny(tmp_path / "trimmed.gguf", letters="zyx", token_map=range(263))
    with pytest.raises(VocabularyMismatch, match=r"trimmed.gguf cannot draft for pairs.gguf"):
        Runner.load(target=families["pairs"], draft=trimmed)


def test_a_long_text_is_followed_by_its_end(families: dict[str, Path]) -> None:
    texts = set[str]()
    for drafter in ("none", "model"):
        with Runner.load(
            target=families["pairs"],
            draft=families["letters"],
            drafter=drafter,
            options=LoadOptions(n_ctx=160, n_threads=1),
        ) as runner:
            done = runner.complete(" the and" * 60, max_tokens=60, sampling=Sampling(temperature=0))
            texts.add(done.text)
            assert drafter == "none" or done.stats.drafted > 0
    assert len(texts) == 1


@pytest.mark.model("qwen2.5-coder-1.5b", "smollm2-135m")
@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_real_draft_of_another_family_is_of_use(
    model_files: list[Path], temperature: float
) -> None:
    target, draft = model_files
    question = "Write the numbers from one to ten in words, as a JSON list, nothing else."
    options = LoadOptions(n_ctx=512)
    with Runner.load(target=target, draft=draft, drafter="model", options=options) as runner:
        done = runner.complete(
            [{"role": "user", "content": question}],
            max_tokens=40,
            sampling=Sampling(temperature=temperature),
        )
    assert "three" in done.text
    assert done.stats.accepted > 8  # 25 and more were


@pytest.mark.model("smollm2-135m")
def test_a_real_target_takes_a_draft_of_another_family(
    model_files: list[Path], families: dict[str, Path]
) -> None:
    with Runner.load(
        target=model_files[0],
        draft=families["letters"],
        drafter="model",
        options=LoadOptions(n_ctx=512),
    ) as runner:
        done = runner.complete("Once upon a time", max_tokens=24, sampling=Sampling(seed=1))
    assert done.stats.drafted > 0
    assert done.stats.tokens == 24
