"""Inflated models: the original's logits, through more layers."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFReader, GGUFWriter
from numpy.typing import NDArray

from spec_local import Runner, Sampling
from spec_local.errors import ConfigError, ModelFileError
from spec_local.gguf.copying import TensorCopy, read_metadata, write_model
from spec_local.gguf.experts import experts_of
from spec_local.gguf.header import check_model_file
from spec_local.llama.model import Model
from spec_local.llama.options import LoadOptions
from spec_local.llama.quantize import quantize
from spec_local.llama.session import Session
from spec_local.sampling.types import Logits
from tests.tiny_gguf import write_tiny
from tests.zoo.recipes import recipes, write

pytestmark = pytest.mark.llama

SCRIPT = Path(__file__).parent.parent / "scripts" / "inflate_gguf.py"


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("inflate_gguf", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def logits(path: Path) -> Logits:
    with Model(path, LoadOptions(n_ctx=256)) as model, Session(model) as session:
        prompt = session.evaluate(range(10, 30), rows=20).copy()
        return np.concatenate([prompt, session.evaluate([40])])


@pytest.mark.parametrize("file_type", [None, "Q8_0", "Q4_0"])
@pytest.mark.parametrize(
    ("arch", "layers"),
    [("llama", 3), ("llama", 7), ("gemma3", 15), ("qwen3moe", 5), ("qwen2moe", 5)],
)
def test_every_logit_is_the_original_s(
    script: Any, tmp_path: Path, arch: str, layers: int, file_type: str | None
) -> None:
    source, out = tmp_path / "tiny.gguf", tmp_path / "out.gguf"
    if arch.endswith("moe"):
        write(recipes()[arch], source)
    else:
        write_tiny(source, arch)
    if file_type is not None:
        quantize(source, tmp_path / "quantized.gguf", file_type)
        source = tmp_path / "quantized.gguf"
    result = script.inflate(source, out, layers=layers)
    assert result.layers == layers == check_model_file(out).hyperparameter("block_count")
    assert result.bytes == out.stat().st_size > source.stat().st_size
    expected = logits(source)
    assert np.isfinite(expected).all()
    assert np.array_equal(logits(out), expected)


def test_added_layers_are_the_model_s_own_in_turn_with_zeros(
    script: Any, tiny: Path, tmp_path: Path
) -> None:
    script.inflate(tiny, tmp_path / "out.gguf", layers=5)
    before = {tensor.name: tensor for tensor in GGUFReader(tiny).tensors}
    after = {tensor.name: tensor for tensor in GGUFReader(tmp_path / "out.gguf").tensors}
    assert list(after)[: len(before)] == list(before)
    for name, tensor in after.items():
        source = name.replace("blk.2.", "blk.0.").replace("blk.3.", "blk.1.")
        source = source.replace("blk.4.", "blk.0.")
        assert tensor.tensor_type == before[source].tensor_type
        zero = name not in before and name.endswith(("attn_output.weight", "ffn_down.weight"))
        assert np.array_equal(tensor.data, 0 * before[source].data if zero else before[source].data)


def test_the_metadata_stays_but_for_layers_and_name(
    script: Any, tiny: Path, tmp_path: Path
) -> None:
    script.inflate(tiny, tmp_path / "out.gguf", layers=5)
    before = GGUFReader(tiny).fields
    after = GGUFReader(tmp_path / "out.gguf").fields
    assert after["general.name"].contents() == "tiny (text of 2 layers at the cost of 5)"
    for key, field in before.items():
        assert field.types == after[key].types
        if key not in ("llama.block_count", "GGUF.kv_count", "GGUF.tensor_count"):
            assert field.contents() == after[key].contents(), key


def test_what_the_metadata_says_of_each_layer_it_says_of_the_added(
    script: Any, tmp_path: Path
) -> None:
    metadata = {
        "llama.block_count": (3, "uint32", None),
        "llama.attention.head_count_kv": ([1, 2, 4], script.GGUFValueType.ARRAY, "int32"),
        "tokenizer.ggml.three": ([1, 2, 4], script.GGUFValueType.ARRAY, "int32"),
        "general.name": (b"A model", "string", None),
    }
    found = script.in_metadata(metadata, "llama", 3, 5, "stem")
    assert found == {
        "llama.block_count": (5, "uint32", None),
        "llama.attention.head_count_kv": ([1, 2, 4, 1, 2], script.GGUFValueType.ARRAY, "int32"),
        "tokenizer.ggml.three": ([1, 2, 4], script.GGUFValueType.ARRAY, "int32"),
        "general.name": (b"A model (text of 3 layers at the cost of 5)", "string", None),
    }


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("cost", [1.01, 1.5, 4.0])
def test_the_fewest_layers_that_cost_as_much(
    script: Any, tmp_path: Path, tied: bool, cost: float
) -> None:
    source, out = write_tiny(tmp_path / "tiny.gguf", tied=tied), tmp_path / "out.gguf"
    result = script.inflate(source, out, cost=cost)
    embedding = next(t.n_bytes for t in GGUFReader(source).tensors if t.name == "token_embd.weight")
    looked_up = 0 if tied else embedding
    assert result.source_weights == check_model_file(source).data_bytes - looked_up
    assert result.weights == check_model_file(out).data_bytes - looked_up
    layer = (result.weights - result.source_weights) / (result.layers - 2)
    assert result.weights - layer < cost * result.source_weights <= result.weights


@pytest.mark.parametrize(
    ("names", "known"),
    [
        (("BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL", "IQ4_XS"), True),
        (("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"), True),
        (("Q8_K", "Q8_1"), False),  # no type of weights, and no way to read it
    ],
)
def test_zero_bytes_are_zeros(script: Any, names: tuple[str, ...], known: bool) -> None:
    for name in names:
        kind = GGMLQuantizationType[name]
        _numbers, size = GGML_QUANT_SIZES[kind]
        tensor = SimpleNamespace(data=np.ones((2, 4 * size), np.uint8), tensor_type=kind)
        assert script.zeros_are_zero(tensor) == known, name


# ---- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "sentence"),
    [
        ({"layers": 1}, "has 2 layers already; ask for more"),
        ({"layers": 2}, "has 2 layers already; ask for more"),
        ({"layers": 513}, "room for 512 layers; ask for less"),
        ({"cost": 0.5}, "cost of 0.5 needs no more layers"),
        ({"cost": 1.0}, "cost of 1 needs no more layers"),
        ({"cost": float("nan")}, "cost of nan needs no more layers"),
        ({"cost": float("inf")}, "room for 512 layers; ask for less"),
        ({}, "Give the number of layers or the cost"),
        ({"layers": 4, "cost": 2.0}, "Give the number of layers or the cost"),
    ],
)
def test_a_size_that_makes_no_sense(
    script: Any, tiny: Path, tmp_path: Path, size: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        script.inflate(tiny, tmp_path / "out.gguf", **size)
    assert not list(tmp_path.glob("out*"))


def test_a_token_of_a_mixture_costs_the_experts_that_it_uses(script: Any, tmp_path: Path) -> None:
    source, out = write(recipes()["qwen3moe"], tmp_path / "moe.gguf"), tmp_path / "out.gguf"
    result = script.inflate(source, out, cost=2.0)
    experts = experts_of(check_model_file(source))
    assert experts is not None
    assert result.source_weights == experts.bytes
    inflated = experts_of(check_model_file(out))
    assert inflated is not None
    assert 2 * experts.bytes <= result.weights == inflated.bytes


def test_a_source_that_cannot_be_inflated(script: Any, tiny: Path, tmp_path: Path) -> None:
    mamba = write_tiny(tmp_path / "mamba.gguf", "mamba")
    trimmed = write_tiny(tmp_path / "trimmed.gguf", bpe=True, token_map=range(270))
    part = tmp_path / "x-00001-of-00002.gguf"
    part.write_bytes(tiny.read_bytes())
    experts = expert_model(tiny, tmp_path / "experts.gguf")
    cases = {
        mamba: "layer 0 has ssm_a, so it is no plain attention layer",
        trimmed: "is a trimmed draft; inflate the original",
        part: "is split into parts",
        experts: "layer 1 has ffn_down_chexps.weight, so it is no plain attention layer",
        tmp_path / "none.gguf": "There is no file",
    }
    for source, sentence in cases.items():
        with pytest.raises(ModelFileError, match=sentence):
            script.inflate(source, tmp_path / "out.gguf", layers=4)
    with pytest.raises(ConfigError, match="is the source; name another file"):
        script.inflate(tiny, tiny, layers=4)
    assert not list(tmp_path.glob("out*"))


def expert_model(source: Path, out: Path) -> Path:
    """The source with one tensor of a name that experts have in GroveMoE alone."""
    reader = GGUFReader(source)
    names = {"blk.1.ffn_down.weight": "blk.1.ffn_down_chexps.weight"}
    tensors = [
        TensorCopy(names.get(t.name, t.name), t, t.data.shape, lambda data: data)
        for t in reader.tensors
    ]
    write_model(out, "llama", read_metadata(reader), tensors)
    return out


def test_other_logits_than_the_original_s_are_not_written(
    script: Any, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "ZEROED", set())
    with pytest.raises(ModelFileError, match="does not give the original's logits"):
        script.inflate(tiny, tmp_path / "out.gguf", layers=3)
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_write_leaves_nothing_behind(
    script: Any,
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    failure: BaseException,
) -> None:
    def fail(_writer: GGUFWriter, _data: NDArray[Any]) -> None:
        raise failure

    out = tmp_path / "out.gguf"
    out.write_text("what was there")
    monkeypatch.setattr(GGUFWriter, "write_tensor_data", fail)
    with pytest.raises((ModelFileError, KeyboardInterrupt)) as caught:
        script.inflate(tiny, out, layers=3)
    if isinstance(failure, OSError):
        assert "out.gguf cannot be written: No space left on device." in str(caught.value)
    assert list(tmp_path.glob("out*")) == [out]
    assert out.read_text() == "what was there"


# ---- the command, and a real model ---------------------------------------------------------------


def run(script: Any, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["inflate_gguf.py", *map(str, arguments)])
    script.main()


def test_the_command_says_what_it_wrote(
    script: Any,
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out.gguf"
    run(script, monkeypatch, tiny, out, "--layers", 6)
    said = capsys.readouterr().out
    assert f"6 layers instead of 2, {out.stat().st_size:,} bytes" in said
    assert " times the original's.\nThe text is the original's at the cost of a bigger" in said
    with pytest.raises(SystemExit) as caught:
        run(script, monkeypatch, tiny, out, "--layers", 1)
    assert caught.value.code == 1
    assert "has 2 layers already; ask for more." in capsys.readouterr().err


@pytest.mark.model("smollm2-135m")
def test_a_real_model_says_the_same(script: Any, model_files: list[Path], tmp_path: Path) -> None:
    source, out = model_files[0], tmp_path / "inflated.gguf"
    layers = 2 * check_model_file(source).hyperparameter("block_count")
    script.inflate(source, out, layers=layers)
    texts = []
    for path in (source, out):
        with Runner.load(target=path, drafter="none") as runner:
            done = runner.complete(
                "def fibonacci(n):\n", max_tokens=32, sampling=Sampling(temperature=0)
            )
            texts.append(done.text)
    assert texts[0] == texts[1] != ""
