"""The types that keys and values of a KV cache can have."""

from __future__ import annotations

from typing import NamedTuple, get_args

from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

from spec_local.llama.options import KVType


class KVStorage(NamedTuple):
    """How ggml keeps a type: its number, and its size in bytes per element."""

    number: int
    bytes: float


def _storage(name: str) -> KVStorage:
    kind = GGMLQuantizationType[name.upper()]
    block, block_bytes = GGML_QUANT_SIZES[kind]
    return KVStorage(int(kind), block_bytes / block)


KV_TYPES = {name: _storage(name) for name in get_args(KVType)}
