"""What a model's metadata says of its layers, and what it must say when only some are kept.

llama.cpp's loaders (src/models/*.cpp, `load_arch_hparams`) are what this follows: what they read
layer by layer is an array, a count of layers from the front, or a rhythm in the layers' numbers. A
rhythm is written out as an array wherever the loader takes one in its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gguf import GGUFValueType

from spec_local.gguf.copying import Value
from spec_local.gguf.header import GGUFHeader

_BLOCKS, _NEXTN, _DENSE = "block_count", "nextn_predict_layers", "leading_dense_block_count"
_PATTERN = "attention.sliding_window_pattern"
_RECURRENT, _INTERVAL = "attention.recurrent_layers", "full_attention_interval"

_OF_LAYERS = ("xielu.",)
"""How keys of layers begin that have no architecture's name before them."""
_NOT_OF_LAYERS = ("rope.dimension_sections",)
"""Arrays of another meaning, which may be as long as there are layers."""

_LOCAL_RHYTHM = {
    # Every nth layer sees the whole text, the others a window of it; the last of n, or the first.
    **dict.fromkeys(("afmoe", "cohere2", "exaone-moe", "llama4"), (4, False)),
    **dict.fromkeys(("mellum", "muse-glimmer", "olmo2"), (4, False)),
    **dict.fromkeys(("cohere2moe", "laguna", "smallthinker"), (4, True)),
    **dict.fromkeys(("gemma2", "gpt-oss"), (2, False)),
    "gemma3": (6, False),
    "plamo3": (8, False),
}
"""Where llama.cpp's `load_swa_pattern` is called, and so an array is read instead.

Not exaone4, which has windows only if it has 64 layers.
"""
_ALL_LOCAL = frozenset({"deepseek4", "lfm2"})
"""Architectures with a window in every layer that has attention."""
_RECURRENT_RHYTHM = {
    # Every nth layer has attention, the others a running state.
    **dict.fromkeys(("qwen3next", "qwen35", "qwen35moe", "qwen4exp"), 4),
    "minimax-01": 8,
}


def layer_count(header: GGUFHeader) -> int:
    """How many layers a token is computed with, without those that predict tokens further ahead."""
    return header.hyperparameter(_BLOCKS) - header.hyperparameter(_NEXTN)


def window_is_known(header: GGUFHeader) -> bool:
    """Whether the file, or the architecture, says which layers see only a window of the text."""
    architecture = header.architecture
    written_out = isinstance(header.metadata.get(f"{architecture}.{_PATTERN}"), tuple)
    return written_out or architecture in {*_LOCAL_RHYTHM, *_ALL_LOCAL}


def with_layers(
    metadata: Mapping[str, Value], architecture: str, kept: Sequence[int]
) -> dict[str, Value]:
    """The metadata of a model that has only these of its layers, ascending."""

    def number(name: str) -> int:
        return int(metadata.get(f"{architecture}.{name}", (0, None, None))[0])

    result = dict(metadata)
    lengths = (number(_BLOCKS), number(_BLOCKS) - number(_NEXTN))
    for key, (value, kind, item_kind) in metadata.items():
        ours = key.startswith((f"{architecture}.", *_OF_LAYERS))
        if not ours or kind != GGUFValueType.ARRAY or key.endswith(_NOT_OF_LAYERS):
            continue
        if len(value) in lengths:
            result[key] = ([value[i] for i in kept], kind, item_kind)

    counts = {
        _BLOCKS: len(kept),
        _NEXTN: 0,
        _DENSE: sum(layer < number(_DENSE) for layer in kept),
    }
    for name, count in counts.items():
        if (key := f"{architecture}.{name}") in metadata:
            result[key] = (count, *metadata[key][1:])
    written_out = {
        _PATTERN: _local_layers(metadata, architecture, kept),
        _RECURRENT: _recurrent_layers(metadata, architecture, kept),
    }
    for name, flags in written_out.items():
        if flags is not None:
            result[f"{architecture}.{name}"] = (flags, GGUFValueType.ARRAY, GGUFValueType.BOOL)
    return result


def _local_layers(
    metadata: Mapping[str, Value], architecture: str, kept: Sequence[int]
) -> list[bool] | None:
    """Which of the kept layers see only a window, where a rhythm says so; None where none does."""
    if architecture not in _LOCAL_RHYTHM:
        return None
    usual, whole_first = _LOCAL_RHYTHM[architecture]
    rhythm: Any = metadata.get(f"{architecture}.{_PATTERN}", (usual, None, None))[0]
    if not isinstance(rhythm, int):  # it is written out already
        return None
    if rhythm == 0:
        return [True] * len(kept)
    return [i % rhythm != (0 if whole_first else rhythm - 1) for i in kept]


def _recurrent_layers(
    metadata: Mapping[str, Value], architecture: str, kept: Sequence[int]
) -> list[bool] | None:
    """Which of the kept layers have a running state, where a rhythm says so."""
    if architecture not in _RECURRENT_RHYTHM or f"{architecture}.{_RECURRENT}" in metadata:
        return None
    usual = _RECURRENT_RHYTHM[architecture]
    rhythm = metadata.get(f"{architecture}.{_INTERVAL}", (usual, None, None))[0]
    return [(i + 1) % rhythm != 0 for i in kept]
