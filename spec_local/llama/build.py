"""What the installed llama.cpp was built as: its version, backends and devices."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spec_local.llama.devices import Device

_KINDS = ("cpu", "gpu", "igpu", "accelerator", "several")
"""ggml_backend_dev_type, by number."""


@dataclass(frozen=True, slots=True)
class DeviceFacts:
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
    """Of the sources it was built from, where these say so; else `unknown`."""
    features: str
    """llama.cpp's own words for how its backends were built."""
    backends: tuple[str, ...]
    """Those compiled in: CPU, CUDA, MTL (Metal), Vulkan …"""
    devices: tuple[DeviceFacts, ...]

    def has(self, feature: str) -> bool:
        """Whether a backend was built with that, such as AVX2."""
        return f"{feature} = 1" in self.features

    @property
    def has_gpu(self) -> bool:
        """Whether it found one that it can compute on."""
        return any(device.kind in ("gpu", "igpu", "several") for device in self.devices)


def this_build() -> Build:
    """Of the library that is installed; raises what loading it raises."""
    from spec_local.llama.backend import lib, libggml
    from spec_local.llama.devices import backends, devices

    libggml.ggml_commit.restype = ctypes.c_char_p
    return Build(
        version=_text(lib.llama_version()),
        commit=_text(libggml.ggml_commit()),
        features=_text(lib.llama_print_system_info()),
        backends=backends(),
        devices=tuple(map(_told, devices())),
    )


def _told(device: Device) -> DeviceFacts:
    from spec_local.llama.devices import memory

    free, total = memory(device)
    kind = _KINDS[device.type] if device.type < len(_KINDS) else f"kind {device.type}"
    return DeviceFacts(device.name, device.description.strip(), kind, free, total)


def _text(said: bytes) -> str:
    return said.decode(errors="replace").strip()
