"""Checking a GGUF file before llama.cpp sees it, because some damage aborts the whole process.

`gguf.GGUFReader` does the same but builds a numpy view per vocabulary entry: 7 to 9 seconds for a
vocabulary of 151,936 against 0.2 here. Type numbers and block sizes come from the gguf package.
The format is described in ggml's docs/gguf.md.
"""

from __future__ import annotations

import hashlib
import math
import mmap
import re
import struct
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

from spec_local.errors import ModelFileError
from spec_local.gguf.tensors import Tensor, TensorTable

TOKEN_MAP = "spec_local.draft.token_map"
"""Key of a trimmed draft's array of the source's token ids, one per token (`models/trim.py`)."""

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_DEFAULT_ALIGNMENT = 32
_MAX_ITEMS = 1 << 24  # more metadata keys or tensors than any model has: the counts are damaged
_MAX_KEPT = 1024  # longest array worth keeping: per-layer hyperparameters
_SCALARS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_TOKENS = "tokenizer.ggml.tokens"
_FINGERPRINTED = 30_000
"""Tokens whose spelling tells vocabularies apart. Models of one family differ in the last ones, by
which embeddings are padded."""
_PROJECTOR, _ADAPTER = "clip", ("adapter", "lora")
_NO_MODELS = {
    "adapter": "is a LoRA adapter, which changes another model; give that one, and this with "
    "--lora.",
    "imatrix": "is an importance matrix, which serves for quantizing; give the model itself.",
    "mmproj": "reads pictures or sounds for a model in another file; give that one.",
}
"""By `general.type`, what to do instead."""
_SPLIT_NAME = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")


@dataclass(frozen=True, slots=True)
class GGUFHeader:
    """What the header of a file says.

    Of arrays only short ones of numbers and the token map are kept, as tuples; else there is None.
    """

    metadata: dict[str, Any]
    tensors: TensorTable
    """Those of all parts of a split model."""
    n_vocab: int = 0
    """Tokens of its vocabulary; 0 if it has none."""
    vocabulary: str = ""
    """Fingerprint of the vocabulary: that of another size of the same family is the same."""
    digest: str = ""
    """Hash of the whole header, of all parts."""
    mappable: bool = True
    """Whether its tensors begin where llama.cpp can use them in the mapped file."""

    @property
    def data_bytes(self) -> int:
        """Bytes of tensor data."""
        return self.tensors.bytes

    @property
    def architecture(self) -> str:
        """Name of the model's architecture; empty if the file names none."""
        return str(self.metadata.get("general.architecture", ""))

    def hyperparameter(self, key: str, default: int = 0) -> int:
        """An integer such as `block_count` of the model; the largest where layers differ."""
        value = self.metadata.get(f"{self.architecture}.{key}", default)
        value = max(value, default=default) if isinstance(value, tuple) else value
        return value if isinstance(value, int) else default

    def in_layer(self, key: str, layer: int, default: int) -> int:
        """That of one layer."""
        value = self.metadata.get(f"{self.architecture}.{key}", default)
        if isinstance(value, tuple):
            value = value[layer] if layer < len(value) else default
        return value if isinstance(value, int) else default


def split_parts(path: Path) -> list[Path]:
    """The files of a model: all parts if the name says it is split, else the file itself.

    Raises ModelFileError for a part other than the first, which llama.cpp cannot start from.
    """
    match = _SPLIT_NAME.search(path.name)
    if not match:
        return [path]
    number, count = int(match[1]), int(match[2])
    stem = path.name[: match.start()]
    parts = [path.with_name(f"{stem}-{i:05d}-of-{count:05d}.gguf") for i in range(1, count + 1)]
    if number != 1:
        raise ModelFileError(f"{path.name} is part {number} of a model; give {parts[0].name}.")
    return parts


def model_bytes(path: Path) -> int:
    """Size of a model's file, or of all its parts; 0 if there is none."""
    try:
        return sum(part.stat().st_size for part in split_parts(path))
    except (OSError, ModelFileError):
        return 0


def check_model_file(path: Path) -> GGUFHeader:
    """Read the header of every part and check that each tensor lies inside its file.

    Raises ModelFileError with one sentence when a file is missing, no model, damaged or cut short.
    """
    headers = [_check_file(part) for part in split_parts(path)]
    _require_model(headers[0], path.name)
    return replace(
        headers[0],
        tensors=TensorTable(tuple(chain(*(header.tensors.entries for header in headers)))),
        digest=" ".join(header.digest for header in headers),
        mappable=all(header.mappable for header in headers),
    )


def check_image_encoder(path: Path) -> GGUFHeader:
    """Read the header of what is no model itself, but lets one see images.

    Raises ModelFileError with one sentence when it is missing, damaged or anything else.
    """
    header = _check_file(path)
    if header.architecture != _PROJECTOR:
        raise ModelFileError(f"{path.name} is no encoder of images; give the model's mmproj file.")
    return header


def check_adapter_file(path: Path) -> GGUFHeader:
    """Read the header of a LoRA adapter, which is no model itself.

    Raises ModelFileError with one sentence when it is missing, damaged or anything else.
    """
    header = _check_file(path)
    kind = header.metadata.get("general.type"), header.metadata.get("adapter.type")
    if kind != _ADAPTER:
        raise ModelFileError(
            f"{path.name} is no LoRA adapter; give one that llama.cpp's convert_lora_to_gguf.py "
            "has written."
        )
    return header


def _require_model(header: GGUFHeader, name: str) -> None:
    """Raise ModelFileError for what is kept in the same format and is no model by itself."""
    kind = "mmproj" if header.architecture == _PROJECTOR else header.metadata.get("general.type")
    if (other := _NO_MODELS.get(str(kind))) is not None:
        raise ModelFileError(f"{name} {other}")


def _check_file(path: Path) -> GGUFHeader:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _Reader(data, path.name).read()
    except FileNotFoundError:
        raise ModelFileError(f"There is no file {path}.") from None
    except IsADirectoryError:
        raise ModelFileError(f"{path} is a directory; give the .gguf file inside it.") from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise ModelFileError(f"{path} cannot be read: {reason}.") from None
    except ValueError:  # an empty file cannot be mapped
        raise ModelFileError(f"{path.name} is empty; download it again.") from None


class _Reader:
    """Walks the header once, front to back."""

    def __init__(self, data: mmap.mmap, name: str) -> None:
        self._data = data
        self._name = name
        self._at = len(_MAGIC)
        self._n_vocab, self._vocabulary = 0, ""

    def read(self) -> GGUFHeader:
        if self._data[: len(_MAGIC)] != _MAGIC:
            raise ModelFileError(f"{self._name} is not a GGUF file; choose a .gguf model.")
        try:
            return self._read()
        except (struct.error, OverflowError):
            raise self._damaged("its header is cut short or garbled") from None

    def _read(self) -> GGUFHeader:
        version = self._take("I")
        if version not in _VERSIONS:
            raise ModelFileError(
                f"{self._name} has GGUF version {version}; this release reads versions 2 and 3."
            )
        tensor_count, key_count = self._take("Q"), self._take("Q")
        if max(tensor_count, key_count) > _MAX_ITEMS:
            raise self._damaged("its header is garbled")
        metadata = dict(self._entry() for _ in range(key_count))
        tensors = tuple(self._tensor() for _ in range(tensor_count))
        end_of_header = self._at

        alignment = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1:
            raise self._damaged("its alignment is no positive number")
        start = math.ceil(end_of_header / alignment) * alignment
        end = max((tensor.offset + tensor.bytes for tensor in tensors), default=0)
        if start + end > len(self._data):
            missing = start + end - len(self._data)
            raise self._damaged(f"{missing:,} bytes are missing at its end")
        digest = hashlib.blake2b(self._data[:end_of_header], digest_size=16).hexdigest()
        mappable = alignment % _DEFAULT_ALIGNMENT == 0
        return GGUFHeader(
            metadata,
            TensorTable(tensors),
            self._n_vocab,
            self._vocabulary,
            digest,
            mappable,
        )

    def _tensor(self) -> Tensor:
        name = self._name_text()
        shape = tuple(self._take("Q") for _ in range(self._take("I")))
        kind, offset = self._take("I"), self._take("Q")
        try:
            known = GGMLQuantizationType(kind)
            block, block_bytes = GGML_QUANT_SIZES[known]
        except (ValueError, KeyError):
            return Tensor(name, shape, "", offset, 0)
        return Tensor(name, shape, known.name, offset, math.prod(shape) // block * block_bytes)

    def _entry(self) -> tuple[str, Any]:
        key, kind = self._name_text(), self._take("I")
        if kind in _SCALARS:
            return key, self._take(_SCALARS[kind])
        if kind == _STRING:
            return key, self._text()
        if kind == _ARRAY:
            return key, self._array(key)
        raise self._damaged(f"its header has a value of unknown type {kind}")

    def _array(self, key: str) -> tuple[Any, ...] | None:
        most = _MAX_ITEMS if key == TOKEN_MAP else _MAX_KEPT
        kind, length = self._take("I"), self._take("Q")
        if kind in _SCALARS:
            size = struct.calcsize("=" + _SCALARS[kind])
            start, self._at = self._at, self._at + length * size
            if length > most:
                return None
            return struct.unpack_from(f"<{length}{_SCALARS[kind]}", self._data, start)
        if kind != _STRING:
            raise self._damaged(f"its header has an array of unknown type {kind}")
        start = self._at
        self._skip_texts(min(length, _FINGERPRINTED))
        if key == _TOKENS:
            told = hashlib.blake2b(self._data[start : self._at], digest_size=8)
            self._n_vocab, self._vocabulary = length, told.hexdigest()
        self._skip_texts(length - min(length, _FINGERPRINTED))
        return None

    def _skip_texts(self, count: int) -> None:
        # A vocabulary has hundreds of thousands of entries, so this loop does nothing else.
        read, data, at = struct.Struct("<Q").unpack_from, self._data, self._at
        for _ in range(count):
            at += 8 + read(data, at)[0]
        self._at = at

    def _name_text(self) -> str:
        """A key or a tensor's name; what cannot be printed shows that the header is garbled."""
        name = self._text()
        if not name.isprintable() or "\ufffd" in name:
            raise struct.error
        return name

    def _text(self) -> str:
        length = self._take("Q")
        text = self._data[self._at : self._at + length]
        self._at += length
        if len(text) < length:
            raise struct.error
        return text.decode("utf-8", errors="replace")

    def _take(self, code: str) -> Any:
        value = struct.unpack_from("<" + code, self._data, self._at)[0]
        self._at += struct.calcsize("=" + code)
        return value

    def _damaged(self, why: str) -> ModelFileError:
        return ModelFileError(f"{self._name} is damaged: {why}; download it again.")
