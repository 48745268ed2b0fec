"""Without a name a command takes a pair that can gain, if one is here."""

from __future__ import annotations

from pathlib import Path

import pytest

from spec_local.models import default
from spec_local.models.default import SMALLEST, default_pair
from spec_local.models.download import final_path
from spec_local.models.registry import Registry, load_registry, read_registry

DRAFTED = """
[models.large]
path = "{folder}/large.gguf"
[models.small]
path = "{folder}/small.gguf"
[pairs.alone]
target = "large"
[pairs.both]
target = "large"
draft = "small"
"""


@pytest.fixture
def written(tmp_path: Path) -> Registry:
    path = tmp_path / "models.toml"
    path.write_text(DRAFTED.format(folder=tmp_path))
    return read_registry(path)


def test_on_an_empty_machine_it_is_the_smallest_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPEC_LOCAL_CACHE", str(tmp_path))
    shipped = load_registry()
    assert default_pair(shipped) == SMALLEST
    assert SMALLEST in shipped.pairs


def test_a_pair_with_a_draft_is_taken_once_both_files_are_pulled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPEC_LOCAL_CACHE", str(tmp_path))
    shipped = load_registry()
    for model, expected in [
        ("smollm2-135m", SMALLEST),
        ("qwen2.5-coder-1.5b", SMALLEST),
        ("qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b"),
    ]:
        place = final_path(model, shipped.models[model])
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
        assert default_pair(shipped) == expected


def test_files_of_ones_own_count_if_they_are_there(written: Registry, tmp_path: Path) -> None:
    assert default_pair(written) == SMALLEST
    for name in ("large", "small"):
        (tmp_path / f"{name}.gguf").touch()
    assert default_pair(written) == "both"


def test_the_users_own_default_comes_first(written: Registry) -> None:
    own = Registry(written.models, {**written.pairs, default.OWN: written.pairs["alone"]})
    assert default_pair(own) == "default"
