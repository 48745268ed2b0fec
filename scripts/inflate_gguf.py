"""Write a model with the text of a small one at the cost of a bigger one, to benchmark against.

    python scripts/inflate_gguf.py qwen2.5-coder-1.5b.gguf inflated.gguf --cost 4.5

Layers are added after the last one: copies of the model's own, in turn, but with `attn_output` and
`ffn_down` zero, so that they add nothing to what passes through. In a mixture of experts these are
`ffn_down_exps` and the like: its tokens go on choosing experts of their own. The text and the
acceptance of a draft's tokens are the original's, while every token is computed through all layers.

Logits are the original's to the last bit when all of a batch are read. Of others the low bits may
differ: llama.cpp computes the last layer's feed-forward only for the tokens whose logits are read,
and the original's last layer is no longer the last.
"""

import argparse
from dataclasses import dataclass
from itertools import cycle, islice, takewhile
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader, GGUFValueType
from gguf.quants import dequantize

from spec_local.errors import ModelFileError, SpecLocalError, require
from spec_local.gguf.copying import (
    TensorCopy,
    Value,
    appears_whole,
    check_places,
    read_metadata,
    write_model,
)
from spec_local.gguf.header import TOKEN_MAP, GGUFHeader
from spec_local.llama.model import Model
from spec_local.llama.options import LoadOptions
from spec_local.llama.session import Session
from spec_local.sampling.types import Logits

Layer = dict[str, Any]
"""A layer's tensors by their names within it."""

ATTENTION = {"attn_output.weight"}
FEED_FORWARD = {"ffn_down.weight", "ffn_down_exps.weight"}
"""Of these a layer has one."""
ZEROED = {
    *(ATTENTION | FEED_FORWARD),
    *("attn_output.bias", "ffn_down.bias", "ffn_down_shexp.weight"),
}
"""Where all comes from that a layer adds to what passes through it."""

PASS_ZEROS = {"post_attention_norm.weight", "post_ffw_norm.weight"}
"""Norms of what the zeroed tensors give; biases of theirs would be added after all."""

INNER = (
    *("attn_norm", "attn_q", "attn_k", "attn_v", "attn_qkv", "attn_q_norm", "attn_k_norm"),
    *("ffn_norm", "ffn_gate", "ffn_up", "ffn_gate_inp", "ffn_gate_exps", "ffn_up_exps"),
    *("ffn_gate_inp_shexp", "ffn_gate_shexp", "ffn_up_shexp"),
)
KNOWN = ZEROED | PASS_ZEROS | {f"{name}.{part}" for name in INNER for part in ("weight", "bias")}

MOST_LAYERS = 512  # llama.cpp has room for these

SAMPLE = "def add(a, b):\n    return a + b\n"
"""What is put through both models in the end: their logits must be the same."""
SAMPLE_TOKENS = 16


@dataclass(frozen=True)
class Inflated:
    """What was written. Weights are the bytes that every token is computed with."""

    source_layers: int
    layers: int
    source_weights: int
    weights: int
    bytes: int

    def __str__(self) -> str:
        ratio = self.weights / self.source_weights
        return (
            f"{self.layers} layers instead of {self.source_layers}, {self.bytes:,} bytes; "
            f"{self.weights:,} bytes of weights per token, {ratio:.2f} times the original's.\n"
            "The text is the original's at the cost of a bigger model; say so with every figure."
        )


def inflate(
    source: Path, out: Path, *, layers: int | None = None, cost: float | None = None
) -> Inflated:
    """Write the source with so many layers, or so many times its weights per token, to `out`.

    Raises ModelFileError for a source whose text might change or a file that cannot be written,
    ConfigError for what does not make sense.
    """
    require((layers is None) != (cost is None), "Give the number of layers or the cost.")
    header = check_places(source, out)
    if TOKEN_MAP in header.metadata:
        raise ModelFileError(f"{source.name} is a trimmed draft; inflate the original.")
    reader = GGUFReader(source)
    own, used = layers_of(reader, source.name), share_used(header)
    n_own = len(own)
    if cost is not None:
        require(cost > 1, f"A cost of {cost:g} needs no more layers; ask for more than 1.")
        counts = range(n_own, MOST_LAYERS + 1)
        enough = cost * weights(reader, own, n_own, used)
        cheap = takewhile(lambda n: weights(reader, own, n, used) < enough, counts)
        layers = n_own + sum(1 for _ in cheap)
    assert layers is not None
    require(layers > n_own, f"{source.name} has {n_own} layers already; ask for more.")
    require(layers <= MOST_LAYERS, f"llama.cpp has room for {MOST_LAYERS} layers; ask for less.")

    tensors = [copy(tensor.name, tensor) for tensor in reader.tensors]
    for i in range(n_own, layers):
        for name, tensor in own[i % n_own].items():
            tensors.append(copy(f"blk.{i}.{name}", tensor, zero=name in ZEROED))
    metadata = in_metadata(read_metadata(reader), header.architecture, n_own, layers, source.stem)
    with appears_whole(out) as unfinished:
        write_model(unfinished, header.architecture, metadata, tensors)
        if not np.array_equal(sample_logits(source), sample_logits(unfinished)):
            raise ModelFileError(
                f"{source.name} cannot be inflated to {layers} layers: with so many, llama.cpp "
                "does not give the original's logits."
            )
    return Inflated(
        source_layers=n_own,
        layers=layers,
        source_weights=weights(reader, own, n_own, used),
        weights=weights(reader, own, layers, used),
        bytes=out.stat().st_size,
    )


def layers_of(reader: GGUFReader, name: str) -> list[Layer]:
    """The model's layers, if it is certain what each adds to what passes through it."""
    found: dict[int, Layer] = {}
    for tensor in reader.tensors:
        if tensor.name.startswith("blk."):
            _blk, number, rest = tensor.name.split(".", 2)
            found.setdefault(int(number), {})[rest] = tensor
    for i, layer in found.items():
        unknown, missing = sorted(layer.keys() - KNOWN), sorted(ATTENTION - layer.keys())
        if not FEED_FORWARD & layer.keys():
            missing.append(min(FEED_FORWARD))
        if unknown or missing:
            what = f"has {unknown[0]}" if unknown else f"lacks {missing[0]}"
            raise ModelFileError(
                f"{name} cannot be inflated: layer {i} {what}, so it is no plain attention layer."
            )
        for tensor in (layer[zeroed] for zeroed in ZEROED & layer.keys()):
            if not zeros_are_zero(tensor):
                raise ModelFileError(
                    f"{name} cannot be inflated: how {tensor.tensor_type.name} writes 0 is unknown."
                )
    if not found:
        raise ModelFileError(f"{name} cannot be inflated: it is no decoder with layers.")
    return [found[i] for i in sorted(found)]


def zeros_are_zero(tensor: Any) -> bool:
    """Whether bytes that are all 0 mean numbers that are all 0 in the tensor's type."""
    try:
        return not dequantize(np.zeros_like(tensor.data[:1]), tensor.tensor_type).any()
    except NotImplementedError:
        return False


def share_used(header: GGUFHeader) -> float:
    """How many of its experts a token uses; 1.0 of a dense model."""
    count, used = map(header.hyperparameter, ("expert_count", "expert_used_count"))
    return used / count if count else 1.0


def weights(reader: GGUFReader, own: list[Layer], layers: int, used: float = 1.0) -> int:
    """Bytes of the tensors that a token is computed with; of an embedding it takes one row.

    used: how many of the experts that are there.
    """
    tensors = [tensor for tensor in reader.tensors if not tensor.name.startswith("blk.")]
    if any(tensor.name == "output.weight" for tensor in tensors):
        tensors = [tensor for tensor in tensors if tensor.name != "token_embd.weight"]
    for layer in islice(cycle(own), layers):
        tensors.extend(layer.values())
    return sum(int(t.n_bytes * (used if "_exps." in t.name else 1)) for t in tensors)


def copy(name: str, tensor: Any, *, zero: bool = False) -> TensorCopy:
    """A tensor under another name, zeroed if asked for."""
    return TensorCopy(name, tensor, tensor.data.shape, np.zeros_like if zero else np.asarray)


def in_metadata(
    metadata: dict[str, Value], architecture: str, n_own: int, layers: int, stem: str
) -> dict[str, Value]:
    """The source's, with as many layers as there are, and a name that says what it is."""
    name_key, count_key = "general.name", f"{architecture}.block_count"
    result = {name_key: (stem.encode(), GGUFValueType.STRING, None), **metadata}
    for key, (value, kind, item_kind) in metadata.items():
        per_layer = kind == GGUFValueType.ARRAY and len(value) == n_own
        if per_layer and key.startswith(f"{architecture}."):
            result[key] = (list(islice(cycle(value), layers)), kind, item_kind)
    result[count_key] = (layers, *metadata[count_key][1:])
    label = f" (text of {n_own} layers at the cost of {layers})"
    name, *kinds = result[name_key]
    result[name_key] = (name + label.encode(), *kinds)
    return result


def sample_logits(path: Path) -> Logits:
    """On the CPU, where as many tokens are always computed the same way; every token's."""
    with Model(path, LoadOptions(n_ctx=256, n_gpu_layers=0)) as model, Session(model) as session:
        tokens = model.vocab.tokenize(SAMPLE, add_special=True, parse_special=False)
        tokens = tokens[:SAMPLE_TOKENS]
        logits: Logits = session.evaluate(tokens, rows=len(tokens)).copy()
        return logits


def main() -> None:
    """Write the file and say what it costs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--layers", type=int, help="how many in all")
    size.add_argument("--cost", type=float, help="weights per token, in times the source's")
    arguments = parser.parse_args()
    try:
        print(
            inflate(arguments.source, arguments.out, layers=arguments.layers, cost=arguments.cost)
        )
    except SpecLocalError as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
