"""What a benchmark ran on: the machine, the build, the source tree, the files."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil

from spec_local.bench.record.result import MachineFacts, ModelFile
from spec_local.llama.backend import default_threads, lib
from spec_local.llama.devices import chosen
from spec_local.llama.options import LoadOptions
from spec_local.machine.hardware import cpu_name
from spec_local.util.files import sha256_of


def this_machine(options: LoadOptions) -> MachineFacts:
    """As far as the system tells."""
    return MachineFacts(
        cpu=cpu_name(),
        cores=psutil.cpu_count(logical=False) or os.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        devices=tuple(device.name for device in chosen(options.devices)),
        threads=options.n_threads or default_threads(),
        features=lib.llama_print_system_info().decode(errors="replace").strip(),
    )


def commit() -> str:
    """The git commit of this source tree, `+` if it was changed; empty if there is no such tree."""
    root = Path(__file__).parents[3]
    if not (root / ".git").exists():
        return ""
    head, changes = _git(root, "rev-parse", "HEAD"), _git(root, "status", "--porcelain", "-uno")
    return head + ("+" if head and changes else "")


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def model_file(path: Path, progress: Callable[[float], None]) -> ModelFile:
    """Name, size and hash of a whole file."""
    return ModelFile(path.name, path.stat().st_size, sha256_of(path, progress))


def peak_rss() -> int:
    """Most memory this process has held, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
