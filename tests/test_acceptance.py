"""Calibration of a drafter's confidence: counts, censoring, forgetting."""

from __future__ import annotations

import json

import pytest

from spec_local.control.acceptance import Acceptance, overall
from spec_local.control.constants import Tuning
from spec_local.control.report import Judged


def test_without_evidence_a_drafter_is_believed() -> None:
    acceptance = Acceptance()
    assert acceptance.rate(0.95) == pytest.approx(0.95)
    assert acceptance.rate(0.2) == pytest.approx(0.2)
    assert overall([acceptance]) is overall([]) is None
    assert acceptance.shares.sum() == pytest.approx(1)
    assert acceptance.shares == pytest.approx(
        [share / sum(Tuning().first_shares) for share in Tuning().first_shares]
    )


def test_evidence_overrules_confidence() -> None:
    acceptance = Acceptance()
    for i in range(400):
        acceptance.observe(*(([0.95], []) if i % 2 else ([], [0.95])))
    assert acceptance.rate(0.95) == pytest.approx(0.5, abs=0.03)
    assert acceptance.rate(0.2) == pytest.approx(0.2)  # another bucket


def test_tokens_after_the_first_rejected_one_are_censored() -> None:
    acceptance, judged = Acceptance(), Judged.of_chain([0.95, 0.7, 0.2], 1, rejected=True)
    acceptance.observe(judged.right, judged.wrong)
    assert acceptance.rate(0.95) > 0.95
    assert acceptance.rate(0.7) < 0.7
    assert acceptance.rate(0.2) == pytest.approx(0.2)


def test_a_draft_nobody_judged_to_the_end_has_no_rejected_token() -> None:
    acceptance, judged = Acceptance(), Judged.of_chain([0.95, 0.7], 1, rejected=False)
    acceptance.observe(judged.right, judged.wrong)
    assert acceptance.rate(0.7) == pytest.approx(0.7)


def test_a_new_text_starts_from_the_pair_and_departs_from_it_within_a_few_sentences() -> None:
    acceptance = Acceptance()
    for _ in range(400):
        acceptance.observe([0.95], [])
    acceptance.begin()
    assert acceptance.rate(0.95) > 0.97
    for _ in range(24):
        acceptance.observe([], [0.95])
    assert acceptance.rate(0.95) < 0.4
    acceptance.begin()
    assert acceptance.rate(0.95) > 0.9


def test_what_a_text_taught_fades() -> None:
    acceptance = Acceptance()
    for _ in range(400):
        acceptance.observe([0.95], [])
    acceptance.begin()
    for _ in range(8):
        acceptance.observe([], [0.95])
    low = acceptance.rate(0.95)
    acceptance.fade(0.5)
    assert low < acceptance.rate(0.95) < 0.95


def test_every_drafted_token_counts_for_what_to_expect_of_the_next() -> None:
    acceptance = Acceptance()
    for i in range(800):
        acceptance.drafted(0.95 if i % 4 else 0.2)
    assert acceptance.shares @ acceptance.rates == pytest.approx(
        0.75 * 0.93 + 0.25 * 0.15, abs=0.03
    )
    assert acceptance.shares.max() == pytest.approx(0.75, abs=0.03)


def test_what_is_known_of_a_pair_survives_being_written_and_read() -> None:
    acceptance = Acceptance()
    for _ in range(50):
        acceptance.drafted(0.95)
        acceptance.observe([0.95], [0.7])
    read = Acceptance.from_dict(json.loads(json.dumps(acceptance.as_dict())))
    acceptance.begin()
    assert read.rate(0.7) == pytest.approx(acceptance.rate(0.7))
    assert read.shares == pytest.approx(acceptance.shares)


@pytest.mark.parametrize(
    "damaged",
    [
        {"buckets": [], "drafted": [0] * 8},
        {"buckets": [[0, 0]] * 8},
        {"buckets": [[0, 0]] * 8, "drafted": [0]},
        {"buckets": [[0, 0]] * 8, "drafted": [-1] * 8},
        {"buckets": [[2, 1]] * 8, "drafted": [0] * 8},
        {"buckets": [[float("nan"), 1]] * 8, "drafted": [0] * 8},
        {"buckets": [[1]] * 8, "drafted": [0] * 8},
    ],
)
def test_damaged_counts_are_refused(damaged: dict[str, object]) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        Acceptance.from_dict(damaged)


def test_the_targets_certainty_foretells_what_would_be_drafted() -> None:
    acceptance = Acceptance(drawn=True)
    for _ in range(20):
        acceptance.foresee(0.995)
    assert acceptance.shares[-1] > 0.7
    for _ in range(40):
        acceptance.foresee(0.1)
    assert acceptance.shares[-1] < 0.2
    assert acceptance.typical < 0.6


def test_how_alike_target_and_draft_are_is_learned_and_kept() -> None:
    """A draft that is unsure wherever the target is sure."""
    acceptance = Acceptance(drawn=True)
    for _ in range(200):
        acceptance.relate(0.995, 0.4)
    kept = Acceptance.from_dict(json.loads(json.dumps(acceptance.as_dict())), drawn=True)
    for _ in range(40):
        kept.foresee(0.995)
    assert kept.shares[1] > 0.7


def test_a_models_probabilities_are_doubted_later_than_the_length_of_a_match() -> None:
    drawn, looked_up = Acceptance(drawn=True), Acceptance()
    for acceptance in (drawn, looked_up):
        acceptance.observe([0.95] * 2, [0.95])
    assert drawn.rate(0.95) > looked_up.rate(0.95)
