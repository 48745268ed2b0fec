"""A benchmark as Markdown."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from spec_local.bench.report.markdown import markdown
from tests.bench_example import example


def test_it_holds_what_the_terminal_shows() -> None:
    text = markdown(example())
    assert "| edit | 21.0 | **1.79 ±3%** | *0.93 ±3%* | **1.81 ±3%** |" in text
    assert "| verdict |  | **faster** | *slower* | **faster** |" in text
    assert "Speculation pays here: auto writes 1.36 ±3%" in text
    assert "- llama-server -md could not be measured: it ended with status 1" in text


def test_it_says_how_to_measure_it_again() -> None:
    lines = markdown(example()).splitlines()
    assert "- command: `spec-local bench --json out.json`" in lines
    assert "- commit: 0123abc" in lines
    assert "- versions: spec-local 0.1.0, llama-cpp-python 0.3.36" in lines
    assert "- made: 2026-01-31T12:00:00Z" in lines
    assert "- llama-server plain: `-c 4096`" in lines


def test_every_table_is_rectangular_and_no_line_ends_in_a_space() -> None:
    lines = markdown(example(temperatures=(0.0, 0.7))).splitlines()
    assert not [line for line in lines if line != line.rstrip()]
    for above, line in pairwise(lines):
        if above.startswith("|") and line.startswith("|"):
            assert above.count("|") == line.count("|")


def test_signs_of_markdown_in_a_name_stay_signs() -> None:
    result = example()
    named = replace(result, target=replace(result.target, name="a|b_*c*"))
    assert "# Benchmark of a\\|b\\_\\*c\\*" in markdown(named)


def test_plots_come_light_or_dark_as_the_screen_is() -> None:
    text = markdown(example(), ["p/speedup-light.svg", "p/speedup-dark.svg", "other.png"])
    assert '<source media="(prefers-color-scheme: dark)" srcset="p/speedup-dark.svg">' in text
    assert '<img alt="Speed-up by workload and contender" src="p/speedup-light.svg">' in text
    assert text.count("speedup-dark.svg") == 1
    assert "![other](other.png)" in text
