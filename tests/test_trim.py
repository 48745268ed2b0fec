"""Trimmed drafts: the same rows, the same logits, other ids."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader, GGUFWriter
from numpy.typing import NDArray
from typer.testing import CliRunner

from spec_local import Runner
from spec_local.cli.app import app
from spec_local.drafters.model import ModelDrafter
from spec_local.errors import ConfigError, ModelFileError, SpecLocalError, VocabularyMismatch
from spec_local.gguf.header import check_model_file
from spec_local.llama.model import Model
from spec_local.llama.options import LoadOptions
from spec_local.llama.quantize import quantize
from spec_local.llama.sampler_factory import SamplerFactory
from spec_local.llama.session import Session
from spec_local.models.loading import in_target_tokens
from spec_local.models.trim import choose_tokens, trim
from spec_local.sampling.settings import Sampling
from tests.test_cli import fails_with, spec_local
from tests.tiny_gguf import MERGES, write_tiny

pytestmark = pytest.mark.llama

N_BYTES = 256
N_BPE = N_BYTES + len(MERGES) + 2
TEXT = ["the thing and the other thing"]
"""Has th·ing, Ġthe, Ġand, and other words in pieces."""


@pytest.fixture(scope="module")
def bpe(tiny_directory: Path) -> Path:
    return write_tiny(tiny_directory / "bpe.gguf", bpe=True)


@pytest.fixture(scope="module")
def trimmed(bpe: Path, tiny_directory: Path) -> Path:
    out = tiny_directory / "bpe-trimmed.gguf"
    trim(bpe, out, N_BPE - 4, corpus=TEXT)
    return out


@contextmanager
def opened(path: Path) -> Iterator[Session]:
    with Model(path, LoadOptions(n_ctx=256)) as model, Session(model) as session:
        yield session


def token_map(path: Path) -> list[int]:
    return list(check_model_file(path).metadata["spec_local.draft.token_map"])


def rows(path: Path) -> dict[str, NDArray[Any]]:
    return {tensor.name: np.asarray(tensor.data) for tensor in GGUFReader(path).tensors}


@pytest.mark.parametrize("file_type", [None, "Q8_0"])
@pytest.mark.parametrize("tied", [False, True])
def test_kept_rows_are_copied_and_everything_else_stays(
    tmp_path: Path, file_type: str | None, tied: bool
) -> None:
    source = write_tiny(tmp_path / "tiny.gguf", extra_tokens=60, tied=tied)
    if file_type is not None:
        quantize(source, tmp_path / "quantized.gguf", file_type)
        source = tmp_path / "quantized.gguf"
    out = tmp_path / "out.gguf"
    result = trim(source, out, 300, corpus=["abc"])
    kept = token_map(out)
    assert (result.source_tokens, result.tokens, len(kept)) == (352, 300, 300)
    assert result.bytes == out.stat().st_size < result.source_bytes
    before, after = rows(source), rows(out)
    assert list(before) == list(after)
    for name, data in before.items():
        cut = name in ("token_embd.weight", "output.weight")
        assert np.array_equal(data[kept] if cut else data, after[name]), name


def test_the_metadata_stays_but_for_what_speaks_of_tokens(bpe: Path, trimmed: Path) -> None:
    before, after = GGUFReader(bpe), GGUFReader(trimmed)
    changed = {f"tokenizer.ggml.{name}" for name in ("tokens", "token_type", "merges")}
    changed |= {"tokenizer.ggml.eos_token_id", "GGUF.kv_count"}
    for key, field in before.fields.items():
        assert field.types == after.fields[key].types
        if key not in changed:
            assert field.contents() == after.fields[key].contents(), key
    tokens = before.fields["tokenizer.ggml.tokens"].contents()
    kept = token_map(trimmed)
    assert after.fields["tokenizer.ggml.tokens"].contents() == [tokens[i] for i in kept]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (" the", {" the"}),
        (" the and", {" the", " and"}),
        (" the the and", {" the"}),
        ("x", {"th", "the", "in"}),  # nothing of the corpus: the lowest ids
    ],
)
def test_kept_are_the_required_then_the_frequent_then_the_lowest(
    bpe: Path, tmp_path: Path, text: str, words: set[str]
) -> None:
    with Model(bpe, vocab_only=True) as model:
        ids = {model.vocab.piece(i).decode(): i for i in range(N_BYTES, N_BPE - 2)}
    required = {*range(N_BYTES), N_BPE - 2, N_BPE - 1}
    trim(bpe, tmp_path / "out.gguf", len(required) + len(words), corpus=[text])
    kept = token_map(tmp_path / "out.gguf")
    assert kept == sorted(kept)
    assert set(kept) == required | {ids[word] for word in words}


def test_rare_tokens_rank_by_their_ids() -> None:
    counts = np.array([0, 10, 0, 1, 5, 1_000_000])  # once in a million is chance, five times not
    assert choose_tokens(counts, {2}, 3).tolist() == [1, 2, 5]
    assert choose_tokens(counts, {2}, 5).tolist() == [0, 1, 2, 4, 5]


def test_the_tokenizer_works_with_what_is_left(bpe: Path, trimmed: Path) -> None:
    text = "the other thing and the ünïcode one on her hand"
    with Model(bpe, vocab_only=True) as before, Model(trimmed, vocab_only=True) as after:
        tokens = after.vocab.tokenize(text, add_special=False, parse_special=True)
        assert after.vocab.pieces(tokens).decode() == text
        # What was there before, the ids found by spelling included, is there under its new id.
        kept = token_map(trimmed)
        specials = {name: kept[token] for name, token in after.vocab.special_ids.items()}
        assert specials == before.vocab.special_ids
        ends = {kept[i] for i in range(after.vocab.n_tokens) if after.vocab.is_end(i)}
        assert ends == {i for i in range(before.vocab.n_tokens) if before.vocab.is_end(i)}
        assert after.chat_template == before.chat_template
        assert after.token_map == tuple(kept)
        assert before.token_map is None


@pytest.mark.parametrize("tied", [False, True])
def test_kept_tokens_have_the_logits_they_had(tmp_path: Path, tied: bool) -> None:
    source = write_tiny(tmp_path / "source.gguf", bpe=True, tied=tied)
    trim(source, tmp_path / "out.gguf", N_BPE - 5, corpus=TEXT)
    with opened(source) as before, opened(tmp_path / "out.gguf") as after:
        kept = token_map(tmp_path / "out.gguf")
        tokens = list(range(40, 80))
        expected = before.evaluate([kept[token] for token in tokens], rows=5)[:, kept]
        assert np.allclose(after.evaluate(tokens, rows=5), expected, rtol=1e-4, atol=1e-4)


def test_the_corpus_that_is_there_anyway(bpe: Path, tmp_path: Path) -> None:
    stages: list[str] = []
    out = tmp_path / "out.gguf"
    result = trim(
        bpe,
        out,
        N_BPE - 6,
        file_type="Q4_0",
        progress=lambda stage, _fraction: stages.append(stage),
    )
    assert 0.9 < result.coverage < 1
    assert list(dict.fromkeys(stages)) == ["count tokens", "write", "quantize"]
    assert len(token_map(out)) == N_BPE - 6
    assert list(tmp_path.iterdir()) == [out]


# ---- does it fit its target ----------------------------------------------------------------------


def test_a_trimmed_draft_fits_its_target(bpe: Path, trimmed: Path) -> None:
    done = spec_local("models", "check", bpe, trimmed)
    assert "The vocabularies agree" in done.stdout, done
    assert done.returncode == 0


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("schema", [None, '{"type": "array", "minItems": 9, "maxItems": 9}'])
def test_a_trimmed_draft_leaves_the_text_unchanged(
    bpe: Path, trimmed: Path, temperature: float, schema: str | None
) -> None:
    sampling = Sampling(temperature=temperature, seed=2, json_schema=schema)
    texts, drafted = set(), 0
    for drafter in ("none", "model"):
        with Runner.load(target=bpe, draft=trimmed, drafter=drafter, k=3) as runner:
            done = runner.complete("abc def ghi", max_tokens=60, sampling=sampling)
            texts.add(done.text)
            drafted += done.stats.accepted
    assert len(texts) == 1
    assert drafted > 0


def test_a_trimmed_draft_does_not_fit_another_model(
    bpe: Path, trimmed: Path, tiny: Path, tmp_path: Path
) -> None:
    far = write_tiny(tmp_path / "far.gguf", bpe=True, token_map=range(1, N_BPE + 1))
    with pytest.raises(VocabularyMismatch, match=f"size is {N_BPE} here, but {N_BPE} is a token"):
        Runner.load(target=bpe, draft=far, drafter="model")
    with Model(tiny, vocab_only=True) as target, Model(trimmed, vocab_only=True) as draft:
        phrases = "; ".join(target.vocab.differences(draft.vocab, draft.token_map))
    assert "the tokenizer is SPM here and BPE there" in phrases
    assert "are spelled differently, the first is 0 ('<unk>' here, '!' there)" in phrases


@pytest.mark.parametrize("broken", [[1, 2, 3], [5] * N_BPE, [-1, *range(1, N_BPE)]])
def test_a_broken_map_is_a_damaged_file(tmp_path: Path, broken: list[int]) -> None:
    path = write_tiny(tmp_path / "broken.gguf", bpe=True, token_map=broken)
    with pytest.raises(ModelFileError, match="its token map does not fit"):
        Model(path, vocab_only=True)


# ---- errors --------------------------------------------------------------------------------------


def test_what_cannot_be_trimmed_is_said_in_one_sentence(
    bpe: Path, trimmed: Path, tmp_path: Path
) -> None:
    part = tmp_path / "x-00001-of-00002.gguf"
    text = tmp_path / "text.txt"
    text.write_text("")
    out = tmp_path / "out.gguf"
    cases: dict[tuple[str | Path, ...], str] = {
        (trimmed, "-o", out): "trimmed already; trim the original",
        (bpe, "-o", out): f"has {N_BPE} tokens; keep fewer",
        (bpe, "-o", out, "--vocab", "9"): "258 tokens of bpe.gguf must be kept",
        (bpe, "-o", bpe): "is the source; name another file",
        (bpe, "-o", tmp_path / "none" / "x.gguf"): "There is no directory",
        (bpe, "-o", tmp_path): "is a directory; name the file",
        (bpe, "-o", out, "--vocab", "260", "--corpus", tmp_path / "no"): "no cannot be read",
        (bpe, "-o", out, "--vocab", "260", "--corpus", text): "no text to rank tokens by",
        (bpe, "-o", out, "--vocab", "260", "--type", "Q5"): "must be one of F16, Q8_0",
        (text.with_name("none.gguf"), "-o", out): "There is no file",
    }
    for arguments, sentence in cases.items():
        done = CliRunner().invoke(app, ["draft", "trim", *map(str, arguments)])
        assert isinstance(done.exception, SpecLocalError), arguments
        assert sentence in str(done.exception)
    part.write_bytes(bpe.read_bytes())
    with pytest.raises(ModelFileError, match="is split into parts"):
        trim(part, out, 260)
    assert sorted(tmp_path.iterdir()) == [text, part]
    assert fails_with(spec_local("draft", "trim", bpe, "-o", bpe), "is the source")


@pytest.mark.parametrize("stage", ["write", "quantize"])
def test_nothing_unfinished_is_left(bpe: Path, tmp_path: Path, stage: str) -> None:
    out = tmp_path / "out.gguf"
    out.write_text("what was there")

    def interrupt(now: str, fraction: float) -> None:
        if now == stage and (fraction > 0 or stage == "quantize"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trim(bpe, out, 260, corpus=TEXT, file_type="F16", force=True, progress=interrupt)
    assert list(tmp_path.iterdir()) == [out]
    assert out.read_text() == "what was there"


def test_a_file_that_is_there_is_replaced_only_if_asked(bpe: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.gguf"
    out.write_text("what was there")
    command: list[str | Path] = ["draft", "trim", bpe, "--out", out, "--vocab", "265"]
    assert fails_with(spec_local(*command), "is there already; add --force to replace it")
    assert out.read_text() == "what was there"
    assert spec_local(*command, "--force").returncode == 0
    assert len(token_map(out)) == 265


def test_a_model_without_a_tokenizer(tmp_path: Path) -> None:
    path = tmp_path / "mute.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_tokenizer_model("no_vocab")
    writer.add_vocab_size(300)
    writer.add_tensor("token_embd.weight", np.ones((300, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ModelFileError, match=r"mute\.gguf"):
        trim(path, tmp_path / "out.gguf", 260, corpus=TEXT)


def test_a_directory_that_cannot_be_written_to(bpe: Path) -> None:
    with pytest.raises((ModelFileError, ConfigError), match="/proc"):
        trim(bpe, Path("/proc/out.gguf"), 260, corpus=TEXT)


def test_the_command_says_what_it_did(bpe: Path, tmp_path: Path) -> None:
    text, out = tmp_path / "text.txt", tmp_path / "out.gguf"
    text.write_text(TEXT[0])
    done = spec_local("draft", "trim", bpe, "--out", out, "--vocab", "265", "--corpus", text)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "MB before" in done.stdout
    assert f"265 of {N_BPE} tokens are kept; " in done.stdout
    assert "% of the corpus" in done.stdout


# ---- a real model --------------------------------------------------------------------------------


@pytest.mark.model("smollm2-135m")
def test_a_real_model_drafts_the_same_with_fewer_tokens(
    model_files: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "trimmed.gguf"
    assert trim(model_files[0], out, 20_000).coverage > 0.98
    with opened(model_files[0]) as source, opened(out) as inner, ExitStack() as stack:
        vocab, kept = source.model.vocab, token_map(out)
        assert not list(vocab.differences(inner.model.vocab, inner.model.token_map))
        session = in_target_tokens(inner, source)
        text = "def add(a, b):\n    return a + b\n\n\ndef sub(a, b):\n    return"
        context = vocab.tokenize(text, add_special=True, parse_special=True)
        assert set(context) <= set(kept)
        expected = source.evaluate(context, rows=4)
        found = session.evaluate(context, rows=4)
        assert np.abs(found[:, kept] - expected[:, kept]).max() < 1e-3 * np.abs(expected).max()
        dropped = np.setdiff1d(np.arange(vocab.n_tokens), kept)
        assert np.all(found[:, dropped] == -np.inf)
        session.truncate(0)

        samplers = SamplerFactory(source)
        stack.callback(samplers.close)
        sampler = samplers.open(Sampling(temperature=0), context)
        stack.callback(sampler.close)
        drafter = ModelDrafter(session, vocab.n_tokens, vocab.is_end)
        drafter.begin(context, sampler)
        stack.callback(drafter.close)
        assert vocab.pieces(drafter.propose(context, 3).tokens) == b" a - b"
