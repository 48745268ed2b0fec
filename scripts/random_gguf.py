"""Write a model of a real one's shape with random weights: its true costs, and a text of noise.

    python -m scripts.random_gguf 7B Q4_K_M 7B.gguf
    python -m scripts.random_gguf olmoe Q4_K_M olmoe.gguf --layers 6

Shapes are those of Qwen2.5 (1.5B, 7B, 32B), OLMoE 1B-7B (olmoe) and Qwen3 30B-A3B (qwen3moe), and
types are what llama.cpp's quantizer would give each matrix, so a token reads as many bytes as in
those models. Fewer layers get a smaller vocabulary in the same proportion. Blocks of random
numbers are written as they are, at the speed of the disk: nothing is quantized. Words of the
benchmark's prompts are tokens, so real text is many different tokens here, too.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import gguf
import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from numpy.typing import NDArray

from spec_local.gguf.copying import appears_whole
from spec_local.workloads.workloads import bundled

TYPES = ("Q4_K_M", "Q8_0", "F16")
_POOL = 1 << 24
"""Bytes of random blocks; a tensor is made of them, beginning anywhere."""
_N_CTX = 32_768


@dataclass(frozen=True)
class Shape:
    """Sizes of a decoder with attention, as in Qwen3; heads have 128 numbers."""

    layers: int
    width: int
    inner: int
    """Of a feed-forward network, or of one expert's."""
    heads: int
    kv_heads: int
    vocabulary: int
    tied: bool = False
    """Whether the embeddings are the output, too."""
    experts: int = 0
    used: int = 0
    """Of the experts, by each token."""
    head: int = 128

    def cut(self, layers: int) -> Shape:
        """With fewer layers, so that each is the same part of the whole as it was."""
        return replace(self, layers=layers, vocabulary=self.vocabulary * layers // self.layers)

    @property
    def dense(self) -> Shape:
        """With as many weights as a token of this one is computed with, and no experts."""
        return replace(self, inner=self.inner * max(1, self.used), experts=0, used=0)


SHAPES = {
    "1.5B": Shape(28, 1536, 8960, 12, 2, 151_936, tied=True),
    "7B": Shape(28, 3584, 18_944, 28, 4, 152_064),
    "32B": Shape(64, 5120, 27_648, 40, 8, 152_064),
    "olmoe": Shape(16, 2048, 1024, 16, 16, 50_304, experts=64, used=8),
    "qwen3moe": Shape(48, 2048, 768, 32, 4, 151_936, experts=128, used=8),
}


class Matrix(NamedTuple):
    """A tensor of random numbers; shape: the innermost dimension last."""

    name: str
    shape: tuple[int, ...]
    type: GGMLQuantizationType

    @property
    def stored(self) -> tuple[int, ...]:
        """The same in bytes."""
        numbers, size = GGML_QUANT_SIZES[self.type]
        return (*self.shape[:-1], self.shape[-1] // numbers * size)


def matrices(shape: Shape, file_type: str) -> Iterator[Matrix]:
    """What is multiplied with, in the order of the file."""
    yield _matrix("token_embd.weight", (shape.vocabulary, shape.width), file_type, shape.tied)
    if not shape.tied:
        yield _matrix("output.weight", (shape.vocabulary, shape.width), file_type, True)
    query, keys = shape.heads * shape.head, shape.kv_heads * shape.head
    each, suffix = ((shape.experts,), "_exps") if shape.experts else ((), "")
    for layer in range(shape.layers):
        finer = _is_finer(layer, shape.layers)
        for name, size, is_finer in (
            ("attn_q", (query, shape.width), False),
            ("attn_k", (keys, shape.width), False),
            ("attn_v", (keys, shape.width), finer),
            ("attn_output", (shape.width, query), False),
            (f"ffn_gate{suffix}", (*each, shape.inner, shape.width), False),
            (f"ffn_up{suffix}", (*each, shape.inner, shape.width), False),
            (f"ffn_down{suffix}", (*each, shape.width, shape.inner), finer),
        ):
            yield _matrix(f"blk.{layer}.{name}.weight", size, file_type, is_finer)
        if shape.experts:
            router = f"blk.{layer}.ffn_gate_inp.weight"
            yield Matrix(router, (shape.experts, shape.width), GGMLQuantizationType.F32)


def _matrix(name: str, shape: tuple[int, ...], file_type: str, finer: bool) -> Matrix:
    coarse = {"Q4_K_M": "Q4_K"}.get(file_type, file_type)
    kind = "Q6_K" if finer and file_type == "Q4_K_M" else coarse
    if kind.endswith("_K") and shape[-1] % 256:  # as llama.cpp does where no block fits
        kind = "Q8_0"
    return Matrix(name, shape, GGMLQuantizationType[kind])


def _is_finer(layer: int, layers: int) -> bool:
    """Which layers get more bits in Q4_K_M: `use_more_bits` of llama.cpp's llama-quant.cpp."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


def norms(shape: Shape) -> Iterator[tuple[str, int]]:
    """Names and lengths of the vectors that are all 1."""
    yield "output_norm.weight", shape.width
    for layer in range(shape.layers):
        for name, length in (
            ("attn_norm", shape.width),
            ("ffn_norm", shape.width),
            ("attn_q_norm", shape.head),
            ("attn_k_norm", shape.head),
        ):
            yield f"blk.{layer}.{name}.weight", length


def bytes_of(shape: Shape, file_type: str) -> int:
    """Of all weights in the file."""
    return sum(prod(matrix.stored) for matrix in matrices(shape, file_type))


def write(shape: Shape, file_type: str, out: Path, seed: int = 0) -> Path:
    """The model; replaces `out` once it is whole. Raises ModelFileError if that cannot be."""
    with appears_whole(out) as unfinished:
        writer = gguf.GGUFWriter(unfinished, "qwen3moe" if shape.experts else "qwen3")
        try:
            _add_keys(writer, shape)
            _add_vocabulary(writer, shape.vocabulary)
            _write_weights(writer, shape, file_type, np.random.default_rng(seed))
        finally:
            writer.close()
    return out


def _write_weights(
    writer: gguf.GGUFWriter, shape: Shape, file_type: str, rng: np.random.Generator
) -> None:
    every, ones = list(matrices(shape, file_type)), list(norms(shape))
    for each in every:
        byte = np.dtype(np.uint8)
        writer.add_tensor_info(each.name, each.stored, byte, prod(each.stored), each.type)
    for name, length in ones:
        writer.add_tensor_info(name, (length,), np.dtype(np.float32), 4 * length)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for each in every:
        writer.write_tensor_data(_weights(each, rng))
    for _name, length in ones:
        writer.write_tensor_data(np.ones(length, np.float32))


def _weights(matrix: Matrix, rng: np.random.Generator) -> NDArray[Any]:
    blocks = _blocks(matrix.type, matrix.shape[-1])
    count = prod(matrix.stored) // blocks.shape[1]
    begun = np.roll(blocks, -int(rng.integers(len(blocks))), axis=0)
    return np.resize(begun, (count, blocks.shape[1])).reshape(matrix.stored)


@cache
def _blocks(kind: GGMLQuantizationType, width: int) -> NDArray[np.uint8]:
    """Random blocks of a type, (blocks, bytes), whose numbers have a variance of 1 / width.

    Of the whole range of a type's numbers each is as likely as any other, so their standard
    deviation is known: 4.6 of 16 values, 18.5 of 64, 74 of 256.
    """
    numbers, size = GGML_QUANT_SIZES[kind]
    rng, scale = np.random.default_rng(0), 1 / np.sqrt(width)
    if kind in (GGMLQuantizationType.F16, GGMLQuantizationType.F32):
        kept = np.float16 if kind == GGMLQuantizationType.F16 else np.float32
        drawn = rng.normal(size=(_POOL // (size * 32), 32), scale=scale).astype(kept)
        return drawn.view(np.uint8)
    assert numbers > 1
    blocks = rng.integers(256, size=(_POOL // size, size), dtype=np.uint8)
    if kind == GGMLQuantizationType.Q8_0:  # d, 32 numbers
        blocks[:, :2] = _half(scale / 74)
    elif kind == GGMLQuantizationType.Q4_K:  # d, dmin, 12 bytes of scales and minima, 256 numbers
        blocks[:, :2], blocks[:, 2:4] = _half(scale / 4.6), _half(7.5 * scale / 4.6)
        blocks[:, 4:12], blocks[:, 12:16] = 1, 0x11  # all of them 1, so x = d q - dmin
    elif kind == GGMLQuantizationType.Q6_K:  # 256 numbers, 16 scales, d
        blocks[:, 192:208], blocks[:, 208:] = 1, _half(scale / 18.5)
    else:
        raise NotImplementedError(kind.name)
    return blocks


def _half(number: float) -> NDArray[np.uint8]:
    return np.array([number], np.float16).view(np.uint8)


def _add_keys(writer: gguf.GGUFWriter, shape: Shape) -> None:
    writer.add_name("random weights")
    writer.add_context_length(_N_CTX)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.inner * max(1, shape.used))
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head)
    writer.add_value_length(shape.head)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6)
    if shape.experts:
        writer.add_expert_count(shape.experts)
        writer.add_expert_used_count(shape.used)
        writer.add_expert_feed_forward_length(shape.inner)


def _add_vocabulary(writer: gguf.GGUFWriter, size: int) -> None:
    """Bytes, words of the prompts letter by letter, tokens that are never used, and the end."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    tokens = [*map(chr, printable), *(chr(256 + i) for i in range(len(others)))]
    merges = _merges(size - len(tokens) - 1)
    tokens += [merge.replace(" ", "") for merge in merges]
    kinds = [gguf.TokenType.NORMAL] * len(tokens)
    unused = size - len(tokens) - 1
    tokens += [*(f"<unused{i}>" for i in range(unused)), "<|endoftext|>"]
    kinds += [*[gguf.TokenType.UNUSED] * unused, gguf.TokenType.CONTROL]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_eos_token_id(size - 1)


def _merges(most: int) -> list[str]:
    """Byte-pair merges that make every word of the prompts one token, as GGUF spells them."""
    text = "\n".join(turn for prompt in bundled() for turn in prompt.turns)
    found = dict[str, None]()  # in their order
    for word in re.findall(r" ([A-Za-z]+)", text):
        found.update({f"Ġ{word[:i]} {word[i]}": None for i in range(len(word))})
    return list(found)[: max(0, most)]


def main() -> None:
    """Write the file and say what is in it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("type", choices=TYPES)
    parser.add_argument("out", type=Path)
    parser.add_argument("--layers", type=int, help="fewer than the model has")
    parser.add_argument("--dense", action="store_true", help="with what one token uses, no experts")
    how = parser.parse_args()
    shape = SHAPES[how.shape]
    shape = shape.cut(how.layers) if how.layers else shape
    shape = shape.dense if how.dense else shape
    write(shape, how.type, how.out)
    print(f"{how.out}: {how.out.stat().st_size:,} bytes of random weights, {shape}")


if __name__ == "__main__":
    main()
