"""What a model's speed and rounding depend on, as a record: the key of a profile."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from pathlib import Path

from spec_local.llama.amx import amx_is_wanted
from spec_local.llama.backend import default_threads, lib, repacks
from spec_local.llama.devices import chosen
from spec_local.llama.options import ALL, AUTO, LoadOptions
from spec_local.util.files import hash_of_samples


def identity(path: Path, options: LoadOptions) -> dict[str, str | int]:
    """Model file, build, devices, threads and all settings that change what a decode does.

    Of the file, the size and a hash of samples from all over it: reading gigabytes at every start
    would cost seconds, and a model of the same size that differs only between the samples goes
    through the same kernels. Of layers that are still to be decided, all count as on GPUs.
    Adapters belong to the model, each with its scale.
    """
    size = path.stat().st_size
    found: dict[str, str | int] = {
        "model": path.name,
        "bytes": size,
        "hash": _hash_of(path, size),
        "llama_cpp": version("llama-cpp-python"),
        "system": lib.llama_print_system_info().decode(errors="replace").strip(),
        "devices": ", ".join(map(str, chosen(options.devices))),
        "gpu_layers": ALL if options.n_gpu_layers == AUTO else options.n_gpu_layers,
        "main_gpu": options.main_gpu,
        "threads": options.n_threads or default_threads(),
        "batch": f"{options.n_batch},{options.n_ubatch}",
        "flash_attention": options.flash_attention,
        "kv_types": f"{options.kv_type_k},{options.kv_type_v}",
        "repack": str(repacks(options.repack)) + (", AMX wanted" if amx_is_wanted() else ""),
    }
    if options.rpc:  # not in records of earlier releases
        found["rpc"] = ",".join(options.rpc)
    if options.tensor_split:
        found["tensor_split"] = ",".join(map(str, options.tensor_split))
    if options.n_cpu_moe not in (0, AUTO):
        found["cpu_moe"] = options.n_cpu_moe
    adapters = [each for each in options.lora if each.scale]  # of scale 0 they change nothing
    if adapters:
        found["adapters"] = ", ".join(
            f"{_hash_of(each.path, each.path.stat().st_size)} * {each.scale!r}" for each in adapters
        )
    return found


@cache
def _hash_of(path: Path, _size: int) -> str:
    return hash_of_samples(path)
