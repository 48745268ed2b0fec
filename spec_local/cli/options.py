"""Options that several commands share, in groups, and the runner they ask for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from spec_local.cli.in_options import in_options
from spec_local.cli.machine_options import MachineOptions, load_options
from spec_local.cli.names import MEANS, known_names
from spec_local.cli.output import say
from spec_local.cli.progress import on_terminal
from spec_local.cli.sampling_options import OPTIONS_OF_FIELDS, SamplingOptions, drawn_seed
from spec_local.cli.template_options import TemplateOptions
from spec_local.errors import require

if TYPE_CHECKING:
    from spec_local.models.registry import PairSpec
    from spec_local.runner import Runner

DEFAULT_PAIR = "a pulled pair with a draft, else smollm2"


def _option(
    panel: str | None, *flags: str, help: str, default: str | bool = True, **more: Any
) -> Any:
    return typer.Option(*flags, help=help, show_default=default, rich_help_panel=panel, **more)


def _often(*flags: str, help: str, default: str | bool = False, **more: Any) -> Any:
    """An option that the brief help shows."""
    return _option(None, *flags, help=help, default=default, **more)


def _model(*flags: str, help: str, default: str | bool = False, **more: Any) -> Any:
    return _option("Model", *flags, help=help, default=default, **more)


@dataclass(frozen=True, slots=True)
class PairOptions:
    """Which models."""

    target: Annotated[
        str | None,
        _often(
            "--target",
            "-m",
            "--pair",
            "-p",
            help=f"{MEANS}.",
            metavar="NAME",
            default=DEFAULT_PAIR,
            autocompletion=known_names,
        ),
    ] = None
    draft: Annotated[
        list[str] | None,
        _often(
            "--draft",
            "-d",
            metavar="NAME",
            help="Draft model: name or file; repeatable.",
            autocompletion=known_names,
        ),
    ] = None
    no_draft: Annotated[
        bool, _model("--no-draft", help="Do without a draft model, also the pair's own.")
    ] = False


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
        _often(
            "--drafter",
            metavar="WHO",
            help="auto, none, lookup, model, tree ..., or lookup,model.",
            default="the pair's",
        ),
    ] = None
    k: Annotated[
        int | None,
        _model(
            "-k", help="Tokens a named drafter drafts per round.", default="its own", min=0, max=32
        ),
    ] = None
    exact: ExactOption = None
    mmproj: Annotated[
        str | None,
        _model("--mmproj", metavar="FILE", help="Image encoder, if not beside the target."),
    ] = None
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


Models = TypeVar("Models", bound=PairOptions)


def named(models: Models, name: str | None) -> Models:
    """The options with the command's NAME as their target; raises ConfigError if both are given."""
    if name is None:
        return models
    require(models.target is None, f"Give the model once: {name} or {models.target}.")
    return replace(models, target=name)


def wanted_pair(models: PairOptions) -> PairSpec:
    """What the options mean; without a target, the default pair; raises ConfigError.

    A target that has no draft of its own shall get the best one at hand (BEST_DRAFT).
    """
    from spec_local.models.default import default_pair
    from spec_local.models.loading import BEST_DRAFT, NO_DRAFT, choose_pair
    from spec_local.models.registry import load_registry

    wanted = models.target or default_pair(load_registry())
    require(not (models.draft and models.no_draft), "Give --draft or --no-draft, not both.")
    draft = NO_DRAFT if models.no_draft else models.draft or BEST_DRAFT
    return choose_pair(wanted, draft=draft)


def chosen_pair(models: PairOptions, drafter: str | None = None) -> PairSpec:
    """The same with the best draft at hand, which is said, if the drafter uses one.

    drafter: None is the pair's own. Raises ConfigError.
    """
    from spec_local.drafters import uses_draft
    from spec_local.models.download import resolve
    from spec_local.models.loading import BEST_DRAFT
    from spec_local.models.registry import load_registry
    from spec_local.partners import best_draft

    spec, registry = wanted_pair(models), load_registry()
    if spec.draft != BEST_DRAFT:
        return spec
    spec = replace(spec, draft=None)
    if uses_draft(drafter or spec.drafter) and (path := resolve(spec.target, registry)):
        spec = replace(spec, draft=best_draft(path, registry))
        _say_who_drafts(*spec.drafts)
    return spec


def _say_who_drafts(*drafts: str) -> None:
    for draft in drafts:
        say(f"note: {draft} drafts, as it has the same vocabulary.", err=True)


def load_runner(
    models: ModelOptions,
    sampling: SamplingOptions,
    machine: MachineOptions,
    template: TemplateOptions,
    spec: PairSpec | None = None,
    *,
    contexts: int = 1,
) -> Runner:
    """Load what the options say, showing progress on a terminal; raises SpecLocalError.

    spec: the pair that the models mean, where that has been found out already. contexts: how many
    there will be.
    """
    from spec_local.models.loading import BEST_DRAFT
    from spec_local.runner import Runner
    from spec_local.sampling.settings import Sampling

    changes = sampling.changes()
    with in_options(OPTIONS_OF_FIELDS):
        Sampling(**changes)  # say what is wrong before anything is loaded
    set_template = template.prepared()
    options = load_options(machine, contexts=contexts)
    if models.exact is not None:
        from spec_local.exact.modes import check_rule

        check_rule(changes.get("acceptance", "keyed"))
    spec = spec or wanted_pair(models)
    with on_terminal() as progress:
        runner = Runner.load(
            spec,
            draft=models.draft or None,
            mmproj=models.mmproj,
            drafter=models.drafter,
            k=models.k,
            options=options,
            exact=False if models.exact is None else models.exact,  # type: ignore[arg-type]
            lookup_corpus=models.lookup_corpus or (),
            remember=models.remember,
            progress=progress,
        )
    if runner.pair is not None and spec.draft == BEST_DRAFT:
        _say_who_drafts(*runner.pair.drafts)
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
        say(f"note: {runner.exact.note}", err=True)
    elif k is not None and k > most:
        say(f"note: at the widths certified here drafts have at most {most} tokens.", err=True)
