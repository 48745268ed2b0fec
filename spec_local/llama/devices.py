"""The devices this build of llama.cpp can compute on: their names, and their free memory."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from typing import NamedTuple

from spec_local.errors import ConfigError, require
from spec_local.llama.backend import libggml
from spec_local.llama.building import LLAMA, building
from spec_local.llama.options import LoadOptions
from spec_local.llama.rpc import RPC, endpoint, lent_by, watched

CPU = "CPU"
_GPU, _INTEGRATED = 1, 2
"""GGML_BACKEND_DEVICE_TYPE_GPU and _IGPU in ggml-backend.h."""
_BACKENDS = {"metal": "MTL", "rocm": "ROCm", "hip": "ROCm"}
"""What ggml calls a kind of device, where people call it otherwise."""
_FLAGS = {
    "cuda": "GGML_CUDA",
    "metal": "GGML_METAL",
    "vulkan": "GGML_VULKAN",
    "rocm": "GGML_HIP",
    "hip": "GGML_HIP",
    "sycl": "GGML_SYCL",
}
"""What llama.cpp is built with for a kind of device."""


class _Properties(ctypes.Structure):
    """ggml_backend_dev_props."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("description", ctypes.c_char_p),
        ("memory_free", ctypes.c_size_t),
        ("memory_total", ctypes.c_size_t),
        ("type", ctypes.c_int),
        ("device_id", ctypes.c_char_p),
        ("capabilities", ctypes.c_bool * 5),
    )


class Device(NamedTuple):
    """One of them."""

    handle: int
    name: str
    """Such as CPU, CUDA0 or MTL0."""
    backend: str
    """ggml's name of its kind, such as CPU, CUDA or MTL."""
    description: str
    """The processor's or the card's own name."""
    type: int

    @property
    def is_gpu(self) -> bool:
        """Whether layers can be put on it."""
        return self.type in (_GPU, _INTEGRATED)

    def __str__(self) -> str:
        return f"{self.name} ({self.description})"


@cache
def _api() -> ctypes.CDLL:
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    sizes = ctypes.POINTER(size)
    for name, result, arguments in (
        ("ggml_backend_dev_count", size, []),
        ("ggml_backend_dev_get", pointer, [size]),
        ("ggml_backend_dev_name", ctypes.c_char_p, [pointer]),
        ("ggml_backend_dev_description", ctypes.c_char_p, [pointer]),
        ("ggml_backend_dev_type", ctypes.c_int, [pointer]),
        ("ggml_backend_dev_memory", None, [pointer, sizes, sizes]),
        ("ggml_backend_dev_get_props", None, [pointer, ctypes.POINTER(_Properties)]),
        ("ggml_backend_dev_host_buffer_type", pointer, [pointer]),
        ("ggml_backend_dev_backend_reg", pointer, [pointer]),
        ("ggml_backend_reg_count", size, []),
        ("ggml_backend_reg_get", pointer, [size]),
        ("ggml_backend_reg_name", ctypes.c_char_p, [pointer]),
        ("ggml_backend_reg_by_name", pointer, [ctypes.c_char_p]),
        ("ggml_backend_cpu_buffer_type", pointer, []),
    ):
        function = getattr(libggml, name)
        function.restype, function.argtypes = result, arguments
    return libggml


@cache
def devices() -> tuple[Device, ...]:
    """All of them, in ggml's order."""
    api = _api()
    handles = map(api.ggml_backend_dev_get, range(api.ggml_backend_dev_count()))
    return tuple(
        Device(
            handle,
            api.ggml_backend_dev_name(handle).decode(),
            api.ggml_backend_reg_name(api.ggml_backend_dev_backend_reg(handle)).decode(),
            api.ggml_backend_dev_description(handle).decode(errors="replace"),
            api.ggml_backend_dev_type(handle),
        )
        for handle in handles
    )


def backends() -> tuple[str, ...]:
    """The kinds of devices that llama.cpp is built for: CPU, CUDA, MTL (Metal), Vulkan …"""
    api = _api()
    handles = map(api.ggml_backend_reg_get, range(api.ggml_backend_reg_count()))
    return tuple(api.ggml_backend_reg_name(handle).decode() for handle in handles)


def memory(device: Device) -> tuple[int, int]:
    """Its free bytes, and all; zeros where it does not tell. Of the processor all are free."""
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    ask, sizes = _api().ggml_backend_dev_memory, (ctypes.byref(free), ctypes.byref(total))
    if device.backend == RPC:
        watched(lambda: ask(device.handle, *sizes))
    else:
        ask(device.handle, *sizes)
    return free.value, total.value


def free_bytes(device: Device) -> int | None:
    """Memory that is free on it; None if it does not tell."""
    free, total = memory(device)
    return free if total else None


@cache
def device_id(device: Device) -> bytes | None:
    """What is the same of one card in all backends, such as its place on the bus, if it tells."""
    found = _Properties()
    _api().ggml_backend_dev_get_props(device.handle, ctypes.byref(found))
    identifier: bytes | None = found.device_id
    return identifier


def has_host_buffers(device: Device) -> bool:
    """Whether it reads what the processor keeps from buffers of its own kind."""
    return bool(_api().ggml_backend_dev_host_buffer_type(device.handle))


def chosen(names: Sequence[str]) -> tuple[Device, ...]:
    """The devices of these names or kinds; all of this machine if there is no name.

    Raises ConfigError for one that is not here.
    """
    found = [device for name in names for device in _named(name)]
    return tuple(dict.fromkeys(found)) or tuple(each for each in devices() if each.backend != RPC)


def _named(name: str) -> Sequence[Device]:
    word = name.lower()
    kind = _BACKENDS.get(word, word).lower()
    found = [
        each for each in devices() if word == each.name.lower() or kind == each.backend.lower()
    ]
    if not found:
        raise ConfigError(_why_not(name))
    return found


def _why_not(name: str) -> str:
    """Why there is no such device, and what to do."""
    word = name.lower()
    if word == "metal" and sys.platform != "darwin":
        return f"Metal is of Apple's machines alone; choose from: {_choice()}."
    if word not in _FLAGS:
        return f"There is no device {name!r} here; choose from: {_choice()}."
    if _api().ggml_backend_reg_by_name(_BACKENDS.get(word, word).encode()):
        return (
            f"llama.cpp is built for {name} and finds no such device; check that the driver sees "
            f"it, or choose from: {_choice()}."
        )
    command = building(f"-D{_FLAGS[word]}=on", f"{LLAMA}=={version(LLAMA)}")
    return f"llama.cpp is built without {name} here; build it again: {command}"


def _choice() -> str:
    return ", ".join(device.name for device in devices())


def gpus(options: LoadOptions) -> tuple[Device, ...]:
    """What layers can be put on, in llama.cpp's order; what other machines lend comes first.

    Raises ConfigError for a device that is not here, or for proportions of more devices than there
    are.
    """
    lent = _lent(options.rpc)
    found = [device for device in chosen(options.devices) if device.is_gpu and device not in lent]
    if not options.devices:
        found = _usual(found)
    found = [*lent, *found]
    parts = len(options.tensor_split)
    require(
        parts <= max(1, len(found)),
        f"The tensor split has {parts} parts and there are {len(found)} GPUs; give one for each.",
    )
    return tuple(found)


def _lent(servers: Sequence[str]) -> list[Device]:
    """The devices of these servers; raises ConfigError where one cannot be used."""
    if not servers:
        return []
    if lent_by(servers):
        devices.cache_clear()
    wanted = {endpoint(each) for each in servers}
    return [each for each in devices() if each.backend == RPC and each.description in wanted]


def _usual(found: Sequence[Device]) -> list[Device]:
    """Those of all GPUs that llama.cpp takes where nothing is named, as it does it.

    Every card once, whatever the backends that know it, and integrated ones of one backend only if
    there is no card (`llama_prepare_model_devices` in llama.cpp).
    """
    cards = [each for each in found if each.type == _GPU]
    if len(cards) > 1:
        known = dict[bytes | str, Device]()
        for card in cards:
            known.setdefault(device_id(card) or card.name, card)
        cards = [*known.values()]
    integrated = [each for each in found if each.type == _INTEGRATED]
    shared = [each for each in integrated if each.backend == integrated[0].backend]
    return cards or shared


def encoding_gpu() -> Device | None:
    """What an image encoder is on, whatever its model is on: mtmd takes ggml's first GPU."""
    found = [device for device in devices() if device.is_gpu]
    return min(found, key=lambda device: device.type, default=None)


def on_gpu(options: LoadOptions) -> bool:
    """Whether anything of a model that is loaded so may be kept on a GPU."""
    return options.n_gpu_layers != 0 and bool(gpus(options))


def device_array(options: LoadOptions) -> ctypes.Array[ctypes.c_void_p] | None:
    """The NULL-terminated list of GPUs that llama.cpp takes; None lets it choose.

    The processor is not in it: llama.cpp would take it for a GPU, and rearrange no weights for it.
    """
    if not options.devices and not any(each.backend == RPC for each in devices()):
        return None
    handles = [device.handle for device in gpus(options)]
    return (ctypes.c_void_p * (len(handles) + 1))(*handles, None)


def cpu_buffers() -> int:
    """The buffer type of tensors that are kept by the processor."""
    return int(_api().ggml_backend_cpu_buffer_type())
