"""How a model is loaded: one frozen record, checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from spec_local.errors import require

KVType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"]
FlashAttention = Literal["auto", "on", "off"]

_MOST_THREADS = 512
"""GGML_MAX_N_THREADS; llama.cpp's stack is not made for more."""
_LARGEST = 2**31 - 1
"""Of a C int, which llama.cpp reads without looking."""
_BOUNDS = (
    ("n_ctx", 0, _LARGEST),
    ("n_threads", 0, _MOST_THREADS),
    ("n_batch", 1, _LARGEST),
    ("n_ubatch", 1, _LARGEST),
    ("n_gpu_layers", -1, _LARGEST),
    ("main_gpu", -1, _LARGEST),
)


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """Load options; the same are used for target and draft."""

    n_ctx: int = 4096
    """Context size in tokens; 0 takes what the model was trained with, which is also the most."""
    n_threads: int = 0
    """CPU threads; 0 takes one per physical core."""
    n_batch: int = 512
    """Most tokens of a prompt per evaluation; cancelling waits for one such batch at most."""
    n_ubatch: int = 512
    """Most tokens computed at once; sets the size of the compute buffers."""
    n_gpu_layers: int = -1
    """Layers kept on the GPU; -1 is all of them. Without a GPU it changes nothing."""
    devices: tuple[str, ...] = ()
    """Devices to compute on, by name; empty lets llama.cpp choose."""
    main_gpu: int = 0
    """Index of the GPU that holds what cannot be split."""
    flash_attention: FlashAttention = "auto"
    kv_type_k: KVType = "f16"
    kv_type_v: KVType = "f16"
    """Types of the KV cache; a quantized V cache needs flash attention."""
    repack: bool | None = None
    """Rearrange quantized weights for this CPU's kernels while loading; None does so where safe."""
    mmap: bool = True
    """Map the file instead of reading it."""
    mlock: bool = False
    """Keep the weights from being swapped out."""
    trial: bool = True
    """Open a file that no hash vouches for in a child process first, once (`llama/trial.py`)."""

    def __post_init__(self) -> None:
        require(self.n_gpu_layers >= -1, "n_gpu_layers must be at least -1, which is all layers.")
        for name, low, high in _BOUNDS:
            value = getattr(self, name)
            require(value >= low, f"{name} must be at least {low}, not {value}.")
            require(value <= high, f"{name} must be at most {high:,}, not {value:,}.")
        require(
            self.flash_attention in get_args(FlashAttention),
            "flash_attention must be auto, on or off.",
        )
        for name in ("kv_type_k", "kv_type_v"):
            known = ", ".join(get_args(KVType))
            require(getattr(self, name) in get_args(KVType), f"{name} must be one of {known}.")
        require(
            self.flash_attention != "off" or self.kv_type_v in ("f32", "f16", "bf16"),
            f"A V cache of type {self.kv_type_v} needs flash attention; turn that on.",
        )
