"""Reading weights: how load options become llama.cpp's parameters, and why it refuses."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path

from spec_local.errors import ModelFileError, NotEnoughMemory
from spec_local.gguf.header import GGUFHeader
from spec_local.gguf.tensors import EXPERTS
from spec_local.llama.backend import collected_errors, lib, repacks
from spec_local.llama.devices import cpu_buffers, device_array, on_gpu
from spec_local.llama.options import ALL, LoadOptions
from spec_local.llama.rpc import watched
from spec_local.llama.shortage import is_of_machine
from spec_local.llama.weights import require_room_for_weights
from spec_local.util.apart import Apart
from spec_local.util.progress import Progress

_UNKNOWN = "unknown model architecture"
_NO_ROOM = ("unable to allocate", "failed to allocate", "out of memory", "insufficient memory")
"""What ggml and its backends say where memory is short."""


class _Override(ctypes.Structure):
    """llama_model_tensor_buft_override: where tensors are kept whose names match a pattern."""

    _fields_ = (("pattern", ctypes.c_char_p), ("buffers", ctypes.c_void_p))


def load_weights(
    path: Path,
    header: GGUFHeader,
    options: LoadOptions,
    progress: Progress,
    *,
    vocab_only: bool,
    heads: bool,
) -> lib.llama_model_p:
    """The model in a file, loaded with options that leave nothing open; the caller frees it.

    heads: with its multi-token prediction layers. Raises ModelFileError, NotEnoughMemory.
    """
    mapped = options.mmap and header.mappable
    if not vocab_only:
        require_room_for_weights(path.name, header, options, mapped=mapped)
    params = lib.llama_model_default_params()
    params.vocab_only, params.load_mtp = vocab_only, heads
    params.load_mode = _load_mode(options, mapped)
    params.use_extra_bufts = repacks(options.repack)
    kept_alive = _place(params, options, header.hyperparameter("block_count"))

    failure: list[BaseException] = []

    @lib.llama_progress_callback
    def report(fraction: float, _user_data: int | None) -> bool:
        try:
            progress(f"load {path.stem}", fraction)
        except BaseException as error:  # must not pass through C; raised again below
            failure.append(error)
        return not failure

    params.progress_callback = report

    def load() -> tuple[lib.llama_model_p | None, list[str]]:
        with collected_errors() as errors:
            return lib.llama_model_load_from_file(os.fsencode(path), params), errors

    # Signals reach the main thread, and so never a callback from C.
    if options.rpc:
        handle, errors = watched(load, failure.append)
    else:
        loading = Apart(load, "load", failure.append)
        loading.start()
        handle, errors = loading.result()
    del kept_alive  # not before llama.cpp has read it
    if failure:
        if handle:
            lib.llama_model_free(handle)
        raise failure[0]
    if not handle:
        raise _refusal(path.name, options, errors or ["llama.cpp gave no reason"])
    return handle


def _place(params: lib.llama_model_params, options: LoadOptions, layers: int) -> object:
    """Say on which devices what shall be kept; gives what must live until the model is loaded.

    layers: how many there are.
    """
    assert isinstance(options.n_gpu_layers, int)
    assert isinstance(options.n_cpu_moe, int)
    params.n_gpu_layers, params.main_gpu = options.n_gpu_layers, options.main_gpu
    devices, split = device_array(options), options.tensor_split
    if devices is not None:
        params.devices = ctypes.cast(devices, ctypes.c_void_p)
    if split:
        params.tensor_split = (ctypes.c_float * lib.llama_max_devices())(*split)
    patterns = _experts_of_first(options.n_cpu_moe, layers)
    overrides = (_Override * (len(patterns) + 1))()
    for place, pattern in enumerate(patterns):
        overrides[place] = _Override(pattern, cpu_buffers())
    if patterns:
        params.tensor_buft_overrides = ctypes.cast(overrides, ctypes.c_void_p)
    return devices, overrides


def _experts_of_first(count: int, layers: int) -> Sequence[bytes]:
    """Patterns of the names of the experts' weights in the first so many of all layers."""
    if count == ALL or count >= layers:
        return [EXPERTS.encode()]
    return [rf"blk\.{layer}{EXPERTS}".encode() for layer in range(count)]


def _refusal(name: str, options: LoadOptions, errors: Sequence[str]) -> ModelFileError:
    reason = errors[0].strip(" .")
    if any(words in reason for words in _NO_ROOM):
        of_machine = is_of_machine(errors) or not on_gpu(options)
        fewer = "" if of_machine else "give --gpu-layers fewer, or "
        return NotEnoughMemory(
            f"{name} does not fit into the memory that is free ({reason})",
            f"{fewer}choose a smaller model",
            of_machine=of_machine,
        )
    newer = "; update spec-local for newer models" if _UNKNOWN in reason else ""
    return ModelFileError(f"llama.cpp cannot load {name}: {reason}{newer}.")


def _load_mode(options: LoadOptions, mapped: bool) -> int:
    if options.mlock:
        return lib.LLAMA_LOAD_MODE_MMAP_MLOCK if mapped else lib.LLAMA_LOAD_MODE_MLOCK
    return lib.LLAMA_LOAD_MODE_MMAP if mapped else lib.LLAMA_LOAD_MODE_NONE
