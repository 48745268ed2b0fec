"""Published figures are what the committed data says, computed by the committed scripts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import pytest

from scripts import (
    benchmarks_abreast,
    branch_costs,
    draft_in_use,
    drafter_table,
    going_back,
    gpu_check_summary,
    moe_costs,
    odd_files,
    order_of_cells,
    other_vocabulary,
    rpc_delays,
    siblings,
)
from scripts.busy_machine import Measured
from scripts.busy_machine import table as busy_table
from scripts.conformance import llama_server_tests, openai_document
from scripts.draft_corpus import table as rankings_table
from scripts.exact_speed import summary
from scripts.fit_constants import fitted
from scripts.layer_drafts import affordable, files_table, sizes_table
from scripts.serve_latency import table as latency_table
from scripts.ticks import Ticks
from scripts.ticks import table as ticks_table
from spec_local.bench.record.result import Result
from spec_local.bench.report.compare import compare
from spec_local.bench.report.markdown import markdown
from tests.zoo.recipes import DIFFUSION, recipes

pytestmark = pytest.mark.llama

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
TYPES = ("Q4_K_M", "Q8_0", "F16")
EPYC = tuple(f"epyc-{name}" for name in TYPES)
"""The same on a machine where wide evaluations are dear."""
LONGER = tuple(f"{name}-200" for name in EPYC)
ZEN3 = ("zen3-Q4_K_M", "zen3-Q8_0")
SAMPLED = tuple(f"zen3-{name}-200" for name in TYPES)
HOW = ("without", "remembered")
DRAFTED = ("accepted", "drafted")


def benchmark(name: str) -> Result:
    return Result.load(DOCS / "benchmarks" / f"{name}.json")


def table_after(page: str, heading: str) -> dict[str, list[str]]:
    """The first table after a heading, its cells by the first one of each row."""
    rest = page[page.index(heading) :]
    rows = re.search(r"(?:^\|.*\n)+", rest, re.MULTILINE)
    assert rows is not None
    cells = [[c.strip() for c in row.strip("|\n").split("|")] for row in rows[0].splitlines()]
    return {row[0]: row[1:] for row in cells if not set(row[0]) <= {"-"}}


@pytest.mark.parametrize(("column", "model"), list(enumerate(["Q8_0", "Q4_K_M"])))
def test_what_exact_modes_cost(column: int, model: str) -> None:
    data = json.loads((DOCS / "exactness" / f"speed-{model}.json").read_text())
    published = table_after((DOCS / "exactness.md").read_text(), "## What it costs")
    found = summary(data["answers"])
    names = {
        "free plain": None,  # 1 by definition
        "free auto": "free `auto`",
        "certified plain": "exact plain decoding",
        "certified auto": "exact `auto`",
    }
    assert set(found) == set(names)
    for name, row in names.items():
        if row is not None:
            figures = found[name]
            assert published[row][column] == (
                f"{figures['median']:.2f} ({figures['geometric mean']:.2f}; "
                f"{figures['least']:.2f} to {figures['greatest']:.2f})"
            )


@pytest.mark.parametrize(("column", "name"), list(enumerate(TYPES)))
def test_the_readmes_table_is_the_benchmarks(column: int, name: str) -> None:
    result = benchmark(name)
    found = {
        f"`auto`, {cell.workload}": cell.speedup.median
        for cell in result.cells
        if cell.contender == "auto" and cell.temperature == 0 and cell.speedup is not None
    }
    for mean in result.overall:
        if mean.contender == "auto":
            where = "`auto`, geometric mean" if mean.temperature == 0 else "`auto` at temperature"
            found[where] = mean.speedup
        elif mean.contender not in ("none", "llama-cpp-python plain"):
            found[mean.contender] = mean.speedup
    published = table_after((ROOT / "README.md").read_text(), "## How fast")
    for name, row in published.items():
        plain = name.strip("*").replace(" 0.8, geometric mean", "")
        figure = f"{found.pop(plain):.2f}" if plain in found else "\N{EN DASH}"
        assert row[column].strip("*") == figure, name
    assert not found


@pytest.mark.parametrize("name", [*TYPES, *EPYC, *LONGER, *ZEN3, *SAMPLED, "Q8_0-sweep"])
def test_reports_are_drawn_from_their_data(name: str) -> None:
    report = (DOCS / "benchmarks" / f"{name}.md").read_text()
    assert re.sub(r"<picture>.*?</picture>\n\n", "", report, flags=re.DOTALL) == markdown(
        benchmark(name)
    )


def test_what_another_machine_gains() -> None:
    results = list(map(benchmark, EPYC))

    def listed(figures: list[float]) -> str:
        *first, last = (f"{figure:.2f}" for figure in figures)
        return f"{', '.join(first)} and {last}"

    two = [result.curves["target"]["2"] / result.curves["target"]["1"] for result in results]
    means = [
        mean.speedup
        for result in results
        for mean in result.overall
        if mean.contender == "auto" and mean.temperature == 0
    ]
    edits = [
        cell.speedup.median
        for result in results
        for cell in result.cells
        if (cell.contender, cell.temperature, cell.workload) == ("auto", 0, "code edit")
        and cell.speedup is not None
    ]
    worst = min(
        cell.speedup.median
        for result in results
        for cell in result.cells
        if cell.contender == "auto" and cell.speedup is not None
    )
    sentence = (
        f"On 2 cores of an EPYC, where checking two tokens takes {listed(two)} times as long as "
        f"one, `auto` has a mean of {listed(means)} and code edits of {listed(edits)}; its slowest "
        f"cell is {worst:.2f}"
    )
    assert sentence in " ".join((ROOT / "README.md").read_text().split()), sentence


@pytest.mark.parametrize("names", [EPYC, LONGER, ZEN3, SAMPLED])
def test_benchmarks_abreast(names: tuple[str, ...]) -> None:
    page = (DOCS / "benchmarks" / "README.md").read_text()
    mark = f"<!-- scripts/benchmarks_abreast.py {' '.join(names)} -->\n"
    assert mark + benchmarks_abreast.table(list(map(benchmark, names))) in page


def test_how_many_answers_are_plain_decodings() -> None:
    ours = {
        name: [each for each in benchmark(name).lossless if not each.contender.startswith("llama")]
        for name in TYPES
    }
    same = {name: sum(each.identical for each in found) for name, found in ours.items()}
    (answers,) = {sum(each.answers for each in found) for found in ours.values()}
    sentence = (
        f"Of {answers} answers, {same['Q8_0']} were plain decoding's to the last token with the "
        f"Q8_0 target, {same['F16']} with F16 and {same['Q4_K_M']} with Q4_K_M"
    )
    assert sentence in " ".join((ROOT / "README.md").read_text().split())


def test_two_runs_agree_as_often_as_is_said() -> None:
    found = compare(benchmark("Q4_K_M"), benchmark("Q4_K_M-again"))
    agree = [change.verdict == "same" for change in found.speedups]
    sentence = f"of {len(agree)} speed-ups {sum(agree)} agree"
    assert sentence in " ".join((DOCS / "benchmarks" / "README.md").read_text().split())


@pytest.mark.parametrize("name", TYPES)
def test_what_verification_costs(name: str) -> None:
    curves = benchmark(name).curves
    target, draft = curves["target"], curves["draft"]
    table = table_after((DOCS / "design.md").read_text(), "## What verification costs")
    for width, figure in zip(table["target"], table[name], strict=True):
        cost = draft["1"] if width == "draft" else target[width]
        assert figure == f"{cost / target['1']:.2f}"


@pytest.mark.parametrize(
    ("row", "prompts", "files"),
    [
        ("SmolLM2", "100, in two runs", ["SmolLM2", "SmolLM2-84-to-100"]),
        ("Qwen2.5-Coder 1.5B, Q8_0", "3", ["Q8_0"]),
        ("the same, Q4_K_M", "9", ["Q4_K_M"]),
    ],
)
def test_what_was_compared(row: str, prompts: str, files: list[str]) -> None:
    found = [json.loads((DOCS / "exactness" / f"{name}.json").read_text()) for name in files]
    drafters = [each for data in found for each in data["drafters"]]
    answers, identical, tokens = (
        sum(each[key] for each in drafters) for key in ("answers", "identical", "tokens")
    )
    same = "all" if identical == answers else str(identical)
    table = table_after((DOCS / "exactness.md").read_text(), "## What was compared")
    assert table[row] == [prompts, str(answers), f"{tokens:,}", same]
    if len(files) == 1:
        answered = found[0]["plain"]["answers"] // len(found[0]["temperatures"])
        assert answered == int(prompts)  # of the hundred that were asked for


def test_the_fits_of_the_controllers_constants() -> None:
    answers = json.loads((DOCS / "controller" / "answers.json").read_text())["answers"]
    assert len(answers) == 18
    table = table_after((DOCS / "controller.md").read_text(), "## Where its numbers come from")
    del table["constant"]
    assert {name.strip("`"): tuple(row) for name, row in table.items()} == fitted(answers)


@pytest.mark.parametrize("machine", ["busy", "busy-epyc"])
def test_the_table_of_ways_to_wait_is_what_was_measured(machine: str) -> None:
    kept = json.loads((DOCS / "threads" / f"{machine}.json").read_text())
    rows = busy_table([Measured(**each) for each in kept["found"]])
    assert "\n".join(rows) in (DOCS / "threads.md").read_text()


def test_what_a_drafted_token_takes_in_use() -> None:
    kept = json.loads((DOCS / "controller" / "draft-in-use.json").read_text())
    rows = draft_in_use.table([draft_in_use.Found(**each) for each in kept])
    assert "\n".join(rows) in (DOCS / "benchmarks" / "README.md").read_text()


def test_what_the_server_does_under_load() -> None:
    page = (DOCS / "conformance" / "README.md").read_text()
    for line in (DOCS / "conformance" / "load.jsonl").read_text().splitlines():
        row = json.loads(line)
        done = row["requests"]
        assert done.keys() == {"right", "refused", "left"}  # none was wrong or lost
        assert (
            f"| {row['clients']} | {done['right']} | {done['refused']} | {done['left']} "
            f"| {row['whole answers per second']:.1f} "
            f"| {row['median milliseconds to the first token']:.0f} "
            f"| {' | '.join(f'{megabytes:.0f}' for megabytes in row['memory'])} |"
        ) in page
        assert row["seconds"] >= 300
        assert row["memory"][-1] - row["memory"][1] < 20


def test_how_fast_llama_server_is_under_the_same_load() -> None:
    page = (DOCS / "conformance" / "README.md").read_text()
    for line in (DOCS / "conformance" / "beside.jsonl").read_text().splitlines():
        row = json.loads(line)
        assert (
            f"| {row.get('beside', 'spec-local')} | {row['clients']} "
            f"| {row['whole answers per second']:.1f} "
            f"| {row['median milliseconds to the first token']:.0f} | {row['memory'][-1]:.0f} |"
        ) in page


def test_what_becomes_of_requests_by_openais_document() -> None:
    kept = json.loads((DOCS / "conformance" / "openai-document.json").read_text())
    page = (DOCS / "conformance" / "README.md").read_text()
    assert openai_document.table(kept) in page
    assert openai_document.refused(kept) in page
    assert not any(each["wrong"] for each in kept.values())


def test_what_the_server_adds() -> None:
    kept = json.loads((DOCS / "conformance" / "latency.json").read_text())
    assert latency_table(kept) in (DOCS / "conformance" / "README.md").read_text()


def test_what_became_of_odd_files() -> None:
    kept = json.loads((DOCS / "odd-files.json").read_text())
    found = [odd_files.Found(**each) for each in kept]
    page = (DOCS / "faults.md").read_text()
    assert "\n".join(odd_files.table(found)) in page


def test_where_the_targets_token_stands_among_siblings() -> None:
    kept = json.loads((DOCS / "drafters" / "siblings.json").read_text())
    assert siblings.table(kept) in (DOCS / "drafters.md").read_text()


@pytest.mark.parametrize("name", ["moe-Q4_K_M", "moe-F16"])
def test_what_experts_do_to_costs(name: str) -> None:
    file = DOCS / f"{name}.json"
    if not file.exists():
        pytest.skip("to be measured; docs/moe.md has the command")
    mark, table = (
        moe_costs.mark(file.relative_to(ROOT)),
        moe_costs.table(json.loads(file.read_text())),
    )
    assert f"{mark}\n{table}\n" in (DOCS / "moe.md").read_text()


def test_pages_of_gpus_are_computed_from_their_files() -> None:
    for steps in DOCS.glob("gpu/*/steps.tsv"):
        summary = steps.with_name("summary.md").read_text()
        assert summary == gpu_check_summary.page(steps.parent), steps


def test_what_branches_cost() -> None:
    kept = json.loads((DOCS / "drafters" / "branches.json").read_text())
    assert branch_costs.table(kept["rounds"]) in (DOCS / "drafters.md").read_text()


@pytest.mark.parametrize("name", ["Q8_0", "family-Q8_0", "nine-Q8_0"])
def test_the_drafters_side_by_side(name: str) -> None:
    kept = Result.load(DOCS / "drafters" / f"{name}.json")
    assert drafter_table.table(kept) in (DOCS / "drafters.md").read_text()


def test_what_the_order_of_cells_changes() -> None:
    kept = json.loads((DOCS / "drafters" / "cells.json").read_text())
    assert order_of_cells.table(kept) in (DOCS / "decisions" / "trees.md").read_text()


def test_what_going_back_costs() -> None:
    kept = json.loads((DOCS / "going-back.json").read_text())
    page = (DOCS / "going-back.md").read_text()
    assert going_back.zoo_table(kept["zoo"]) in page
    assert going_back.wide_table(kept["wide"]) in page
    measured = {each["architecture"] for each in kept["zoo"]}
    assert measured == recipes().keys() - {*DIFFUSION}
    assert f"the {len(measured)} architectures" in page
    for way in ("window", "snapshot", "checkpoint"):
        assert f"y {way}: {going_back.names(kept['zoo'], way)}" in " ".join(page.split())


@pytest.mark.parametrize("arch", ["llama", "gemma2", "lfm2", "mamba"])
def test_every_way_of_going_back_is_as_published(arch: str) -> None:
    kept = json.loads((DOCS / "going-back.json").read_text())["zoo"]
    counted = going_back.measure([arch], is_wide=False)
    for each in counted:
        del each["time"]
    assert counted == [each for each in kept if each["architecture"] == arch]


def test_what_a_long_run_leaves_behind() -> None:
    kept = json.loads((DOCS / "soak.json").read_text())
    page = " ".join((DOCS / "faults.md").read_text().split())
    first, last = kept["curve"]["200"], kept["curve"][str(kept["generations"])]
    left = kept["after closing"]
    for sentence in (
        f"{kept['generations']:,} generations in one process",
        f"all {kept['texts']} texts were the same",
        f"{first['megabytes']} MB after the first 200 and {last['megabytes']} MB after all",
        f"{left['threads']} thread, {left['descriptors']} descriptors and {left['runners']} run",
    ):
        assert sentence in page
    assert last["megabytes"] - first["megabytes"] < 20
    assert left["runners"] == 0


def test_what_llama_cpps_own_tests_of_a_server_say() -> None:
    kept = json.loads((DOCS / "conformance" / "llama-server.json").read_text())
    page = (DOCS / "conformance" / "README.md").read_text()
    assert "\n".join(llama_server_tests.by_file(kept["cases"])) in page
    assert f"{sum(kept['left out'].values())}\nfunctions" in page


def test_how_many_frames_a_window_misses() -> None:
    kept = json.loads((DOCS / "embed" / "ticks.json").read_text())
    rows = ticks_table([Ticks(**each) for each in kept])
    assert "\n".join(rows) in (DOCS / "embed.md").read_text()


@pytest.mark.parametrize("name", ["benchmark", "languages"])
def test_what_rankings_of_a_drafts_tokens_are_worth(name: str) -> None:
    prices = json.loads((DOCS / "drafts" / f"{name}.json").read_text())
    assert "\n".join(rankings_table(prices)) in (DOCS / "drafts.md").read_text()


def test_what_drafts_with_another_vocabulary_are_worth() -> None:
    kept = json.loads((DOCS / "drafts" / "other-vocabulary.json").read_text())
    found = [other_vocabulary.Found(**each) for each in kept]
    page = (DOCS / "drafts.md").read_text()
    assert "\n".join(other_vocabulary.table(found)) in page
    measured = Result.load(DOCS / "drafts" / "other-vocabulary-bench.json")
    speeds: dict[str, dict[str, float]] = {"auto": {}, "model k=3": {}}
    for cell in measured.cells:
        if cell.contender in speeds and cell.speedup is not None:
            speeds[cell.contender][cell.workload] = cell.speedup.median
    alone = speeds["model k=3"]
    for said in (
        f"at {geometric_mean(alone.values()):.2f} of plain decoding's speed",
        f"; {alone['summary with quotes']:.2f} at best",
        f"{alone['translation']:.2f} at worst",
        f"`auto` with it came to {geometric_mean(speeds['auto'].values()):.2f}",
        f"cost {measured.curves['draft']['1'] / measured.curves['target']['1']:.2f} of one",
    ):
        assert said in page.replace("\n", " "), said


@pytest.mark.parametrize("name", ["qwen2.5-coder-1.5b", "smollm2-135m"])
def test_what_a_targets_own_layers_are_worth(name: str) -> None:
    found = json.loads((DOCS / "drafts" / f"layers-{name}.json").read_text())
    page = (DOCS / "drafts.md").read_text()
    for table in (sizes_table(found), files_table(found)):
        assert "\n".join(table) in page
    assert f"{affordable(found):.2f} of" in page
    assert all(each["speedup"] < 1 for each in [found["written"], *found["tried"]])


def lookup_data(name: str) -> Any:
    return json.loads((DOCS / "lookup" / f"{name}.json").read_text())


def test_what_the_index_of_lookup_costs() -> None:
    table = table_after((DOCS / "lookup.md").read_text(), "## The index")
    del table["text"]
    data = lookup_data("index")
    assert list(table) == list(data)
    for text, cells in table.items():
        before, now, automaton = (data[text][each] for each in ("before", "now", "automaton"))
        all_three = (before, now, automaton)
        assert cells == [
            " / ".join(f"{each['index']:.2f}" for each in all_three),
            " / ".join(f"{each['bytes']:.0f}" for each in all_three),
            *(
                " / ".join(f"{each[f'draft of {k}']:.0f}" for each in (before, now))
                for k in (4, 32)
            ),
        ]


def test_what_lookup_finds_in_recorded_answers() -> None:
    page = (DOCS / "lookup.md").read_text()
    table = table_after(page, "mean of the 18 answers")
    data = lookup_data("recorded")
    assert table.pop("k") == list(data)
    assert table == {k: [f"{figures[k]:.3f}" for figures in data.values()] for k in data["now"]}


def test_what_answers_cost_that_are_given_again() -> None:
    page = (DOCS / "lookup.md").read_text()
    table = table_after(page, "## Given again")
    del table["workload, temperature"]
    cells = lookup_data("again")
    assert table == {
        f"{cell['workload']}, {cell['temperature']:g}": [
            *(f"{cell[each]['tokens a round']:.2f}" for each in ("first", "given again")),
            f"{cell['predicted']['tokens a round']:.2f}",
            f"{cell['alike']:.2f}",
            *(f"{cell[f'changed, {how}']['tokens a round']:.2f}" for how in HOW),
        ]
        for cell in cells
    }
    same = [cell for cell in cells if cell["identical"]]
    counts = {
        how: " of ".join(f"{sum(cell[how][each] for cell in same):,}" for each in DRAFTED)
        for how in ("first", "given again", "predicted")
    }
    prose = " ".join(page.split())
    assert f"In {len(same)} of {len(cells)} rows every answer" in prose
    assert f"There {counts['given again']} tokens drafted for the answer given again" in prose
    assert f"and {counts['predicted']} of the predicted one, against {counts['first']} the" in prose


def test_what_continued_drafts_would_earn() -> None:
    page = (DOCS / "decisions" / "continued-drafts.md").read_text()
    table = table_after(page, "**Found.**")
    data = lookup_data("relay")
    assert table.pop("drafts")[::2] == [f"{name}, bound" for name in data]
    for row, relay in zip(table.values(), ("none", "lookup, model", "model, lookup"), strict=True):
        assert row == [
            f"{speedups[relay][each]:.3f}"
            for speedups in data.values()
            for each in ("bound", "greedy")
        ]


def test_what_distance_costs() -> None:
    kept = json.loads((DOCS / "machines" / "delays.json").read_text())
    assert rpc_delays.table(kept) in (DOCS / "machines.md").read_text()
