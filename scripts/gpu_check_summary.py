"""What `gpu_check.sh` has found, as a page: computed from the files in its folder.

    python -m scripts.gpu_check_summary FOLDER > FOLDER/summary.md

What is missing, because its step failed or was left out, is missing in the page; the table of steps
says why.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from scripts import moe_costs
from spec_local.bench.record.result import Result
from spec_local.cli.exact_output import findings
from spec_local.errors import ConfigError
from spec_local.machine.certify import Certificate
from spec_local.util.files import read_text

SHOWN = (2, 3, 4, 5, 6, 8, 12, 16, 32)
"""Widths."""


def page(folder: Path) -> str:
    """Markdown."""
    parts = (machine, curves, certificates, texts, benchmarks, overhead, mixture, tests, steps)
    return "\n".join(line for part in parts for line in part(folder)) + "\n"


def kept(folder: Path, pattern: str) -> Iterator[tuple[str, Any]]:
    """Files of JSON by what they are called; those that are damaged are as if they were missing."""
    for path in sorted(folder.glob(pattern)):
        with suppress(ConfigError, ValueError):
            yield path.stem, json.loads(read_text(path))


def machine(folder: Path) -> Iterator[str]:
    """What was measured on."""
    yield "# A machine, checked"
    for _name, told in kept(folder, "doctor.json"):
        hardware, build = told["hardware"], told["build"] or {}
        versions = ", ".join(f"{name} {each}" for name, each in told["versions"].items())
        cards = [each for each in build.get("devices", ()) if each["kind"] in _CARDS]
        yield ""
        yield f"{hardware['cpu']}, {hardware['system']} {hardware['release']}; {versions};"
        yield f"llama.cpp {build.get('version')}, for {', '.join(build.get('backends', ()))}."
        yield from (f"{each['name']}: {_card(each)}." for each in cards)
        if not cards:
            yield "**No GPU was found, so everything here is of the processor.**"


_CARDS = ("gpu", "igpu", "several")


def _card(device: Mapping[str, Any]) -> str:
    size = device["memory"]
    free = f", {device['free_memory'] / 1e9:.1f} of {size / 1e9:.1f} GB free" if size else ""
    return f"{device['description']}{free}"


def curves(folder: Path) -> Iterator[str]:
    """V(w) / V(1) of everything that was measured, after the shortest context."""
    found = [each for _name, each in kept(folder, "curve-*.json")]
    if not found:
        return
    widths = " | ".join(map(str, SHOWN))
    yield from ("", "## What checking several tokens costs", "")
    yield f"| model | GB | layers on GPUs | V(1) in ms | {widths} |"
    yield f"|---|--:|--:|--:|{'--:|' * len(SHOWN)}"
    left_out = [each for each in found if "left out" in each]
    for each in found:
        if each not in left_out:
            yield _curve(each)
    yield ""
    yield from (f"{_named(each)} was left out: {each['left out']}." for each in left_out)


def _named(found: Mapping[str, Any]) -> str:
    return " ".join(filter(None, (found["model"], found["type"])))


def _curve(found: Mapping[str, Any]) -> str:
    context = found["measured"][0]["context"]
    times = {each["width"]: each["median"] for each in found["measured"]}
    times |= {m["width"]: m["median"] for m in found["measured"] if m["context"] == context}
    layers = found["layers"] + 1  # the output is one
    on_gpu = layers if found["gpu_layers"] < 0 else found["gpu_layers"]
    ratios = (f"{times[width] / times[1]:.2f}" if width in times else "" for width in SHOWN)
    return (
        f"| {_named(found)} | {found['bytes'] / 1e9:.1f} | {on_gpu} of {layers} "
        f"| {times[1] * 1e3:.2f} | {' | '.join(ratios)} |"
    )


def certificates(folder: Path) -> Iterator[str]:
    """At which widths the same bits are computed."""
    for _name, profile in kept(folder, "profiles/*.json"):
        for key, entry in profile.items():
            if key.startswith("certificate "):
                yield from ("", f"## {profile['identity']['model']}, examined", "")
                yield from findings(Certificate.from_dict(entry))


def texts(folder: Path) -> Iterator[str]:
    """Whether drafting changed any, in exact mode."""
    for name, found in kept(folder, "exact-*.json"):
        answers, identical, tokens = (
            sum(each[key] for each in found["drafters"])
            for key in ("answers", "identical", "tokens")
        )
        yield ""
        yield (
            f"{name.removeprefix('exact-')}: {identical} of {answers} answers with drafts, "
            f"{tokens:,} tokens, were plain decoding's."
        )


def benchmarks(folder: Path) -> Iterator[str]:
    """Speed-ups over all workloads, how many texts are the same, and what a round takes beside."""
    for path in sorted(folder.glob("bench*.json")):
        try:
            result = Result.load(path)
        except ConfigError:
            continue
        draft = f" with {result.draft.name}" if result.draft else ""
        same = {each.contender: f"{each.identical} of {each.answers}" for each in result.lossless}
        yield from ("", f"## {result.target.name}{draft}", "")
        yield "| contender | times plain decoding | slowest workload | same text | µs a round |"
        yield "|---|--:|--:|--:|--:|"
        for each in result.overall:
            beside = [
                cell.usual_overhead_us
                for cell in result.cells_of(each.contender, each.temperature)
                if cell.usual_overhead_us is not None
            ]
            yield (
                f"| {each.contender} | {each.speedup:.2f} | {each.worst:.2f} "
                f"| {same.get(each.contender, '')} | {f'{max(beside):.0f}' if beside else ''} |"
            )
        failed = [each for each in result.contenders if each.error]
        yield from (f"\n{each.name} could not be measured: {each.error}" for each in failed)


def overhead(folder: Path) -> Iterator[str]:
    """What Python takes of a round, on a device of 3 ms that exists only as seconds."""
    for _name, found in kept(folder, "overhead.json"):
        yield from ("", "## What Python takes of a round", "")
        yield "| drafter, temperature | µs a round | of them verifying | speed |"
        yield "|---|--:|--:|--:|"
        for case, each in found["found"].items():
            figures = f"{each['round_us']:.0f} | {each['verify_us']:.0f} | {each['speed']:.2f}"
            yield f"| {case} | {figures} |"


def mixture(folder: Path) -> Iterator[str]:
    """What experts do to costs."""
    for _name, found in kept(folder, "moe.json"):
        yield from ("", f"## A mixture of experts of the shape of {found['of']}", "")
        yield moe_costs.table(found)


def tests(folder: Path) -> Iterator[str]:
    """How many passed."""
    for path in sorted(folder.glob("tests*.xml")):
        try:
            suites = list(ElementTree.parse(path).getroot().iter("testsuite"))
        except ElementTree.ParseError:
            continue
        run, failures, errors, skipped = (
            sum(int(suite.get(key, 0)) for suite in suites)
            for key in ("tests", "failures", "errors", "skipped")
        )
        yield ""
        yield (
            f"{path.stem}: {run - failures - errors - skipped} passed, {failures + errors} failed, "
            f"{skipped} left out."
        )
        for suite in suites:
            yield from _failed(suite)


def _failed(suite: ElementTree.Element) -> Iterator[str]:
    for case in suite.iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            yield f"- {case.get('classname')}: {case.get('name')}"


def steps(folder: Path) -> Iterator[str]:
    """What was done, and how long it took."""
    yield from ("", "## Steps", "", "| step | | seconds |", "|---|---|--:|")
    for line in read_text(folder / "steps.tsv").splitlines():
        cells: Sequence[str] = line.split("\t")
        yield f"| {' | '.join(cells)} |"


def main() -> None:
    """Print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    print(page(parser.parse_args().folder), end="")


if __name__ == "__main__":
    main()
