"""`spec-local doctor`: what is installed and learned here, and what of it makes it slow."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from spec_local.cli.exact_output import ranges
from spec_local.cli.flat import flat
from spec_local.cli.machine_options import MachineOptions, load_options
from spec_local.cli.output import say
from spec_local.cli.tables import gigabytes, named_table, print_table
from spec_local.util.terminal import visible

if TYPE_CHECKING:
    from spec_local.doctor.facts import Facts, ModelFacts, PairFacts
    from spec_local.doctor.findings import Finding
    from spec_local.llama.build import Build, DeviceFacts
    from spec_local.machine.hardware import Hardware

UNKNOWN = "unknown"


@flat
def doctor(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print all of it as JSON.")] = False,
    machine: MachineOptions,
) -> None:
    """Say what is here, and what makes it slow, each with the command that mends it.

    No model is loaded and nothing is fetched. Exit code 1 if anything was found to mend, as of
    `brew doctor` and `pip check`.
    """
    from spec_local.doctor.findings import findings
    from spec_local.doctor.gather import gather

    facts = gather(load_options(machine))
    found = findings(facts)
    if as_json:
        told = {**asdict(facts), "findings": [asdict(each) for each in found]}
        print(json.dumps(told, ensure_ascii=False, indent=2))
    else:
        _print_facts(facts)
        _print_findings(found)
    if found:
        raise typer.Exit(1)


def _print_facts(facts: Facts) -> None:
    for name, text in _lines(facts):
        say(f"{name}: {text}")
    if facts.models:
        print()
        table = named_table("model", "size", "from", "costs", "exact at widths")
        for model in facts.models:
            table.add_row(*_row(model))
        print_table(table)
    if facts.pairs:
        print()
        table = named_table("pair", "draft", "accepted", "at most")
        for pair in facts.pairs:
            table.add_row(*_worth(pair))
        print_table(table)


def _lines(facts: Facts) -> Iterator[tuple[str, str]]:
    """What is not in a table, and how each is called."""
    hardware, build = facts.hardware, facts.build
    yield "versions", ", ".join(f"{name} {each}" for name, each in facts.versions.items())
    yield "llama.cpp", UNKNOWN if build is None else _build(build)
    yield "devices", UNKNOWN if build is None else "; ".join(map(_device, build.devices))
    if facts.placement is not None and facts.placement.said:
        yield "layers", facts.placement.said
    yield "system", f"{hardware.system} {hardware.release} {hardware.architecture}"
    yield "processor", _processor(hardware)
    yield "threads", UNKNOWN if facts.threads is None else str(facts.threads)
    if hardware.nvidia:
        yield "GPUs", ", ".join(hardware.nvidia)
    yield "memory", f"{_size(hardware.memory)}, {_size(hardware.free_memory)} of it free"
    busy = UNKNOWN if facts.busy is None else f"{facts.busy:.1f}"
    yield "used by other programs", f"{busy} of {hardware.processors or UNKNOWN} processors"
    if facts.environment:
        yield "set", " ".join(f"{name}={value}" for name, value in facts.environment.items())
    yield "models and profiles", facts.cache or UNKNOWN
    if not facts.models:
        yield "models", UNKNOWN if facts.models is None else "none here yet"


def _build(build: Build) -> str:
    features = build.features.replace(" = 1", "").replace(" |", "")
    backends = ", ".join(build.backends)
    return f"{build.version}, commit {build.commit}, for {backends}; {features}"


def _device(device: DeviceFacts) -> str:
    memory = f", {_size(device.free_memory)} of {_size(device.memory)} free"
    return f"{device.name} ({device.description}{memory if device.memory else ''})"


def _processor(hardware: Hardware) -> str:
    cores = UNKNOWN if hardware.cores is None else str(hardware.cores)
    sets = UNKNOWN if hardware.instructions is None else " ".join(hardware.instructions)
    usable = "" if hardware.usable is None else f", {hardware.usable:g} processors to use"
    return f"{hardware.cpu}, {cores} cores{usable}; {sets}"


def _size(size: int | None) -> str:
    return UNKNOWN if size is None else gigabytes(size)


def _row(model: ModelFacts) -> Sequence[str]:
    costs = {None: UNKNOWN, True: "learned in use", False: "not known yet"}[model.is_learned]
    if model.tuned_at:
        costs = f"tuned {datetime.fromtimestamp(model.tuned_at):%Y-%m-%d}"
    exact = UNKNOWN if model.certified is None else ranges(model.certified) or "not certified"
    whose = "pulled" if model.is_pulled else "own file"
    return model.name, gigabytes(model.bytes), whose, costs, exact


def _worth(pair: PairFacts) -> Sequence[str]:
    accepted = "not known yet" if pair.accepted is None else f"{pair.accepted:.0%}"
    most = "not known yet" if pair.most_speedup is None else f"{pair.most_speedup:.2f} x plain"
    return pair.name, pair.draft, accepted, most


def _print_findings(found: Sequence[Finding]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for each in found:
        print()
        sentence = Text.assemble(("! ", "bold yellow"), visible(each.sentence))
        console.print(sentence, soft_wrap=not console.is_terminal)
        # One line, however long: the terminal folds it, and it can be copied.
        console.print(Text(f"    {visible(each.command)}", "cyan"), soft_wrap=True)
    print()
    many = f"{len(found)} things" if len(found) > 1 else "One thing"
    say(f"{many} to mend." if found else "Nothing here makes it slow.")
