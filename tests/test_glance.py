"""The first look at a draft model."""

from __future__ import annotations

from spec_local.control.costs import CostCurve
from spec_local.machine.glance import glance
from tests.fake import TableSession


def test_one_token_and_eight_at_once_are_measured_and_nothing_is_left_behind() -> None:
    session, curve = TableSession(), CostCurve()
    glance(session, curve)
    assert curve.measured() == {256: [1, 8]}
    assert list(session.tokens) == []


def test_a_context_without_room_for_that_is_left_alone() -> None:
    session, curve = TableSession(n_ctx=6), CostCurve()
    glance(session, curve)
    assert not curve.is_known
