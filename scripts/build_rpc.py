"""Build llama.cpp's RPC backend for the installed llama-cpp-python, as a library of its own.

    python scripts/build_rpc.py FOLDER [--source FOLDER]

It takes a minute, where building all of llama.cpp with RPC takes many; the tests use it. The
sources are those of the installed release, fetched by pip unless they are given. Prints the path of
the library, which GGML_BACKEND_PATH tells ggml.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

NAME = "libggml-rpc.so"
PACKAGE = "llama-cpp-python"
_SOURCES = ("ggml-rpc.cpp", "transport.cpp")
_DEFINED = ("GGML_BACKEND_DL", "GGML_BACKEND_BUILD", "GGML_BACKEND_SHARED", "GGML_SHARED")


def installed() -> Path:
    """The folder of the installed libraries."""
    found = find_spec("llama_cpp")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "lib"


def fetched(folder: Path) -> Path:
    """The sources of the installed release, unpacked there."""
    wanted = f"{PACKAGE}=={version(PACKAGE)}"
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", PACKAGE]
    subprocess.run([*pip, "-d", str(folder), wanted], check=True)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    return next(each for each in folder.iterdir() if each.is_dir())


def build(source: Path, folder: Path) -> Path:
    """Compile it into that folder."""
    ggml = source / "vendor" / "llama.cpp" / "ggml"
    folder.mkdir(parents=True, exist_ok=True)
    built = folder / NAME
    compiler = os.environ.get("CXX", "c++")
    command = [compiler, "-std=c++17", "-O2", "-fPIC", "-shared", "-pthread"]
    command += [f"-D{name}" for name in _DEFINED]
    command += [f"-I{ggml / 'include'}", f"-I{ggml / 'src'}"]
    command += [str(ggml / "src" / "ggml-rpc" / each) for each in _SOURCES]
    command += [f"-L{installed()}", "-lggml-base", f"-Wl,-rpath,{installed()}", "-o", str(built)]
    subprocess.run(command, check=True)
    return built


def main() -> None:
    """Fetch and build."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--source", type=Path, help="the release's sources, unpacked")
    options = parser.parse_args()
    if options.source is not None:
        print(build(options.source, options.folder))
        return
    with tempfile.TemporaryDirectory() as temporary:
        print(build(fetched(Path(temporary)), options.folder))


if __name__ == "__main__":
    main()
