"""Whether weights that no GPU has, and that are not only mapped, fit into memory.

Linux would kill the process.
"""

from __future__ import annotations

import psutil

from spec_local.errors import NotEnoughMemory
from spec_local.gguf.header import GGUFHeader
from spec_local.gguf.tensors import TensorTable
from spec_local.llama.backend import lib, repacks
from spec_local.llama.devices import gpus, has_host_buffers, on_gpu
from spec_local.llama.options import ALL, LoadOptions

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
    left = _left(header, options)
    if mapped:
        size = _rearranged_bytes(left) if _rearranges(options) else 0
        what, advice = "to rearrange its weights for this processor", "add --no-repack, or choose"
    else:
        size, what = left.bytes, "of memory"
        advice = "leave out --no-mmap, or choose" if not options.mmap else "choose"
    free = psutil.virtual_memory().available + psutil.swap_memory().free
    if size > free:
        raise NotEnoughMemory(
            f"{name} needs {size / 1e9:,.1f} GB {what} and {free / 1e9:,.1f} GB are free",
            f"{advice} a smaller model",
            of_machine=True,
        )


def layers_left(header: GGUFHeader, options: LoadOptions) -> int:
    """How many of the first layers are not on a GPU; options: that leave nothing open."""
    every, on_gpus = header.hyperparameter("block_count"), options.n_gpu_layers
    assert isinstance(on_gpus, int)
    if not on_gpu(options):
        return every
    return 0 if on_gpus == ALL else max(0, every + 1 - on_gpus)  # the output is one more


def _left(header: GGUFHeader, options: LoadOptions) -> TensorTable:
    """What the processor keeps."""
    if not on_gpu(options):
        return header.tensors
    experts = options.n_cpu_moe
    assert isinstance(experts, int)
    every = header.hyperparameter("block_count")
    return header.tensors.left(layers_left(header, options), every if experts == ALL else experts)


def _rearranges(options: LoadOptions) -> bool:
    """Whether weights that the processor keeps are rearranged for it, and not kept for a GPU to
    read them, which it may do of what it does not have (`make_cpu_buft_list` in llama-model.cpp).
    """
    return repacks(options.repack) and not any(map(has_host_buffers, gpus(options)))


def _rearranged_bytes(table: TensorTable) -> int:
    """At least so many are copied from the mapped file, rearranged, into memory of their own."""
    told = lib.llama_print_system_info()
    if b"REPACK = 1" not in told or not any(each in told for each in _REARRANGING):
        return 0
    return sum(table.matrix_bytes.get(kind, 0) for kind in _REARRANGED)
