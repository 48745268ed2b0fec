"""A draft with another vocabulary: the same text, in other tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from spec_local.drafters.model import ModelDrafter
from spec_local.drafters.none import NoDrafter
from spec_local.drafters.window import WindowDrafter
from spec_local.engine.draft import NO_DRAFT, Draft
from spec_local.engine.types import Pace
from spec_local.errors import EngineError
from spec_local.llama.shared_vocabulary import SharedVocabulary
from spec_local.models.other_vocabulary import REPORTED, reported_acceptance, shared_vocabulary
from spec_local.models.retelling import Retelling
from spec_local.models.spelling import Spelling
from spec_local.policies.policy import Policy
from spec_local.sampling.settings import Sampling
from spec_local.sampling.types import Logits
from tests.fake import END, TableSession, run, sampler_for, tokens_of
from tests.toy_vocabulary import (
    BOS,
    DRAFT,
    E_ACUTE,
    SHARED,
    TARGET,
    TURN,
    ToyVocabulary,
    drawing,
    mapped,
    writing,
)

TOKENS = st.lists(st.integers(0, TARGET.n_tokens - 1), max_size=30)
TEXT = st.lists(st.integers(0, BOS - 1), max_size=12)
"""Ordinary tokens of either."""


def target(text: str) -> list[int]:
    return TARGET.tokenize(text, add_special=False, parse_special=False)


def own(text: str) -> list[int]:
    return DRAFT.tokenize(text, add_special=False, parse_special=False)


# ---- what both have ------------------------------------------------------------------------------


def test_common_are_the_tokens_that_write_the_same() -> None:
    for other, token in SHARED.to_target.items():
        assert DRAFT.plain_piece(other) == TARGET.plain_piece(token)
    pieces = {DRAFT.plain_piece(other) for other in SHARED.to_target}
    assert pieces >= {b"a", b" ", E_ACUTE[:1], b"ab", b" abc", b"cab"}
    assert not pieces & {b"bca", b"abc", E_ACUTE}
    assert len(set(SHARED.to_target.values())) == len(SHARED.to_target)


def test_what_begins_a_text_or_ends_an_answer_is_the_same_whatever_it_is_called() -> None:
    assert SHARED.to_draft[END] == END
    assert SHARED.to_target[END] == END
    assert SHARED.to_draft[BOS] == BOS
    assert TURN not in SHARED.to_draft
    assert BOS not in SHARED.to_target


def test_control_tokens_that_are_spelled_alike_are_the_same_wherever_they_are() -> None:
    two = ToyVocabulary(
        [b"a", b"", b"", b""],
        {1: b"<ab>", 2: b"<end>", 3: b"<eot>"},
        {"eos": 3, "eot": 2},
    )
    shared = SharedVocabulary(TARGET, two)
    assert shared.to_draft[TURN] == 1
    assert shared.to_target == {0: target("a")[0], 1: TURN, 2: END}
    assert shared.to_draft[END] == 2  # spelled alike, before what plays the same part


def test_an_answer_ends_with_its_turn_not_with_its_text() -> None:
    turns = ToyVocabulary(
        [b"a", b"", b""],
        {1: b"<|endoftext|>", 2: b"<turn>"},
        {"eot": 1, "eos": 2},  # as llama.cpp finds them in SmolLM2
    )
    shared = SharedVocabulary(TARGET, turns)
    assert shared.to_target == {0: target("a")[0], 2: END}
    assert shared.to_draft[END] == 2
    telling = Retelling(TARGET, turns, shared)
    assert telling.tell(target("a"), [1]) == telling.tell(target("a"), [2]) == [(END, 1)]
    assert SharedVocabulary(turns, TARGET).to_target[END] == 2


def test_a_letter_is_no_raw_byte_should_there_be_both() -> None:
    both = ToyVocabulary([b"a", b"a", b"b", b"b"], {0: b"<0x61>", 3: b"<0x62>"}, {})
    assert SharedVocabulary(TARGET, both).to_target == {1: target("a")[0], 2: target("b")[0]}


def test_shares_are_of_tokens_and_of_text() -> None:
    shared = SharedVocabulary(TARGET, DRAFT, "ab abc\nabc")
    assert target("ab abc\nabc") == [*target("ab"), *target(" abc"), *target("\n"), *target("abc")]
    assert shared.share_of_text == 3 / 4
    assert shared.share_of_target == len(shared.to_target) / TARGET.n_tokens
    assert shared.share_of_draft == len(shared.to_target) / DRAFT.n_tokens


def test_without_a_common_piece_there_is_nothing_to_draft() -> None:
    assert shared_vocabulary(TARGET, ToyVocabulary([b"q", b""], {1: b"<end>"}, {"eos": 1})) is None


def test_what_was_reported_is_kept_and_between_it_a_line() -> None:
    for share, accepted in REPORTED:
        assert reported_acceptance(share) == pytest.approx(accepted)
    assert 0.25 < reported_acceptance(0.9) < 0.61
    assert reported_acceptance(0.1) == 0.15


# ---- reading -------------------------------------------------------------------------------------


def spelling() -> Spelling:
    return Spelling(SHARED.to_draft, lambda: SHARED.draft_pieces, TARGET.spelled, BOS)


@given(TOKENS)
def test_a_draft_reads_the_same_text(tokens: list[int]) -> None:
    each = spelling().spell(tokens, begins=False)
    assert all(each)
    for token, read in zip(tokens, each, strict=True):
        # Of <ab>, a control token that the draft lacks, it can write so much.
        assert DRAFT.written(read) == (b"ab" if token == TURN else TARGET.plain_piece(token))


def test_a_text_begins_as_the_draft_wants_it_and_once() -> None:
    a = target("a")
    assert spelling().spell(a, begins=True) == [(BOS, *own("a"))]
    assert spelling().spell([BOS, *a], begins=True) == [(BOS,), tuple(own("a"))]
    assert spelling().spell(a, begins=False) == [tuple(own("a"))]


class Held(RuleBasedStateMachine):
    """A mapped session, used at random, and a fresh one beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.table = TableSession(seed=3)
        self.session = mapped(self.table)
        self.given: list[int] = []

    def check(self) -> None:
        assert list(self.session.tokens) == self.given
        fresh = TableSession(seed=3)
        if self.given:
            mapped(fresh).evaluate(self.given)
        assert self.table.tokens[: len(fresh.tokens)] == fresh.tokens

    @rule(tokens=TOKENS.filter(bool), rows=st.integers(1, 4))
    def evaluate(self, tokens: list[int], rows: int) -> None:
        rows = min(rows, len(tokens))
        found = self.session.evaluate(tokens, rows).copy()
        self.given += tokens
        self.check()
        for back, row in enumerate(reversed(found)):
            inner = TableSession(seed=3)
            expected = mapped(inner).evaluate(self.given[: len(self.given) - back])[0]
            assert np.array_equal(row, expected)
            for other, token in SHARED.to_target.items():
                assert row[token] == inner.row(inner.tokens)[other]
        assert (
            np.isneginf(found).sum(axis=1).tolist()
            == [TARGET.n_tokens - len(SHARED.to_target)] * rows
        )

    @precondition(lambda self: self.given)
    @rule(tokens=TEXT.filter(bool))
    def extend(self, tokens: list[int]) -> None:
        for token in tokens:
            row = self.session.extend(token)
        assert np.array_equal(row, self.table.row(self.table.tokens))
        assert np.array_equal(row, self.session.own_row)
        self.check()

    @rule(share=st.floats(0, 1))
    def truncate(self, share: float) -> None:
        del self.given[int(share * len(self.given)) :]
        self.session.truncate(len(self.given))
        self.check()

    @rule(share=st.floats(0, 1), other=TOKENS)
    def sync(self, share: float, other: list[int]) -> None:
        wanted = self.given[: int(share * len(self.given))] + other
        kept = self.session.sync(wanted)
        self.given = self.given[:kept]
        assert wanted[:kept] == self.given
        self.check()


TestHeld = Held.TestCase


def test_what_was_written_and_accepted_is_not_read_again() -> None:
    table = TableSession()
    session = mapped(table)
    session.evaluate(target("a"))
    for token in own(" abc ab"):
        session.extend(token)
    evaluated = sum(table.calls)
    session.truncate(1)  # as after a round: no more than that was read
    session.evaluate(target(" abc ab b"))
    assert table.tokens == [BOS, *own("a abc ab b")]
    assert sum(table.calls) == evaluated + 2  # the last word, which was not written


# ---- telling -------------------------------------------------------------------------------------

TELLING = Retelling(TARGET, DRAFT, SHARED)


def told(context: str, text: str | Sequence[int]) -> list[tuple[bytes, int]]:
    words = own(text) if isinstance(text, str) else text
    return [(TARGET.plain_piece(t), count) for t, count in TELLING.tell(target(context), words)]


@pytest.mark.parametrize(
    ("context", "text", "tokens"),
    [
        ("a", " abc", [(b" abc", 1)]),
        ("a", " cab", [(b" ", 1), (b"cab", 2)]),  # " c" and "ab" of the draft's
        ("", "abcc", [(b"abc", 2), (b"c", 3)]),
        ("", "cabbc", [(b"cab", 1), (b"bc", 3)]),
        ("b\n", "  a", [(b" ", 1), (b" a", 2)]),  # the context has its line already
        ("c b", "ca", [(b"ca", 2)]),  # " bca": the target would not divide it otherwise
        ("c a", "bc", [(b"bc", 2)]),  # " abc" would be one token, but " a" is there
    ],
)
def test_text_is_told_in_the_targets_tokens(
    context: str, text: str, tokens: list[tuple[bytes, int]]
) -> None:
    assert told(context, text) == tokens


@given(TEXT, TEXT)
def test_what_is_told_is_what_was_written(context: list[int], words: list[int]) -> None:
    found = TELLING.tell(context, words)
    text, written = TARGET.written([token for token, _own in found]), DRAFT.written(words)
    assert written.startswith(text)
    counts = [0, *(count for _token, count in found)]
    assert all(one <= other <= len(words) for one, other in pairwise(counts))
    for at, count in enumerate(counts[1:], start=1):
        end = len(TARGET.written([token for token, _own in found[:at]]))
        assert len(DRAFT.written(words[: count - 1])) < end <= len(DRAFT.written(words[:count]))


@given(st.text("abc \né", max_size=12), st.text("abc \né", max_size=12))
def test_whole_characters_are_told_to_the_end(context: str, text: str) -> None:
    found = TELLING.tell(target(context), own(text))
    assert TARGET.written([token for token, _own in found]).decode() == text


def test_a_character_is_told_when_it_is_whole() -> None:
    first, second = own(E_ACUTE.decode())
    assert told("a", [first, second]) == [(E_ACUTE, 2)]
    assert told("a", [first]) == []
    assert told("a", [*own("b"), first]) == [(b"b", 1)]
    assert told("a", [second]) == []
    half = [*target("b "), *target("é")[:1]]
    assert TARGET.plain_piece(half[-1]) == E_ACUTE
    half[-1] = SHARED.to_target[first]  # the context ends within a character
    found = TELLING.tell(half, [second])
    assert [TARGET.plain_piece(token) for token, _own in found] == []


def test_an_end_is_told_and_other_control_tokens_are_not() -> None:
    assert TELLING.tell(target("a"), [*own("b"), END]) == [(*target("b"), 1), (END, 2)]
    assert TELLING.tell(target("a"), [END]) == [(END, 1)]
    assert TELLING.tell(target("a"), [*own("b"), TURN]) == [(*target("b"), 1)]
    first = own(E_ACUTE.decode())[0]
    assert TELLING.tell(target("a"), [first, END]) == []  # there is something missing before it
    assert TELLING.tell(target("a"), []) == []


@pytest.mark.parametrize("before", [BOS, END, -7])
def test_a_word_begins_after_what_is_no_text(before: int) -> None:
    context = [*target("c"), before, *target("a")]
    assert TELLING.tell(context, own("b")) == [(*target("b"), 1)]  # "ab" would be one token
    assert TELLING.tell([*context[:2]], own("ab")) == [(*target("ab"), 1)]


def test_a_space_that_a_tokenizer_adds_is_left_out() -> None:
    adding = ToyVocabulary(
        [b"a", b"b", b" ", b" a", b"\n", b""], {5: b"<e>"}, {"eos": 5}, adds_space=True
    )
    telling = Retelling(adding, DRAFT, SharedVocabulary(adding, DRAFT))

    def pieces(context: Sequence[int], text: str) -> list[bytes]:
        return [adding.plain_piece(token) for token, _ in telling.tell(context, own(text))]

    assert pieces([0], " ab") == [b" a", b"b"]
    assert pieces([0, 3], "b a") == [b"b", b" a"]
    assert pieces([0], "ba") == [b"b", b"a"]
    assert pieces([0], "\na") == [b"\n", b"a"]
    assert pieces([0], "ab") == []  # " a" is what it makes of it: that is another text


# ---- drafting ------------------------------------------------------------------------------------


def by_a_window(inner: TableSession) -> ModelDrafter:
    """Has read only the end of the context."""
    return WindowDrafter(writing(inner), width=2)


DRAFTERS = pytest.mark.parametrize("drafter", [drawing, writing])


@pytest.mark.parametrize("drafter", [drawing, writing, by_a_window])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_the_text_is_plain_decodings(
    drafter: Callable[[TableSession], ModelDrafter], temperature: float, seed: int
) -> None:
    sampling = Sampling(temperature=temperature, seed=seed)
    plain = run(TableSession(seed=seed), NoDrafter(), sampling=sampling)
    drafted = run(TableSession(seed=seed), drafter(TableSession(seed=9)), sampling=sampling)
    assert tokens_of(drafted) == tokens_of(plain)
    assert sum(round_.drafted for round_ in drafted) > 0


class Speaker(TableSession):
    """Writes one text, goes on from wherever it has been read to, and then ends."""

    def __init__(self, vocabulary: ToyVocabulary, text: str) -> None:
        super().__init__()
        self.vocabulary, self.text = vocabulary, text
        self.fails_at_call = -1

    def row(self, context: Sequence[int]) -> Logits:
        row = np.full(self.n_vocab, np.log(0.5 / (self.n_vocab - 1)), np.float32)
        rest = self.text.encode()[len(self.vocabulary.written(context)) :]
        row[next(iter(self.vocabulary.divide(rest)), END)] = np.log(0.5)
        return row

    def evaluate(
        self, tokens: Sequence[int], rows: int = 1, parents: Sequence[int] | None = None
    ) -> Logits:
        if len(self.calls) == self.fails_at_call:
            raise EngineError("no")
        return super().evaluate(tokens, rows, parents)


@pytest.mark.parametrize("k", [1, 2, 3, 8])
@DRAFTERS
def test_what_both_would_write_is_accepted(
    drafter: Callable[[TableSession], ModelDrafter], k: int
) -> None:
    text = "a abc ab\n  bca cab é ccab\n abcé bb"
    sampling, context = Sampling(temperature=0), target("a")
    speaker, draft = Speaker(TARGET, text), Speaker(DRAFT, text)
    rounds = run(speaker, drafter(draft), sampling=sampling, k=k, context=context)
    assert tokens_of(rounds) == [*target(text)[1:], END]
    drafted, accepted = (sum(getattr(r, of) for r in rounds) for of in ("drafted", "accepted"))
    # Of its own text only the last token of a draft can be wrong: it may go on. In common tokens it
    # cannot write most of it.
    assert accepted >= (drafted - len(rounds) if drafter is writing else 1)


def propose(speaker: Speaker, context: str, budget: int, pace: Pace | None = None) -> Draft:
    drafter, tokens = writing(speaker), target(context)
    drafter.begin(tokens, sampler_for(Sampling(temperature=0, banned_tokens=(BANNED,)), tokens))
    return drafter.propose(tokens, budget, pace)


BANNED = TARGET.tokenize("cc", add_special=False, parse_special=False)[0]


def test_a_token_is_as_sure_as_all_that_begins_in_it() -> None:
    found = propose(Speaker(DRAFT, "a cabc"), "a", 9)
    assert own(" cabc") == [*own(" c"), *own("ab"), *own("c")]
    assert found.tokens == (*target(" cabc"), END)
    assert TARGET.written(found.tokens[:2]) == b" cab"
    assert found.confidences == pytest.approx([0.5, 0.5, 0.5, 0.5])
    assert found.distributions is None
    assert [width for width, _seconds in found.steps] == [1, 1, 1, 1]
    found = propose(Speaker(DRAFT, "aabc"), "a", 9)
    assert found.tokens == (*target("abc"), END)
    assert found.confidences == pytest.approx([0.25, 0.5])


@pytest.mark.parametrize("budget", range(1, 7))
def test_neither_it_nor_what_is_told_is_longer_than_asked(budget: int) -> None:
    words = " abc\n  bca"
    found = propose(Speaker(DRAFT, "a" + words), "a", budget)
    assert len(found.steps) == min(budget, len(own(words)) + 1)
    assert found.tokens == (*target("a" + words)[1:], END)[: len(found.tokens)]
    assert 0 < len(found.tokens) == len(found.confidences) <= budget


class Picky(Policy):
    """A pace that takes so many tokens, and no more."""

    def __init__(self, most: int) -> None:
        self._left = most

    def more(self) -> bool:
        return True

    def take(self, confidence: float) -> bool:
        self._left -= 1
        return self._left >= 0


@pytest.mark.parametrize(
    ("text", "taken", "tokens", "refused"),
    [
        (" abc a", 0, "", " abc"),
        (" abc a", 1, " abc", " a"),
        ("abc", 1, "", "abc"),  # what was taken is only a part of a token
        ("ab", 1, "ab", None),  # the end: see below
        ("bcaab", 0, "", "bc"),
    ],
)
def test_a_token_with_something_in_it_that_is_not_taken_is_refused(
    text: str, taken: int, tokens: str, refused: str | None
) -> None:
    found = propose(Speaker(DRAFT, "a" + text), "a", 9, Picky(taken))
    assert TARGET.written(found.tokens).decode() == tokens
    assert found.refused == (END if refused is None else target(refused)[0])
    assert len(found.confidences) == len(found.tokens) + 1


def test_what_is_banned_ends_a_draft() -> None:
    found = propose(Speaker(DRAFT, "a ccab"), "a", 9)
    assert TARGET.written(found.tokens) == b" "
    assert found.refused is None
    assert len(found.confidences) == 1


def test_what_was_written_before_a_failure_is_told() -> None:
    speaker = Speaker(DRAFT, "a abc ab")
    speaker.fails_at_call = 2
    drafter, tokens = writing(speaker), target("a")
    drafter.begin(tokens, sampler_for(Sampling(temperature=0), tokens))
    assert drafter.propose(tokens, 9).tokens == (*target(" abc a"),)
    assert drafter.cache.failed
    assert drafter.propose(tokens, 9) == NO_DRAFT
