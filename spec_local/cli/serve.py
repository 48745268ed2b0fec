"""`spec-local serve`: the OpenAI protocol over HTTP, for programs that speak it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spec_local.cli.flat import flat
from spec_local.cli.machine_options import MachineOptions, load_options
from spec_local.cli.names import MEANS, known_names
from spec_local.cli.options import (
    DEFAULT_PAIR,
    ModelOptions,
    chosen_pair,
    load_runner,
    wanted_pair,
)
from spec_local.cli.sampling_options import SamplingOptions
from spec_local.cli.template_options import TemplateOptions
from spec_local.errors import ConfigError, SpecLocalError, require

if TYPE_CHECKING:
    from spec_local.drafters.library import Library
    from spec_local.runner import Runner
    from spec_local.serve.models import Loaded

_server = partial(typer.Option, rich_help_panel="Server")
_limit = partial(typer.Option, rich_help_panel="Limits")


@dataclass(frozen=True, slots=True)
class _SeveralModels(ModelOptions):
    """Which models, and how they work together."""

    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            "-m",
            "--pair",
            "-p",
            metavar="NAME",
            help="As NAME; repeatable.",
            show_default=DEFAULT_PAIR,
            autocompletion=known_names,
        ),
    ] = None  # type: ignore[assignment]  # several here, and one elsewhere

    def each(self, names: list[str]) -> list[ModelOptions]:
        """The options of each model; names: others of them."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        wanted: list[str | None] = [*names, *(self.target or [])]
        return [ModelOptions(**{**given, "target": target}) for target in wanted or [None]]


@flat
def serve(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help=f"{MEANS}; repeatable.",
            autocompletion=known_names,
            show_default=False,
        ),
    ] = None,
    *,
    host: Annotated[
        str, typer.Option("--host", metavar="ADDR", help="Where to listen.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", metavar="N", help="0: any that is free.")] = 8080,
    api_key: Annotated[
        str | None,
        typer.Option(
            "--api-key",
            metavar="KEY",
            envvar="SPEC_LOCAL_API_KEY",
            help="Ask clients for it.",
            show_default=False,
        ),
    ] = None,
    no_api_key: Annotated[
        bool, _server("--no-api-key", help="Let other machines ask without a key.")
    ] = False,
    cors_origin: Annotated[
        list[str] | None,
        _server("--cors-origin", metavar="URL", help="Let web pages of it ask; repeatable."),
    ] = None,
    parallel: Annotated[
        int, _server("--parallel", help="Contexts that answer at the same time.", min=1, max=64)
    ] = 1,
    cache_ram: Annotated[
        int,
        _server(
            "--cache-ram",
            metavar="N",
            help="MiB for contexts that others displaced, of each model; 0: none.",
            min=0,
        ),
    ] = 1024,
    idle_seconds: Annotated[
        float | None,
        _server(
            "--idle-seconds",
            metavar="S",
            help="Drop a model that nobody asked for so long.",
            min=1.0,
            show_default="never",
        ),
    ] = None,
    shutdown_seconds: Annotated[
        float, _server("--shutdown-seconds", help="To finish answers in at the end.", min=0)
    ] = 10.0,
    queue: Annotated[int, _limit("--queue", help="Requests that may wait.", min=0)] = 32,
    max_prompt: Annotated[
        int | None,
        _limit(
            "--max-prompt",
            metavar="N",
            help="Tokens of a prompt.",
            min=1,
            show_default="the context's",
        ),
    ] = None,
    max_body: Annotated[int, _limit("--max-body", help="KiB of a request.", min=1)] = 4096,
    max_schema: Annotated[
        int, _limit("--max-schema", help="KiB of a schema or grammar.", min=1)
    ] = 64,
    max_seconds: Annotated[
        float, _limit("--max-seconds", help="Time of an answer from its turn on.", min=1.0)
    ] = 600.0,
    models: _SeveralModels,
    template: TemplateOptions,
    sampling: SamplingOptions,
    machine: MachineOptions,
) -> None:
    """Answer programs that speak the OpenAI protocol, such as editors and agents.

    Their base URL is the one printed, which ends in /v1.
    """
    _require_extra()
    from spec_local.serve.limits import Limits
    from spec_local.serve.models import Models
    from spec_local.serve.server import Address, listening, run
    from spec_local.serve.service import Service

    address = Address(host, port, api_key, no_api_key, tuple(cors_origin or ()))
    limits = Limits(
        body_bytes=max_body << 10,
        schema_bytes=max_schema << 10,
        prompt_tokens=max_prompt,
        seconds=max_seconds,
        waiting=queue,
    )
    options = _by_name(models.each(names or []))
    require(
        len(options) == 1 or not (machine.lora or machine.draft_lora),
        "Adapters are for one model; leave them out, or serve that model alone.",
    )
    loads: dict[str, Callable[[], Loaded]] = {
        each: partial(
            load_served, each, one, parallel, sampling, machine, template, cache_ram << 20
        )
        for each, one in options.items()
    }
    with listening(address) as listener:
        # What is wrong with a single one shall be known at once.
        loaded = next(iter(loads.values()))() if len(loads) == 1 else None
        models_ = Models(
            loads,
            most_waiting=limits.waiting,
            idle_seconds=idle_seconds,
            loaded=loaded,
            has_room={n: partial(has_room, one, parallel, machine) for n, one in options.items()},
        )
        run(
            Service(models_, limits),
            address,
            listener,
            lambda url: _ready(url, list(loads)),
            shutdown_seconds=shutdown_seconds,
        )


def _by_name(options: list[ModelOptions]) -> dict[str, ModelOptions]:
    """The options by what clients call the model; no path of this machine."""
    from spec_local.models.default import default_pair
    from spec_local.models.registry import load_registry

    require(
        len(options) == 1 or not options[0].draft,
        "Several models have drafts of their own; leave out --draft.",
    )
    require(
        len(options) == 1 or options[0].mmproj is None,
        "Several models have image encoders of their own, beside them; leave out --mmproj.",
    )
    found = {_served_name(each.target or default_pair(load_registry())): each for each in options}
    require(len(found) == len(options), "Two of the models have the same name.")
    for each in options if len(options) > 1 else ():
        chosen_pair(each, each.drafter)  # raises for names that are unknown
    return found


def _require_extra() -> None:
    try:
        import fastapi  # noqa: F401 - whether it is there
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
    except ModuleNotFoundError:
        raise ConfigError("The server is missing; run pip install 'spec-local[serve]'.") from None


def _served_name(wanted: str) -> str:
    path = Path(wanted)
    if path.suffix == ".gguf":
        return path.stem
    return path.resolve().name if path.exists() else wanted


def load_served(
    name: str,
    models: ModelOptions,
    parallel: int,
    sampling: SamplingOptions,
    machine: MachineOptions,
    template: TemplateOptions,
    kept_bytes: int,
) -> Loaded:
    """Load what the options say, with so many contexts.

    kept_bytes: for what they held before another request took their place.
    """
    from spec_local.serve.kept_contexts import KeptContexts
    from spec_local.serve.models import Loaded
    from spec_local.serve.sharing import beside, slot_of

    kept = KeptContexts(kept_bytes)
    with ExitStack() as stack:
        first = load_runner(models, sampling, machine, template, contexts=parallel)
        slots = [slot_of(first, kept)]
        stack.callback(slots[0].close)
        for _ in range(parallel - 1):
            other = beside(first, models.k, _library(first, models), stack)
            slots.append(slot_of(other, kept))
            stack.callback(slots[-1].close)
        return Loaded(name, slots, _about(first, parallel), stack.pop_all().close)


def has_room(models: ModelOptions, parallel: int, machine: MachineOptions) -> bool:
    """Whether GPUs have room now for all that the options say, with so many contexts.

    Also where that cannot be told: loading it will say why.
    """
    from spec_local.models.loading import choose_pair
    from spec_local.pair import placement
    from spec_local.partners import with_best_draft
    from spec_local.util.progress import no_progress

    options = load_options(machine, contexts=parallel)
    try:
        spec = choose_pair(wanted_pair(models), mmproj=models.mmproj)
        drafter = models.drafter or spec.drafter
        spec = with_best_draft(spec, drafter, options, None, no_progress)
        return placement(spec, [drafter], options=options).has_all
    except SpecLocalError:
        return True


def _library(runner: Runner, models: ModelOptions) -> Library:
    from spec_local.models.corpus import library_of, read_corpus

    corpus = read_corpus(models.lookup_corpus or ())
    return library_of(runner.target.model, corpus, models.remember)


def _about(runner: Runner, parallel: int) -> dict[str, Any]:
    """What clients are told of a model."""
    return {
        "n_ctx": runner.n_ctx,
        "n_vocab": runner.vocab.n_tokens,
        "parallel": parallel,
        "target": runner.target.model.path.name,
        "draft": None if runner.draft is None else runner.draft.model.path.name,
        "drafts": [draft.model.path.name for draft in runner.drafts],
        "drafter": runner.speculator.name,
        "exact": None if runner.exact is None else runner.exact.mode,
        "note": None if runner.exact is None else runner.exact.note,
    }


def _ready(url: str, names: list[str]) -> None:
    print(f"{', '.join(names)} at {url} (Ctrl-C ends it)", file=sys.stderr, flush=True)
