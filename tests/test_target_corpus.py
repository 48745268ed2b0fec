"""Ranking tokens by what a target writes: what is counted, what is asked, and what is kept."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from spec_local.cli.app import app
from spec_local.errors import ConfigError, VocabularyMismatch
from spec_local.gguf.header import check_model_file
from spec_local.llama.model import Model
from spec_local.models import target_corpus
from spec_local.models.corpus import Counts
from spec_local.models.target_corpus import corpus_prompts, expected_counts, target_counts
from spec_local.sampling.types import Logits
from spec_local.util.progress import no_progress
from spec_local.workloads.workloads import bundled
from tests.fake import END, N_VOCAB, TableSession
from tests.tiny_gguf import write_tiny

pytestmark = pytest.mark.llama

PROMPTS = [[1, 2], [3, 4, 5], [6]]


def counted(session: TableSession, n_tokens: int) -> Counts:
    return expected_counts(session, PROMPTS, n_tokens, lambda token: token == END)


@pytest.mark.parametrize("n_tokens", [1, 2, 3, 100, 2000])
def test_every_position_counts_once(n_tokens: int) -> None:
    session, shares = TableSession(), list[float]()
    counts = expected_counts(
        session, PROMPTS, n_tokens, lambda token: token == END, progress=shares.append
    )
    assert counts.sum() == pytest.approx(n_tokens)
    assert len(shares) == n_tokens
    assert shares[-1] == 1
    assert all(before < after for before, after in pairwise(shares))


def test_what_might_have_been_drawn_is_counted_by_its_probability() -> None:
    session = TableSession()
    logits = session.evaluate([1, 2])[-1].astype(np.float64)
    first = expected_counts(TableSession(), [[1, 2]], 1, lambda _token: False)
    assert np.allclose(first, np.exp(logits) / np.exp(logits).sum())
    assert (first > 0).all()


def test_the_counts_are_the_same_every_time() -> None:
    assert np.array_equal(counted(TableSession(), 500), counted(TableSession(), 500))


def test_every_prompt_has_its_share_and_answers_end_where_they_end() -> None:
    asked: list[int] = []

    class Asked(TableSession):
        def evaluate(
            self, tokens: Sequence[int], rows: int = 1, parents: Sequence[int] | None = None
        ) -> Logits:
            asked.append(len(tokens))
            return super().evaluate(tokens, rows, parents)

    expected_counts(Asked(), PROMPTS, 30, lambda _token: False)
    assert asked == [2, *[1] * 9, 3, *[1] * 9, 1, *[1] * 9]
    asked.clear()
    expected_counts(Asked(), PROMPTS, 6, lambda _token: True)  # every answer is empty: two rounds
    assert asked == [2, 3, 1, 2, 3, 1]


def test_unlikely_tokens_are_counted_but_not_drawn() -> None:
    seen: set[int] = set()

    def is_end(token: int) -> bool:
        seen.add(token)
        return True

    class Fixed(TableSession):
        def evaluate(
            self, tokens: Sequence[int], rows: int = 1, parents: Sequence[int] | None = None
        ) -> Logits:
            super().evaluate(tokens, rows, parents)
            probabilities = np.full(N_VOCAB, 0.02)  # below a twentieth of the likeliest one's
            probabilities[[5, 7]] = 0.46, 0.1
            logits: Logits = np.log(probabilities)[None].astype(np.float32)
            return logits

    counts = expected_counts(Fixed(), PROMPTS, 200, is_end)
    assert seen == {5, 7}
    assert counts[5] / counts[0] == pytest.approx(23)


def test_the_corpus_is_not_written_from_the_benchmarks_prompts() -> None:
    def runs(text: str) -> set[tuple[str, ...]]:
        words = text.lower().split()
        return set(zip(*(words[i:] for i in range(5)), strict=False))

    ours = set[tuple[str, ...]]().union(*map(runs, corpus_prompts()))
    theirs = set[tuple[str, ...]]().union(*(runs(t) for p in bundled() for t in p.turns))
    assert not ours & theirs
    assert len(set(corpus_prompts())) == len(corpus_prompts()) >= 60
    assert all(prompt.strip() for prompt in corpus_prompts())


# ---- models in files -----------------------------------------------------------------------------


def test_a_target_is_asked_once(
    tiny: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages: list[str] = []
    with Model(tiny, vocab_only=True) as draft:

        def ask(n_tokens: int = 70) -> Counts:
            return target_counts(tiny, n_tokens, draft.vocab, lambda stage, _: stages.append(stage))

        first = ask()
        assert first.sum() == pytest.approx(70)
        assert list(dict.fromkeys(stages)) == ["load tiny", "ask tiny"]
        stages.clear()
        assert np.array_equal(ask(), first)
        assert not stages
        assert ask(71).sum() == pytest.approx(71)
        assert stages
        (kept, _) = (empty_cache.parent / "corpora").iterdir()
        for damaged in (b"", b"nonsense", kept.read_bytes()[:100]):
            kept.write_bytes(damaged)
            assert ask().sum() == pytest.approx(70)
        monkeypatch.setattr(target_corpus, "corpus_prompts", lambda: ["Something else."])
        stages.clear()
        ask()
        assert stages


def test_counts_that_cannot_be_kept_are_lost_and_nothing_else(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPEC_LOCAL_CACHE", "/proc/none")
    with Model(tiny, vocab_only=True) as draft:
        assert target_counts(tiny, 10, draft.vocab, no_progress).sum() == pytest.approx(10)


def test_padding_at_the_end_is_nobodys_token(tmp_path: Path, empty_cache: Path) -> None:
    small = write_tiny(tmp_path / "small.gguf")
    large = write_tiny(tmp_path / "large.gguf", extra_tokens=8)
    for target, draft in ((small, large), (large, small)):
        with Model(draft, vocab_only=True) as model:
            counts = target_counts(target, 20, model.vocab, no_progress)
            assert len(counts) == model.vocab.n_tokens
            assert 0 < counts.sum() <= 20 + 1e-6


def test_what_a_target_cannot_write(tiny: Path, tmp_path: Path, empty_cache: Path) -> None:
    other = write_tiny(tmp_path / "other.gguf", bpe=True)
    with Model(other, vocab_only=True) as model:
        with pytest.raises(VocabularyMismatch, match="cannot write for this draft: the tokenizer"):
            target_counts(tiny, 10, model.vocab, no_progress)
        with pytest.raises(ConfigError, match="at least one token"):
            target_counts(other, 0, model.vocab, no_progress)


def test_ctrl_c_leaves_nothing_half_written(tiny: Path, tmp_path: Path, empty_cache: Path) -> None:
    def interrupt(stage: str, fraction: float) -> None:
        if stage == "ask tiny" and fraction > 0.5:
            raise KeyboardInterrupt

    with Model(tiny, vocab_only=True) as draft, pytest.raises(KeyboardInterrupt):
        target_counts(tiny, 20, draft.vocab, interrupt)
    assert not (empty_cache.parent / "corpora").exists()


def test_the_command_keeps_what_the_target_writes(tmp_path: Path, empty_cache: Path) -> None:
    source = write_tiny(tmp_path / "source.gguf", extra_tokens=60)
    words, out = tmp_path / "words.txt", tmp_path / "out.gguf"
    words.write_text("abc")

    def kept(*options: str | Path) -> tuple[list[int], str]:
        command = ["draft", "trim", source, "-o", out, "--vocab", "300", "--force", *options]
        done = CliRunner().invoke(app, list(map(str, command)))
        assert done.exit_code == 0, done
        return list(check_model_file(out).metadata["spec_local.draft.token_map"]), done.stdout

    alone, _ = kept("--corpus", words)
    asked, said = kept("--corpus-from", source, "--corpus-tokens", "40")
    with Model(source, vocab_only=True) as model:
        counts = target_counts(source, 40, model.vocab, no_progress)
    assert counts[asked].sum() > counts[alone].sum()
    assert f"{counts[asked].sum() / counts.sum():.2%} of the corpus is written with them" in said
    both = ["draft", "trim", source, "-o", tmp_path / "none", "--corpus", words]
    done = CliRunner().invoke(app, [*map(str, both), "--corpus-from", str(source)])
    assert "files or a target as the corpus, not both" in str(done.exception)


@pytest.mark.model("smollm2-135m")
def test_a_real_target_expects_few_tokens_often(
    model_files: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SPEC_LOCAL_CACHE", str(tmp_path))
    with Model(model_files[0], vocab_only=True) as draft:
        counts = target_counts(model_files[0], 8, draft.vocab, no_progress)
        assert counts.sum() == pytest.approx(8, rel=1e-3)
        assert np.sort(counts)[-200:].sum() > 4
        assert (counts > 0).sum() > 40_000  # none is left out
