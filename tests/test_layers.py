"""Drafts of a target's own layers: what is kept computes what it did, or the file is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from gguf import GGUFReader, GGUFValueType, GGUFWriter
from typer.testing import CliRunner

from spec_local import Runner
from spec_local.cli.app import app
from spec_local.errors import ConfigError, ModelFileError, SpecLocalError
from spec_local.gguf.copying import TensorCopy, Value, read_metadata, write_model
from spec_local.gguf.header import check_model_file
from spec_local.gguf.layer_keys import with_layers
from spec_local.llama.model import Model
from spec_local.llama.options import LoadOptions
from spec_local.llama.quantize import quantize
from spec_local.llama.session import Session
from spec_local.llama.taps import LayerTaps
from spec_local.models.layers import (
    InseparableLayers,
    keep_layers,
    parse_layers,
    spell_layers,
)
from spec_local.sampling.settings import Sampling
from spec_local.sampling.types import Logits
from tests.test_cli import fails_with, spec_local
from tests.zoo.recipes import DIFFUSION, deepened, recipes, write

pytestmark = pytest.mark.llama

RECIPES = recipes()
N_LAYERS, KEPT = 8, (0, 2, 5, 6)
FREE = (
    # One of each kind of memory and of layer whose layers can be left out.
    "llama",
    "qwen3moe",
    "gemma3",
    "gpt-oss",
    "gpt2",
    "mamba",
    "jamba",
    "qwen3next",
    "lfm2",
    "bailingmoe3",
)
TOKENS = [1, *range(262, 285), *range(265, 290)]


def deep(arch: str, directory: Path, layers: int = N_LAYERS) -> Path:
    recipe = deepened(RECIPES[arch], layers)
    if arch == "gemma3":
        recipe = replace(recipe, keys={**recipe.keys, "attention.sliding_window": 16})
    return write(recipe, directory / f"{arch}.gguf")


def logits(path: Path, silenced: Sequence[int] = ()) -> Logits:
    """Every token's; on one thread and the CPU, where the same is computed in the same way."""
    options = LoadOptions(n_ctx=256, n_threads=1, n_gpu_layers=0)
    with Model(path, options, vouched=True) as model:
        if silenced:
            model.taps = LayerTaps(model.header.hyperparameter("embedding_length"))
            model.taps.silence(silenced)
        with Session(model, max_rows=len(TOKENS)) as session:
            found: Logits = session.evaluate(TOKENS, rows=len(TOKENS)).copy()
        if model.taps is not None:
            model.taps.check()
        return found


@pytest.mark.parametrize("arch", FREE)
def test_all_layers_are_the_model(arch: str, tmp_path: Path) -> None:
    source = deep(arch, tmp_path)
    keep_layers(source, tmp_path / "out.gguf", range(N_LAYERS))
    assert np.array_equal(logits(tmp_path / "out.gguf"), logits(source))


@pytest.mark.parametrize("arch", FREE)
def test_kept_layers_compute_what_they_did(arch: str, tmp_path: Path) -> None:
    source, out = deep(arch, tmp_path), tmp_path / "out.gguf"
    cut = keep_layers(source, out, KEPT)
    assert (cut.kept, cut.source_layers) == (KEPT, N_LAYERS)
    assert cut.bytes == out.stat().st_size < cut.source_bytes == source.stat().st_size
    silenced = sorted({*range(N_LAYERS)} - {*KEPT})
    assert np.array_equal(logits(out), logits(source, silenced))
    assert not np.array_equal(logits(out), logits(source))


LOOPED = "hrm_text"
"""Passes through the same layers again and again, in a number that the zoo's cannot be made to."""
OF_ALL_LAYERS = ("gemma3n", "gemma4")
"""Has a tensor with a part for each layer."""


@pytest.mark.nightly
@pytest.mark.parametrize(
    "arch", sorted(RECIPES.keys() - {*DIFFUSION, *FREE, LOOPED, *OF_ALL_LAYERS})
)
def test_every_architecture_is_right_or_refused(arch: str, tmp_path: Path) -> None:
    source, out = deep(arch, tmp_path), tmp_path / "out.gguf"
    refused = ""
    try:
        keep_layers(source, out, KEPT)
    except InseparableLayers as error:
        refused = str(error)
    if refused:
        assert "cannot be left out" in refused
        assert not out.exists()
    else:
        silenced = sorted({*range(N_LAYERS)} - {*KEPT})
        found, expected = logits(out), logits(source, silenced)
        assert np.abs(found - expected).max() < 1e-3 * expected.std()


@pytest.mark.parametrize("arch", ["laguna", "cohere2moe"])
def test_leading_dense_layers_may_go(arch: str, tmp_path: Path) -> None:
    source, out = deep(arch, tmp_path), tmp_path / "out.gguf"
    keep_layers(source, out, (1, 2, 5))
    assert check_model_file(out).metadata[f"{arch}.leading_dense_block_count"] == 0
    assert np.array_equal(logits(out), logits(source, (0, 3, 4, 6, 7)))


@pytest.mark.parametrize("arch", ["llama", "qwen3", "gemma3"])
def test_silencing_is_what_layers_without_weights_do(arch: str, tmp_path: Path) -> None:
    """The same by another way: what a layer adds is zero if its last matrices are."""
    source, zeroed = deep(arch, tmp_path), tmp_path / "zeroed.gguf"
    reader, silenced = GGUFReader(source), (1, 4, 5, 7)
    names = ("attn_output", "ffn_down", "ffn_down_exps")
    last = {f"blk.{i}.{name}.weight" for i in silenced for name in names}
    tensors = [
        TensorCopy(t.name, t, t.data.shape, np.zeros_like if t.name in last else np.asarray)
        for t in reader.tensors
    ]
    write_model(zeroed, arch, read_metadata(reader), tensors)
    assert np.array_equal(logits(zeroed), logits(source, silenced))


def test_layers_see_only_what_passes_and_how_it_turns(tmp_path: Path) -> None:
    path = deep("llama", tmp_path)
    with Model(path, LoadOptions(n_ctx=256, n_batch=16, n_ubatch=16), vouched=True) as model:
        with Session(model, max_rows=4) as session:
            plain = session.evaluate(TOKENS, rows=4).copy()
        model.taps = LayerTaps(64)
        passed = model.taps.measure()
        with Session(model, max_rows=4) as session:
            assert np.array_equal(session.evaluate(TOKENS, rows=4), plain)
            assert model.taps.seen == {*range(N_LAYERS)}
            # In several batches; behind the last layer only the rows that are wanted are left.
            counts = [len(passed.turned[i]) for i in range(N_LAYERS)]
            assert counts == [len(TOKENS)] * (N_LAYERS - 1) + [4]
            assert all(0 < turned < 2 for turned in passed.turned[3])
            model.taps.silence(range(N_LAYERS))
            model.taps.measure()
            session.truncate(0)
            session.evaluate(TOKENS, rows=4)
        model.taps.check()


def test_what_is_raised_while_layers_are_seen_is_raised_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Model(deep("llama", tmp_path), LoadOptions(n_ctx=256), vouched=True) as model:
        model.taps = LayerTaps(64)

        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(model.taps, "_layer_gave", interrupted)
        with Session(model) as session:
            session.evaluate(TOKENS)
            with pytest.raises(KeyboardInterrupt):
                model.taps.check()
            model.taps.check()  # once


# ---- the file ------------------------------------------------------------------------------------


def test_tensors_are_copied_under_new_numbers(tmp_path: Path) -> None:
    source, out = deep("llama", tmp_path), tmp_path / "out.gguf"
    keep_layers(source, out, KEPT)
    before = {each.name: np.asarray(each.data) for each in GGUFReader(source).tensors}
    after = {each.name: np.asarray(each.data) for each in GGUFReader(out).tensors}
    of_layers = [name for name in before if name.startswith("blk.")]
    assert len(before) - len(after) == len(of_layers) // 2
    for name, data in after.items():
        blk, _, rest = name.partition(".")
        number, _, rest = rest.partition(".")
        old = f"{blk}.{KEPT[int(number)]}.{rest}" if blk == "blk" else name
        assert np.array_equal(data, before[old]), name
    metadata = check_model_file(out).metadata
    assert metadata["llama.block_count"] == len(KEPT)
    assert metadata["general.name"] == "llama (layers 0,2,5-6 of 8)"


def metadata(arch: str, **keys: Any) -> dict[str, Value]:
    """Values with plausible types."""

    def typed(value: Any) -> Value:
        if isinstance(value, list):
            return value, GGUFValueType.ARRAY, GGUFValueType.UINT32
        return value, GGUFValueType.UINT32, None

    return {f"{arch}.{key.replace('__', '.')}": typed(value) for key, value in keys.items()}


def kept_keys(arch: str, kept: Sequence[int], **keys: Any) -> dict[str, Any]:
    found = with_layers(metadata(arch, **keys), arch, kept)
    return {key.partition(".")[2]: value for key, (value, *_) in found.items()}


def test_what_metadata_has_for_each_layer_is_kept_for_those_kept() -> None:
    found = kept_keys(
        "jamba",
        (0, 3, 4),
        block_count=5,
        attention__head_count_kv=[0, 1, 2, 3, 4],
        rope__dimension_sections=[1, 2, 3, 4, 5],
        other=[1, 2, 3],
    )
    assert found == {
        "block_count": 3,
        "attention.head_count_kv": [0, 3, 4],
        "rope.dimension_sections": [1, 2, 3, 4, 5],
        "other": [1, 2, 3],
    }


def test_leading_dense_layers_are_counted_anew_and_further_tokens_left_out() -> None:
    found = kept_keys(
        "glm4moe",
        (0, 2, 4, 5),
        block_count=7,
        nextn_predict_layers=1,
        leading_dense_block_count=3,
        of_all=[0, 1, 2, 3, 4, 5, 6],
        of_text=[0, 1, 2, 3, 4, 5],
    )
    assert found == {
        "block_count": 4,
        "nextn_predict_layers": 0,
        "leading_dense_block_count": 2,
        "of_all": [0, 2, 4, 5],
        "of_text": [0, 2, 4, 5],
    }


@pytest.mark.parametrize(
    ("arch", "keys", "local"),
    [
        ("gemma3", {}, [True, True, False, True]),
        ("gemma2", {}, [True, False, False, True]),
        ("gemma3", {"attention__sliding_window_pattern": 2}, [True, False, False, True]),
        ("gemma3", {"attention__sliding_window_pattern": 1}, [False] * 4),
        ("gemma3", {"attention__sliding_window_pattern": 0}, [True] * 4),
        ("gemma3", {"attention__sliding_window_pattern": [0, 0, 0, 1, 0, 0, 1, 1]}, [0, 1, 0, 1]),
        ("laguna", {}, [False, True, True, True]),
    ],
)
def test_which_layers_see_only_a_window_is_written_out(
    arch: str, keys: dict[str, Any], local: list[Any]
) -> None:
    found = kept_keys(arch, (0, 3, 5, 6), block_count=8, **keys)
    assert found["attention.sliding_window_pattern"] == local


@pytest.mark.parametrize("keys", [{}, {"full_attention_interval": 2}])
def test_which_layers_have_a_running_state_is_written_out(keys: dict[str, int]) -> None:
    found = kept_keys("qwen35", (0, 1, 3, 5), block_count=8, **keys)
    even = [True, False, False, False] if keys else [True, True, False, True]
    assert found["attention.recurrent_layers"] == even


def test_layers_that_predict_further_tokens_are_left_out(tmp_path: Path) -> None:
    """A model that has one more layer for that, as GLM 4.5 has."""
    source, out = tmp_path / "mtp.gguf", tmp_path / "out.gguf"
    plain = deep("glm4moe", tmp_path, 3)
    reader = GGUFReader(plain)
    writer = GGUFWriter(source, "glm4moe")
    told = read_metadata(reader) | metadata("glm4moe", block_count=4, nextn_predict_layers=1)
    for key, (value, kind, item_kind) in told.items():
        writer.add_key_value(key, value, kind, item_kind)
    for each in reader.tensors:
        writer.add_tensor(each.name, np.asarray(each.data))
        if each.name.startswith("blk.2."):
            writer.add_tensor(each.name.replace("blk.2.", "blk.3."), np.asarray(each.data))
    width = RECIPES["glm4moe"].keys["embedding_length"]
    for name, shape in {
        "eh_proj": (width, 2 * width),
        **dict.fromkeys(("enorm", "hnorm", "shared_head_norm"), (width,)),
    }.items():
        writer.add_tensor(f"blk.3.nextn.{name}.weight", np.ones(shape, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ConfigError, match="There is no layer 3; the last one is 2"):
        parse_layers("0-3", 3)
    assert keep_layers(source, out, range(3)).source_layers == 3
    assert np.array_equal(logits(out), logits(source))
    assert not [each.name for each in GGUFReader(out).tensors if "nextn" in each.name]


@pytest.mark.parametrize(
    ("arch", "kept", "sentence"),
    [
        ("smollm3", (1, 3), "under other numbers smollm3 computes the others differently"),
        ("exaone4", (1, 3), "does not say which of them see only a window of 32 tokens"),
        ("minicpm", (0, 1), "with fewer of them minicpm computes the others differently"),
        ("gemma4", (0, 1), "llama.cpp does not load the others alone"),
        ("plamo2", (0, 1), "for plamo2 llama.cpp does not show what each of them gives"),
    ],
)
def test_what_hangs_on_a_layers_number_is_refused(
    arch: str, kept: tuple[int, ...], sentence: str, tmp_path: Path
) -> None:
    recipe = RECIPES[arch] if arch in OF_ALL_LAYERS else deepened(RECIPES[arch], N_LAYERS)
    if arch == "exaone4":
        recipe = replace(recipe, keys={**recipe.keys, "attention.sliding_window": 32})
    source = write(recipe, tmp_path / "model.gguf")
    with pytest.raises(InseparableLayers, match=sentence):
        keep_layers(source, tmp_path / "out.gguf", kept)
    assert list(tmp_path.iterdir()) == [source]


def test_the_first_layers_keep_their_numbers(tmp_path: Path) -> None:
    source = deep("smollm3", tmp_path)
    keep_layers(source, tmp_path / "out.gguf", range(5))
    assert np.array_equal(logits(tmp_path / "out.gguf"), logits(source, (5, 6, 7)))


def test_layers_are_quantized_as_others_are(tmp_path: Path) -> None:
    source, out = deep("llama", tmp_path), tmp_path / "out.gguf"
    keep_layers(source, out, KEPT, file_type="Q8_0")
    keep_layers(source, tmp_path / "plain.gguf", KEPT)
    quantize(tmp_path / "plain.gguf", tmp_path / "expected.gguf", "Q8_0")
    assert out.read_bytes() == (tmp_path / "expected.gguf").read_bytes()


# ---- drafting ------------------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.0, 0.8])
@pytest.mark.parametrize("arch", ["llama", "gemma3", "jamba"])
def test_its_own_layers_draft_and_leave_the_text_unchanged(
    arch: str, temperature: float, tmp_path: Path
) -> None:
    target, draft = deep(arch, tmp_path), tmp_path / "draft.gguf"
    keep_layers(target, draft, range(N_LAYERS - 1))
    sampling = Sampling(temperature=temperature, seed=2)
    texts, drafted = set(), 0
    options = LoadOptions(n_ctx=256, n_threads=1, trial=False)
    # Its layers of noise make 0.6 of a last bit that a wide evaluation rounds otherwise (AVX2).
    exact: Literal[False, "fixed"] = "fixed" if arch == "llama" else False
    for drafter in ("none", "model"):
        with Runner.load(
            target=target, draft=draft, drafter=drafter, k=3, options=options, exact=exact
        ) as runner:
            done = runner.complete("abc def ghi", max_tokens=60, sampling=sampling)
            texts.add(done.text)
            drafted += done.stats.accepted
    assert len(texts) == 1
    assert drafted > 0


# ---- the command ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "layers"),
    [("0", [0]), ("0-2,7", [0, 1, 2, 7]), ("7, 3-4", [3, 4, 7]), ("2-2,0-1,1", [0, 1, 2])],
)
def test_layers_in_words(words: str, layers: list[int]) -> None:
    assert list(parse_layers(words, 8)) == layers
    assert parse_layers(spell_layers(layers), 8) == tuple(layers)


def test_words_for_layers_are_short() -> None:
    assert spell_layers([0, 1, 2, 4, 6, 7]) == "0-2,4,6-7"
    assert spell_layers([3]) == "3"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("", "like 0-7,27, and '' is not"),
        ("1-", "and '1-' is not"),
        ("a", "and 'a' is not"),
        ("0,-1", "and '-1' is not"),
        ("5-3", "5-3 ends before it begins"),
        ("0-8", "There is no layer 8; the last one is 7"),
    ],
)
def test_words_that_name_no_layers(words: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        parse_layers(words, 8)


def test_the_command_says_what_it_did(tmp_path: Path) -> None:
    source, out = deep("llama", tmp_path), tmp_path / "out.gguf"
    done = spec_local("draft", "layers", source, "--out", out, "--drop", "1,3-4,7")
    assert done.returncode == 0, done.stderr
    assert "MB before" in done.stdout
    assert "4 of 8 layers are kept: 0,2,5-6" in done.stdout
    kept = out.read_bytes()
    again: list[str | Path] = ["draft", "layers", source, "--out", out, "--keep", "0,2,5-6"]
    assert fails_with(spec_local(*again), "is there already; add --force to replace it")
    assert spec_local(*again, "--force").returncode == 0
    assert out.read_bytes() == kept


def test_what_cannot_be_done_is_said_in_one_sentence(tiny: Path, tmp_path: Path) -> None:
    out, mode = tmp_path / "out.gguf", "Give one of --keep, --drop and --search"
    cases: dict[tuple[str | Path, ...], str] = {
        (tiny, "-o", out): mode,
        (tiny, "-o", out, "--keep", "0", "--drop", "1"): mode,
        (tiny, "-o", out, "--keep", "0", "--search"): mode,
        (tiny, "-o", out, "--keep", "0", "--beside", tiny): "--beside and --json go with --search",
        (tiny, "-o", out, "--keep", "2"): "There is no layer 2",
        (tiny, "-o", out, "--drop", "0-1"): "Keep at least one layer",
        (tiny, "-o", tiny, "--keep", "0"): "is the source; name another file",
        (tiny, "-o", tmp_path, "--keep", "0"): "is a directory; name the file",
        (tiny, "-o", out, "--keep", "0", "--type", "Q5"): "must be one of F16, Q8_0",
        (tiny, "-o", out, "--search", "--json", tmp_path): "is a directory; name the file",
        (tmp_path / "no.gguf", "-o", out, "--keep", "0"): "There is no file",
    }
    for arguments, sentence in cases.items():
        done = CliRunner().invoke(app, ["draft", "layers", *map(str, arguments)])
        assert isinstance(done.exception, SpecLocalError), (arguments, done.output)
        assert sentence in str(done.exception)
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_layers(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "none.gguf", "llama")
    writer.add_tensor("token_embd.weight", np.ones((300, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ModelFileError, match="has no layers that could be kept"):
        keep_layers(tmp_path / "none.gguf", tmp_path / "out.gguf", [0])


@pytest.mark.model("smollm2-135m")
def test_a_real_models_layers(model_files: list[Path], tmp_path: Path) -> None:
    source, out = model_files[0], tmp_path / "draft.gguf"
    keep_layers(source, out, [i for i in range(30) if i not in (10, 14)], file_type=None)
    sampling = Sampling(temperature=0)
    texts, accepted = set(), 0
    for drafter in ("none", "model"):
        with Runner.load(target=source, draft=out, drafter=drafter, k=2) as runner:
            done = runner.complete("def add(a, b):\n    return", max_tokens=32, sampling=sampling)
            texts.add(done.text)
            accepted += done.stats.accepted
    assert len(texts) == 1
    assert accepted > 0
