"""Cutting a draft model's vocabulary: the tokens that are worth proposing, and no others.

A small model spends a large part of its time on the output head, one row per token of the
vocabulary, though nearly all text is written with a fifth of them. A draft that lacks the others
proposes the same text faster; where it would have needed one of them it is wrong, and the target
writes the token itself. The idea is that of FR-Spec (arXiv 2502.14856) and of EAGLE-3's reduced
draft vocabulary.

Nothing is computed: kept rows of the embedding and of the output head are copied as they are, so
the logits of kept tokens are the source's. `spec_local.draft.token_map` in the file's metadata says
which token of the source each token was, and `trimmed.py` speaks the source's ids by it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader, GGUFValueType
from numpy.typing import NDArray

from spec_local.errors import ModelFileError, require
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
from spec_local.llama.quantize import FILE_TYPES, quantize
from spec_local.llama.vocab import Vocabulary
from spec_local.models.corpus import Counts, count_tokens, default_corpus
from spec_local.util.progress import Progress

TokenIds = NDArray[np.int64]
"""Ids of the source's tokens, shape (n,), ascending."""

Expected = Callable[[Vocabulary, Progress], Counts]
"""Says how often a target is expected to write each token of a draft's vocabulary."""

_TOKENIZERS = ("BPE", "SPM")
_ROWS_PER_TOKEN = frozenset(
    {"token_embd.weight", "output.weight", "output.bias", "per_layer_token_embd.weight"}
)
_TOKENS, _MERGES = "tokenizer.ggml.tokens", "tokenizer.ggml.merges"
_ONE_PER_TOKEN = frozenset({_TOKENS, "tokenizer.ggml.scores", "tokenizer.ggml.token_type"})
_ID_LIST = "tokenizer.ggml.suppress_tokens"
_ID_SUFFIX = "_token_id"
RARE = 2e-6
"""Share of the corpus below which a token's frequency is chance.

`scripts/fit_constants.py` compares others: 32,000 tokens kept of Qwen2.5-Coder could not write
4.7 % of its answers with this one, 7.6 % with all counts trusted, 5.3 % with none.
"""
RARE_EXPECTED = 5e-7
"""The same for what a target is expected to write, which chance changes less than counts.

A higher one serves English and code a little better, a lower one other languages.
"""
_GUESSED = ("bos", "eos", "eot")
"""Special tokens that llama.cpp guesses where the file is silent; it might guess others after."""


@dataclass(frozen=True, slots=True)
class Trimmed:
    """What came of it."""

    source_tokens: int
    tokens: int
    source_bytes: int
    bytes: int
    coverage: float
    """Share of the corpus' tokens that are kept ones."""


def trim(
    source: Path,
    out: Path,
    n_vocab: int,
    *,
    corpus: Sequence[str] | None = None,
    expected: Expected | None = None,
    file_type: str | None = None,
    force: bool = False,
    progress: Progress = lambda _stage, _fraction: None,
) -> Trimmed:
    """Write a draft with `n_vocab` of the source's tokens to `out`, which appears when it is whole.

    Kept are the tokens that must be (`required_tokens`), then those most frequent in the corpus'
    texts (see `corpus.py` for the default), then the lowest ids: vocabularies are in the order of
    how general their tokens are. expected: what a target writes, in place of a corpus.
    file_type: quantize to F16, Q8_0, Q4_K_M or Q4_0. force: replace a file that is there.
    Raises ModelFileError for a source that cannot be trimmed or a file that cannot be written,
    ConfigError for what does not make sense.
    """
    if TOKEN_MAP in check_places(source, out).metadata:
        raise ModelFileError(f"{source.name} has been trimmed already; trim the original.")
    require(force or not out.exists(), f"{out} is there already; add --force to replace it.")
    require(corpus is None or expected is None, "Give files or a target as the corpus, not both.")
    known = ", ".join(FILE_TYPES)
    require(file_type is None or file_type in FILE_TYPES, f"The type must be one of {known}.")
    with Model(source, progress=progress, vocab_only=True) as model:
        required = _required_if_possible(model, n_vocab)
        if expected is None:
            texts = default_corpus() if corpus is None else corpus
            counts = count_tokens(model.vocab, texts, partial(progress, "count tokens"))
            kept = choose_tokens(counts, required, n_vocab)
        else:
            counts = expected(model.vocab, progress)
            kept = choose_tokens(counts, required, n_vocab, RARE_EXPECTED)
        guessed = {name: model.vocab.special_ids.get(name) for name in _GUESSED}
    with appears_whole(out) as trimmed:
        whole = trimmed if file_type is None else trimmed.with_name("whole.gguf")
        _write(source, whole, kept, guessed, partial(progress, "write"))
        if file_type is not None:
            progress("quantize", 0.0)
            quantize(whole, trimmed, file_type)
    return Trimmed(
        source_tokens=len(counts),
        tokens=len(kept),
        source_bytes=source.stat().st_size,
        bytes=out.stat().st_size,
        coverage=float(counts[kept].sum() / counts.sum()),
    )


def _required_if_possible(model: Model, n_vocab: int) -> set[int]:
    """The tokens that must be kept, once it is certain that they can be and others can go."""
    name, vocab = model.path.name, model.vocab
    if vocab.kind not in _TOKENIZERS:
        raise ModelFileError(
            f"{name} has a tokenizer of kind {vocab.kind}; only those of kind "
            f"{' and '.join(_TOKENIZERS)} can be trimmed."
        )
    require(n_vocab < vocab.n_tokens, f"{name} has {vocab.n_tokens:,} tokens; keep fewer.")
    required = required_tokens(vocab, model.header)
    require(
        n_vocab >= len(required),
        f"{len(required):,} tokens of {name} must be kept (control tokens and single bytes); "
        "keep at least that many.",
    )
    return required


# ---- which tokens --------------------------------------------------------------------------------


def required_tokens(vocab: Vocabulary, header: GGUFHeader) -> set[int]:
    """Ids every draft needs: tokens that mean something, and single bytes to spell others with."""
    named = {
        value
        for key, value in header.metadata.items()
        if key.endswith(_ID_SUFFIX) and isinstance(value, int) and 0 <= value < vocab.n_tokens
    }
    return {
        *named,
        *vocab.special_ids.values(),
        *(i for i in range(vocab.n_tokens) if vocab.is_special(i) or len(vocab.piece(i)) == 1),
    }


def choose_tokens(
    counts: Counts, required: Collection[int], n_vocab: int, rare: float = RARE
) -> TokenIds:
    """The required tokens and the most frequent others, `n_vocab` in all; ascending.

    Of rare and equally frequent ones the lowest: how often those occur says more about the corpus
    than about what will be written.
    """
    rank = np.where(counts < rare * counts.sum(), 0.0, counts)
    rank[list(required)] = np.inf
    return np.sort(np.argsort(-rank, kind="stable")[:n_vocab])


# ---- the file ------------------------------------------------------------------------------------


def _write(
    source: Path,
    out: Path,
    kept: TokenIds,
    guessed: dict[str, int | None],
    progress: Callable[[float], None],
) -> None:
    """Copy the model with only the kept tokens; tensors go from map to file one at a time."""
    progress(0.0)
    reader = GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    metadata = read_metadata(reader)
    for name, token in guessed.items():
        if token is not None:
            key = f"tokenizer.ggml.{name}{_ID_SUFFIX}"
            metadata.setdefault(key, (token, GGUFValueType.UINT32, None))
    n_source = len(metadata[_TOKENS][0])
    tensors = [_kept_part(tensor, n_source, kept) for tensor in reader.tensors]
    write_model(out, architecture, _in_new_ids(metadata, architecture, kept), tensors, progress)


def _kept_part(tensor: Any, n_source: int, kept: TokenIds) -> TensorCopy:
    """The tensor's rows of kept tokens if it has one per token, else the whole."""
    shape = tensor.data.shape
    if tensor.name in _ROWS_PER_TOKEN and shape[0] == n_source:
        return TensorCopy(tensor.name, tensor, (len(kept), *shape[1:]), lambda data: data[kept])
    return TensorCopy(tensor.name, tensor, shape, lambda data: data)


def _in_new_ids(metadata: dict[str, Value], architecture: str, kept: TokenIds) -> dict[str, Value]:
    """Every key with its type; what speaks of tokens is put in the new ids."""
    new_id = {int(token): new for new, token in enumerate(kept)}
    texts = [metadata[_TOKENS][0][i] for i in kept]
    changed: dict[str, Callable[[Any], Any]] = {
        _MERGES: lambda merges: _merges_into(merges, set(texts)),
        _ID_LIST: lambda ids: [new_id[i] for i in ids if i in new_id],
        f"{architecture}.vocab_size": lambda _size: len(kept),
        **dict.fromkeys(_ONE_PER_TOKEN, lambda items: [items[i] for i in kept]),
    }
    result = {}
    for key, (value, kind, item_kind) in metadata.items():
        if key in changed:
            value = changed[key](value)
        elif key.endswith(_ID_SUFFIX):
            value = new_id.get(value, value)
        result[key] = (value, kind, item_kind)
    result[TOKEN_MAP] = (kept.tolist(), GGUFValueType.ARRAY, GGUFValueType.INT32)
    return result


def _merges_into(merges: list[bytes], texts: Collection[bytes]) -> list[bytes]:
    """The byte-pair merges whose result is kept.

    The others would make the tokenizer build words it has no token for, and then lose them. One
    merge stays in any case, because llama.cpp does not load a tokenizer without.
    """
    good = []
    for merge in merges:
        space = merge.find(b" ", 1)
        if merge[:space] + merge[space + 1 :] in texts:
            good.append(merge)
    return good or merges[:1]
