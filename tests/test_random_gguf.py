"""Models of random weights: of the types that llama.cpp would give them, and as wild as they should
be; and what is measured with them."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scripts import moe_costs, shape_costs
from scripts.kept import fill
from scripts.random_gguf import SHAPES, TYPES, Shape, bytes_of, matrices, write
from spec_local.gguf.experts import experts_of
from spec_local.gguf.header import check_model_file
from spec_local.llama.model import Model
from spec_local.llama.options import LoadOptions
from spec_local.llama.quantize import quantize
from spec_local.llama.session import Session
from spec_local.machine.running_text import running_text, taken

pytestmark = pytest.mark.llama

DENSE = Shape(layers=9, width=256, inner=512, heads=2, kv_heads=1, vocabulary=900)
MIXTURE = replace(DENSE, inner=256, experts=16, used=2)
TIED = replace(DENSE, tied=True)


@pytest.mark.parametrize("shape", [DENSE, MIXTURE, TIED], ids=["dense", "mixture", "tied"])
@pytest.mark.parametrize("file_type", TYPES)
def test_types_are_those_of_llama_cpps_quantizer(
    shape: Shape, file_type: str, tmp_path: Path
) -> None:
    source = write(shape, "F16", tmp_path / "source.gguf")
    quantize(source, tmp_path / "quantized.gguf", file_type)
    header = check_model_file(tmp_path / "quantized.gguf")
    expected = {each.name: each.type for each in header.tensors.entries if len(each.shape) > 1}
    assert {each.name: each.type.name for each in matrices(shape, file_type)} == expected
    written = check_model_file(write(shape, file_type, tmp_path / "written.gguf"))
    found = {each.name: each.type for each in written.tensors.entries if len(each.shape) > 1}
    assert found == expected
    vectors = sum(each.bytes for each in written.tensors.entries if len(each.shape) == 1)
    assert bytes_of(shape, file_type) == written.data_bytes - vectors


@pytest.mark.parametrize("shape", [DENSE, MIXTURE], ids=["dense", "mixture"])
@pytest.mark.parametrize("file_type", TYPES)
def test_logits_have_the_variance_that_the_blocks_promise(
    shape: Shape, file_type: str, tmp_path: Path
) -> None:
    path = write(shape, file_type, tmp_path / "model.gguf")
    with Model(path, LoadOptions(n_ctx=256)) as model, Session(model) as session:
        rows = session.evaluate(taken(running_text(model.vocab), 100), rows=20)
        assert np.isfinite(rows).all()
        assert rows.std() == pytest.approx(1.0, abs=0.1)


def test_words_are_tokens_where_there_is_room_for_them(tmp_path: Path) -> None:
    path = write(replace(DENSE, layers=1, vocabulary=12_000), "F16", tmp_path / "model.gguf")
    with Model(path, LoadOptions(n_ctx=256, n_gpu_layers=0)) as model:
        pieces = [model.vocab.piece(token) for token in taken(running_text(model.vocab), 200)]
    assert {b" the", b" class"} <= {*pieces}
    assert len({*pieces}) > 60


@pytest.mark.parametrize(
    ("name", "file_type", "gigabytes"),
    # Of files that are published; in that of the first the embeddings are the output, too.
    [
        ("1.5B", "Q4_K_M", 0.99),
        ("7B", "Q4_K_M", 4.68),
        ("7B", "Q8_0", 8.1),
        ("7B", "F16", 15.2),
        ("32B", "Q4_K_M", 19.85),
        ("olmoe", "Q4_K_M", 4.2),
        ("qwen3moe", "Q4_K_M", 18.6),
    ],
)
def test_shapes_are_those_of_real_models(name: str, file_type: str, gigabytes: float) -> None:
    assert bytes_of(SHAPES[name], file_type) / 1e9 == pytest.approx(gigabytes, rel=0.02)


def test_the_dense_counterpart_has_what_a_token_reads(tmp_path: Path) -> None:
    mixture = check_model_file(write(MIXTURE, "Q8_0", tmp_path / "mixture.gguf"))
    dense = check_model_file(write(MIXTURE.dense, "Q8_0", tmp_path / "dense.gguf"))
    experts = experts_of(mixture)
    assert experts is not None
    assert (experts.count, experts.used) == (16, 2)
    embeddings = DENSE.vocabulary * DENSE.width * 34 // 32
    routers = DENSE.layers * 4 * DENSE.width * 16
    assert experts.bytes == dense.data_bytes - embeddings + routers


def test_fewer_layers_have_as_large_a_share_of_the_output() -> None:
    cut = SHAPES["olmoe"].cut(4)
    assert (cut.layers, cut.vocabulary) == (4, 12_576)


# ---- what is measured with them ------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shapes of a few megabytes under the names of large ones."""
    monkeypatch.setitem(SHAPES, "olmoe", MIXTURE)
    monkeypatch.setitem(SHAPES, "7B", DENSE)


def test_a_mixture_and_its_dense_counterpart_are_measured_and_shown(
    small: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kept, page = tmp_path / "moe.json", tmp_path / "page.md"
    mark = moe_costs.mark(kept)
    page.write_text(f"Before\n\n{mark}\n| an | older | table |\n\n# After\n")
    command = ["moe_costs", "--layers", "4", "--seconds", "0", "--work", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", [*command, "--json", str(kept), "--page", str(page)])
    moe_costs.main()
    found = json.loads(kept.read_text())
    assert found["passes"] == moe_costs.FEWEST
    assert list(found["models"]) == ["mixture", "dense"]
    assert list(found["ratios"]) == list(moe_costs.WAYS)
    for ratios in found["ratios"].values():
        assert list(ratios) == [str(width) for width in moe_costs.WIDTHS[1:]]
    table = moe_costs.table(found)
    assert table in capsys.readouterr().out
    assert page.read_text() == f"Before\n\n{mark}\n{table}\n\n# After\n"
    fill(page, mark, table)
    assert page.read_text() == f"Before\n\n{mark}\n{table}\n\n# After\n"
    assert not list(tmp_path.rglob("*.gguf"))


def test_the_table_says_what_the_figures_say() -> None:
    flat = {str(width): [0.9, 1.0, 1.1] for width in moe_costs.WIDTHS[1:]}
    steep = {str(width): [width - 0.1, float(width), width + 0.1] for width in moe_costs.WIDTHS[1:]}
    experts = {"count": 4, "used": 2, "bytes": 100, "share": 0.5}
    ratios = {"mixture": steep, "dense": flat, moe_costs.REPEATED: flat}
    machine = {"cpu": "A processor", "threads": 2, "devices": ["CPU"]}
    one = {"mixture": 0.01, "dense": 0.0085}
    kept = {"experts": experts, "ratios": ratios, "machine": machine, "one": one, "passes": 9}
    lines = moe_costs.table(kept).splitlines()
    assert lines[0] == (
        "A processor, 2 threads, CPU, 9 passes: one token of the mixture takes 10.0 ms, of the "
        "dense model 8.5."
    )
    assert lines[2].startswith("| w | experts touched, of 4 | weights read | mixture | dense | ")
    assert lines[4].startswith("| 2 | 3.0 | 1.25 | 2.00 (1.90 to 2.10) | 1.00 (0.90 to 1.10) | ")
    # 1.75 tokens for 1.375 + 2 · 0.1 by the formula, and for 1 + 2 · 0.1 where checking is free.
    assert lines[-5] == "| 50% | 2 (1.11) | none | 2 (1.46) |"
    assert lines[-1].startswith("| 90% | ")


@pytest.mark.parametrize(
    ("disk", "memory", "cards", "said"),
    [
        (30, 30, 0, None),
        (10, 90, 90, "it takes 15.0 GB, and 10.0 GB of disk are free"),
        (30, 16, 0, "it takes 15.0 GB, and 16.0 GB of memory are free"),
        (30, 4, 17, None),  # all of it on the card
        (30, 8, 10, None),  # the rest on the processor
        (30, 2, 10, "it takes 15.0 GB, and 12.0 GB of memory are free"),
    ],
)
def test_what_has_no_room_is_told(disk: int, memory: int, cards: int, said: str | None) -> None:
    free = (int(each * 1e9) for each in (disk, memory, cards))
    assert shape_costs.lacks(int(15e9), *free) == said


def test_the_costs_of_a_shape(small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    how = argparse.Namespace(model="7B", type="Q8_0", context=256, seconds=0.1)
    found = shape_costs.measured(how, tmp_path)
    assert found["layers"] == DENSE.layers
    assert {each["context"] for each in found["measured"]} == {256}
    assert shape_costs.line(found).startswith("7B Q8_0: one token takes ")
    monkeypatch.setattr(shape_costs, "lacks_here", lambda _size, _work: "it takes too much")
    left_out = shape_costs.measured(how, tmp_path)
    assert left_out == {"model": "7B", "type": "Q8_0", "left out": "it takes too much"}
    assert shape_costs.line(left_out) == "7B Q8_0 was left out: it takes too much."


def test_the_costs_of_a_model_of_ones_own(tiny: Path, tmp_path: Path) -> None:
    how = argparse.Namespace(model=str(tiny), type="Q8_0", context=256, seconds=0.1)
    found = shape_costs.measured(how, tmp_path)
    assert (found["model"], found["type"], found["bytes"]) == ("tiny", "", tiny.stat().st_size)
