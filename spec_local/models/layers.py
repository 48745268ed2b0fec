"""A draft from a target's own layers: some are kept, in their order, and nothing is trained.

What is kept is copied as it is, so such a draft has the target's vocabulary, embedding and head.
Early exit after k layers is the first k of them; leaving out single ones is what Draft & Verify
does (arXiv 2309.08168), there with the target's own cache. As a file of its own it works wherever a
draft model does, and costs memory and a cache of its own.

A layer's number may mean something to llama.cpp: which layers see only a window, have no positions
or have experts, even which size of a family it is. What metadata can say of it is put right
(`gguf/layer_keys.py`). Whether that was all is tried: the file must give the logits that the target
gives while the other layers are silenced in it (`llama/taps.py`), or it is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader, GGUFValueType

from spec_local.errors import ModelFileError, require
from spec_local.gguf.copying import (
    TensorCopy,
    Value,
    appears_whole,
    check_places,
    read_metadata,
    write_model,
)
from spec_local.gguf.header import check_model_file
from spec_local.gguf.layer_keys import layer_count, window_is_known, with_layers
from spec_local.llama.model import Model
from spec_local.llama.options import LoadOptions
from spec_local.llama.quantize import FILE_TYPES, quantize
from spec_local.llama.session import Session
from spec_local.llama.taps import LayerTaps
from spec_local.sampling.types import Logits
from spec_local.util.progress import Progress, Share, no_progress

Layers = tuple[int, ...]
"""Numbers of kept layers, ascending from 0."""

_LAYER = "blk."
_SAMPLE = (
    "def add(a, b):\n    return a + b\n\nThe sum of two numbers does not depend on their order. "
)
_SAMPLE_TOKENS = 24
_TOLERANCE = 1e-3
"""Of the logits' standard deviation. On a CPU both are equal to the last bit; other devices join
steps of the computation, and not the same ones."""


class InseparableLayers(ModelFileError):
    """Layers that, kept alone, do not compute what they do in the model, as far as can be seen."""


@dataclass(frozen=True, slots=True)
class Cut:
    """What was written."""

    kept: Layers
    source_layers: int
    source_bytes: int
    bytes: int


def parse_layers(text: str, layers: int) -> Layers:
    """The layers that words such as 0-7,27 name, of so many; raises ConfigError."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        known = first.isdecimal() and (last.isdecimal() or not dash)
        require(known, f"Layers are given like 0-7,27, and {part.strip()!r} is not.")
        span = range(int(first), int(last if dash else first) + 1)
        require(bool(span), f"{part.strip()} ends before it begins.")
        require(span[-1] < layers, f"There is no layer {span[-1]}; the last one is {layers - 1}.")
        found.update(span)
    return tuple(sorted(found))


def spell_layers(layers: Collection[int]) -> str:
    """The words for these layers: 0-7,27."""
    words, ordered = list[str](), sorted(layers)
    while ordered:
        run = next(n for n, i in enumerate([*ordered[1:], -1], 1) if i != ordered[n - 1] + 1)
        words.append(str(ordered[0]) if run == 1 else f"{ordered[0]}-{ordered[run - 1]}")
        del ordered[:run]
    return ",".join(words)


def require_writable(source: Path, out: Path, file_type: str | None, *, force: bool) -> int:
    """How many layers the source computes a token with, once it is certain that it can be cut.

    Raises ModelFileError or ConfigError.
    """
    layers = layer_count(check_places(source, out))
    if layers < 1:
        raise ModelFileError(f"{source.name} has no layers that could be kept.")
    require(force or not out.exists(), f"{out} is there already; add --force to replace it.")
    known = ", ".join(FILE_TYPES)
    require(file_type is None or file_type in FILE_TYPES, f"The type must be one of {known}.")
    return layers


def require_free_numbers(source: Path, directory: Path, progress: Progress) -> None:
    """Raise InseparableLayers if what the layers compute hangs on their numbers.

    A file of half of them is written to the directory to see that; all but the first have another
    number there.
    """
    layers = layer_count(check_model_file(source))
    if layers > 2:
        half = [0, *range(2, layers // 2 + 2)]
        keep_layers(source, directory / "half.gguf", half, progress=progress)


def keep_layers(
    source: Path,
    out: Path,
    kept: Sequence[int],
    *,
    file_type: str | None = None,
    force: bool = False,
    progress: Progress = no_progress,
) -> Cut:
    """Write a draft with these layers of the source to `out`, which appears when it is whole.

    kept: ascending. Layers that predict tokens further ahead (MTP) are left out. file_type:
    quantize to F16, Q8_0, Q4_K_M or Q4_0. force: replace a file that is there.
    Raises InseparableLayers for layers that would not compute what they did, ModelFileError for a
    file that cannot be read or written, ConfigError for what does not make sense.
    """
    layers = require_writable(source, out, file_type, force=force)
    require(bool(kept), "Keep at least one layer.")
    with appears_whole(out) as cut:
        whole = cut if file_type is None else cut.with_name("whole.gguf")
        _write(source, whole, kept, layers, partial(progress, "write"))
        _require_same(source, whole, kept, layers, progress)
        if file_type is not None:
            progress("quantize", 0.0)
            quantize(whole, cut, file_type)
    return Cut(tuple(kept), layers, source.stat().st_size, out.stat().st_size)


def _write(source: Path, out: Path, kept: Sequence[int], layers: int, progress: Share) -> None:
    progress(0.0)
    reader = GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    number = {layer: new for new, layer in enumerate(kept)}
    tensors = [copy for tensor in reader.tensors if (copy := _copied(tensor, number)) is not None]
    metadata = with_layers(read_metadata(reader), architecture, kept)
    _label(metadata, f" (layers {spell_layers(kept)} of {layers})", source.stem)
    write_model(out, architecture, metadata, tensors, progress)


def _copied(tensor: Any, number: dict[int, int]) -> TensorCopy | None:
    """The tensor under the new number of its layer; None if that is not kept."""
    name: str = tensor.name
    if name.startswith(_LAYER):
        layer, _dot, rest = name.removeprefix(_LAYER).partition(".")
        if int(layer) not in number:
            return None
        name = f"{_LAYER}{number[int(layer)]}.{rest}"
    return TensorCopy(name, tensor, tensor.data.shape, np.asarray)


def _label(metadata: dict[str, Value], label: str, stem: str) -> None:
    name, *kinds = metadata.get("general.name", (stem.encode(), GGUFValueType.STRING, None))
    metadata["general.name"] = (name + label.encode(), *kinds)


# ---- does it compute what it did -----------------------------------------------------------------


def _require_same(
    source: Path, cut: Path, kept: Sequence[int], layers: int, progress: Progress
) -> None:
    """Raise InseparableLayers unless the kept layers compute what they do in the source."""
    options = LoadOptions(n_ctx=256, n_gpu_layers=0)
    with Model(source, options, progress) as model:
        header, window = model.header, model.sliding_window
        if window and not window_is_known(header):
            raise InseparableLayers(
                f"Layers of {source.name} cannot be left out: the file does not say which of them "
                f"see only a window of {window:,} tokens."
            )
        model.taps = LayerTaps(header.hyperparameter("embedding_length"))
        model.taps.silence(set(range(layers)) - set(kept))
        expected = _sample_logits(model)
        model.taps.check()
        if not model.taps.silenced <= model.taps.seen:
            raise InseparableLayers(
                f"Layers of {source.name} cannot be left out: for {header.architecture} llama.cpp "
                "does not show what each of them gives, so that nothing could be tried."
            )
    try:
        with Model(cut, options, progress) as model:
            found = _sample_logits(model)
    except ModelFileError as error:
        raise InseparableLayers(
            f"Layers of {source.name} cannot be left out like this: llama.cpp does not load the "
            f"others alone ({str(error).rstrip('.')})."
        ) from None
    if not np.abs(found - expected).max() <= _TOLERANCE * expected.std():
        same_numbers = tuple(kept) == tuple(range(len(kept)))
        how = "with fewer of them" if same_numbers else "under other numbers"
        advice = "." if same_numbers else "; keep the first ones, such as --keep 0-7."
        raise InseparableLayers(
            f"Layers of {source.name} cannot be left out like this: {how} {header.architecture} "
            f"computes the others differently{advice}"
        )


def _sample_logits(model: Model) -> Logits:
    """Every token's, (tokens, n_vocab)."""
    with Session(model) as session:
        tokens = model.vocab.tokenize(_SAMPLE, add_special=True, parse_special=False)
        tokens = tokens[:_SAMPLE_TOKENS]
        logits: Logits = session.evaluate(tokens, rows=len(tokens)).copy()
        return logits
