"""Writing a GGUF model made of another one's parts: same metadata, same tensors, but for a few.

Tensors go from the source's map to the file one at a time, so memory does not limit their size.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gguf import GGUFValueType, GGUFWriter
from numpy.typing import NDArray

from spec_local.errors import ModelFileError, require
from spec_local.gguf.header import GGUFHeader, check_model_file, split_parts

Value = tuple[Any, GGUFValueType, GGUFValueType | None]
"""A metadata value, its type, and the type of its items if it is an array. Text is bytes."""


@dataclass(frozen=True, slots=True)
class TensorCopy:
    """A tensor to write, of the same type as one of the source's."""

    name: str
    source: Any
    """The source's tensor, as `gguf.GGUFReader` gives it."""
    shape: tuple[int, ...]
    """Shape of the data, which for quantized types are bytes."""
    data: Callable[[NDArray[Any]], NDArray[Any]]
    """From the source's data to what is written; called when it is this tensor's turn."""

    @property
    def n_bytes(self) -> int:
        """Bytes of the copy."""
        return math.prod(self.shape) * int(self.source.data.itemsize)


def check_places(source: Path, out: Path) -> GGUFHeader:
    """The header of a source that can be copied, once it is certain that `out` can be written."""
    if len(split_parts(source)) > 1:
        raise ModelFileError(
            f"{source.name} is split into parts; join them with `llama-gguf-split --merge` first."
        )
    header = check_model_file(source)
    require(out.parent.is_dir(), f"There is no directory {out.parent}; make it first.")
    require(not out.is_dir(), f"{out} is a directory; name the file to write.")
    require(not (out.exists() and out.samefile(source)), f"{out} is the source; name another file.")
    return header


@contextmanager
def appears_whole(out: Path) -> Iterator[Path]:
    """Where to write what takes the place of `out` in the end, if nothing goes wrong.

    Raises ModelFileError for a file that cannot be written.
    """
    try:
        # A directory beside the file holds what is unfinished, and goes whatever happens.
        with TemporaryDirectory(prefix=f"{out.name}.partial.", dir=out.parent) as directory:
            unfinished = Path(directory) / out.name
            yield unfinished
            os.replace(unfinished, out)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ModelFileError(f"{out} cannot be written: {reason}.") from None


def read_metadata(reader: Any) -> dict[str, Value]:
    """Every key of a `gguf.GGUFReader`, but for those the writer adds by itself."""
    return {
        key: _value(field)
        for key, field in reader.fields.items()
        if not key.startswith("GGUF.") and key != "general.architecture"
    }


def _value(field: Any) -> Value:
    """What a field holds; strings as bytes, so that they stay what they are."""
    kind, item_kind = field.types[0], field.types[-1]
    as_text = item_kind == GGUFValueType.STRING
    items = [
        field.parts[i].tobytes() if as_text else field.parts[i].tolist()[0] for i in field.data
    ]
    if kind == GGUFValueType.ARRAY:
        return items, kind, item_kind
    return items[0], kind, None


def write_model(
    out: Path,
    architecture: str,
    metadata: Mapping[str, Value],
    tensors: Sequence[TensorCopy],
    progress: Callable[[float], None] = lambda _fraction: None,
) -> None:
    """Write the file; progress is called with the fraction written, 0 to 1."""
    writer = GGUFWriter(out, arch=architecture)
    try:
        for key, (value, kind, item_kind) in metadata.items():
            if key == "general.alignment":
                writer.add_custom_alignment(value)
            elif kind != GGUFValueType.ARRAY or value:  # the format's writer has no empty arrays
                writer.add_key_value(key, value, kind, item_kind)
        for tensor in tensors:
            dtype, kind = tensor.source.data.dtype, tensor.source.tensor_type
            writer.add_tensor_info(tensor.name, tensor.shape, dtype, tensor.n_bytes, kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for i, tensor in enumerate(tensors):
            writer.write_tensor_data(tensor.data(tensor.source.data))
            progress((i + 1) / len(tensors))
    finally:
        writer.close()
