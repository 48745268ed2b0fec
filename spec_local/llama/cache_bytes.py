"""How much the memory of a context takes in every layer, told by the file of a model.

What llama.cpp allocates for keys and values, and for running states (src/llama-kv-cache.cpp,
llama-memory-recurrent.cpp).
"""

from __future__ import annotations

from spec_local.gguf.header import GGUFHeader
from spec_local.llama.kv_types import KV_TYPES
from spec_local.llama.options import LoadOptions

SNAPSHOTS = 8
"""Recurrent states kept of the last tokens of a batch, where llama.cpp can keep them: so many
drafted tokens are taken back for nothing. Each is as large as the state, tens of megabytes in large
models; rounds that are wider have a checkpoint instead."""

_WIDTH, _HEADS, _KV_HEADS = "embedding_length", "attention.head_count", "attention.head_count_kv"
_MOST_LAYERS = 512
"""LLAMA_MAX_LAYERS; a damaged file may say anything."""
_STEP = 256
"""A cache has a multiple of so many cells."""
_FULL_EVERY = {
    **dict.fromkeys(("gemma2", "gpt-oss"), 2),
    **dict.fromkeys(("afmoe", "cohere2", "cohere2moe", "exaone-moe", "exaone4", "laguna"), 4),
    **dict.fromkeys(("mellum", "muse-glimmer", "olmo2", "smallthinker"), 4),
    "gemma3n": 5,
    "gemma3": 6,
    "plamo3": 8,
}
"""Every so many layers one sees the whole context, and the others a window (src/models). Where that
is not known, all do here."""
_FLOAT = 4


def cache_bytes(header: GGUFHeader, options: LoadOptions, n_ctx: int) -> tuple[int, ...]:
    """Bytes for n_ctx tokens in each layer; never much less than llama.cpp takes."""
    window = header.hyperparameter("attention.sliding_window")
    whole, windowed = _cells(n_ctx), _cells(min(n_ctx, window + options.n_ubatch))
    state = _state_bytes(header) * (1 + SNAPSHOTS)

    def in_layer(layer: int) -> int:
        attends, remembers = _kinds(header, layer)
        cells = windowed if window and _slides(header, layer) else whole
        cache = token_bytes(header, options, _kv_heads(header, layer)) * cells
        return round(cache * attends + state * remembers)

    layers = min(header.hyperparameter("block_count"), _MOST_LAYERS)
    return tuple(map(in_layer, range(layers)))


def token_bytes(header: GGUFHeader, options: LoadOptions, kv_heads: int) -> float:
    """Bytes of a token's keys and values in a layer with so many heads of them."""
    head_size = header.hyperparameter(_WIDTH) // max(1, header.hyperparameter(_HEADS))
    k_size = header.hyperparameter("attention.key_length", head_size)
    v_size = header.hyperparameter("attention.value_length", head_size)
    if header.hyperparameter("attention.key_length_mla"):  # values are part of the keys
        v_size = 0
    k_bytes, v_bytes = (KV_TYPES[each].bytes for each in (options.kv_type_k, options.kv_type_v))
    return kv_heads * (k_size * k_bytes + v_size * v_bytes)


def _cells(tokens: int) -> int:
    return -(-tokens // _STEP) * _STEP


def _kv_heads(header: GGUFHeader, layer: int) -> int:
    return header.in_layer(_KV_HEADS, layer, header.hyperparameter(_HEADS))


def _slides(header: GGUFHeader, layer: int) -> bool:
    every = _FULL_EVERY.get(header.architecture, 1)
    pattern = header.metadata.get(f"{header.architecture}.attention.sliding_window_pattern", every)
    if isinstance(pattern, tuple):
        return layer < len(pattern) and bool(pattern[layer])
    return layer % pattern < pattern - 1 if isinstance(pattern, int) and pattern > 0 else False


def _kinds(header: GGUFHeader, layer: int) -> tuple[bool, bool]:
    """Whether the layer has keys and values, and whether it has a running state."""
    attends, stateful = _kv_heads(header, layer) > 0, _state_bytes(header) > 0
    if stateful and (every := header.hyperparameter("full_attention_interval")):
        attends = (layer + 1) % every == 0
        return attends, not attends
    differ = isinstance(header.metadata.get(f"{header.architecture}.{_KV_HEADS}"), tuple)
    return attends, stateful and not (attends and differ)


def _state_bytes(header: GGUFHeader) -> int:
    """Of a layer with a running state; 0 if the model has none."""
    number = header.hyperparameter
    inner, size, width = number("ssm.inner_size"), number("ssm.state_size"), number(_WIDTH)
    seen = max(0, number("ssm.conv_kernel") - 1)
    mamba = size * inner + seen * (inner + 2 * number("ssm.group_count") * size)
    delta = number(_HEADS) * number("kda.head_dim") ** 2
    rwkv = width * (number("wkv.head_size") + 2) if number("wkv.head_size") else 0
    return _FLOAT * (mamba + delta + rwkv)
