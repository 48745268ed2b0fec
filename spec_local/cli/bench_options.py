"""Options of the benchmark's commands, in groups."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spec_local.errors import ConfigError

if TYPE_CHECKING:
    from spec_local.workloads.workloads import WorkloadPrompt

_PROMPTS, _PEERS, _OUTPUT = "Prompts", "Peers", "Output"

TUNE_SECONDS = 12.0
"""To measure a model whose costs are not known yet."""


@dataclass(frozen=True, slots=True)
class PromptOptions:
    """Which prompts."""

    workload: Annotated[
        list[str] | None,
        typer.Option(
            "--workload",
            "-w",
            metavar="NAME",
            help="Only this workload; repeatable.",
            show_default="all nine",
        ),
    ] = None
    prompts: Annotated[
        list[Path] | None,
        typer.Option(
            "--prompts",
            help="Your own: Spec-Bench JSONL, or a text; repeatable.",
            rich_help_panel=_PROMPTS,
        ),
    ] = None
    per_workload: Annotated[
        int,
        typer.Option(
            "--per-workload", help="Prompts of each workload.", min=1, rich_help_panel=_PROMPTS
        ),
    ] = 1
    seed: Annotated[
        int,
        typer.Option("--seed", help="Of sampled answers.", min=0, rich_help_panel=_PROMPTS),
    ] = 1


@dataclass(frozen=True, slots=True)
class PeerOptions:
    """Which other programs."""

    peer: Annotated[
        list[str] | None,
        typer.Option(
            "--peer",
            help="llama-server=PATH or llama-cpp-python; repeatable.",
            rich_help_panel=_PEERS,
        ),
    ] = None
    peer_flags: Annotated[
        list[str] | None,
        typer.Option(
            "--peer-flags",
            help="NAME=FLAGS for llama-server, {draft} being the draft; repeatable.",
            show_default="-md twice, ngram-map-k, ngram-mod",
            rich_help_panel=_PEERS,
        ),
    ] = None
    peer_draft: Annotated[
        Path | None,
        typer.Option(
            "--peer-draft", help="Draft for peers.", show_default="the same", rich_help_panel=_PEERS
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """Which files to write."""

    json: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write the whole result."),
    ] = None
    markdown: Annotated[
        Path | None,
        typer.Option("--markdown", help="Write the report.", rich_help_panel=_OUTPUT),
    ] = None
    plots: Annotated[
        Path | None,
        typer.Option("--plots", help="Draw into a directory.", rich_help_panel=_OUTPUT),
    ] = None


def chosen_prompts(options: PromptOptions) -> list[WorkloadPrompt]:
    """The prompts that were asked for; raises ConfigError."""
    from spec_local.workloads.workloads import bundled, choose, read_prompts

    known = read_prompts(*options.prompts) if options.prompts else bundled()
    return choose(known, options.workload or [], options.per_workload)


def numbers(option: str, text: str | None) -> list[int]:
    """Whole numbers separated by commas; raises ConfigError."""
    try:
        return [int(part) for part in text.split(",")] if text else []
    except ValueError:
        raise ConfigError(f"{option} {text}: give whole numbers, as in 1,2,4,8.") from None
