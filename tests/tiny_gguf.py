"""Tiny random GGUF models of several memory kinds, so that llama.cpp itself is tested offline.

Their text is noise, but their rollback, limits and errors are those of real models.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import gguf
import numpy as np

N_EMBD, N_HEAD, N_KV, HEAD, N_FF = 64, 4, 2, 16, 96
LETTERS = " abcdefghijklmnopqrstuvwxyz.,!?\n"
MERGES = (
    "t h",
    "th e",
    "i n",
    "in g",
    "e r",
    "o n",
    "a n",
    "an d",
    "Ġ the",
    "Ġ and",
    "Ġ o",
    "Ġo n",
)
"""Byte-pair merges of the BPE vocabulary, as GGUF spells them; Ġ is a space."""
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + "
    "message['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def write_tiny(  # noqa: PLR0913 - what a tiny model may be like, by keyword
    path: Path,
    arch: str = "llama",
    *,
    seed: int = 0,
    template: str | None = CHATML,
    extra_tokens: int = 0,
    control: Sequence[str] = (),
    letters: str = LETTERS,
    bpe: bool = False,
    pre: str = "gpt-2",
    n_ctx: int = 4096,
    tied: bool = False,
    token_map: Sequence[int] = (),
    add_eos: bool = False,
    mask: int | None = None,
) -> Path:
    """arch: llama (attention), gemma3 (window), mamba (recurrent), gpt2 (learned positions).

    bpe: a byte-pair vocabulary instead of a sentencepiece-like one, whose texts are split as `pre`
    says. n_ctx: what it was trained with. tied: without an output head of its own. token_map: what
    marks a trimmed draft. control: more control tokens. add_eos: it wants one behind a text.
    mask: the mask token that it says it was trained with.
    """
    writer = gguf.GGUFWriter(path, arch)
    rng = np.random.default_rng(seed)
    layers = {"llama": 2, "gemma3": 6, "mamba": 2, "gpt2": 2}[arch]
    writer.add_context_length(n_ctx)
    writer.add_embedding_length(N_EMBD)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(N_FF)
    writer.add_head_count(N_HEAD)
    writer.add_head_count_kv(N_HEAD if arch == "gpt2" else N_KV)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_layer_norm_eps(1e-5)
    if arch == "gemma3":
        writer.add_key_length(HEAD)
        writer.add_value_length(HEAD)
        writer.add_sliding_window(32)
    if arch == "mamba":
        writer.add_ssm_conv_kernel(4)
        writer.add_ssm_inner_size(2 * N_EMBD)
        writer.add_ssm_state_size(16)
        writer.add_ssm_time_step_rank(4)
    vocabulary = (letters, extra_tokens, control)
    n_vocab = _add_bpe(writer, pre) if bpe else add_vocabulary(writer, *vocabulary)
    if add_eos:
        writer.add_add_eos_token(True)
    _add_draft_keys(writer, token_map, mask)
    if template is not None:
        writer.add_chat_template(template)

    def tensor(name: str, *shape: int, scale: float = 1.0, fill: float | None = None) -> None:
        noise = rng.normal(size=shape) * scale / np.sqrt(shape[-1])
        data = noise if fill is None else np.full(shape, fill)
        writer.add_tensor(name, data.astype(np.float32))

    # A large embedding keeps the tiny model's logits apart, so argmaxes are stable.
    tensor("token_embd.weight", n_vocab, N_EMBD, scale=12.0 if arch != "gemma3" else 4.0)
    tensor("output_norm.weight", N_EMBD, fill=1.0)
    if arch == "gpt2":
        tensor("position_embd.weight", n_ctx, N_EMBD)
        tensor("output_norm.bias", N_EMBD, fill=0.0)
    if not tied:
        tensor("output.weight", n_vocab, N_EMBD, scale=6.0)
    for i in range(layers):
        _add_layer(tensor, arch, f"blk.{i}.")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_draft_keys(writer: gguf.GGUFWriter, token_map: Sequence[int], mask: int | None) -> None:
    if token_map:
        writer.add_array("spec_local.draft.token_map", token_map)
    if mask is not None:
        writer.add_uint32("spec_local.pard.mask_token_id", mask)


def _add_layer(tensor: Callable[..., None], arch: str, name: str) -> None:
    tensor(name + "attn_norm.weight", N_EMBD, fill=1.0)
    if arch == "gpt2":
        _add_gpt2_layer(tensor, name)
        return
    if arch == "mamba":
        inner = 2 * N_EMBD
        tensor(name + "ssm_in.weight", 2 * inner, N_EMBD)
        tensor(name + "ssm_conv1d.weight", inner, 4)
        tensor(name + "ssm_conv1d.bias", inner)
        tensor(name + "ssm_x.weight", 4 + 32, inner)
        tensor(name + "ssm_dt.weight", inner, 4)
        tensor(name + "ssm_dt.bias", inner)
        tensor(name + "ssm_a", inner, 16, fill=-1.0)  # a state that decays
        tensor(name + "ssm_d", inner, fill=1.0)
        tensor(name + "ssm_out.weight", N_EMBD, inner)
        return
    tensor(name + "attn_q.weight", N_HEAD * HEAD, N_EMBD, scale=3.0)
    tensor(name + "attn_k.weight", N_KV * HEAD, N_EMBD, scale=3.0)
    tensor(name + "attn_v.weight", N_KV * HEAD, N_EMBD)
    tensor(name + "attn_output.weight", N_EMBD, N_HEAD * HEAD)
    tensor(name + "ffn_norm.weight", N_EMBD, fill=1.0)
    tensor(name + "ffn_gate.weight", N_FF, N_EMBD)
    tensor(name + "ffn_up.weight", N_FF, N_EMBD)
    tensor(name + "ffn_down.weight", N_EMBD, N_FF)
    if arch == "gemma3":
        tensor(name + "attn_q_norm.weight", HEAD, fill=1.0)
        tensor(name + "attn_k_norm.weight", HEAD, fill=1.0)
        tensor(name + "post_attention_norm.weight", N_EMBD, fill=1.0)
        tensor(name + "post_ffw_norm.weight", N_EMBD, fill=1.0)


def _add_gpt2_layer(tensor: Callable[..., None], name: str) -> None:
    tensor(name + "attn_norm.bias", N_EMBD, fill=0.0)
    tensor(name + "ffn_norm.weight", N_EMBD, fill=1.0)
    tensor(name + "ffn_norm.bias", N_EMBD, fill=0.0)
    for part, rows, columns in (
        ("attn_qkv", 3 * N_EMBD, N_EMBD),
        ("attn_output", N_EMBD, N_EMBD),
        ("ffn_up", N_FF, N_EMBD),
        ("ffn_down", N_EMBD, N_FF),
    ):
        tensor(f"{name}{part}.weight", rows, columns, scale=3.0)
        tensor(f"{name}{part}.bias", rows, fill=0.0)


def add_vocabulary(
    writer: gguf.GGUFWriter, letters: str, extra_tokens: int = 0, more_control: Sequence[str] = ()
) -> int:
    """A sentencepiece-like vocabulary: specials, bytes, letters; returns how many tokens."""
    control = ["<unk>", "<s>", "<|im_end|>", "<|im_start|>"]
    raw = [f"<0x{byte:02X}>" for byte in range(256)]
    words = [letter.replace(" ", "\u2581") for letter in letters]
    words += [f"extra{i}" for i in range(extra_tokens)]
    kinds = [gguf.TokenType.UNKNOWN, *[gguf.TokenType.CONTROL] * 3]
    kinds += [gguf.TokenType.BYTE] * 256 + [gguf.TokenType.NORMAL] * len(words)
    kinds += [gguf.TokenType.CONTROL] * len(more_control)
    tokens = [*control, *raw, *words, *more_control]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)
    return len(tokens)


def _add_bpe(writer: gguf.GGUFWriter, pre: str) -> int:
    """Bytes, merged pairs, then specials of which one has a key and one has its spelling only."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    raw = [*map(chr, printable), *(chr(256 + i) for i in range(len(others)))]
    tokens = [*raw, *(merge.replace(" ", "") for merge in MERGES), "<|endoftext|>", "<|im_end|>"]
    kinds = [gguf.TokenType.NORMAL] * (len(tokens) - 2) + [gguf.TokenType.CONTROL] * 2
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(MERGES)
    writer.add_eos_token_id(len(tokens) - 2)
    return len(tokens)
