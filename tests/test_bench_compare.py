"""Two benchmarks beside each other, and a benchmark kept in a file."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from spec_local.bench.record.result import Result
from spec_local.bench.report.compare import compare, comparison_tables
from spec_local.bench.report.tables import ALL
from spec_local.bench.report.terminal import print_comparison
from spec_local.errors import ConfigError
from tests.bench_example import CONTENDERS, PEER, SPEEDUPS, example


def changed(**factors: float) -> dict[str, dict[str, float]]:
    return {
        workload: {name: value * factors.get(name, 1.0) for name, value in of.items()}
        for workload, of in SPEEDUPS.items()
    }


def test_a_change_beyond_the_noise_and_one_within() -> None:
    # Both errors are 0.03, so what is less than a factor of e^0.042 is noise.
    comparison = compare(example(), example(changed(lookup=1.05, auto=1.04)))
    verdicts = {(c.workload, c.contender): c.verdict for c in comparison.speedups}
    assert verdicts["edit", "lookup"] == "faster"
    assert verdicts["edit", "auto"] == "same"
    assert verdicts["edit", "model k=3"] == "same"
    overall = {c.contender: c.verdict for c in comparison.overall}
    assert overall == {"lookup": "faster", "model k=3": "same", "auto": "same", PEER: "same"}
    (slower, *_) = compare(example(), example(changed(lookup=0.9))).speedups
    assert (slower.contender, slower.verdict) == ("lookup", "slower")


def test_without_an_error_a_change_is_unknown() -> None:
    comparison = compare(example(), example(changed(lookup=2.0), error=None))
    assert {c.verdict for c in comparison.speedups + comparison.overall} == {"unknown"}


def test_plain_decoding_is_compared_by_its_rate() -> None:
    comparison = compare(example(), example())
    assert {(c.contender, c.before, c.after) for c in comparison.plain} == {("none", 21.0, 21.0)}
    assert "none" not in {c.contender for c in comparison.speedups + comparison.overall}


def test_whatever_differs_in_what_was_measured_is_named() -> None:
    before = example()
    after = replace(
        before,
        commit="fedcba9",
        draft=None,
        versions={"spec-local": "0.2.0", "llama-cpp-python": "0.3.36"},
        machine=replace(before.machine, cores=4, devices=("a GPU",)),
        settings=replace(before.settings, seed=7, load={"n_ctx": 2048}),
    )
    assert set(compare(before, after).differences) == {
        "Commit: 0123abc before, fedcba9 after.",
        "Draft model: draft-0.5b-q4_0 (bbbbbbbbbbbb) before, none after.",
        "Version of spec-local: 0.1.0 before, 0.2.0 after.",
        "Machine cores: 2 before, 4 after.",
        "Machine devices: none before, a GPU after.",
        "Setting seed: 0 before, 7 after.",
        "Load option n_ctx: 4096 before, 2048 after.",
    }
    assert compare(before, before).differences == ()


def test_what_is_in_one_only_is_listed() -> None:
    fewer = example(contenders=CONTENDERS[:4])
    only = compare(example(), fewer).only_in_one
    assert only == ("Only before: llama-server plain, greedy, in every workload.",)
    only = compare(fewer, example(temperatures=(0.0, 0.7))).only_in_one
    assert "Only after: lookup, temperature 0.7, in every workload." in only


def test_a_change_in_losslessness_is_told() -> None:
    before = example()
    after = replace(before, lossless=tuple(replace(e, identical=12) for e in before.lossless))
    assert compare(before, after).lossless == (
        "auto, greedy: 11 of 12 answers were identical to plain decoding's, now 12 of 12.",
    )


def test_the_tables_and_the_terminal() -> None:
    comparison = compare(example(), example(changed(lookup=1.2)))
    speedups, plain = comparison_tables(comparison)
    assert [entry.text for entry in speedups.rows[0]] == [
        *("edit", "lookup", "1.79", "2.15", "+20.0%", "faster")
    ]
    assert [r[0].text for r in speedups.rows[-speedups.totals :]] == [ALL] * 4
    assert plain.totals == 0
    out = StringIO()
    print_comparison(comparison, Console(file=out, width=100))
    assert "The same was measured both times." in out.getvalue()
    assert "+20.0%" in out.getvalue()


def test_a_file_gives_back_the_result_it_was_written_from(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    result = example(temperatures=(0.0, 0.7))
    result.save(path)
    assert Result.load(path) == result
    assert compare(result, Result.load(path)).differences == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"schema": 1, "made"', "is not a JSON file"),
        ('{"schema": 999}', "is not a benchmark of schema"),
        ("[]", "is not a benchmark of schema"),
        ('{"schema": 1, "candidates": []}', "is a ranking of draft models; give a result of"),
        ('{"schema": 1, "made": 5}', r"result\.json"),
    ],
)
def test_a_damaged_or_foreign_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        Result.load(path)
