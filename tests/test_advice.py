"""What a cost curve means, in numbers and in words; and `spec-local tune`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from spec_local.cli.app import app
from spec_local.control.advice import best_k, break_even, expected_speedup, explain
from spec_local.control.costs import CostCurve
from spec_local.llama.model import Model
from spec_local.llama.options import LoadOptions
from spec_local.llama.session import Session
from spec_local.machine.others import Others
from spec_local.machine.profile import ProfileStore
from spec_local.machine.running_text import running_text
from spec_local.machine.tune import TUNED_WIDTHS, compare, tune

pytestmark = pytest.mark.llama


def curve(cost: Callable[[int], float]) -> CostCurve:
    found = CostCurve()
    for _ in range(10):
        for width in range(1, 34):
            found.observe(width, 100, cost(width))
    return found


FLAT = curve(lambda _width: 0.1)
LINEAR = curve(lambda width: 0.1 * width)
DRAFT = curve(lambda _width: 0.02)


def test_the_expected_speedup_is_the_papers_formula_with_measured_costs() -> None:
    assert expected_speedup(FLAT, None, 3, 0.5) == pytest.approx(1.875, rel=0.01)
    assert expected_speedup(FLAT, DRAFT, 3, 0.5) == pytest.approx(1.875 / 1.6, rel=0.01)
    assert expected_speedup(LINEAR, None, 3, 1.0) == pytest.approx(1.0, rel=0.01)


def test_the_best_k_and_the_acceptance_it_needs() -> None:
    assert best_k(FLAT, DRAFT, 0.05) == (0, 1.0)
    k, speedup = best_k(FLAT, DRAFT, 0.9)
    assert speedup == max(expected_speedup(FLAT, DRAFT, n, 0.9) for n in range(1, 17))
    assert speedup == expected_speedup(FLAT, DRAFT, k, 0.9)
    assert break_even(FLAT, DRAFT) == pytest.approx(0.2, abs=0.01)  # 1 + a = 1 + 0.02 / 0.1
    assert break_even(curve(lambda width: 0.12 * width), DRAFT) is None


def test_the_words_follow_the_numbers() -> None:
    words = " ".join(explain(FLAT, DRAFT, {"lookup": 0.5, "model": 0.9}))
    assert "One token takes 100 ms" in words
    assert "20.0 ms a token, 20% of the target's" in words
    assert "Its drafts pay from 20% acceptance on" in words
    assert "90% of the tokens drafted by model were right: about" in words
    assert "Recommended: --drafter auto with this draft model" in words
    assert "rarely pays" in explain(FLAT, DRAFT, {"model": 0.1})[-1]
    assert "with this draft model" in explain(FLAT, DRAFT, {"model": 0.1, "window": 0.9})[-1]
    free, drawn = (explain(FLAT, DRAFT, {name: 0.9})[-2] for name in ("lookup", "window"))
    assert free.partition("about")[2] > drawn.partition("about")[2]  # the window's drafts cost
    assert "looks drafts up" in explain(FLAT, None, {})[-1]
    dear = curve(lambda width: 0.12 * width**1.3)
    assert "no draft can pay" in explain(dear, None, {})[-1]
    assert "leave the draft model out" in explain(dear, DRAFT, {"model": None})[-1]


def test_a_session_is_measured_at_every_width_and_left_empty(tiny: Path) -> None:
    with Model(tiny, LoadOptions(n_ctx=512)) as model, Session(model) as session:
        shares: list[float] = []
        found, measured = tune(session, seconds=0.5, progress=shares.append)
        assert session.tokens == []
    assert [each.width for each in measured] == list(TUNED_WIDTHS)
    assert all(each.fastest <= each.median <= each.slowest for each in measured)
    assert all(found.has(width, 256) for width in TUNED_WIDTHS)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_what_is_measured_is_a_text_that_goes_on(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens that repeat would ask for the same experts of a mixture, which flatters it."""
    evaluated, evaluate = list[int](), Session.evaluate

    def watched(session: Session, tokens: Sequence[int], *how: Any, **more: Any) -> Any:
        evaluated.extend(tokens)
        return evaluate(session, tokens, *how, **more)

    monkeypatch.setattr(Session, "evaluate", watched)
    with Model(tiny, LoadOptions(n_ctx=300)) as model, Session(model) as session:
        for measure in (
            lambda: tune(session, seconds=0.1),
            lambda: compare([session], [CostCurve()]),
        ):
            evaluated.clear()
            measure()
            assert len(evaluated) >= 20
            assert evaluated == list(islice(running_text(model.vocab), len(evaluated)))


def test_a_context_too_small_for_the_usual_lengths_is_measured_too(tiny: Path) -> None:
    with Model(tiny, LoadOptions(n_ctx=64)) as model, Session(model) as session:
        found, _measured = tune(session, seconds=0.2)
    assert found.is_known


def test_the_command_measures_prints_and_keeps(
    tiny: Path, tiny_draft: Path, own_profiles: ProfileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Others, "processors", 0.0)
    files = ["-m", str(tiny), "-d", str(tiny_draft), "--ctx-size", "512"]
    found = CliRunner().invoke(app, ["tune", *files, "--seconds", "1"])
    assert found.exit_code == 0, found.output
    for word in ("tiny.gguf (measured by spec-local tune)", "x one", "Prompts are read", "pay"):
        assert word in found.output
    shown = CliRunner().invoke(app, ["tune", *files, "--show"])
    assert shown.output == found.output
    assert len(list(own_profiles.directory.glob("*.json"))) == 2


@pytest.mark.parametrize("used", [0.1, 1.04])
def test_that_the_machine_was_busy_is_said(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, used: float
) -> None:
    monkeypatch.setattr(Others, "processors", property(lambda _self: used))
    found = CliRunner().invoke(app, ["tune", "-m", str(tiny), "-c", "512", "--seconds", "1"])
    assert found.exit_code == 0, found.output
    assert ("note: other programs used 1.0 processors meanwhile" in found.stderr) == (used > 1)


def test_there_is_nothing_to_show_before_something_was_measured(tiny: Path) -> None:
    found = CliRunner().invoke(app, ["tune", "-m", str(tiny), "--show"])
    assert found.exit_code != 0
    assert "measure it without --show" in str(found.exception)
