"""Tiny image encoders (mmproj files), one of each way in which images enter a text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from tests.zoo.recipes import add_key

_WIDTH, _HIDDEN, _PATCH, _SIZE = 32, 48, 8, 32
_TEXT = -1
"""Stands for the width of the text model."""

KINDS: Mapping[str, Mapping[str, tuple[int, ...]]] = {
    # By the projector's type, its tensors, the innermost dimension last.
    "mlp": {
        "mm.0.weight": (_TEXT, _WIDTH),
        "mm.0.bias": (_TEXT,),
        "mm.2.weight": (_TEXT, _TEXT),
        "mm.2.bias": (_TEXT,),
    },
    "gemma3": {"mm.input_projection.weight": (_WIDTH, _TEXT), "mm.soft_emb_norm.weight": (_WIDTH,)},
    "qwen2vl_merger": {
        "mm.0.weight": (4 * _WIDTH, 4 * _WIDTH),
        "mm.0.bias": (4 * _WIDTH,),
        "mm.2.weight": (_TEXT, 4 * _WIDTH),
        "mm.2.bias": (_TEXT,),
    },
}
"""mlp: a token for each patch, as LLaVA has it; gemma3: all of an image see each other;
qwen2vl_merger: tokens have places in two dimensions, fewer than there are tokens."""


def write_eyes(path: Path, kind: str, text_width: int, **changed: Any) -> Path:
    """An encoder for a text model of that width; changed: other metadata."""
    writer = gguf.GGUFWriter(path, "clip")
    keys: dict[str, Any] = {
        "has_vision_encoder": True,
        "projector_type": kind,
        "use_gelu": True,
        "vision.image_size": _SIZE,
        "vision.patch_size": _PATCH,
        "vision.embedding_length": _WIDTH,
        "vision.feed_forward_length": _HIDDEN,
        "vision.projection_dim": text_width,
        "vision.attention.head_count": 2,
        "vision.attention.layer_norm_epsilon": 1e-6,
        "vision.block_count": 2,
        "vision.image_mean": [0.5, 0.5, 0.5],
        "vision.image_std": [0.5, 0.5, 0.5],
        "vision.projector.scale_factor": 2,
        **changed,
    }
    for name, value in keys.items():
        add_key(writer, f"clip.{name}", value)
    rng = np.random.default_rng(0)
    for name, shape in {**_tensors(kind), **KINDS[kind]}.items():
        shape = tuple(text_width if size == _TEXT else size for size in shape)
        norm = "ln" in name and name.endswith("weight")
        weights = rng.normal(size=shape, scale=3.0 / np.sqrt(shape[-1]))
        writer.add_tensor(name, np.ones(shape, np.float32) if norm else weights.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _tensors(kind: str) -> dict[str, tuple[int, ...]]:
    """Of the encoder itself."""
    first = (_WIDTH, 3, _PATCH, _PATCH)
    found: dict[str, tuple[int, ...]] = {"v.patch_embd.weight": first}
    if kind == "qwen2vl_merger":
        found["v.patch_embd.weight.1"] = first
    else:
        found["v.position_embd.weight"] = ((_SIZE // _PATCH) ** 2, _WIDTH)
    square = dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_out"), (_WIDTH, _WIDTH))
    norms = {"ln1": (_WIDTH,), "ln2": (_WIDTH,)}
    forward = {"ffn_up": (_HIDDEN, _WIDTH), "ffn_down": (_WIDTH, _HIDDEN)}
    parts: dict[str, tuple[int, ...]] = {"v.post_ln": (_WIDTH,)}
    for layer in range(2):
        parts |= {f"v.blk.{layer}.{n}": s for n, s in {**square, **norms, **forward}.items()}
    for name, shape in parts.items():
        found |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return found
