"""What a model will need of the GPUs' memory, told by its file before it is loaded."""

from __future__ import annotations

from spec_local.gguf.header import GGUFHeader
from spec_local.llama.cache_bytes import cache_bytes
from spec_local.llama.fit import Demand
from spec_local.llama.options import LoadOptions

_ROWS = 33
"""Rows of logits that an evaluation of a session gives at most, unless it is told otherwise."""
_FLOAT, _HALF = 4, 2
_RESIDUAL, _INNER = 4, 3
"""Vectors for each token that are there at once, at most: of the model's width, and of the width
inside a feed-forward network."""


def demand(header: GGUFHeader, options: LoadOptions, n_ctx: int) -> Demand:
    """Of a model of that file, and its contexts, each of n_ctx tokens."""
    weights, experts = header.tensors.layer_bytes, header.tensors.expert_bytes
    cached = [options.contexts * size for size in cache_bytes(header, options, n_ctx)]
    return Demand(
        layers=tuple(weights.get(layer, 0) + size for layer, size in enumerate(cached)),
        output=header.tensors.output_bytes,
        experts=tuple(experts.get(layer, 0) for layer in range(len(cached))),
        compute=options.contexts * compute_bytes(header, options, n_ctx),
        largest=header.tensors.largest_matrix,
    )


def compute_bytes(header: GGUFHeader, options: LoadOptions, n_ctx: int) -> int:
    """Bytes of the buffers for one evaluation, by its largest tensors; about what llama.cpp takes.

    Logits, the mask of attention in two types, without flash attention the scores of all heads, and
    a few vectors for each token.
    """
    number, tokens = header.hyperparameter, min(options.n_ubatch, options.n_batch, n_ctx)
    used = number("expert_used_count") * number("expert_feed_forward_length")
    inner = max(number("feed_forward_length"), used)
    vectors = _RESIDUAL * number("embedding_length") + _INNER * inner
    mask = n_ctx * (_FLOAT + _HALF)
    scores = n_ctx * number("attention.head_count") * _FLOAT
    if options.flash_attention != "off":
        scores = 0
    logits = min(_ROWS, options.n_batch) * header.n_vocab * _FLOAT
    return logits + tokens * (mask + scores + vectors * _FLOAT)
