"""A child process first loads llama.cpp's library, as that may end the process.

Built for a newer processor, it dies of an illegal instruction, which nobody can catch.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from spec_local.util.process import has_python

_PROGRAM = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
library.llama_backend_init()
library.llama_print_system_info()
"""
"""Loads it, finds its devices, and computes the tables that the processor's kernels use."""
_SECONDS = 60.0
"""A GPU's own library may have to be found and started."""


def library_fault() -> str | None:
    """Why a process that loads llama.cpp's library fails; None if it does not, or none can try."""
    library = _library()
    if library is None or not has_python():
        return None
    try:
        ended = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _PROGRAM, str(library)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no end after {_SECONDS:.0f} s"
    except OSError:
        return None
    if ended.returncode < 0:
        return signal.strsignal(-ended.returncode) or f"signal {-ended.returncode}"
    said = ended.stderr.decode(errors="replace").strip().rpartition("\n")[2]
    return None if ended.returncode == 0 else said or f"exit code {ended.returncode}"


def _library() -> Path | None:
    """The file of llama.cpp's library, found without loading it; None if it is not there."""
    package = find_spec("llama_cpp")
    own = Path(package.origin).parent / "lib" if package and package.origin else Path()
    folder = Path(os.environ.get("LLAMA_CPP_LIB_PATH", own))  # as llama-cpp-python finds it
    names = ("libllama.so", "libllama.dylib")
    return next((folder / name for name in names if (folder / name).is_file()), None)
