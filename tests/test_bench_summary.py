"""From runs to figures: exact values on runs that are made up."""

from __future__ import annotations

import math
from typing import Any

import pytest
from scipy import stats

from spec_local.bench.record.result import PLAIN, Contender, Run
from spec_local.bench.record.summary import cells, overall, student, token_acceptance, verdict
from spec_local.bench.run.contenders import contender, heats, line_up
from spec_local.control.costs import CostCurve
from spec_local.errors import ConfigError


def run(name: str, seconds: float, workload: str = "chat", repeat: int = 0, **more: Any) -> Run:
    settings: dict[str, Any] = {
        "contender": name,
        "workload": workload,
        "prompt": 0,
        "temperature": 0.0,
        "repeat": repeat,
        "heat": 0,
        "prompt_tokens": 10,
        "prompt_seconds": None,
        "tokens": 20,
        "seconds": seconds,
        "rounds": 10,
    }
    return Run(**{**settings, **more})


AUTO = [Contender(PLAIN, PLAIN), Contender("auto", "auto")]


def test_ratios_are_formed_pair_by_pair() -> None:
    runs = [
        run(PLAIN, 2.0),
        run("auto", 1.0),
        run(PLAIN, 8.0, repeat=1),  # the machine was four times as slow
        run("auto", 2.0, repeat=1),
    ]
    plain, auto = cells(runs, AUTO, CostCurve(), ())
    assert (plain.speedup.median, plain.speedup.error) == (1.0, 0.0)
    spread = auto.speedup
    assert (spread.median, spread.low, spread.high, spread.pairs) == (3.0, 2.0, 4.0, 2)
    assert auto.tokens_per_second == 15.0
    assert auto.mean_accepted_length == 2.0


def test_only_runs_side_by_side_are_compared() -> None:
    runs = [
        run(PLAIN, 2.0),
        run("auto", 1.0),
        run(PLAIN, 4.0, heat=1),
        run("model k=3", 4.0, heat=1),
        run("model k=3", 1.0, workload="edit"),  # nobody to compare it with
    ]
    contenders = [*AUTO, contender("model")]
    found = {
        (c.contender, c.workload): c.speedup.median
        for c in cells(runs, contenders, CostCurve(), ())
    }
    assert found == {(PLAIN, "chat"): 1.0, ("auto", "chat"): 2.0, ("model k=3", "chat"): 1.0}


def test_noise_is_what_differs_between_repeats_not_between_workloads() -> None:
    runs = []
    for workload, speedup in (("chat", 1.0), ("edit", 4.0)):
        for repeat, noise in enumerate((1.1, 1 / 1.1)):
            runs += [
                run(PLAIN, 1.0, workload, repeat),
                run("auto", noise / speedup, workload, repeat),
            ]
    found = [cell for cell in cells(runs, AUTO, CostCurve(), ()) if cell.contender == "auto"]
    deviation = math.log(1.1) * math.sqrt(2)  # of one pair, two degrees of freedom
    student_of_two = 4.3027  # of two degrees of freedom, from a printed table
    for cell in found:
        assert cell.speedup.error == pytest.approx(
            student_of_two * deviation / math.sqrt(2), rel=1e-4
        )
    (mean,) = (each for each in overall(found) if each.contender == "auto")
    assert mean.speedup == pytest.approx(2.0, rel=0.01)
    assert mean.worst_workload == "chat"
    assert mean.error == pytest.approx(student_of_two * deviation / 2, rel=1e-4)


@pytest.mark.parametrize("degrees", [*range(1, 41), 60, 120, 1000])
def test_students_t_is_scipys(degrees: int) -> None:
    assert student(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), abs=5e-5)


def test_one_repeat_knows_no_noise() -> None:
    (_plain, auto) = cells([run(PLAIN, 2.0), run("auto", 1.0)], AUTO, CostCurve(), ())
    assert auto.speedup.error is None


@pytest.mark.parametrize(
    ("speedup", "error", "expected"),
    [
        (1.2, 0.1, "faster"),
        (0.8, 0.1, "slower"),
        (1.05, 0.1, "same"),
        (0.9, None, "slower"),
        (0.97, None, "same"),
    ],
)
def test_verdict(speedup: float, error: float | None, expected: str) -> None:
    assert verdict(speedup, error) == expected


def test_first_tokens_are_compared_where_the_prompt_was_read() -> None:
    runs = [
        run(PLAIN, 1.0, prompt_seconds=2.0),
        run("auto", 1.0, prompt_seconds=2.5),
        run(PLAIN, 1.0, repeat=1),
        run("auto", 1.0, repeat=1),
    ]
    _plain, auto = cells(runs, AUTO, CostCurve(), ())
    assert (auto.first_token_ratio, auto.first_token_seconds) == (1.25, 2.5)


def test_shares_add_up() -> None:
    auto = run("auto", 2.0, draft_seconds=0.5, verify_seconds=1.0, sample_seconds=0.1)
    _plain, cell = cells([run(PLAIN, 2.0), auto], AUTO, CostCurve(), ())
    assert cell.shares == pytest.approx(
        {"draft": 0.25, "verify": 0.5, "sampling": 0.05, "other": 0.2}
    )


def test_usual_overhead_is_the_median_of_what_the_runs_found() -> None:
    plain = [run(PLAIN, 2.0, repeat=i) for i in range(3)]
    found = [run("auto", 2.0, repeat=i, overhead_us=us) for i, us in enumerate((9e3, 1e2, 3e2))]
    before, auto = cells([*plain, *found], AUTO, CostCurve(), ())
    assert auto.usual_overhead_us == 3e2
    assert before.usual_overhead_us is None  # as in files written before there was this field


def test_a_peer_is_compared_with_its_own_plain_decoding_too() -> None:
    peers = [Contender("srv plain", "srv"), Contender("srv md", "srv")]
    runs = [run(PLAIN, 2.0), run("srv plain", 1.6), run("srv md", 3.2)]
    *_ours, plain, drafting = cells(runs, [*AUTO, *peers], CostCurve(), ())
    assert (plain.speedup.median, plain.own_speedup) == (1.25, 1.0)
    assert (drafting.speedup.median, drafting.own_speedup) == (0.625, 0.5)
    assert drafting.shares == {}


def test_acceptance_of_a_token_whose_predecessors_were_accepted() -> None:
    # 10 drafts of 3: 8 have a right first token, 6 of those a second, 3 of those a third
    runs = [run("model k=3", 1.0, offered_at=(10, 10, 10), accepted_at=(8, 6, 3))]
    assert token_acceptance(runs) == 17 / 24
    assert token_acceptance([run("auto", 1.0)]) is None


def test_the_line_up() -> None:
    names = [each.name for each in line_up([], [], drafts=1)]
    assert names == ["none", "lookup k=3", "model k=3", "auto"]
    assert [each.name for each in line_up([], [], drafts=0)] == [
        "none",
        "lookup k=3",
        "auto",
    ]
    with_head = [each.name for each in line_up([], [4], drafts=0, heads=["eagle3"])]
    assert with_head == ["none", "lookup k=3", "eagle3 k=3", "auto", "lookup k=4"]
    both = [each.name for each in line_up([], [], drafts=1, heads=["eagle3"])]
    assert both == ["none", "lookup k=3", "model k=3", "eagle3 k=3", "auto"]
    with pytest.raises(ConfigError, match="needs a draft model"):
        line_up(["model"], [], drafts=0, heads=["eagle3"])
    swept = line_up(["auto"], [1, 8], drafts=1)
    assert [(each.name, each.k) for each in swept] == [
        ("none", None),
        ("auto", None),
        ("model k=1", 1),
        ("model k=8", 8),
    ]
    assert [each.name for each in line_up(["none", "auto"], [], 1)] == ["none", "auto"]


def test_policies_are_contenders_and_a_contender_is_known_by_its_name_in_a_report() -> None:
    named = ["assisted", "p-min=0.75", "p-min 0.75", "staged", "model k=5", "model=5"]
    found = [(each.name, each.drafter, each.k, each.policy) for each in line_up(named, [], 1)]
    assert found == [
        ("none", "none", None, ""),
        ("assisted", "model", None, "assisted"),
        ("p-min 0.75", "model", None, "p-min 0.75"),
        ("staged k=3", "staged", 3, ""),
        ("model k=5", "model", 5, ""),
    ]


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        (
            "modle",
            "There is no contender 'modle'; choose from: auto, none, lookup, .*, assisted, disco, ",
        ),
        ("model=x", "k must be a whole number"),
        ("model=0", "k must be 1 to 32"),
        ("auto=3", "auto has no k"),
        ("model", "needs a draft model"),
        ("assisted", "needs a draft model"),
        ("p-min=2", "p-min 2: the least probability must be from 0 to 1"),
    ],
)
def test_who_cannot_run(name: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        line_up([name], [], drafts=0)


def test_plain_decoding_is_in_every_heat() -> None:
    contenders = line_up([], [1, 2, 4, 8], drafts=1)
    assert [[each.name for each in heat] for heat in heats(contenders)] == [
        ["none", "lookup k=3", "model k=3", "auto"],
        ["none", "model k=1", "model k=2", "model k=4"],
        ["none", "model k=8"],
    ]
    assert heats(contenders[:1]) == [contenders[:1]]
