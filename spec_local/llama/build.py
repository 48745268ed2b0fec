"""What the installed llama.cpp was built as: its version, backends and devices."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

_KINDS = ("cpu", "gpu", "igpu", "accelerator", "several")
"""ggml_backend_dev_type, by number."""


@dataclass(frozen=True, slots=True)
class Device:
    """What llama.cpp can compute on; memory in bytes, as ggml tells it."""

    name: str
    description: str
    kind: str
    """cpu, gpu, igpu (with the machine's memory), accelerator or several."""
    free_memory: int
    """Of the processor ggml says that all is free; 0 where it says nothing."""
    memory: int


@dataclass(frozen=True, slots=True)
class Build:
    """A build of llama.cpp."""

    version: str
    commit: str
    """ggml's, where it was built from a checkout."""
    features: str
    """llama.cpp's own words for how its backends were built."""
    backends: tuple[str, ...]
    """Those compiled in: CPU, CUDA, MTL (Metal), Vulkan …"""
    devices: tuple[Device, ...]

    def has(self, feature: str) -> bool:
        """Whether a backend was built with that, such as AVX2."""
        return f"{feature} = 1" in self.features

    @property
    def has_gpu(self) -> bool:
        """Whether it found one that it can compute on."""
        return any(device.kind in ("gpu", "igpu", "several") for device in self.devices)


def this_build() -> Build:
    """Of the library that is installed; raises what loading it raises."""
    from spec_local.llama.backend import devices_api, lib

    api = devices_api()
    backends = map(api.ggml_backend_reg_get, range(api.ggml_backend_reg_count()))
    devices = map(api.ggml_backend_dev_get, range(api.ggml_backend_dev_count()))
    return Build(
        version=_text(lib.llama_version()),
        commit=_text(api.ggml_commit()),
        features=_text(lib.llama_print_system_info()),
        backends=tuple(_text(api.ggml_backend_reg_name(each)) for each in backends),
        devices=tuple(_device(api, each) for each in devices),
    )


def _device(api: ctypes.CDLL, handle: int) -> Device:
    free, total = ctypes.c_size_t(0), ctypes.c_size_t(0)
    api.ggml_backend_dev_memory(handle, ctypes.byref(free), ctypes.byref(total))
    kind = api.ggml_backend_dev_type(handle)
    return Device(
        _text(api.ggml_backend_dev_name(handle)),
        _text(api.ggml_backend_dev_description(handle)),
        _KINDS[kind] if kind < len(_KINDS) else f"kind {kind}",
        free.value,
        total.value,
    )


def _text(said: bytes) -> str:
    return said.decode(errors="replace").strip()
