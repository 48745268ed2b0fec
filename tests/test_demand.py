"""What models need of a GPU's memory, by headers that are made up."""

from __future__ import annotations

from typing import Any

import pytest

from spec_local.gguf.header import GGUFHeader
from spec_local.gguf.tensors import Tensor, TensorTable
from spec_local.llama.cache_bytes import cache_bytes
from spec_local.llama.demand import compute_bytes, demand
from spec_local.llama.options import LoadOptions


def header(
    arch: str, n_vocab: int = 0, tensors: dict[str, int] | None = None, **keys: Any
) -> GGUFHeader:
    """keys: with two underscores for a dot."""
    metadata = {f"{arch}.{key.replace('__', '.')}": value for key, value in keys.items()}
    table = (Tensor(name, (1, 1), "F16", 0, size) for name, size in (tensors or {}).items())
    known = {"general.architecture": arch, **metadata}
    return GGUFHeader(known, TensorTable(tuple(table)), n_vocab)


LLAMA_7B: dict[str, Any] = {
    "block_count": 32,
    "embedding_length": 4096,
    "feed_forward_length": 11008,
    "attention__head_count": 32,
    "attention__head_count_kv": 32,
}


@pytest.mark.parametrize(
    ("kv_type", "bytes_of_a_head"),
    [("f32", 512.0), ("f16", 256.0), ("bf16", 256.0), ("q8_0", 136.0), ("q4_0", 72.0)],
)
def test_keys_and_values_by_their_type(kv_type: Any, bytes_of_a_head: float) -> None:
    options = LoadOptions(kv_type_k=kv_type, kv_type_v=kv_type)
    each = 2 * 32 * bytes_of_a_head * 4096
    assert cache_bytes(header("llama", **LLAMA_7B), options, 4096) == (each,) * 32


def test_a_cache_has_whole_steps_of_cells() -> None:
    one, step = (cache_bytes(header("llama", **LLAMA_7B), LoadOptions(), n) for n in (1, 256))
    assert one == step == (256 * 2 * 32 * 256,) * 32


GEMMA: dict[str, Any] = {
    "block_count": 12,
    "embedding_length": 256,
    "attention__head_count": 4,
    "attention__head_count_kv": 2,
    "attention__key_length": 64,
    "attention__value_length": 64,
    "attention__sliding_window": 1024,
}
TOKEN = 2 * 2 * 64 * 2
"""Bytes: keys and values of two heads of 64 in f16."""


def test_a_window_keeps_what_it_sees_and_a_batch() -> None:
    found = cache_bytes(header("gemma3", **GEMMA), LoadOptions(), 32_768)
    windowed = (1024 + 512) * TOKEN
    assert found == ((windowed,) * 5 + (32_768 * TOKEN,)) * 2
    short = cache_bytes(header("gemma3", **GEMMA), LoadOptions(), 512)
    assert short == (512 * TOKEN,) * 12


def test_which_layers_have_a_window_may_be_said() -> None:
    said: dict[str, Any] = {"attention__sliding_window_pattern": (True, False) * 6}
    found = cache_bytes(header("other", **GEMMA, **said), LoadOptions(), 32_768)
    assert found == (1536 * TOKEN, 32_768 * TOKEN) * 6
    every_third: dict[str, Any] = {"attention__sliding_window_pattern": 3}
    found = cache_bytes(header("other", **GEMMA, **every_third), LoadOptions(), 32_768)
    assert found == (1536 * TOKEN, 1536 * TOKEN, 32_768 * TOKEN) * 4
    unknown = cache_bytes(header("other", **GEMMA), LoadOptions(), 32_768)
    assert unknown == (32_768 * TOKEN,) * 12


def test_latent_attention_keeps_keys_alone() -> None:
    deepseek = header(
        "deepseek2",
        block_count=2,
        attention__head_count=16,
        attention__head_count_kv=1,
        attention__key_length=576,
        attention__value_length=512,
        attention__key_length_mla=192,
    )
    assert cache_bytes(deepseek, LoadOptions(), 1024) == (576 * 2 * 1024,) * 2


STATE: dict[str, Any] = {"ssm__inner_size": 128, "ssm__state_size": 16, "ssm__conv_kernel": 4}
STATES = 9 * 4 * (16 * 128 + 3 * 128)
"""Bytes of the present one and eight before it."""


def test_running_states_are_of_one_size() -> None:
    mamba = header("mamba", block_count=3, embedding_length=64, **STATE)
    assert cache_bytes(mamba, LoadOptions(), 256) == (STATES,) * 3
    assert cache_bytes(mamba, LoadOptions(), 65_536) == (STATES,) * 3


def test_layers_of_two_kinds() -> None:
    heads: dict[str, Any] = {"embedding_length": 64, "attention__head_count": 4}
    cache = 256 * 2 * 2 * 16 * 2
    jamba = header("jamba", block_count=3, attention__head_count_kv=(0, 2, 0), **heads, **STATE)
    assert cache_bytes(jamba, LoadOptions(), 256) == (STATES, cache, STATES)
    qwen = header(
        "qwen3next",
        block_count=4,
        full_attention_interval=4,
        attention__head_count_kv=2,
        **heads,
        **STATE,
    )
    assert cache_bytes(qwen, LoadOptions(), 256) == (STATES, STATES, STATES, cache)
    falcon = header("falcon-h1", block_count=1, attention__head_count_kv=2, **heads, **STATE)
    assert cache_bytes(falcon, LoadOptions(), 256) == (cache + STATES,)


TENSORS = {
    "token_embd.weight": 1000,
    "blk.0.attn_q.weight": 30,
    "blk.0.ffn_up_exps.weight": 400,
    "blk.0.ffn_up_shexp.weight": 7,
    "blk.1.attn_q.weight": 31,
    "blk.1.ffn_gate_up_exps.weight": 500,
    "output_norm.weight": 5,
    "output.weight": 1100,
}
TWO_LAYERS: dict[str, Any] = {**LLAMA_7B, "block_count": 2}


def test_weights_by_where_they_are_kept() -> None:
    found = demand(header("llama", tensors=TENSORS, **TWO_LAYERS), LoadOptions(), 256)
    cache = 256 * 2 * 32 * 256
    assert found.layers == (437 + cache, 531 + cache)
    assert found.experts == (400, 500)
    assert found.output == 1105
    assert found.largest == 1100


def test_embeddings_that_are_the_output_are_there_twice() -> None:
    tied = {name: size for name, size in TENSORS.items() if name != "output.weight"}
    found = demand(header("llama", tensors=tied, **TWO_LAYERS), LoadOptions(), 256)
    assert (found.output, found.largest) == (1005, 1000)


def test_every_context_has_a_cache_and_buffers() -> None:
    model = header("llama", tensors=TENSORS, **TWO_LAYERS)
    one, four = (demand(model, LoadOptions(contexts=n), 256) for n in (1, 4))
    assert four.layers[0] - 437 == 4 * (one.layers[0] - 437)
    assert four.compute == 4 * one.compute


def test_buffers_of_an_evaluation() -> None:
    model = header("llama", n_vocab=32_000, **LLAMA_7B)
    # logits; for each of 512 tokens the mask in two types, 4 vectors of 4,096 and 3 of 11,008
    mask, vectors = 4096 * 6, (4 * 4096 + 3 * 11_008) * 4
    assert compute_bytes(model, LoadOptions(), 4096) == 33 * 32_000 * 4 + 512 * (mask + vectors)
    scores = 32 * 4096 * 4
    off = LoadOptions(flash_attention="off")
    assert compute_bytes(model, off, 4096) == 33 * 128_000 + 512 * (mask + vectors + scores)
    small = LoadOptions(n_batch=16)
    assert compute_bytes(model, small, 4096) == 16 * 128_000 + 16 * (mask + vectors)
