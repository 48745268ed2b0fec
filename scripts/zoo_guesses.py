"""What `scripts/fit_zoo.py` puts into a model, where llama.cpp asks for it and to begin with."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

WIDTH, HEADS, HEAD, _VOCABULARY = 64, 4, 16, 292
BASE: dict[str, Any] = {
    "context_length": 4096,
    "embedding_length": WIDTH,
    "block_count": 2,
    "feed_forward_length": 96,
    "attention.head_count": HEADS,
    "attention.head_count_kv": 2,
    "attention.key_length": HEAD,
    "attention.value_length": HEAD,
    "attention.layer_norm_rms_epsilon": 1e-5,
    "attention.layer_norm_epsilon": 1e-5,
    "rope.dimension_count": HEAD,
    "vocab_size": _VOCABULARY,
}
EXPERTS: dict[str, Any] = {
    "expert_count": 4,
    "expert_used_count": 2,
    "expert_feed_forward_length": 32,
    "expert_shared_feed_forward_length": 32,
    "expert_shared_count": 1,
    "expert_gating_func": 1,
    "interleave_moe_layer_step": 1,
}
LATENT: dict[str, Any] = {
    "attention.q_lora_rank": 32,
    "attention.kv_lora_rank": 32,
    "attention.key_length": 40,
    "attention.value_length": 32,
    "attention.key_length_mla": HEAD,
    "attention.value_length_mla": HEAD,
    "attention.head_count_kv": 1,
    "rope.dimension_count": 8,
}
_ALL_HEADS = {"attention.head_count_kv": HEADS}
_MIXED = {"attention.head_count_kv": [0, 2]}
"""A recurrent layer, which has no heads, and one of attention."""
_SIX_LAYERS = {"block_count": 6}
_WINDOW = {"attention.sliding_window": 32}
GUESSES: dict[str, Any] = {
    # Only where asked for: what is there may change what a model is.
    "attention.sliding_window": 32,
    "attention.sliding_window_pattern": 2,
    "attention.q_lora_rank": 32,
    "attention.kv_lora_rank": 32,
    "attention.decay_lora_rank": 8,
    "attention.iclr_lora_rank": 8,
    "attention.value_residual_mix_lora_rank": 8,
    "attention.gate_lora_rank": 8,
    "attention.clamp_kqv": 8.0,
    "attention.max_alibi_bias": 8.0,
    "attention.group_norm_epsilon": 1e-5,
    "attention.group_norm_groups": 1,
    "attention.relative_buckets_count": 32,
    "attention.scale": 0.25,
    "attention.output_scale": 1.0,
    "attention.value_scale": 1.0,
    "attention.indexer.head_count": 4,
    "attention.indexer.key_length": 16,
    "attention.indexer.top_k": 64,
    "attention.indexer.block_size": 16,
    "attention.indexer.local_blocks": 1,
    "attention.indexer.kpool": 2,
    "attention.indexer.types": [True, True],
    "attention.compress_rope_freq_base": 10000.0,
    "attention.kv_lora_rank_swa": 32,
    "attention.key_length_mla_swa": HEAD,
    "attention.value_length_mla_swa": HEAD,
    "attention.shared_kv_layers": 0,
    "attention.output_group_count": 2,
    "attention.output_lora_rank": 16,
    "attention.key_length_mla": HEAD,
    "attention.value_length_mla": HEAD,
    "attention.key_length_swa": HEAD,
    "attention.value_length_swa": HEAD,
    "embedding_length_per_layer_input": 16,
    "expert_chunk_feed_forward_length": 32,
    "expert_group_count": 1,
    "expert_group_used_count": 1,
    "expert_group_scale": 1.0,
    "expert_weights_scale": 1.0,
    "expert_latent_length": 32,
    "experts_per_group": 2,
    "expert_weights_norm": True,
    "final_logit_softcapping": 30.0,
    "attn_logit_softcapping": 50.0,
    "router_logit_softcapping": 30.0,
    "full_attention_interval": 2,
    "leading_dense_block_count": 1,
    "logit_scale": 1.0,
    "residual_scale": 1.0,
    "embedding_scale": 1.0,
    "moe_every_n_layers": 1,
    "rope.dimension_sections": [2, 3, 3, 0],
    "rope.freq_base": 10000.0,
    "rope.freq_base_swa": 10000.0,
    "rope.dimension_count_swa": HEAD,
    "rope.scaling.original_context_length": 4096,
    "rope.scaling.factor": 1.0,
    "shortconv.l_cache": 3,
    "kda.head_dim": HEAD,
    "kda.gate_lower_bound": -5.0,
    "attn_res.block_size": 1,
    "activation.situ_beta": 1.0,
    "activation.situ_linear_beta": 1.0,
    "ssm.conv_kernel": 4,
    "ssm.inner_size": 2 * WIDTH,
    "ssm.state_size": HEAD,
    "ssm.time_step_rank": 8,
    "ssm.group_count": 2,
    "time_decay_extra_dim": 8,
    "time_mix_extra_dim": 8,
    "token_shift_count": 2,
    "wkv.head_size": HEAD,
    "attention.key_length": HEAD,
    "attention.wkv": 16,
    "use_parallel_residual": True,
    "xielu.alpha_n": [0.8, 0.8],
    "xielu.alpha_p": [0.8, 0.8],
    "xielu.beta": [0.5, 0.5],
    "xielu.eps": [-1e-6, -1e-6],
    "swiglu_clamp_exp": [7.0, 7.0],
    "swiglu_clamp_shexp": [7.0, 7.0],
    "hyper_connection.count": 4,
    "hyper_connection.sinkhorn_iterations": 4,
    "hyper_connection.epsilon": 1e-6,
    "hyper_connection.magnitude": 1.0,
    "hyper_connection.low_rank": 16,
    "hash_layer_count": 0,
    "hrm.layers_per_stack": 1,
    "hrm.h_cycles": 1,
    "hrm.l_cycles": 1,
}
KINDS: tuple[Mapping[str, Any], ...] = tuple(
    {**many, **experts, **heads, **window}
    for window, many, heads, experts in product(
        ({}, _WINDOW), ({}, _SIX_LAYERS), ({}, _ALL_HEADS, LATENT, _MIXED), (EXPERTS, {})
    )
)
