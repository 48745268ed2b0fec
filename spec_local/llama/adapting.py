"""LoRA adapters of a model in memory: opened with it, and in force in every context on it.

llama.cpp frees them with the model. It wants them before a context is made, whose graphs are larger
with them, and ends the process over some of what a file may say; so the header is looked at first.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from typing import NamedTuple

from spec_local.errors import ModelFileError, NotEnoughMemory
from spec_local.gguf.header import GGUFHeader, check_adapter_file
from spec_local.llama.adapter import Adapter
from spec_local.llama.backend import collected_errors, lib

_ALPHA, _INVOCATION = "adapter.lora.alpha", "adapter.alora.invocation_tokens"


class OpenAdapter(NamedTuple):
    """An adapter that is in memory."""

    handle: lib.llama_adapter_lora_p_ctypes
    scale: float


def require_made_for(adapters: Sequence[Adapter], name: str, model: GGUFHeader) -> None:
    """Raise ModelFileError for a file that is no adapter, or one of another kind of model.

    name: of the model's file.
    """
    for adapter in adapters:
        file, header = adapter.path.name, check_adapter_file(adapter.path)
        if header.architecture != model.architecture:
            raise ModelFileError(
                f"{file} is an adapter of models of the architecture {header.architecture}, and "
                f"{name} is of {model.architecture}; give one that was trained on this model."
            )
        if _INVOCATION in header.metadata:
            raise ModelFileError(
                f"{file} is an activated LoRA, which holds from certain tokens of a text on; give "
                "an adapter that holds for all of it."
            )
        if not isinstance(header.metadata.get(_ALPHA, 0.0), float):
            raise ModelFileError(f"{file} is damaged: its alpha is no number; download it again.")


def open_adapters(
    model: lib.llama_model_p, name: str, adapters: Sequence[Adapter]
) -> tuple[OpenAdapter, ...]:
    """Read them, for a model that is loaded and was made for them; they are freed with it.

    Raises ModelFileError if one does not fit, NotEnoughMemory.
    """
    return tuple(OpenAdapter(_opened(model, name, each), each.scale) for each in adapters)


def _opened(
    model: lib.llama_model_p, name: str, adapter: Adapter
) -> lib.llama_adapter_lora_p_ctypes:
    with collected_errors() as errors:
        found = lib.llama_adapter_lora_init(model, os.fsencode(adapter.path))
    if found:
        return found
    file, said = adapter.path.name, errors[0] if errors else "llama.cpp gave no reason"
    reason = said.rpartition("lora adapter: ")[2].strip(" .\n")
    if "alloc" in reason:
        raise NotEnoughMemory(
            f"{file} does not fit into the memory that is free ({reason}); give --gpu-layers fewer."
        )
    raise ModelFileError(
        f"{file} cannot adapt {name}: {reason}; give one that was trained on this model."
    )


def put_in_force(context: lib.llama_context_p, adapters: Sequence[OpenAdapter]) -> None:
    """Let a context on their model compute with these; those of scale 0 change nothing."""
    if adapters:
        count = len(adapters)
        handles = (lib.llama_adapter_lora_p_ctypes * count)(*(each.handle for each in adapters))
        scales = (ctypes.c_float * count)(*(each.scale for each in adapters))
        lib.llama_set_adapters_lora(context, handles, count, scales)
