"""A session in the target's tokens over one that has fewer and spells the others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from spec_local.errors import ContextOverflow
from spec_local.models.mapped_session import Columns, MappedSession
from spec_local.models.spelling import Spelling
from spec_local.sampling.types import Logits
from tests.fake import TableSession

TARGET = [b"a", b"b", b"ab", b"abab", b"c", b"", b"abc", b"\xff", b"ba"]
KEPT = [0, 1, 2, 5, 4]
"""The draft has a, b, ab, the control token and c, in this order."""
A, B, AB, ABAB, C, CONTROL, ABC, ALIEN, BA = range(len(TARGET))


def mapped(max_rows: int = 33) -> tuple[MappedSession, TableSession]:
    table = TableSession(n_vocab=100, max_rows=max_rows)
    table.row = lambda context: _row(table, context)  # type: ignore[method-assign]
    return over(table), table


def over(table: TableSession) -> MappedSession:
    spelling = Spelling(
        {token: new for new, token in enumerate(KEPT)},
        lambda: {TARGET[token]: new for new, token in enumerate(KEPT) if TARGET[token]},
        TARGET.__getitem__,
    )
    return MappedSession(table, Columns(slice(None), np.array(KEPT)), len(TARGET), spelling)


def _row(table: TableSession, context: Sequence[int]) -> Logits:
    """Logits of the draft's five tokens; of no two contexts the same."""
    logits: Logits = np.arange(5, dtype=np.float32)
    return logits + 10 * np.float32(sum(context) + len(context))


def expanded(*row: float) -> Logits:
    full = np.full(len(TARGET), -np.inf, np.float32)
    full[KEPT] = row
    return full


def test_ids_are_mapped_both_ways() -> None:
    session, table = mapped()
    rows = session.evaluate([A, C, CONTROL])
    assert table.tokens == [0, 4, 3]
    assert list(session.tokens) == [A, C, CONTROL]
    assert rows.shape == (1, len(TARGET))
    assert np.array_equal(rows[0], expanded(*range(100, 105)))


@pytest.mark.parametrize(
    ("token", "spelling"),
    [(ABAB, [2, 2]), (ABC, [2, 4]), (BA, [1, 0]), (ALIEN, [0])],
)
def test_a_token_the_draft_lacks_is_spelled(token: int, spelling: list[int]) -> None:
    session, table = mapped()
    session.evaluate([C, token, B])
    assert table.tokens == [4, *spelling, 1]
    assert list(session.tokens) == [C, token, B]
    assert session.n_ctx == table.n_ctx - len(spelling) + 1


@pytest.mark.parametrize("max_rows", [33, 4, 2, 1])
def test_rows_are_those_after_each_tokens_last_position(max_rows: int) -> None:
    session, table = mapped(max_rows=max_rows)
    session.max_rows = 4
    found = session.evaluate([A, ABAB, ABC, B, BA], rows=4).copy()
    for i, row in enumerate(found):
        alone, _ = mapped()
        assert np.array_equal(alone.evaluate([A, ABAB, ABC, B, BA][: i + 2])[0], row)
    assert list(session.tokens) == [A, ABAB, ABC, B, BA]
    assert len(table.tokens) == 8
    assert len(table.calls) == 1 or max_rows < 6


def test_rows_are_at_least_one_and_at_most_the_tokens() -> None:
    session, _ = mapped()
    for tokens, rows in (([A], 0), ([A], 2), ([A] * 40, 34)):
        with pytest.raises(ValueError, match="at most 33"):
            session.evaluate(tokens, rows)


def test_the_same_buffer_is_used_again() -> None:
    session, _ = mapped()
    session.evaluate([A, B, C], rows=3)
    first = session.evaluate([A])
    second = session.evaluate([B])
    assert np.shares_memory(first, second)
    assert np.array_equal(second[0] > -np.inf, expanded(*[0] * 5) > -np.inf)


def test_truncating_drops_whole_tokens() -> None:
    session, table = mapped()
    session.evaluate([A, ABAB, ABC, B])
    session.truncate(9)
    assert len(session.tokens) == 4
    session.truncate(2)
    assert list(session.tokens) == [A, ABAB]
    assert table.tokens == [0, 2, 2]
    session.evaluate([C])
    assert table.tokens == [0, 2, 2, 4]
    session.truncate(0)
    assert list(session.tokens) == table.tokens == []


def test_sync_compares_the_targets_tokens() -> None:
    session, table = mapped()
    session.evaluate([A, ABAB, B])
    # Spelled alike, but not the same tokens.
    assert session.sync([A, AB, AB, B]) == 1
    assert table.tokens == [0]
    session.evaluate([ABAB, B])
    assert session.sync([A, ABAB, B, C]) == 3
    assert len(table.tokens) == 4


def test_marks_reach_the_inner_session() -> None:
    session, table = mapped()
    depths: list[int] = []
    table.mark = lambda depth: depths.append(depth)  # type: ignore[method-assign]
    session.mark(3)
    assert depths == [3]


class FailingSession(TableSession):
    """Evaluates so many of the tokens, then fails."""

    done: int = 0

    def evaluate(
        self, tokens: Sequence[int], rows: int = 1, parents: Sequence[int] | None = None
    ) -> Logits:
        if self.done >= 0:
            self.tokens.extend(tokens[: self.done])
            raise ContextOverflow("no")
        return super().evaluate(tokens, rows, parents)


@pytest.mark.parametrize(
    ("done", "held"), [(0, [A]), (1, [A]), (2, [A, ABAB]), (3, [A, ABAB, B]), (4, [A, ABAB, B])]
)
def test_after_a_failure_it_holds_what_the_inner_session_holds(done: int, held: list[int]) -> None:
    table = FailingSession(n_vocab=5)
    session = over(table)
    table.row = lambda context: _row(table, context)  # type: ignore[method-assign]
    table.done = -1
    session.evaluate([A])
    table.done = done
    with pytest.raises(ContextOverflow):
        session.evaluate([ABAB, B, ABC])
    assert list(session.tokens) == held
    table.done = -1
    session.evaluate([C])
    assert list(session.tokens) == [*held, C]
    fresh, expected = mapped()
    fresh.evaluate([*held, C])
    assert table.tokens == expected.tokens


def test_it_follows_an_inner_session_that_lost_its_memory() -> None:
    session, table = mapped()
    session.evaluate([A, ABAB, B])
    table.truncate(2)  # in the middle of the second token
    assert list(session.tokens) == [A]
    session.evaluate([C])
    assert table.tokens == [0, 4]
    table.truncate(0)
    assert session.sync([A, C]) == 0
