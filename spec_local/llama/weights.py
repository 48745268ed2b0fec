"""Whether weights that are not only mapped fit into memory: Linux would kill the process."""

from __future__ import annotations

import psutil

from spec_local.errors import NotEnoughMemory
from spec_local.gguf.header import GGUFHeader
from spec_local.llama.backend import lib, repacks
from spec_local.llama.devices import on_gpu
from spec_local.llama.options import LoadOptions

_REARRANGED = ("Q4_0", "Q4_K", "IQ4_NL", "MXFP4")
"""Types that llama.cpp rearranges wherever it does so at all (ggml/src/ggml-cpu/repack.cpp).

ARM adds some, and AVX-512 one: there the rest is not counted.
"""
_REARRANGING = (b"AVX2 = 1", b"DOTPROD = 1")
"""What a processor must have for that, x86 and ARM."""


def require_room_for_weights(
    name: str, header: GGUFHeader, options: LoadOptions, *, mapped: bool
) -> None:
    """Raise NotEnoughMemory if what the weights take beside the mapped file cannot be held.

    What is mapped is read again as it is needed, and a GPU's allocator says no by itself.
    """
    if on_gpu(options):
        return
    if mapped:
        size = _rearranged_bytes(header) if repacks(options.repack) else 0
        what, advice = "to rearrange its weights for this processor", "add --no-repack, or choose"
    else:
        size, what = header.data_bytes, "of memory"
        advice = "leave out --no-mmap, or choose" if not options.mmap else "choose"
    free = psutil.virtual_memory().available + psutil.swap_memory().free
    if size > free:
        raise NotEnoughMemory(
            f"{name} needs {size / 1e9:,.1f} GB {what} and {free / 1e9:,.1f} GB are free; "
            f"{advice} a smaller model."
        )


def _rearranged_bytes(header: GGUFHeader) -> int:
    """At least so many are copied from the mapped file, rearranged, into memory of their own."""
    told = lib.llama_print_system_info()
    if b"REPACK = 1" not in told or not any(each in told for each in _REARRANGING):
        return 0
    return sum(header.tensors.matrix_bytes.get(kind, 0) for kind in _REARRANGED)
