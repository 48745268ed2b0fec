"""What a model's speed depends on, as a record that can be compared: the key of a profile."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import version
from pathlib import Path

from spec_local.llama.backend import default_threads, device_names, lib
from spec_local.llama.options import LoadOptions

_HEADER_BYTES = 1 << 20


def identity(path: Path, options: LoadOptions) -> dict[str, str | int]:
    """Model file, build, devices, threads and everything set that changes what a decode costs.

    Of the file, the size and a hash of its first megabyte: reading gigabytes at every start would
    cost more than a mistaken profile, which mends itself.
    """
    size = path.stat().st_size
    return {
        "model": path.name,
        "bytes": size,
        "head": _head_hash(path, size),
        "llama_cpp": version("llama-cpp-python"),
        "system": lib.llama_print_system_info().decode(errors="replace").strip(),
        "devices": ",".join(options.devices or device_names()),
        "gpu_layers": options.n_gpu_layers,
        "main_gpu": options.main_gpu,
        "threads": options.n_threads or default_threads(),
        "batch": f"{options.n_batch},{options.n_ubatch}",
        "flash_attention": options.flash_attention,
        "kv_types": f"{options.kv_type_k},{options.kv_type_v}",
        "repack": str(options.repack),
    }


@cache
def _head_hash(path: Path, _size: int) -> str:
    with path.open("rb") as file:
        return hashlib.sha256(file.read(_HEADER_BYTES)).hexdigest()
