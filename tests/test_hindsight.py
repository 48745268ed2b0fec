"""Pricing recorded answers: exact values where every token's fate is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from spec_local.bench.hindsight.bounds import bounds
from spec_local.bench.hindsight.replay import Pricing, Recording, record, with_draft
from spec_local.control.costs import MAX_WIDTH, CostCurve
from spec_local.llama.model import Model
from spec_local.llama.session import Session
from spec_local.sampling.settings import Sampling

pytestmark = pytest.mark.llama

LENGTH = 12


def flat_curve(seconds: float) -> CostCurve:
    """A machine on which a wide evaluation costs what a narrow one costs."""
    curve = CostCurve()
    for _ in range(20):
        for width in (*range(1, MAX_WIDTH + 1), 512):
            curve.observe(width, 256, seconds)
    return curve


def nothing_found() -> Recording:
    return Recording(0, (0.5,) * LENGTH, ((0, ()),) * LENGTH, ((False, 0.1),) * LENGTH)


def test_where_nothing_is_right_plain_decoding_is_the_bound() -> None:
    prices = Pricing(flat_curve(1.0), flat_curve(0.1), [nothing_found()]).price(nothing_found())
    assert prices.oracle == pytest.approx(1.0)
    assert prices.clairvoyant == pytest.approx(1.0, abs=0.3)
    assert prices.static["plain"] == 1.0
    assert prices.static["model 1"] == pytest.approx(1 / 1.1, rel=0.02)


def test_where_everything_is_right_width_is_the_bound() -> None:
    """Twelve tokens in one evaluation of the target, which costs what one token costs."""
    looked = tuple((LENGTH - i, (0.9,) * (LENGTH - i)) for i in range(LENGTH))
    recording = Recording(0, (0.9,) * LENGTH, looked)
    prices = Pricing(flat_curve(1.0), None, [recording]).price(recording)
    assert prices.oracle == pytest.approx(LENGTH, rel=0.01)
    assert prices.static["lookup 16"] == pytest.approx(LENGTH, rel=0.01)
    assert prices.static["lookup 3"] == pytest.approx(LENGTH / 3, rel=0.01)
    assert "model 1" not in prices.static


def test_reading_the_prompt_counts() -> None:
    recording = Recording(512, (0.9,) * LENGTH, ((0, ()),) * LENGTH, ((True, 0.9),) * LENGTH)
    free = Recording(0, recording.certainty, recording.looked, recording.drawn)
    curves = flat_curve(1.0), CostCurve()
    for _ in range(20):
        curves[1].observe(1, 256, 0.01)
        curves[1].observe(512, 256, 6.0)
    pricing = Pricing(*curves, [recording, free])
    assert pricing.price(recording).oracle < pricing.price(free).oracle
    assert pricing.price(recording).static["model 8"] < pricing.price(free).static["model 8"]


def test_the_best_static_choice_is_one_for_a_workload() -> None:
    (bound,) = bounds([("chat", 0.0, nothing_found())], flat_curve(1.0), flat_curve(0.1))
    assert (bound.workload, bound.best_static, bound.best_static_speedup) == ("chat", "plain", 1.0)


def test_an_answer_as_it_is_seen_by_a_model_that_would_have_written_it(tiny: Path) -> None:
    with Model(tiny) as model, Session(model) as target, Session(model) as draft:
        context = model.vocab.tokenize("the thing and the", add_special=True, parse_special=False)
        answer = [int(target.evaluate(context)[-1].argmax())]
        for _ in range(15):
            answer.append(int(target.evaluate(answer[-1:])[-1].argmax()))
        sampling = Sampling(temperature=0)
        seen = with_draft(
            record(target, sampling, context, answer), draft, target, sampling, context, answer
        )
    assert seen.length == len(answer) - 1 == len(seen.looked) == len(seen.drawn)
    assert all(right for right, _confidence in seen.drawn)
    assert seen.prompt_tokens == len(context)
    for position, (right, confidences) in enumerate(seen.looked):
        assert 0 <= right <= min(len(confidences), len(answer) - 1 - position)
