"""Devices by name and kind, what is said of those that are missing, and what llama.cpp is told."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from spec_local import ConfigError, LoadOptions, ModelFileError, Runner, Sampling
from spec_local.errors import NotEnoughMemory
from spec_local.llama import devices
from spec_local.llama.backend import lib
from spec_local.llama.devices import (
    CPU,
    Device,
    chosen,
    device_array,
    device_id,
    encoding_gpu,
    free_bytes,
    gpus,
    has_host_buffers,
    on_gpu,
)
from spec_local.llama.model import Model
from spec_local.llama.options import ALL, DraftOptions
from spec_local.llama.session import Session
from tests.zoo.recipes import recipes, write

pytestmark = pytest.mark.llama

CARDS = (
    Device(1, "CUDA0", "CUDA", "a card", 1),
    Device(2, "CUDA1", "CUDA", "another card", 1),
    Device(3, "Vulkan0", "Vulkan", "in the processor", 2),
    Device(4, "CPU", "CPU", "a processor", 0),
)
TOKENS = [1, 270, 271, 272]


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that tell no place of theirs, and an integrated one."""
    monkeypatch.setattr(devices, "devices", lambda: CARDS)
    monkeypatch.setattr(devices, "device_id", lambda _device: None)


def names(found: tuple[Device, ...]) -> list[str]:
    return [device.name for device in found]


def test_the_processor_is_here() -> None:
    (found,) = chosen(["cpu"])
    assert (found.name, found.backend, found.is_gpu) == (CPU, CPU, False)
    assert found in devices.devices()
    assert (free_bytes(found) or 0) > 0
    assert str(found) == f"CPU ({found.description})"


@pytest.mark.usefixtures("cards")
def test_names_and_kinds() -> None:
    assert names(chosen([])) == names(CARDS)
    assert names(chosen(["cuda"])) == ["CUDA0", "CUDA1"]
    assert names(chosen(["cuda1", "CUDA"])) == ["CUDA1", "CUDA0"]
    assert names(chosen(["vulkan", "cpu"])) == ["Vulkan0", "CPU"]


@pytest.mark.usefixtures("cards")
def test_layers_go_to_gpus_and_to_those_in_processors_only_if_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert names(gpus(LoadOptions())) == ["CUDA0", "CUDA1"]
    assert names(gpus(LoadOptions(devices=("vulkan",)))) == ["Vulkan0"]
    assert gpus(LoadOptions(devices=("cpu",))) == ()
    monkeypatch.setattr(devices, "devices", lambda: CARDS[2:])
    assert names(gpus(LoadOptions())) == ["Vulkan0"]


def test_a_card_is_taken_once_and_no_other_machine_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """As llama.cpp does it: two backends know the first card, and two the integrated one."""
    found = (
        CARDS[0],
        Device(5, "Vulkan1", "Vulkan", "a card", 1),
        Device(6, "Vulkan2", "Vulkan", "a third card", 1),
        CARDS[2],
        Device(7, "SYCL0", "SYCL", "in the processor", 2),
        Device(8, "RPC0", "RPC", "elsewhere", 1),
        CARDS[3],
    )
    places = {"CUDA0": b"0000:01:00.0", "Vulkan1": b"0000:01:00.0", "Vulkan2": b"0000:02:00.0"}
    monkeypatch.setattr(devices, "devices", lambda: found)
    monkeypatch.setattr(devices, "device_id", lambda device: places.get(device.name))
    assert names(gpus(LoadOptions())) == ["CUDA0", "Vulkan2"]
    assert names(gpus(LoadOptions(devices=("vulkan",)))) == ["Vulkan1", "Vulkan2", "Vulkan0"]
    monkeypatch.setattr(devices, "devices", lambda: found[3:])
    assert names(gpus(LoadOptions())) == ["Vulkan0"]


def test_what_a_device_tells_of_itself() -> None:
    (cpu,) = chosen(["cpu"])
    assert device_id(cpu) is None
    assert not has_host_buffers(cpu)


def test_an_image_encoder_is_on_the_first_card(monkeypatch: pytest.MonkeyPatch) -> None:
    for found, name in ((CARDS, "CUDA0"), (CARDS[2:], "Vulkan0"), (CARDS[::-1], "CUDA1")):
        monkeypatch.setattr(devices, "devices", lambda found=found: found)
        device = encoding_gpu()
        assert device is not None
        assert device.name == name
    monkeypatch.setattr(devices, "devices", lambda: CARDS[3:])
    assert encoding_gpu() is None


@pytest.mark.usefixtures("cards")
def test_a_model_may_be_on_a_gpu_or_not() -> None:
    assert on_gpu(LoadOptions())
    assert not on_gpu(LoadOptions(n_gpu_layers=0))
    assert not on_gpu(LoadOptions(devices=("cpu",)))


@pytest.mark.usefixtures("cards")
def test_the_list_for_llama_cpp_has_no_processor() -> None:
    assert device_array(LoadOptions()) is None
    found = device_array(LoadOptions(devices=("CUDA1", "cpu")))
    assert found is not None
    assert list(found) == [2, None]
    none = device_array(LoadOptions(devices=("cpu",)))
    assert none is not None
    assert list(none) == [None]


@pytest.mark.usefixtures("cards")
def test_a_division_names_no_more_gpus_than_there_are() -> None:
    assert len(gpus(LoadOptions(tensor_split=(3, 1)))) == 2
    with pytest.raises(ConfigError, match=r"split has 3 parts and there are 2 GPUs; give one for"):
        gpus(LoadOptions(tensor_split=(3, 1, 1)))


def sentence(name: str) -> str:
    with pytest.raises(ConfigError) as caught:
        chosen([name])
    return str(caught.value)


def test_devices_that_are_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "devices", lambda: CARDS[3:])
    assert sentence("TPU7") == "There is no device 'TPU7' here; choose from: CPU."
    monkeypatch.setattr("spec_local.llama.devices.sys.platform", "linux")
    assert sentence("metal") == "Metal is of Apple's machines alone; choose from: CPU."
    monkeypatch.setattr(devices, "version", lambda _name: "1.2.3")
    monkeypatch.setattr(
        devices, "_api", lambda: SimpleNamespace(ggml_backend_reg_by_name=lambda _name: None)
    )
    assert sentence("cuda") == (
        "llama.cpp is built without cuda here; build it again: "
        'CMAKE_ARGS="-DGGML_CUDA=on" pip install --force-reinstall --no-deps --no-cache-dir '
        "--no-binary llama-cpp-python llama-cpp-python==1.2.3"
    )
    assert 'CMAKE_ARGS="-DGGML_HIP=on"' in sentence("rocm")
    monkeypatch.setattr("spec_local.llama.devices.sys.platform", "darwin")
    assert 'CMAKE_ARGS="-DGGML_METAL=on"' in sentence("Metal")


def test_a_driver_that_finds_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[bytes]()

    def registered(name: bytes) -> int:
        asked.append(name)
        return 1

    monkeypatch.setattr(devices, "devices", lambda: CARDS[3:])
    monkeypatch.setattr(
        devices, "_api", lambda: SimpleNamespace(ggml_backend_reg_by_name=registered)
    )
    assert sentence("rocm") == (
        "llama.cpp is built for rocm and finds no such device; check that the driver sees it, or "
        "choose from: CPU."
    )
    assert asked == [b"ROCm"]


def test_a_missing_device_is_said_before_anything_is_loaded(tiny: Path, tmp_path: Path) -> None:
    for options in (
        LoadOptions(devices=("TPU7",)),
        LoadOptions(draft=DraftOptions(devices=("TPU7",))),
    ):
        with pytest.raises(ConfigError, match="no device 'TPU7'"):
            Model(tiny, options)
        with pytest.raises(ConfigError, match="no device 'TPU7'"):
            Runner.load(target=tmp_path / "not-there.gguf", options=options)


def test_on_the_processor_by_name(tiny: Path) -> None:
    with Model(tiny) as model, Session(model) as session:
        row = session.evaluate(TOKENS)[-1].copy()
    named = LoadOptions(devices=("cpu",))
    with Model(tiny, named) as model, Session(model) as session:
        assert (session.evaluate(TOKENS)[-1] == row).all()
        assert model.identity["devices"] == str(chosen(["cpu"])[0])


def told(tiny: Path, options: LoadOptions, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What llama.cpp is told of where to keep a model."""
    found = list[Any]()

    def refusing(_path: bytes, params: Any) -> None:
        found.append(params)
        found.append([params.tensor_split[i] for i in range(2)] if params.tensor_split else None)

    with monkeypatch.context() as patch:
        patch.setattr(lib, "llama_model_load_from_file", refusing)
        with pytest.raises(ModelFileError, match="gave no reason"):
            Model(tiny, options)
    return found


def test_options_reach_llama_cpp(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params, split = told(tiny, LoadOptions(), monkeypatch)
    assert (params.n_gpu_layers, params.devices, split) == (ALL, None, None)
    assert params.tensor_buft_overrides is None
    options = LoadOptions(n_gpu_layers=17, tensor_split=(1.0,), n_cpu_moe=1, devices=("cpu",))
    params, split = told(tiny, options, monkeypatch)
    assert (params.n_gpu_layers, split) == (17, [1.0, 0.0])
    assert params.devices
    assert params.tensor_buft_overrides
    everything, _split = told(tiny, LoadOptions(n_cpu_moe=2**31 - 1), monkeypatch)
    assert everything.tensor_buft_overrides


@pytest.mark.parametrize(("kept", "layers"), [(1, {0}), (ALL, {0, 1}), (5, {0, 1})])
def test_experts_on_the_processor_write_the_same(
    kept: int, layers: set[int], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write(recipes()["qwen3moe"], tmp_path / "experts.gguf")
    usual = LoadOptions(n_ctx=256, n_threads=1)
    with Model(path, usual) as model, Session(model) as session:
        plain = session.evaluate(TOKENS)[-1].copy()
    caplog.set_level(logging.DEBUG, "spec_local.llama")
    options = LoadOptions(n_ctx=256, n_threads=1, n_cpu_moe=kept)
    with Model(path, options) as model, Session(model) as session:
        assert (session.evaluate(TOKENS)[-1] == plain).all()
        assert model.identity["cpu_moe"] == kept
    moved = [r.getMessage() for r in caplog.records if "type overridden to CPU" in r.getMessage()]
    assert {int(line.split("blk.")[1].split(".")[0]) for line in moved} == layers
    assert all("_exps" in line for line in moved)


def test_a_draft_has_options_of_its_own(tiny: Path, tiny_draft: Path) -> None:
    own = DraftOptions(n_threads=1, n_gpu_layers=0, devices=("cpu",), kv_type_k="bf16")
    options = LoadOptions(n_ctx=256, n_threads=2, draft=own)
    with Runner.load(target=tiny, draft=tiny_draft, drafter="model", options=options) as runner:
        assert runner.draft is not None
        found = runner.draft.model.options
        assert (found.n_threads, found.n_gpu_layers, found.devices) == (1, 0, ("cpu",))
        assert (found.kv_type_k, found.kv_type_v) == ("bf16", "f16")
        assert lib.llama_n_threads(runner.draft.handle) == 1
        assert runner.target.model.options.kv_type_k == "f16"
        drafted = runner.complete("abc abc", max_tokens=8, sampling=Sampling(temperature=0.0))
    with Runner.load(target=tiny, drafter="none", options=LoadOptions(n_ctx=256)) as runner:
        plain = runner.complete("abc abc", max_tokens=8, sampling=Sampling(temperature=0.0))
    assert drafted.tokens == plain.tokens


def buffers(kind: str) -> str:
    return f"alloc_tensor_range: failed to allocate {kind} buffer of size 7"


@pytest.mark.parametrize(
    ("errors", "of_machine"),
    [
        (["ggml_backend_cuda_buffer_type_alloc_buffer: cudaMalloc failed: out of memory"], False),
        (["failed to allocate buffer, size = 7.00 MiB", buffers("MTL0")], False),
        (["ggml_aligned_malloc: insufficient memory", buffers("CPU")], True),
        (
            [buffers("CPU_REPACK"), "error loading model: unable to allocate CPU_REPACK buffer"],
            True,
        ),
        ([buffers("CUDA_Host")], True),
    ],
)
def test_weights_without_room_are_a_sentence(
    errors: list[str], of_machine: bool, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Errors:
        def __enter__(self) -> list[str]:
            return errors

        def __exit__(self, *_: object) -> None:
            """Nothing was collected."""

    monkeypatch.setattr("spec_local.llama.load.collected_errors", Errors)
    monkeypatch.setattr("spec_local.llama.load.on_gpu", lambda _options: True)
    monkeypatch.setattr(lib, "llama_model_load_from_file", lambda *_: None)
    with pytest.raises(NotEnoughMemory) as caught:
        Model(tiny)
    advice = "choose a smaller model" if of_machine else "give --gpu-layers fewer, or choose a"
    assert str(caught.value).startswith(
        f"tiny.gguf does not fit into the memory that is free ({errors[0]}); {advice}"
    )
    assert caught.value.of_machine is of_machine
