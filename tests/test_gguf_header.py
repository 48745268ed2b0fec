"""Damaged files are caught before llama.cpp sees them."""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spec_local.errors import ModelFileError
from spec_local.gguf.header import check_model_file, split_parts
from spec_local.llama.model import Model
from tests.tiny_gguf import write_tiny

pytestmark = pytest.mark.llama


def test_the_header_agrees_with_the_gguf_package(tiny: Path) -> None:
    header = check_model_file(tiny)
    reference = gguf.GGUFReader(tiny)
    assert header.architecture == "llama"
    assert header.hyperparameter("block_count") == 2
    assert header.data_bytes == sum(tensor.n_bytes for tensor in reference.tensors)
    for name, field in reference.fields.items():
        if not name.startswith("GGUF.") and len(field.types) == 1:
            assert header.metadata[name] == field.contents()


def test_per_layer_hyperparameters_give_the_largest(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "llama")
    writer.add_head_count_kv([2, 8, 4])
    writer.add_tensor("t", np.zeros(4, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    header = check_model_file(tmp_path / "x.gguf")
    assert header.hyperparameter("attention.head_count_kv") == 8
    assert header.hyperparameter("missing", 7) == 7


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04 not a model", "is not a GGUF file"),
        (b"GGUF", "cut short or garbled"),
        (b"GGUF" + struct.pack("<IQQ", 9, 0, 0), "has GGUF version 9"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 40), "garbled"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 5), "cut short or garbled"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1 << 60) + b"key", "cut short or garbled"),
    ],
)
def test_what_is_no_gguf_is_named(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=complaint):
        check_model_file(path)


def test_missing_files_and_directories(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="There is no file"):
        check_model_file(tmp_path / "none.gguf")
    with pytest.raises(ModelFileError, match="is a directory"):
        check_model_file(tmp_path)


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_damaged(tiny: Path, tmp_path: Path, kept: float) -> None:
    data = tiny.read_bytes()
    path = tmp_path / "cut.gguf"
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(ModelFileError, match="damaged") as caught:
        Model(path)
    assert "download it again" in str(caught.value)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_damage_in_the_header_never_crashes(
    tiny: Path, tmp_path: Path, data: st.DataObject
) -> None:
    content = bytearray(tiny.read_bytes()[:9_000])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "garbled.gguf"
    path.write_bytes(content)
    with suppress(ModelFileError):  # nearly always; never any other exception
        check_model_file(path)


@pytest.mark.parametrize(
    ("architecture", "kind", "advice"),
    [
        ("llama", "adapter", "is a LoRA adapter, which changes another model; give that one, and"),
        ("llama", "imatrix", "is an importance matrix, which serves for quantizing; give the"),
        ("clip", None, "reads pictures or sounds for a model in another file; give that one"),
        ("clip", "mmproj", "reads pictures or sounds for a model in another file; give that one"),
        ("llama", "mmproj", "reads pictures or sounds for a model in another file; give that one"),
    ],
)
def test_what_is_no_model_says_what_it_is(
    tmp_path: Path, architecture: str, kind: str | None, advice: str
) -> None:
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", architecture)
    if kind is not None:
        writer.add_type(kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with (tmp_path / "x.gguf").open("ab") as file:
        file.write(bytes(32))  # to where tensors would begin
    with pytest.raises(ModelFileError, match=rf"^x\.gguf {advice}"):
        check_model_file(tmp_path / "x.gguf")


@pytest.mark.parametrize("alignment", [0, "wide"])
def test_a_damaged_alignment_is_named(tmp_path: Path, alignment: object) -> None:
    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "llama")
    writer.add_key_value(
        "general.alignment",
        alignment,
        gguf.GGUFValueType.STRING if isinstance(alignment, str) else gguf.GGUFValueType.UINT32,
    )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(ModelFileError, match="alignment is no positive number"):
        check_model_file(tmp_path / "x.gguf")


def test_split_names() -> None:
    assert split_parts(Path("a/b.gguf")) == [Path("a/b.gguf")]
    parts = split_parts(Path("a/b-00001-of-00003.gguf"))
    assert [part.name for part in parts] == [f"b-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    with pytest.raises(ModelFileError, match=r"part 2 of a model; give b-00001-of-00003.gguf"):
        split_parts(Path("b-00002-of-00003.gguf"))


def test_a_missing_part_of_a_split_model_is_named(tiny: Path, tmp_path: Path) -> None:
    first = tmp_path / "m-00001-of-00002.gguf"
    first.write_bytes(tiny.read_bytes())
    with pytest.raises(ModelFileError, match=r"m-00002-of-00002.gguf"):
        Model(first)


def test_a_split_model_loads_from_its_first_part(tmp_path: Path) -> None:
    whole = write_tiny(tmp_path / "whole.gguf")
    reader = gguf.GGUFReader(whole)
    half = len(reader.tensors) // 2
    for number, tensors in enumerate((reader.tensors[:half], reader.tensors[half:])):
        path = tmp_path / f"part-0000{number + 1}-of-00002.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        if number == 0:
            _copy_fields(reader, writer)
        writer.add_uint16("split.no", number)
        writer.add_uint16("split.count", 2)
        writer.add_int32("split.tensors.count", len(reader.tensors))
        for tensor in tensors:
            writer.add_tensor(tensor.name, tensor.data)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    with Model(tmp_path / "part-00001-of-00002.gguf") as split, Model(whole) as model:
        assert split.size_bytes == model.size_bytes
        assert split.header.data_bytes == model.header.data_bytes


def _copy_fields(reader: gguf.GGUFReader, writer: gguf.GGUFWriter) -> None:
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name != "general.architecture":
            sub_type = field.types[1] if len(field.types) > 1 else None
            writer.add_key_value(name, field.contents(), field.types[0], sub_type)


@pytest.mark.parametrize(
    ("key", "complaint"), [("attention.causal", "cannot continue text"), (None, "cannot load")]
)
def test_models_that_cannot_write_are_refused(
    tiny: Path, tmp_path: Path, key: str | None, complaint: str
) -> None:
    reader = gguf.GGUFReader(tiny)
    path = tmp_path / "other.gguf"
    writer = gguf.GGUFWriter(path, "llama" if key else "no-such-architecture")
    _copy_fields(reader, writer)
    if key:
        writer.add_bool(f"llama.{key}", False)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ModelFileError, match=complaint):
        Model(path)
