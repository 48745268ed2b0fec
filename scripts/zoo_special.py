"""What single architectures of the zoo need that `scripts/fit_zoo.py` cannot find by asking.

Numbers that go together, a list with an entry for each layer, a tensor that llama.cpp takes for
optional and then dies without: they make a consistent model where guessing does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from scripts.zoo_guesses import EXPERTS, HEAD, HEADS, LATENT, WIDTH

NEWER = (
    # Names that llama.cpp knows and the package gguf does not.
    *("bailingmoe3", "cohere2moe", "deepseek32", "deepseek4", "dots3note", "glm5-next"),
    *("granite_swa", "graniteswitch", "hrm_text", "hy_v3", "hy_v4", "kimi-k3", "laguna", "maple"),
    *("mellum", "minimax-01", "minimax-m3", "muse-glimmer", "nanbeige", "qwen4exp", "spark2_5"),
    "talkie",
)


@dataclass(frozen=True)
class Special:
    """What one architecture has beside, or instead of, what the others have."""

    keys: Mapping[str, Any] = field(default_factory=dict)
    """None for a key that it must not have."""
    tensors: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Optional for llama.cpp, which dies without or leaves out what makes this architecture."""


def _in_layers(layers: Iterable[int], *names: str) -> dict[str, tuple[int, ...]]:
    """Tensors of a shape that llama.cpp will correct."""
    return {f"blk.{layer}.{name}": (1,) for layer in layers for name in names}


_NO_EXPERTS: dict[str, Any] = dict.fromkeys(EXPERTS)
_RECURRENT_THEN_ATTENTION = {"attention.head_count_kv": [0, 2]}
_RECURRENT_THEN_LATENT = {**LATENT, "attention.head_count_kv": [0, 1]}
_EVERY_SECOND = {"full_attention_interval": 2}
_WINDOW_THEN_ALL = {
    "attention.sliding_window": 32,
    "attention.sliding_window_pattern": [True, False],
}
_GATED = _in_layers([0], "attn_qkv.weight", "attn_gate.weight")
"""Queries, keys and values of a recurrent layer, and their gate."""
_CONVOLUTION = _in_layers([0], "ssm_conv1d.bias")
_DENSE_THEN_EXPERTS = {
    **_in_layers([0], *(f"ffn_{part}.weight" for part in ("gate", "down", "up"))),
    **_in_layers([1], "ffn_gate_inp.weight", "exp_probs_b.bias"),
    **_in_layers([1], *(f"ffn_{part}_exps.weight" for part in ("gate", "down", "up"))),
}
_INDEXER = _in_layers(
    (0, 1),
    *(f"indexer.{part}.weight" for part in ("k_norm", "proj", "attn_k", "attn_q_b")),
    "indexer.k_norm.bias",
)
_WIDE_HEADS = {
    # llama.cpp's WKV7 takes 64 numbers at a time, and writes past the end of narrower heads.
    "embedding_length": 128,
    "wkv.head_size": 64,
    "attention.head_count": 2,
    "attention.head_count_kv": 2,
}
_NEMOTRON = {
    # Each layer is one thing only: recurrent, feed-forward, attention, feed-forward.
    "block_count": 4,
    "attention.head_count_kv": [0, 0, 2, 0],
    "feed_forward_length": [0, 96, 0, 96],
}
_GEMMA4 = {
    # Of four layers the last two have the keys and values of the first two, and those that see
    # everything have heads twice as wide.
    "block_count": 4,
    "attention.sliding_window": 32,
    "attention.sliding_window_pattern": [True, False, True, False],
    "attention.shared_kv_layers": 2,
    "attention.key_length": 2 * HEAD,
    "attention.value_length": 2 * HEAD,
    "rope.dimension_count": 2 * HEAD,
    "rope.dimension_count_swa": HEAD,
}
SPECIAL: Mapping[str, Special] = {
    "arwkv7": Special({**_WIDE_HEADS, "token_shift_count": 1, "attention.gate_lora_rank": 8}),
    "bailingmoe3": Special(_RECURRENT_THEN_LATENT),
    "deepseek4": Special(
        {
            # No compression, compressed by four beside an indexer, and by 128.
            "block_count": 3,
            "attention.compress_ratios": [0, 4, 128],
            "swiglu_clamp_exp": [7.0, 7.0, 7.0],
            "attention.head_count_kv": 1,
            "attention.indexer.key_length": 64,
            "expert_gating_func": 4,
        }
    ),
    "deepseek32": Special({"attention.indexer.key_length": 64}),
    "dots3note": Special(
        {
            **LATENT,
            **_WINDOW_THEN_ALL,
            "attention.indexer.key_length": 64,
            "attention.indexer.types": [False, True],
        }
    ),
    "falcon-h1": Special(_NO_EXPERTS, _in_layers((0, 1), "ssm_conv1d.bias", "ssm_norm.weight")),
    "gemma4": Special(_GEMMA4),
    "glm-dsa": Special({"attention.indexer.key_length": 64}, _INDEXER),
    "glm5-next": Special(
        {**_RECURRENT_THEN_LATENT, "attention.key_length": 32, "rope.dimension_count": 0}
    ),
    "granite_swa": Special(_WINDOW_THEN_ALL),
    "granitehybrid": Special(_RECURRENT_THEN_ATTENTION, _CONVOLUTION),
    "graniteswitch": Special(
        {
            "adapters.count": 1,
            "adapters.lora_rank": 4,
            "adapters.token_ids_activate": [270],
            "adapters.token_ids_substitute": [275],
        }
    ),
    "hy_v4": Special(
        {
            **LATENT,
            "attention.indexer.head_count": 4,
            "attention.indexer.key_length": 64,
            "attention.indexer.top_k": 64,
            "attention.indexer.types": [True, False],
        }
    ),
    "kimi-k3": Special(_RECURRENT_THEN_LATENT),
    "kimi-linear": Special(_RECURRENT_THEN_LATENT),
    "laguna": Special(
        {"attention.sliding_window": 32},
        {f"blk.{layer}.attn_gate.weight": (WIDTH, HEADS) for layer in (0, 1)},
    ),
    "maple": Special(_WINDOW_THEN_ALL),
    "mellum": Special(_WINDOW_THEN_ALL),
    "mimo2": Special(
        _WINDOW_THEN_ALL, {**_DENSE_THEN_EXPERTS, **_in_layers((0, 1), "attn_sinks.weight")}
    ),
    "minimax-01": Special(_EVERY_SECOND),
    "minimax-m3": Special({"attention.indexer.head_count": 2, "attention.indexer.top_k": 4}),
    "muse-glimmer": Special(_WINDOW_THEN_ALL),
    "nanbeige": Special({"num_loops": 2, **_NO_EXPERTS}),
    "nemotron_h": Special({**_NEMOTRON, **_NO_EXPERTS}, _CONVOLUTION),
    "nemotron_h_moe": Special(_NEMOTRON, _CONVOLUTION),
    "paddleocr": Special({"rope.dimension_sections": [2, 3, 3, 0], **_NO_EXPERTS}),
    "plamo2": Special({**_RECURRENT_THEN_ATTENTION, "ssm.group_count": 0}),
    "plm": Special(
        {
            "attention.kv_lora_rank": 32,
            "attention.key_length": 24,
            "attention.head_count_kv": HEADS,
            "rope.dimension_count": 8,
        }
    ),
    "qwen3next": Special(_EVERY_SECOND, _GATED),
    "qwen35": Special({**_EVERY_SECOND, **_NO_EXPERTS}, _GATED),
    "qwen35moe": Special(_EVERY_SECOND, _GATED),
    "qwen4exp": Special(_EVERY_SECOND),
    "rwkv6": Special({}, _in_layers((0, 1), "time_mix_lerp_fused.weight")),
    "rwkv6qwen2": Special({"token_shift_count": 1}),
    "rwkv7": Special({**_WIDE_HEADS, "attention.gate_lora_rank": 8}),
    "spark2_5": Special(_WINDOW_THEN_ALL),
    "step35": Special(
        _WINDOW_THEN_ALL,
        {
            **_DENSE_THEN_EXPERTS,
            **_in_layers([1], *(f"ffn_{part}_shexp.weight" for part in ("gate", "down", "up"))),
            **_in_layers((0, 1), "attn_gate.weight", "attn_q_norm.weight", "attn_k_norm.weight"),
        },
    ),
}
