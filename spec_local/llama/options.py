"""How models are loaded: one frozen record, checked when it is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

from spec_local.errors import require
from spec_local.llama.adapter import Adapter

KVType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"]
FlashAttention = Literal["auto", "on", "off"]
Auto = Literal["auto"]
"""What fits, decided before the model is loaded (`llama/placing.py`)."""

AUTO: Auto = "auto"
ALL = -1
"""Of layers, as a number."""
_MOST_THREADS = 512
"""GGML_MAX_N_THREADS; llama.cpp's stack is not made for more."""
_LARGEST = 2**31 - 1
"""Of a C int, which llama.cpp reads without looking."""
_BOUNDS = {
    "n_ctx": (0, _LARGEST),
    "n_threads": (0, _MOST_THREADS),
    "n_batch": (1, _LARGEST),
    "n_ubatch": (1, _LARGEST),
    "n_gpu_layers": (ALL, _LARGEST),
    "n_cpu_moe": (ALL, _LARGEST),
    "main_gpu": (-1, _LARGEST),
    "contexts": (1, _LARGEST),
}
_MAY_BE_AUTO = ("n_gpu_layers", "n_cpu_moe")


def _check(options: DraftOptions | LoadOptions) -> None:
    """Raise ConfigError for a number or a type that it cannot have."""
    values = options.given if isinstance(options, DraftOptions) else _fields_of(options)
    for name, value in values.items():
        if name in _BOUNDS and not (value == AUTO and name in _MAY_BE_AUTO):
            _check_number(name, value)
        elif name.startswith("kv_type"):
            known = ", ".join(get_args(KVType))
            require(value in get_args(KVType), f"{name} must be one of {known}.")


def _fields_of(options: DraftOptions | LoadOptions) -> dict[str, Any]:
    return {field.name: getattr(options, field.name) for field in fields(options)}


def _check_number(name: str, value: object) -> None:
    low, high = _BOUNDS[name]
    may_be = "a whole number, or auto" if name in _MAY_BE_AUTO else "a whole number"
    require(isinstance(value, int), f"{name} must be {may_be}, not {value!r}.")
    assert isinstance(value, int)
    meaning = ", which is all layers" if name in _MAY_BE_AUTO else ""
    require(value >= low, f"{name} must be at least {low}{meaning}, not {value}.")
    require(value <= high, f"{name} must be at most {high:,}, not {value:,}.")


@dataclass(frozen=True, slots=True)
class DraftOptions:
    """How a draft is loaded, where that is not as its target is; None is as its target."""

    n_threads: int | None = None
    n_gpu_layers: int | Auto | None = None
    """None: as many as fit, or none where its target has none on a GPU."""
    devices: tuple[str, ...] | None = None
    kv_type_k: KVType | None = None
    kv_type_v: KVType | None = None
    ahead: bool | None = None
    """Whether it drafts while its target verifies (`drafters/ahead.py`); None: where they have no
    device in common."""
    lora: tuple[Adapter, ...] | None = None
    """None: none, whatever its target has."""

    def __post_init__(self) -> None:
        _check(self)

    @property
    def given(self) -> Mapping[str, Any]:
        """What is not as its target's, by the names of `LoadOptions`."""
        fields = _fields_of(self)
        del fields["ahead"]
        return {name: value for name, value in fields.items() if value is not None}


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """Load options of a target, and of the drafts that are loaded for it."""

    n_ctx: int = 4096
    """Context size in tokens; 0 takes what the model was trained with, which is also the most."""
    n_threads: int = 0
    """CPU threads; 0 takes one per physical core."""
    n_batch: int = 512
    """Most tokens of a prompt per evaluation; cancelling waits for one such batch at most."""
    n_ubatch: int = 512
    """Most tokens computed at once; sets the size of the compute buffers."""
    n_gpu_layers: int | Auto = AUTO
    """Layers kept on GPUs, the last ones, of which the output is one; -1 is all of them, auto as
    many as fit. Without a GPU it changes nothing."""
    n_cpu_moe: int | Auto = AUTO
    """The first so many layers leave their experts to the CPU; -1 is all, auto as few as need be
    where n_gpu_layers is auto as well."""
    devices: tuple[str, ...] = ()
    """What to compute on: names such as CUDA0, or kinds such as cpu, cuda, metal; empty is all."""
    rpc: tuple[str, ...] = ()
    """Servers as HOST:PORT whose devices count as GPUs of the target (`llama/rpc.py`)."""
    tensor_split: tuple[float, ...] = ()
    """Proportions of the layers on each GPU; empty goes by what memory is free."""
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
    lora: tuple[Adapter, ...] = ()
    """LoRA adapters of the target, which hold for every text; they add up."""
    contexts: int = 1
    """Contexts that will be on a model at once; it counts only for what fits on GPUs."""
    draft: DraftOptions = DraftOptions()
    """What is otherwise for drafts."""

    def __post_init__(self) -> None:
        _check(self)
        split = self.tensor_split
        require(
            not split or (min(split) >= 0 and 0 < sum(split) < float("inf")),
            "tensor_split must be proportions of at least 0, not all of them 0.",
        )
        require(
            self.flash_attention in get_args(FlashAttention),
            "flash_attention must be auto, on or off.",
        )
        require(
            self.flash_attention != "off" or self.kv_type_v in ("f32", "f16", "bf16"),
            f"A V cache of type {self.kv_type_v} needs flash attention; turn that on.",
        )
        if self.draft.given:
            self.for_draft()  # which is checked as well

    def for_draft(self) -> LoadOptions:
        """Those of a draft for a target that is loaded like this."""
        elsewhere = self.draft.devices is not None
        derived: dict[str, Any] = {
            "n_gpu_layers": 0 if self.n_gpu_layers == 0 and not elsewhere else AUTO,
            "n_cpu_moe": 0,
            "rpc": (),
            "tensor_split": () if elsewhere else self.tensor_split,
            "lora": (),
        }
        return replace(self, **{**derived, **self.draft.given, "draft": DraftOptions()})
