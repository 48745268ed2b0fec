"""The first look at a machine: at what checking costs, and at what reading costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle

import pytest

from spec_local.control.costs import CostCurve
from spec_local.control.widths import ANY, Widths
from spec_local.machine.glance import glance_at_draft, glance_at_target
from spec_local.sampling.types import Logits
from tests.fake import N_VOCAB, TableSession


@dataclass
class Remembers(TableSession):
    """A session that remembers what was evaluated."""

    evaluated: list[list[int]] = field(default_factory=list)

    def evaluate(
        self, tokens: Sequence[int], rows: int = 1, parents: Sequence[int] | None = None
    ) -> Logits:
        self.evaluated.append(list(tokens))
        return super().evaluate(tokens, rows, parents)


def text() -> Iterator[int]:
    """All tokens, in their order."""
    return cycle(range(N_VOCAB))


def test_one_token_and_eight_at_once_are_measured_and_nothing_is_left_behind() -> None:
    session, curve = TableSession(), CostCurve()
    glance_at_draft(session, curve, text())
    assert curve.measured() == {256: [1, 8]}
    assert list(session.tokens) == []


@pytest.mark.parametrize("blocks", [False, True])
def test_what_drafts_blocks_is_asked_for_all_their_rows(blocks: bool) -> None:
    asked = set[tuple[int, int]]()

    class Asked(TableSession):
        def evaluate(
            self, tokens: Sequence[int], rows: int = 1, parents: Sequence[int] | None = None
        ) -> Logits:
            asked.add((len(tokens), rows))
            return super().evaluate(tokens, rows, parents)

    glance_at_draft(Asked(), CostCurve(), text(), blocks=blocks)
    assert asked == {(1, 1), (8, 8 if blocks else 1)}


@pytest.mark.parametrize(
    ("widths", "measured"),
    [(ANY, [1, 2, 4, 8]), (Widths((1, 5, 9)), [1, 5, 9]), (Widths((4,)), [4])],
)
def test_a_target_is_looked_at_where_it_may_be_evaluated(
    widths: Widths, measured: list[int]
) -> None:
    session, curve = TableSession(), CostCurve()
    glance_at_target(session, curve, widths, text())
    assert list(session.tokens) == []
    assert all(curve.has(width, 0) for width in measured if curve.is_known)
    assert curve.is_known == (1 in measured)
    calls = len(session.calls)
    glance_at_target(session, curve, widths, text())
    assert (len(session.calls) == calls) == curve.is_known  # what is known is not looked at again


def test_what_is_evaluated_is_a_text_that_goes_on() -> None:
    """In a mixture of experts, tokens that repeat would ask for the same experts."""
    session = Remembers()
    glance_at_target(session, CostCurve(), ANY, text())
    tokens = [token for evaluation in session.evaluated for token in evaluation]
    assert tokens == [number % N_VOCAB for number in range(len(tokens))]
    assert len(tokens) == 3 * (1 + 2 + 4 + 8)


def test_a_context_without_room_for_that_is_left_alone() -> None:
    session, curve = TableSession(n_ctx=6), CostCurve()
    glance_at_draft(session, curve, text())
    glance_at_target(session, curve, ANY, text())
    assert not curve.is_known
