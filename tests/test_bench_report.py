"""A benchmark on the terminal: what fits, what is marked, what is said."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from statistics import median
from typing import Any

import pytest
from rich.console import Console

from spec_local.bench.record.result import Contender, Result
from spec_local.bench.report.headline import conclusion
from spec_local.bench.report.in_short import in_short
from spec_local.bench.report.markdown import markdown
from spec_local.bench.report.sections import tables
from spec_local.bench.report.tables import Entry, Table, row, size, speedup, split, widths
from spec_local.bench.report.terminal import print_report
from tests.bench_example import CONTENDERS, SPEEDUPS, example


def printed(result: Result, width: int = 100) -> str:
    out = StringIO()
    print_report(result, Console(file=out, width=width))
    return out.getvalue()


def with_contenders(count: int) -> Result:
    more = [Contender(f"model k={k}", "model", k=k) for k in range(10, 10 + count)]
    speedups = {
        workload: {**of, **{each.name: 1.1 for each in more}} for workload, of in SPEEDUPS.items()
    }
    return example(speedups, [*CONTENDERS, *more], (0.0, 0.7))


@pytest.mark.parametrize("width", [80, 100])
def test_no_line_is_wider_than_the_terminal_and_no_figure_is_cut(width: int) -> None:
    text = printed(with_contenders(12), width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    assert "(continued)" in text
    assert text.count("k=21") >= 2


def test_a_pipe_gets_no_colours() -> None:
    assert "\x1b" not in printed(example())


def test_a_row_and_its_verdict() -> None:
    lines = [" ".join(line.split()) for line in printed(example()).splitlines()]
    assert "edit 21.0 1.79 ±3% 0.93 ±3% 1.81 ±3%" in lines
    assert "geometric mean 1.34 ±3% 0.87 ±3% 1.36 ±3%" in lines
    assert "verdict faster slower faster" in lines
    assert "edit 1.81 1.81 1.90 lookup 8 1.99 2.35" in lines
    assert "auto chat 1 0 57 4 0.0213 1" in lines


def test_what_is_gained_and_why_not_more_comes_first() -> None:
    text = printed(example())
    assert text.startswith("Speculation pays here: auto writes")
    assert text.index("What you gain, greedy") < text.index("target-1.5b-q4_k_m (1.12 GB)")
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "edit 21.0 38.0 1.81 ±3% 61% drafting: 30% of time" in lines


@pytest.mark.parametrize(
    ("changes", "tokens", "clairvoyant", "reason"),
    [
        ({}, 11, 2.0, "answers of 11 tokens"),
        ({}, 127, 1.05, "1.05 at most"),
        ({"acceptance_rate": None}, 127, 2.0, "two cost 1.60 x one"),
        ({"acceptance_rate": 0.4}, 127, 2.0, "many drafts wrong"),
        ({"shares": {"draft": 0.5}}, 127, 2.0, "drafting: 50% of time"),
        ({"shares": {"draft": 0.1}}, 127, 2.0, "two cost 1.60 x one"),
    ],
)
def test_the_reason_why_not_more(
    changes: dict[str, Any], tokens: int, clairvoyant: float, reason: str
) -> None:
    result = example()
    (found,) = in_short(
        replace(
            result,
            cells=tuple(replace(cell, **changes) for cell in result.cells),
            runs=tuple(replace(run, tokens=tokens) for run in result.runs),
            bounds=tuple(replace(bound, clairvoyant=clairvoyant) for bound in result.bounds),
        )
    )
    assert {entries[-1].text for entries in found.rows} == {reason}


def test_the_speed_against_plain_stands_beside_the_speed() -> None:
    (speed,) = [table for table in tables(example()) if table.title.startswith("Speed, ")]
    at = speed.columns.index("against plain")
    assert speed.columns[at - 1] == "tokens/s"
    cells = [cell for cell in example().cells if cell.contender == "auto"]
    shown = next(entries[at].text for entries in speed.rows if entries[0].text == "auto")
    assert shown == f"{median(cell.speedup.median for cell in cells):.2f}"


def test_without_auto_there_is_nothing_to_gain_to_be_shown() -> None:
    result = example(contenders=[each for each in CONTENDERS if each.name != "auto"])
    assert in_short(result) == []
    assert "What you gain" not in printed(result)
    assert "What you gain" not in markdown(result)


def test_peers_beside_their_own_plain_decoding_and_those_that_failed() -> None:
    text = printed(example())
    assert "llama-server -md could not be measured: it ended with status 1 [no such file]." in text
    result = example()
    cells = [replace(c, own_speedup=0.66) for c in result.cells]
    assert "1.02 ±3% / 0.66" in printed(replace(result, cells=tuple(cells)))


def test_the_conclusion_says_what_pays_what_is_slower_and_whether_the_text_is_the_same() -> None:
    assert conclusion(example()) == (
        "Speculation pays here: auto writes 1.36 ±3% times as fast as plain decoding (greedy; "
        "best 1.81, edit; worst 1.02, chat); slower than plain decoding: model k=3 (0.87, "
        "greedy). What limits auto: drafting takes 30% of the time and checking two tokens costs "
        "1.60 times one. The text is not always the same: 1 of 36 answers differ from plain "
        "decoding's (auto), by margins of at most 0.0213 logits."
    )


def test_the_conclusion_where_nothing_pays() -> None:
    losing = {"chat": {"none": 1.0, "lookup": 1.01, "model k=3": 0.7, "auto": 1.0}}
    text = conclusion(example(losing, CONTENDERS[:4]))
    assert text.startswith("Speculation does not pay here")
    assert "the best, lookup, reaches 1.01 ±3%" in text
    assert "slower than plain decoding: model k=3 (0.70, greedy)" in text


def test_the_conclusion_where_a_peer_is_faster_still() -> None:
    peer = {"chat": SPEEDUPS["chat"] | {"lookup": 1.2, "llama-server plain": 1.5}}
    text = conclusion(example(peer))
    assert "lookup writes 1.20 ±3%" in text
    assert "auto, which chooses for itself, reaches 1.02" in text
    assert "llama-server plain is faster still (1.50)" in text


def test_the_conclusion_where_another_drafter_beats_the_one_that_chooses() -> None:
    text = conclusion(example({"edit": SPEEDUPS["edit"] | {"lookup": 2.5}}))
    assert text.startswith("Speculation pays here: auto writes 1.81 ±3% times as fast")
    assert "lookup by itself reaches 2.50" in text


def test_the_conclusion_where_only_plain_decoding_ran() -> None:
    result = example()
    alone = replace(result, overall=result.overall[:1])
    assert conclusion(alone) == "No drafter of spec-local was measured beside plain decoding."


@pytest.mark.parametrize(
    ("value", "error", "entry"),
    [
        (1.79, 0.03, Entry("1.79 ±3%", "good")),
        (0.9, 0.03, Entry("0.90 ±3%", "bad")),
        (1.02, 0.03, Entry("1.02 ±3%")),
        (1.5, 0.004, Entry("1.50 ±0.4%", "good")),
        (1.5, None, Entry("1.50")),
    ],
)
def test_a_speedup_with_its_error(value: float, error: float | None, entry: Entry) -> None:
    assert speedup(value, error) == entry


def test_sizes_are_those_of_the_list_of_models() -> None:
    assert size(1_117_320_768) == "1.12 GB"


def test_splitting_keeps_the_labels_and_every_column() -> None:
    table = Table("t", ("name", "a", "b", "c"), (row("x", "1111111", "2222222", "3333333"),))
    parts = split(table, 24)
    assert [part.columns for part in parts] == [("name", "a", "b"), ("name", "c")]
    assert [part.title for part in parts] == ["t", "t (continued)"]
    assert widths(parts[0]) == [4, 7, 7]


def test_what_a_round_costs_beside_evaluations_and_files_from_before_it_was_kept() -> None:
    def shown(result: Result) -> str:
        return "".join(text for table in tables(result) for text in table.columns)

    found = example()
    assert "its median" in shown(found)
    cells = tuple(replace(cell, usual_overhead_us=None) for cell in found.cells)
    assert "its median" not in shown(replace(found, cells=cells))
