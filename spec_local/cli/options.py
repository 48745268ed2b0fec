"""Options that several commands share, in groups, and the runner they ask for."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spec_local.cli.progress import on_terminal
from spec_local.cli.sampling_options import SamplingOptions, drawn_seed
from spec_local.cli.template_options import TemplateOptions

if TYPE_CHECKING:
    from spec_local.llama.options import LoadOptions
    from spec_local.runner import Runner

_DEFAULT_PAIR = "smollm2"


def _option(panel: str, *flags: str, help: str, default: str | bool = True, **more: Any) -> Any:
    return typer.Option(*flags, help=help, show_default=default, rich_help_panel=panel, **more)


def _model(*flags: str, help: str, default: str | bool = False, **more: Any) -> Any:
    return _option("Model", *flags, help=help, default=default, **more)


def _machine(*flags: str, help: str, **more: Any) -> Any:
    return _option("Machine", *flags, help=help, **more)


@dataclass(frozen=True, slots=True)
class PairOptions:
    """Which models."""

    pair: Annotated[
        str | None, _model("--pair", "-p", help="Pair from models.toml.", default=_DEFAULT_PAIR)
    ] = None
    target: Annotated[
        str | None,
        _model("--target", "-m", help="Target: a name, a .gguf file, or OWNER/REPO[:QUANT]."),
    ] = None
    draft: Annotated[
        str | None,
        _model("--draft", "-d", help="Draft model: the same."),
    ] = None


ExactOption = Annotated[
    str | None,
    _model(
        "--exact",
        metavar="[=MODE]",
        help="The same text, bit for bit, whatever is drafted: certified, fixed or guard.",
        default="off; without a mode certified",
    ),
]


@dataclass(frozen=True, slots=True)
class ModelOptions(PairOptions):
    """Which models, and how they work together."""

    drafter: Annotated[
        str | None,
        _model(
            "--drafter",
            help="auto, none, lookup, model or lookup-then-model.",
            default="what the pair recommends",
        ),
    ] = None
    no_draft: Annotated[
        bool, _model("--no-draft", help="With -m and no -d: do without a draft model that is here.")
    ] = False
    k: Annotated[
        int | None,
        _model("-k", help="Tokens a named drafter drafts per round.", default="3", min=0, max=32),
    ] = None
    exact: ExactOption = None
    lookup_corpus: Annotated[
        list[Path] | None,
        _model(
            "--lookup-corpus",
            metavar="FILE",
            help="Text that answers may quote, such as a file being edited; repeatable.",
        ),
    ] = None
    remember: Annotated[
        bool,
        _model("--remember", help="Keep answers on disk; similar ones are drafted from them."),
    ] = False


@dataclass(frozen=True, slots=True)
class MachineOptions:
    """Memory, threads and devices."""

    ctx_size: Annotated[
        int, _machine("--ctx-size", "-c", help="Context in tokens; 0: the model's.", min=0)
    ] = 4096
    threads: Annotated[
        int, _machine("--threads", "-t", help="CPU threads; 0: one per core.", min=0)
    ] = 0
    batch: Annotated[int, _machine("--batch", help="Prompt tokens per evaluation.", min=1)] = 512
    gpu_layers: Annotated[
        int, _machine("--gpu-layers", help="Layers on the GPU; -1: all.", min=-1)
    ] = -1
    device: Annotated[
        list[str] | None, _machine("--device", help="Device to compute on; repeatable.")
    ] = None
    flash_attention: Annotated[str, _machine("--flash-attention", help="auto, on or off.")] = "auto"
    kv_type: Annotated[str, _machine("--kv-type", help="KV cache: f16, q8_0, q4_0 …")] = "f16"
    mmap: Annotated[bool, _machine("--mmap/--no-mmap", help="Map the file into memory.")] = True
    mlock: Annotated[bool, _machine("--mlock", help="Keep the weights from being swapped.")] = False


def load_options(machine: MachineOptions) -> LoadOptions:
    """What the machine options say; raises ConfigError."""
    from spec_local.llama.options import LoadOptions

    return LoadOptions(
        n_ctx=machine.ctx_size,
        n_threads=machine.threads,
        n_batch=machine.batch,
        n_gpu_layers=machine.gpu_layers,
        devices=tuple(machine.device or ()),
        flash_attention=machine.flash_attention,  # type: ignore[arg-type]
        kv_type_k=machine.kv_type,  # type: ignore[arg-type]
        kv_type_v=machine.kv_type,  # type: ignore[arg-type]
        mmap=machine.mmap,
        mlock=machine.mlock,
    )


def pair_name(models: PairOptions) -> str | None:
    """The pair asked for, which is the default one if nothing is."""
    return _DEFAULT_PAIR if models.pair is models.target is None else models.pair


def fitting_draft(target: str, drafter: str | None = None) -> str | None:
    """The smallest model here that can draft for a target, which is said; None if none can.

    drafter: that asked for, if any; not all use a draft model.
    """
    from spec_local.drafters import AUTO, uses_draft
    from spec_local.models.download import resolve
    from spec_local.models.pairing import drafts_for
    from spec_local.models.registry import load_registry

    registry = load_registry()
    if not uses_draft(drafter or AUTO) or target in set(registry.pairs) - set(registry.models):
        return None
    path = resolve(target, registry)
    draft = None if path is None else next(drafts_for(path, registry), None)
    if draft is None:
        return None
    print(f"note: {draft.name} drafts, as it has the same vocabulary.", file=sys.stderr)
    return str(draft.path)


def load_runner(
    models: ModelOptions,
    sampling: SamplingOptions,
    machine: MachineOptions,
    template: TemplateOptions,
) -> Runner:
    """Load what the options say, showing progress on a terminal; raises SpecLocalError."""
    from spec_local.runner import Runner
    from spec_local.sampling.settings import Sampling

    changes = sampling.changes()
    Sampling(**changes)  # say what is wrong before anything is loaded
    set_template = template.prepared()
    options = load_options(machine)
    if models.exact is not None:
        from spec_local.exact.modes import check_rule

        check_rule(changes.get("acceptance", "keyed"))
    draft = models.draft
    if draft is None and models.target is not None and not models.no_draft:
        draft = fitting_draft(models.target, models.drafter)
    with on_terminal() as progress:
        runner = Runner.load(
            pair_name(models),
            target=models.target,
            draft=draft,
            drafter=models.drafter,
            k=models.k,
            options=options,
            exact=False if models.exact is None else models.exact,  # type: ignore[arg-type]
            lookup_corpus=models.lookup_corpus or (),
            remember=models.remember,
            progress=progress,
        )
    _say_what_exactness_limits(runner, models.k)
    changes.setdefault("seed", drawn_seed())
    try:
        runner.sampling = replace(runner.sampling, **changes)
        runner.check(runner.sampling)
        set_template(runner)
    except BaseException:
        runner.close()
        raise
    return runner


def _say_what_exactness_limits(runner: Runner, k: int | None) -> None:
    if runner.exact is None:
        return
    most = runner.exact.widths.widest - 1
    if runner.exact.note is not None:
        print(f"note: {runner.exact.note}", file=sys.stderr)
    elif k is not None and k > most:
        print(
            f"note: at the widths certified here drafts have at most {most} tokens.",
            file=sys.stderr,
        )
