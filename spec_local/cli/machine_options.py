"""Options of memory, threads and devices, for a target and for its drafts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from spec_local.cli.in_options import in_options
from spec_local.errors import ConfigError, require

if TYPE_CHECKING:
    from spec_local.llama.adapter import Adapter
    from spec_local.llama.options import DraftOptions, LoadOptions

_AUTO: Literal["auto"] = "auto"
_FIELDS = {
    "n_gpu_layers": "--gpu-layers",
    "n_cpu_moe": "--cpu-moe",
    "kv_type_k": "--kv-type",
}
_DRAFT_FIELDS = {
    "n_gpu_layers": "--draft-gpu-layers",
    "n_threads": "--draft-threads",
    "ahead": "--draft-ahead",
    "kv_type_k": "--draft-kv-type",
}


def _machine(*flags: str, help: str, default: str | bool = True, **more: Any) -> Any:
    return typer.Option(*flags, help=help, show_default=default, rich_help_panel="Machine", **more)


def _draft(*flags: str, help: str, default: str = "as its target", **more: Any) -> Any:
    return typer.Option(
        *flags, help=help, show_default=default, rich_help_panel="Machine, for drafts", **more
    )


def _adapter(flag: str, *, help: str) -> Any:
    return typer.Option(
        flag, metavar="FILE", help=help, show_default="the pair's", rich_help_panel="Model"
    )


@dataclass(frozen=True, slots=True)
class MachineOptions:
    """Memory, threads and devices; and adapters, which are loaded with a model as well."""

    ctx_size: Annotated[
        int,
        typer.Option(
            "--ctx-size", "-c", metavar="N", help="Context in tokens; 0: the model's.", min=0
        ),
    ] = 4096
    threads: Annotated[
        int, _machine("--threads", "-t", help="CPU threads; 0: one per core.", min=0)
    ] = 0
    batch: Annotated[int, _machine("--batch", help="Prompt tokens per evaluation.", min=1)] = 512
    device: Annotated[
        list[str] | None,
        _machine(
            "--device",
            metavar="NAME",
            help="cpu, metal, cuda, or one such as CUDA0; repeatable.",
            default=_AUTO,
        ),
    ] = None
    rpc: Annotated[
        list[str] | None,
        _machine(
            "--rpc",
            metavar="HOST:PORT",
            help="Devices of other machines; repeatable.",
            default="none",
        ),
    ] = None
    gpu_layers: Annotated[
        str, _machine("--gpu-layers", metavar="N", help="Layers on GPUs: a number, all, or auto.")
    ] = _AUTO
    tensor_split: Annotated[
        str | None,
        _machine(
            "--tensor-split", metavar="A,B", help="Shares of the GPUs.", default="by free memory"
        ),
    ] = None
    cpu_moe: Annotated[
        str,
        _machine(
            "--cpu-moe",
            metavar="N",
            help="Experts of the first N layers stay on the CPU; all, or auto.",
        ),
    ] = _AUTO
    flash_attention: Annotated[str, _machine("--flash-attention", help="auto, on or off.")] = "auto"
    kv_type: Annotated[str, _machine("--kv-type", help="KV cache: f16, q8_0, q4_0 …")] = "f16"
    mmap: Annotated[bool, _machine("--mmap/--no-mmap", help="Map the file into memory.")] = True
    repack: Annotated[bool, _machine("--repack/--no-repack", help="Suit weights to CPU.")] = True
    mlock: Annotated[bool, _machine("--mlock", help="Keep the weights from being swapped.")] = False
    trial: Annotated[bool, _machine("--trial/--no-trial", help="Try unknown files apart.")] = True
    draft_threads: Annotated[
        int | None, _draft("--draft-threads", help="CPU threads; 0: one per core.", min=0)
    ] = None
    draft_device: Annotated[
        list[str] | None, _draft("--draft-device", metavar="NAME", help="Device; repeatable.")
    ] = None
    draft_gpu_layers: Annotated[
        str | None,
        _draft("--draft-gpu-layers", metavar="N", help="Layers on GPUs.", default="what fits"),
    ] = None
    draft_kv_type: Annotated[str | None, _draft("--draft-kv-type", help="KV cache.")] = None
    draft_ahead: Annotated[
        str,
        _draft(
            "--draft-ahead",
            metavar="WHEN",
            help="Draft while the target verifies: on, off, or auto, where they share no device.",
            default=_AUTO,
        ),
    ] = _AUTO
    lora: Annotated[
        list[str] | None,
        _adapter("--lora", help="LoRA adapter of the target, FILE or FILE:SCALE; repeatable."),
    ] = None
    draft_lora: Annotated[
        list[str] | None, _adapter("--draft-lora", help="The same for the draft.")
    ] = None


def load_options(machine: MachineOptions, *, contexts: int = 1) -> LoadOptions:
    """What the machine options say; raises ConfigError.

    contexts: how many there will be on each model.
    """
    from spec_local.llama.options import LoadOptions

    _check_threads("--threads", machine.threads)
    draft = _draft_options(machine)
    with in_options(_FIELDS):
        return LoadOptions(
            n_ctx=machine.ctx_size,
            n_threads=machine.threads,
            n_batch=machine.batch,
            n_ubatch=min(max(512, machine.batch), 2_048),  # some images must fit in at once
            n_gpu_layers=_layers("n_gpu_layers", machine.gpu_layers),
            n_cpu_moe=_layers("n_cpu_moe", machine.cpu_moe),
            devices=_devices(machine.device),
            rpc=_servers(machine.rpc),
            tensor_split=_proportions(machine.tensor_split),
            flash_attention=machine.flash_attention,  # type: ignore[arg-type]
            kv_type_k=machine.kv_type,  # type: ignore[arg-type]
            kv_type_v=machine.kv_type,  # type: ignore[arg-type]
            repack=None if machine.repack else False,
            mmap=machine.mmap,
            mlock=machine.mlock,
            trial=machine.trial,
            lora=_adapters(machine.lora),
            contexts=contexts,
            draft=draft,
        )


def _draft_options(machine: MachineOptions) -> DraftOptions:
    from spec_local.llama.options import DraftOptions

    _check_threads("--draft-threads", machine.draft_threads or 0)
    layers = machine.draft_gpu_layers
    with in_options(_DRAFT_FIELDS):
        return DraftOptions(
            n_threads=machine.draft_threads,
            n_gpu_layers=None if layers is None else _layers("n_gpu_layers", layers),
            devices=None if machine.draft_device is None else _devices(machine.draft_device),
            kv_type_k=machine.draft_kv_type,  # type: ignore[arg-type]
            kv_type_v=machine.draft_kv_type,  # type: ignore[arg-type]
            ahead=_ahead(machine.draft_ahead),
            lora=_adapters(machine.draft_lora) or None,
        )


def _check_threads(option: str, threads: int) -> None:
    processors = os.cpu_count() or threads
    require(
        threads <= processors,
        f"There are {processors} processors here, and more threads only wait for each other; give "
        f"{option} at most {processors}, or 0 for one per core.",
    )


def _layers(field: str, text: str) -> int | Literal["auto"]:
    """A number of layers; all of them are -1, as in `LoadOptions`."""
    if text == _AUTO:
        return _AUTO
    try:
        return -1 if text == "all" else int(text)
    except ValueError:
        raise ConfigError(f"{field} must be a number, all or auto, not {text!r}.") from None


def _devices(names: list[str] | None) -> tuple[str, ...]:
    """Empty if what there is shall be used."""
    return tuple(name for name in names or () if name.lower() != _AUTO)


def _ahead(when: str) -> bool | None:
    """None is auto, as in `DraftOptions`."""
    known = {"on": True, "off": False, _AUTO: None}
    require(when in known, f"ahead must be on, off or auto, not {when!r}.")
    return known[when]


def _servers(names: list[str] | None) -> tuple[str, ...]:
    """Several may be in one, with commas between them, as in llama.cpp."""
    return tuple(each.strip() for name in names or () for each in name.split(",") if each.strip())


def _adapters(written: list[str] | None) -> tuple[Adapter, ...]:
    from spec_local.llama.adapter import Adapter

    return tuple(map(Adapter.spelled, written or ()))


def _proportions(text: str | None) -> tuple[float, ...]:
    try:
        return tuple(map(float, text.split(","))) if text else ()
    except ValueError:
        raise ConfigError(
            f"tensor_split must be numbers with commas, such as 3,1, not {text!r}."
        ) from None
