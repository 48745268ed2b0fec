"""Recipes for tiny models of every architecture, found by asking llama.cpp what it lacks.

    python -m scripts.fit_zoo tests/zoo/recipes.jsonl

Begins with a file that has hardly anything. llama.cpp says which key or tensor is missing, or what
shape a tensor should have; that is added, until a model loads and decodes to logits that are finite
and differ. Every try is a forked child, as some files end the process. Where one kind of model does
not come about, another is tried: with experts, with more layers, with latent attention. What
cannot be found so is in `scripts/zoo_special.py`.
"""

from __future__ import annotations

import argparse
import os
import re
import select
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import gguf
import numpy as np

from scripts.zoo_guesses import BASE, GUESSES, KINDS
from scripts.zoo_special import NEWER, SPECIAL, Special
from spec_local.errors import SpecLocalError
from spec_local.llama.backend import lib
from spec_local.llama.model import Model
from spec_local.llama.options import LoadOptions
from spec_local.llama.session import Session
from tests.zoo.recipes import Recipe, write

_TRIES, _SECONDS = 400, 10.0
_LACKS_KEY = re.compile(r"key not found in model: (\S+?)\.?(?:\s|$)")
_LACKS_TENSOR = re.compile(r"missing tensor '([^']+)'|tensor '([^']+)' not found")
_SHAPE = re.compile(r"tensor '([^']+)' has wrong shape; expected\s+([\d, ]+), got")
_WORKS = "it works"
_SEGFAULT = f"(signal {int(signal.SIGSEGV)})"


def fitted(arch: str, folder: Path) -> tuple[Recipe | None, str]:
    """A recipe, or None and what llama.cpp said last, for the kind of model that came furthest."""
    furthest, last = -1, ""
    special = SPECIAL.get(arch, Special())
    for kind in KINDS:
        keys = {**BASE, **kind, **special.keys}
        keys = {name: value for name, value in keys.items() if value is not None}
        recipe, said = _fitted(Recipe(arch, keys, dict(special.tensors)), folder)
        if said == _WORKS:
            return recipe, said
        if len(recipe.tensors) > furthest:
            furthest, last = len(recipe.tensors), said
    return None, last


def _fitted(recipe: Recipe, folder: Path) -> tuple[Recipe, str]:
    said = ""
    for _ in range(_TRIES):
        said = _said(recipe, folder)
        if said == _WORKS or (better := _with_what_it_lacks(recipe, said)) is None:
            break
        recipe = better
    return recipe, said


def _with_what_it_lacks(recipe: Recipe, said: str) -> Recipe | None:
    """The recipe with what llama.cpp asks for; None where that is not known, or was given."""
    if found := _LACKS_KEY.search(said):
        name = found[1].removeprefix(recipe.arch + ".")
        if name in recipe.keys or name not in GUESSES:
            return None
        return replace(recipe, keys={**recipe.keys, name: GUESSES[name]})
    if found := _LACKS_TENSOR.search(said):
        name = found[1] or found[2]
        return _with_tensor(recipe, name, (1,)) if name not in recipe.tensors else None
    if found := _SHAPE.search(said):
        shape = tuple(int(each) for each in found[2].split(","))
        return _with_tensor(recipe, found[1], shape) if recipe.tensors[found[1]] != shape else None
    return _with_fused_attention(recipe) if said.endswith(_SEGFAULT) else None


def _with_fused_attention(recipe: Recipe) -> Recipe | None:
    """With queries, keys and values in one: llama.cpp dies of layers that have them in no way."""
    fitted = recipe
    for name in recipe.tensors:
        layer, output, _ = name.partition("attn_output")
        ways = (layer + way for way in ("attn_q.weight", "attn_qkv.weight"))
        if output and not recipe.tensors.keys() & ways:
            fitted = _with_tensor(fitted, layer + "attn_qkv.weight", (1,))
    return None if fitted is recipe else fitted


def _with_tensor(recipe: Recipe, name: str, shape: tuple[int, ...]) -> Recipe:
    while len(shape) > 1 and shape[-1] == 1:
        shape = shape[:-1]
    return replace(recipe, tensors={**recipe.tensors, name: shape})


def _said(recipe: Recipe, folder: Path) -> str:
    """What a child says that loads and uses it, with how it ends where that is by a signal."""
    path = write(recipe, folder / "model.gguf")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        os.environ["GGML_NO_BACKTRACE"] = "1"
        _use(path)
    os.close(writing)
    said = _read(reading, child)
    _, status = os.waitpid(child, 0)
    ended = f" (signal {os.WTERMSIG(status)})" if os.WIFSIGNALED(status) else ""
    return said + ended


def _read(reading: int, child: int) -> str:
    """All it writes, for some seconds at most."""
    ends, parts = time.monotonic() + _SECONDS, list[bytes]()
    with open(reading, "rb", buffering=0) as pipe:
        while select.select([pipe], [], [], max(0.0, ends - time.monotonic()))[0]:
            if not (part := pipe.read(1 << 16)):
                return b"".join(parts).decode(errors="replace").strip()
            parts.append(part)
    os.kill(child, signal.SIGKILL)
    return b"".join(parts).decode(errors="replace").strip() + " (took too long)"


def _use(path: Path) -> NoReturn:
    """In the child: load, evaluate, look at the logits, and say how that went."""
    try:
        options = LoadOptions(n_ctx=256, n_threads=1, trial=False)
        with Model(path, options) as model, Session(model) as session:
            rows = session.evaluate([1, *range(262, 281)], rows=20)
            assert np.isfinite(rows).all(), "logits are not finite"
            assert len({int(row.argmax()) for row in rows}) > 3, "logits are all alike"
        print(_WORKS)
    except (SpecLocalError, AssertionError) as error:
        print(error)
    sys.stdout.flush()
    os._exit(0)


def architectures() -> Iterator[str]:
    """All names that this llama.cpp knows."""
    known = lib.llama_cpp.__file__ if hasattr(lib, "llama_cpp") else lib.__file__
    folder = Path(str(known)).parent / "lib"
    library = next(path for path in folder.iterdir() if path.name.startswith("libllama."))
    names = {*gguf.MODEL_ARCH_NAMES.values(), *NEWER}
    text = library.read_bytes()
    yield from sorted(name for name in names if name.encode() in text)


def main() -> None:
    """Fit all of them, or those that are named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*", help="architectures; all without")
    how = parser.parse_args()
    lines = list[str]()
    with tempfile.TemporaryDirectory() as folder:
        for arch in how.names or architectures():
            recipe, said = fitted(arch, Path(folder))
            if recipe is not None:
                lines.append(recipe.as_line())
                how.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
            print(f"{arch}: {'fitted' if recipe else said.splitlines()[-1:]}", flush=True)


if __name__ == "__main__":
    main()
