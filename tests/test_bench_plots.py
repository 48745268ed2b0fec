"""The plots of a benchmark."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from spec_local.bench.record.result import PLAIN
from spec_local.bench.report.plots import TITLES, draw
from spec_local.errors import ConfigError
from tests.bench_example import example


def words(path: Path) -> set[str]:
    return {(node.text or "").strip() for node in ElementTree.parse(path).iter() if node.text}


def test_every_plot_in_light_and_dark_names_its_contenders(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    paths = draw(example(temperatures=(0.0, 0.7)), tmp_path / "new")
    names = [f"{name}-{theme}.svg" for name in TITLES for theme in ("light", "dark")]
    assert [path.name for path in paths] == names
    found = {path.name: words(path) for path in paths}
    contenders = {"lookup", "model k=3", "auto"}
    for theme in ("light", "dark"):
        assert contenders | {"llama-server plain", "edit", "chat"} <= found[f"speedup-{theme}.svg"]
        assert contenders <= found[f"acceptance-{theme}.svg"]
        shown = {"model, measured", "model, by formula", "auto", "lookup, replayed with any k"}
        assert shown <= found[f"length-{theme}.svg"]
        assert "target (46 ms for one)" in found[f"cost-{theme}.svg"]


def test_the_same_result_gives_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    first = [path.read_bytes() for path in draw(example(), tmp_path / "a")]
    assert first == [path.read_bytes() for path in draw(example(), tmp_path / "b")]


def test_a_plot_without_data_is_left_out(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = example()
    plain = tuple(each for each in result.contenders if each.name == PLAIN)
    empty = replace(result, contenders=plain, curves={}, bounds=(), overall=(), runs=())
    assert draw(empty, tmp_path) == []


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        draw(example(), tmp_path / "file")


def test_without_matplotlib_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"pip install 'spec-local\[plot\]'"):
        draw(example(), tmp_path)
