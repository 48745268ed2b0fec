"""The script that says what changed in llama.cpp's structures, on two small sources of its own."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

OLD = """
import ctypes
llama_pos = ctypes.c_int32
llama_vocab_p_ctypes = ctypes.c_void_p
LLAMA_FTYPE_MOSTLY_F16 = 1
LLAMA_OTHER = 1
class llama_batch(ctypes.Structure):
    "Tokens and where they stand."
    if TYPE_CHECKING:
        n_tokens: int
    _fields_ = [
        ("n_tokens", ctypes.c_int32), ("pos", ctypes.POINTER(llama_pos)), ("embd", ctypes.c_void_p)
    ]
@ctypes_function("llama_vocab_bos", [llama_vocab_p_ctypes], ctypes.c_int32)
def llama_vocab_bos(vocab: llama_vocab_p, /) -> int: ...
@ctypes_function("llama_free", [ctypes.c_void_p], None)
def llama_free(ctx: llama_context_p, /): ...
@ctypes_function("llama_elsewhere", [], None)
def llama_elsewhere(): ...
class llama_sampler(ctypes.Structure): ...
llama_sampler._fields_ = [("ctx", ctypes.c_void_p), ("iface", ctypes.c_void_p)]
"""

NEW = """
import ctypes
llama_pos = ctypes.c_int64
llama_vocab_p_ctypes = ctypes.c_void_p
LLAMA_FTYPE_MOSTLY_F16 = 2
LLAMA_OTHER = 2
LLAMA_THIRD = 3
class llama_batch(ctypes.Structure):
    _fields_ = [("n_tokens", ctypes.c_int64), ("pos", ctypes.POINTER(llama_pos)), ("n", llama_pos)]
@ctypes_function("llama_vocab_bos", [llama_vocab_p_ctypes, ctypes.c_bool], ctypes.c_int32)
def llama_vocab_bos(vocab: llama_vocab_p, strict: bool, /) -> int: ...
@ctypes_function("llama_vocab_eos", [llama_vocab_p_ctypes], ctypes.c_int32)
def llama_vocab_eos(vocab: llama_vocab_p, /) -> int: ...
class llama_sampler(ctypes.Structure): ...
llama_sampler._fields_ = [("iface", ctypes.c_void_p), ("ctx", ctypes.c_void_p)]
"""

REPORT = """\
LLAMA_FTYPE_MOSTLY_F16
  ~ value: 1 -> 2
llama_batch
  ~ n_tokens: ctypes.c_int32 -> ctypes.c_int64
  - embd: ctypes.c_void_p
  + n: llama_pos
llama_free: gone
llama_pos
  ~ value: ctypes.c_int32 -> ctypes.c_int64
llama_sampler
  the order is another one
llama_vocab_bos
  + strict: ctypes.c_bool
llama_vocab_eos: new
In use: 1 new, 1 gone, 5 changed.
Others: 1 new, 1 gone, 1 changed.
"""


def folder(root: Path, source: str) -> Path:
    file = root / "llama_cpp" / "llama_cpp.py"
    file.parent.mkdir(parents=True)
    file.write_text(source)
    return root


def sdist(root: Path, source: str) -> Path:
    archive = root.with_suffix(".tar.gz")
    with tarfile.open(archive, "w:gz") as file:
        file.add(folder(root, source), "llama_cpp_python-1.2.3")
    return archive


def wheel(root: Path, source: str) -> Path:
    archive = root.with_suffix(".whl")
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("llama_cpp/llama_cpp.py", source)
    return archive


def compare(old: Path | str, new: Path | str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "scripts" / "llama_structures.py", old, new],
        capture_output=True,
        text=True,
        env={**os.environ, "PIP_NO_INDEX": "1"},
    )


@pytest.mark.parametrize("kept_as", [folder, sdist, wheel])
def test_what_changed_is_said(tmp_path: Path, kept_as: Callable[[Path, str], Path]) -> None:
    done = compare(kept_as(tmp_path / "old", OLD), kept_as(tmp_path / "new", NEW))
    assert (done.stdout, done.stderr, done.returncode) == (REPORT, "", 1)


def test_a_change_that_is_not_in_use_is_counted(tmp_path: Path) -> None:
    new = OLD.replace("LLAMA_OTHER = 1", "LLAMA_OTHER = 2")
    done = compare(folder(tmp_path / "old", OLD), folder(tmp_path / "new", new))
    assert done.stdout.splitlines() == [
        "In use: 0 new, 0 gone, 0 changed.",
        "Others: 0 new, 0 gone, 1 changed.",
    ]
    assert done.returncode == 0


def test_a_version_that_cannot_be_had(tmp_path: Path) -> None:
    done = compare("0.0.0", folder(tmp_path / "new", NEW))
    assert "0.0.0 is no folder, archive or released version of llama-cpp-python." in done.stderr
    assert done.returncode == 1


@pytest.mark.llama
def test_every_name_in_use_is_found_in_the_installed_library(tmp_path: Path) -> None:
    spec = importlib.util.find_spec("llama_cpp")
    assert spec is not None
    assert spec.origin is not None
    done = compare(folder(tmp_path / "empty", ""), Path(spec.origin).parent.parent)
    new = {line.removesuffix(": new") for line in done.stdout.splitlines() if ": new" in line}
    stub = (ROOT / "stubs" / "llama_cpp" / "llama_cpp.pyi").read_text()
    assert set(re.findall(r"^(?:def |class |)((?:llama|LLAMA|GGML)_\w+)", stub, re.M)) <= new
