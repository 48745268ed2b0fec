"""Whether weights that are read instead of mapped fit into memory: Linux would kill the process."""

from __future__ import annotations

import psutil

from spec_local.errors import NotEnoughMemory
from spec_local.llama.backend import lib
from spec_local.llama.options import LoadOptions


def require_room_for_weights(name: str, size: int, options: LoadOptions, *, mapped: bool) -> None:
    """Raise NotEnoughMemory if a file with so many bytes of tensors cannot be held.

    What is mapped is read again as it is needed, and a GPU's allocator says no by itself.
    """
    if mapped or (lib.llama_supports_gpu_offload() and options.n_gpu_layers != 0):
        return
    free = psutil.virtual_memory().available + psutil.swap_memory().free
    if size > free:
        advice = "leave out --no-mmap, or choose" if not options.mmap else "choose"
        raise NotEnoughMemory(
            f"{name} needs {size / 1e9:,.1f} GB of memory and {free / 1e9:,.1f} GB are free; "
            f"{advice} a smaller model."
        )
