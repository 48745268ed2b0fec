"""Random LoRA adapters for the tiny models, so that llama.cpp's own are tested offline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np

from spec_local.gguf.header import check_model_file

RANK = 4
Shapes = dict[str, tuple[tuple[int, int], tuple[int, int]]]
"""By the name of a weight, the shapes of A and B as numpy has them: (rank, in) and (out, rank)."""


def write_lora(
    path: Path,
    model: Path,
    *,
    seed: int = 0,
    alpha: Any = 2.0 * RANK,
    arch: str | None = None,
    shapes: Shapes | None = None,
    kind: str = "lora",
    invocation: bool = False,
) -> Path:
    """An adapter of all matrices in the model's layers.

    arch: of another kind of model. shapes: those of an adapter that does not fit. kind: what it
    says it is. invocation: it says that it holds from certain tokens on.
    """
    header = check_model_file(model)
    writer = gguf.GGUFWriter(path, arch or header.architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", kind)
    if isinstance(alpha, str):
        writer.add_string("adapter.lora.alpha", alpha)
    else:
        writer.add_float32("adapter.lora.alpha", alpha)
    if invocation:
        writer.add_array("adapter.alora.invocation_tokens", [1, 2])
    if shapes is None:
        matrices = (each for each in header.tensors.entries if len(each.shape) == 2)
        shapes = {
            each.name: ((RANK, each.shape[0]), (each.shape[1], RANK))
            for each in matrices
            if each.name.startswith("blk.")
        }
    rng = np.random.default_rng(seed)
    for name, (a, b) in shapes.items():
        for part, shape in (("lora_a", a), ("lora_b", b)):
            weights = rng.normal(size=shape) / np.sqrt(shape[-1])
            writer.add_tensor(f"{name}.{part}", weights.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
