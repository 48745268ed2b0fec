"""Where files are kept, also where no home directory is known or it is another user's."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from spec_local.errors import ConfigError
from spec_local.models.kept import kept_models
from spec_local.models.registry import load_registry
from spec_local.models.stores import stored_files
from spec_local.util.files import replace_file
from spec_local.util.paths import (
    cache_directory,
    home_directory,
    state_directory,
    user_directory,
)

XDG = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME")


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user id that the system does not know, and no HOME."""

    def unknown(number: int) -> pwd.struct_passwd:
        raise KeyError(number)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "SPEC_LOCAL_CACHE", "LLAMA_CACHE", "OLLAMA_MODELS", *XDG):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("homeless")
def test_without_a_home_directory_it_is_one_sentence() -> None:
    assert (user_directory("cache"), home_directory()) == (None, None)
    for directory in (cache_directory, state_directory):
        with pytest.raises(ConfigError, match="No home directory is known; set HOME, or SPEC_"):
            directory()


@pytest.mark.usefixtures("homeless")
def test_a_cache_directory_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPEC_LOCAL_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("spec_local.models.stores._OLLAMA_OF_ALL", ())
    assert cache_directory() == tmp_path
    assert "smollm2" in load_registry().pairs
    assert (stored_files(), kept_models()) == ([], [])


def test_the_cache_directory_may_begin_with_the_home(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPEC_LOCAL_CACHE", "~/x")
    assert cache_directory() == home / "x"


def test_the_home_of_another_user_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What may not be looked at is as if it were not there; root may look at everything."""
    root = str(tmp_path / "root")

    def forbidden(path: object, *_args: object, **_options: object) -> os.stat_result:
        if str(path).startswith(root):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *_args, **_options)  # type: ignore[arg-type]

    real = os.stat
    for name in ("HF_HOME", "LLAMA_CACHE", "OLLAMA_MODELS", "SPEC_LOCAL_CACHE", *XDG):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", root)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", f"{root}/.cache/hub")
    monkeypatch.setattr("spec_local.models.stores._OLLAMA_OF_ALL", ())
    monkeypatch.setattr(os, "stat", forbidden)
    assert cache_directory().is_relative_to(root)
    assert "smollm2" in load_registry().pairs
    assert (stored_files(), kept_models()) == ([], [])


def test_a_file_is_replaced_whole_and_nothing_of_a_killed_write_stays(tmp_path: Path) -> None:
    path = tmp_path / "some[1].json"
    replace_file(path, b"one")
    (tmp_path / ".some[1].json.abc.partial").write_bytes(b"half")
    (tmp_path / ".other.json.abc.partial").write_bytes(b"another's")
    replace_file(path, b"two")
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o077 == 0
    names = {each.name for each in tmp_path.iterdir()}
    assert names == {"some[1].json", ".other.json.abc.partial"}
    with pytest.raises(OSError, match="No such file"):
        replace_file(tmp_path / "nowhere" / "x", b"")
