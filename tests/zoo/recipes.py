"""What a tiny model of each architecture consists of, and how its file is written.

A recipe has the metadata that llama.cpp asks for and the shapes of the tensors it wants; both were
found by asking it (`scripts/fit_zoo.py`). The weights are random, so the texts are noise, but
caches, rollback and batches are those of real models.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from tests.tiny_gguf import CHATML, LETTERS, add_vocabulary

RECIPES = Path(__file__).with_name("recipes.jsonl")
HEADED = Path(__file__).with_name("heads.jsonl")
"""Those that llama.cpp evaluates multi-token prediction layers of, with one."""


@dataclass(frozen=True)
class Recipe:
    """One architecture."""

    arch: str
    keys: Mapping[str, Any]
    """Metadata by the name after the architecture's."""
    tensors: dict[str, Sequence[int]] = field(default_factory=dict)
    """Shapes as llama.cpp counts them, the innermost dimension first."""

    def as_line(self) -> str:
        """JSON, on one line."""
        return json.dumps(asdict(self), separators=(",", ":"))


_NOT_OF_LAYERS = (
    "rope.dimension_sections",
    "adapters.token_ids_activate",
    "adapters.token_ids_substitute",
)
"""Lists that do not have an entry for each layer."""
_OF_ALL = "xielu."
"""How metadata begins that has no architecture's name before it."""
DIFFUSION = ("dream", "llada", "llada-moe", "rnd1")
"""Architectures that write a text in any order, which has no drafts."""


def recipes(file: Path = RECIPES) -> dict[str, Recipe]:
    """All there are, by architecture."""
    found = (Recipe(**json.loads(line)) for line in file.read_text("utf-8").splitlines())
    return {recipe.arch: recipe for recipe in found}


def deepened(recipe: Recipe, layers: int) -> Recipe:
    """With so many layers, of other weights: its own in turn, but leading dense ones only once."""
    own, lead = recipe.keys["block_count"], recipe.keys.get("leading_dense_block_count", 0)
    like = [i if i < lead else lead + (i - lead) % (own - lead) for i in range(layers)]

    def value(name: str, found: Any) -> Any:
        one_each = isinstance(found, list) and name not in _NOT_OF_LAYERS
        return [found[i] for i in like] if one_each else found

    keys = {name: value(name, found) for name, found in recipe.keys.items()}
    tensors = {name: shape for name, shape in recipe.tensors.items() if not name.startswith("blk.")}
    for i, source in enumerate(like):
        for name, shape in recipe.tensors.items():
            if name.startswith(f"blk.{source}."):
                tensors[name.replace(f"blk.{source}.", f"blk.{i}.", 1)] = shape
    return Recipe(recipe.arch, keys | {"block_count": layers}, tensors)


def write(
    recipe: Recipe,
    path: Path,
    seed: int = 0,
    change: Callable[[str, NDArray[np.float32]], NDArray[np.float32]] = lambda _name, weights: (
        weights
    ),
) -> Path:
    """The model, the same for every seed and machine. change: the weights of a tensor."""
    writer = gguf.GGUFWriter(path, recipe.arch)
    for name, value in recipe.keys.items():
        add_key(writer, name if name.startswith(_OF_ALL) else f"{recipe.arch}.{name}", value)
    add_vocabulary(writer, LETTERS)
    writer.add_chat_template(CHATML)
    rng = np.random.default_rng(seed)
    for name, shape in recipe.tensors.items():
        writer.add_tensor(name, change(name, _weights(rng, name, shape[::-1])))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def add_key(writer: gguf.GGUFWriter, name: str, value: Any) -> None:
    """Metadata, by the type of the value."""
    if isinstance(value, bool):
        writer.add_bool(name, value)
    elif isinstance(value, int):
        writer.add_uint32(name, value)
    elif isinstance(value, float):
        writer.add_float32(name, value)
    elif isinstance(value, str):
        writer.add_string(name, value)
    else:
        writer.add_array(name, value)


_FILLED = (
    # What a name has in it ($ is its end), and the value that keeps a random model's numbers
    # apart and finite.
    ("norm.weight", 1.0),
    (".bias", 0.0),
    ("ssm_a$", -1.0),
    ("ssm_d", 1.0),
    ("rope_f", 1.0),
    ("scale", 1.0),
    ("sinks", 0.0),
)
_SCALES = (("token_embd", 8.0), ("output.weight", 6.0), ("attn_q.", 3.0), ("attn_k.", 3.0))


def _weights(rng: np.random.Generator, name: str, shape: Sequence[int]) -> NDArray[np.float32]:
    filled = _first(_FILLED, name)
    if filled is not None:
        return np.full(shape, filled, np.float32)
    scale = _first(_SCALES, name) or 1.0
    return rng.normal(size=shape, scale=scale / np.sqrt(shape[-1])).astype(np.float32)


def _first(values: Sequence[tuple[str, float]], name: str) -> float | None:
    return next((value for part, value in values if part in f"{name}$"), None)
