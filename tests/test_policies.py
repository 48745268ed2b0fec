"""The policies of the literature: how far each goes on scripted answers, and the same text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest

from spec_local.drafters.model import ModelDrafter
from spec_local.drafters.none import NoDrafter
from spec_local.engine.paced import Paced
from spec_local.errors import ConfigError
from spec_local.policies.assisted import Assisted
from spec_local.policies.disco import Disco
from spec_local.policies.dynamic import Dynamic
from spec_local.policies.named import POLICIES, policy
from spec_local.policies.p_min import PMin
from spec_local.policies.policy import Policy
from spec_local.sampling.settings import AcceptanceRule, Sampling
from tests.fake import END, PROMPT, TableSession, run, start, tokens_of

SURE = 0.9


def draft(deciding: Policy, confidences: Sequence[float] = ()) -> tuple[float, ...]:
    """The confidences of the tokens it takes, when they would be these, and then always sure."""
    taken = list[float]()
    most = deciding.start()
    while len(taken) < most and deciding.more():
        confidence = [*confidences, SURE][min(len(taken), len(confidences))]
        if not deciding.take(confidence):
            break
        taken.append(confidence)
    return tuple(taken)


def lengths(deciding: Policy, accepted: Sequence[int | None]) -> list[int]:
    """Of the drafts it makes if so many tokens of each are accepted; None: all of them."""
    found = []
    for right in accepted:
        taken = draft(deciding)
        found.append(len(taken))
        if taken:
            deciding.judged(taken, len(taken) if right is None else min(right, len(taken)))
    return found


ALL = None


def test_assisted_grows_by_two_and_shrinks_by_one() -> None:
    assert lengths(Assisted(), [ALL, ALL, 3, 0, ALL, 0]) == [20, 22, 24, 23, 22, 24]
    assert lengths(Assisted(tokens=2), [0, 0, 0, ALL, ALL, 2]) == [2, 1, 1, 1, 3, 5]


def test_assisted_keeps_its_length_from_one_answer_to_the_next() -> None:
    assisted = Assisted(tokens=5)
    assert lengths(assisted, [ALL]) == [5]
    assisted.begin()
    assert lengths(assisted, [ALL]) == [7]


def test_assisted_stops_after_the_token_it_is_unsure_of() -> None:
    assisted = Assisted()
    assert draft(assisted, [0.9, 0.4, 0.39, 0.9]) == (0.9, 0.4, 0.39)
    assisted.judged((0.9, 0.4, 0.39), 3)  # all of it was right, short as it was
    assert len(draft(assisted)) == 22


def test_p_min_stops_before_the_token_that_is_not_probable_enough() -> None:
    assert draft(PMin(), [0.9, 0.75, 0.74, 0.9]) == (0.9, 0.75)
    assert draft(PMin(), [0.7]) == ()
    assert draft(PMin(0.9), [0.95, 0.89]) == (0.95,)
    assert lengths(PMin(), [ALL, 0, 0, ALL]) == [16] * 4


def test_dynamic_follows_the_tokens_accepted_lately() -> None:
    # 4 all right counts as 5; 1: 0.65 + 0.35 * 5 = 2.4; 3 all right, 4: 5.2 - 0.3 * 2.4 = 4.48;
    # 0: 0.35 * 4.48 = 1.568; 1 of 2: 0.65 + 0.549 = 1.2; then up: 1.3 * 3 - 0.3 * 1.2 = 3.54.
    assert lengths(Dynamic(), [ALL, 1, ALL, 0, 1, ALL, 4]) == [4, 4, 3, 4, 2, 2, 4]
    assert lengths(Dynamic(most=8), [3, ALL, 1]) == [8, 3, 5]


def test_dynamic_drafts_nothing_where_nothing_is_right_but_for_a_probe() -> None:
    # 0; below 0.3, so 15 rounds without, then a probe of 2.
    assert lengths(Dynamic(), [0] * 34) == [4, *[0] * 15, 2, *[0] * 15, 2, 0]
    found = lengths(Dynamic(), [0, *[0] * 15, ALL, ALL])
    assert found == [4, *[0] * 15, 2, 4]  # the probe was right: 1.3 * 3 = 3.9


def test_dynamic_begins_every_answer_anew() -> None:
    dynamic = Dynamic()
    lengths(dynamic, [0, 0])
    dynamic.begin()
    assert lengths(dynamic, [ALL]) == [4]


def test_disco_begins_with_the_confidence_itself() -> None:
    assert Disco().chance(0.3, 0) == pytest.approx(0.3)
    assert Disco().chance(1.0, 7) == pytest.approx(0.999)
    assert draft(Disco(), [0.9, 0.41, 0.39, 0.9]) == (0.9, 0.41, 0.39)
    assert len(draft(Disco())) == 20


def test_disco_learns_one_step_of_logistic_regression_from_each_token_that_was_judged() -> None:
    disco = Disco()
    disco.judged((0.5, 0.5, 0.5), 1)  # one right, one wrong, one unknown
    # Log-odds of 0.5 are 0: of the weights only those of 1 and of the position move.
    first = 0.1 * (1 - 0.5)
    second = first + 0.1 * (0 - _logistic(first))
    position = 0.1 * (0 - _logistic(first)) / 20
    assert disco.chance(0.5, 0) == pytest.approx(_logistic(second))
    assert disco.chance(0.5, 10) == pytest.approx(_logistic(second + position / 2))


def _logistic(odds: float) -> float:
    from math import exp

    return 1 / (1 + exp(-odds))


def test_disco_learns_to_trust_and_to_distrust_a_draft_model() -> None:
    disco = Disco()
    for _ in range(200):
        disco.judged((0.35,) * 3, 3)
    assert disco.chance(0.35, 0) > 0.8
    assert len(draft(disco, [0.35] * 20)) == 20
    for _ in range(300):
        disco.judged((0.9,), 0)
    assert len(draft(disco)) == 1


def test_a_policy_by_name_and_with_its_number() -> None:
    assert {name: type(policy(name)) for name in POLICIES} == dict(POLICIES)
    assert draft(policy("p-min 0.5"), [0.6, 0.4]) == (0.6,)
    assert len(draft(policy("assisted 5"))) == 5
    assert len(draft(policy("dynamic 6"))) == 6
    assert draft(policy("disco 0.8"), [0.7]) == (0.7,)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("luck", "There is no policy 'luck'; choose from: assisted, disco, p-min, dynamic."),
        ("p-min high", "p-min high: give a number after the policy"),
        ("p-min 1.5", "from 0 to 1"),
        ("p-min nan", "from 0 to 1"),
        ("disco -1", "from 0 to 1"),
        ("assisted 0", "a whole number from 1"),
        ("assisted inf", "a whole number from 1"),
        ("dynamic 2.5", "a whole number from 1"),
    ],
)
def test_what_cannot_be_is_said(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        policy(text)


@pytest.mark.parametrize("name", [*POLICIES, "p-min 0.2", "dynamic 8"])
@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.2])
def test_every_policy_leaves_the_text_unchanged(name: str, temperature: float) -> None:
    for seed in range(3):
        sampling = Sampling(temperature=temperature, top_k=0, min_p=0, seed=seed)
        plain = run(TableSession(seed=0), NoDrafter(), sampling=sampling, max_tokens=150)
        for sharpness in (2.0, 1.6, 0.5):
            drafter = ModelDrafter(TableSession(seed=0, sharpness=sharpness, end_bias=-4))
            target = TableSession(seed=0)
            found = run(target, Paced(drafter, policy(name)), sampling=sampling, max_tokens=150)
            assert tokens_of(found) == tokens_of(plain)
            assert found[-1].finish == plain[-1].finish
            assert target.calls == [round_.evaluated for round_ in found]


@dataclass
class Noting(Policy):
    """Drafts 1, 2, 3, 1, 2, 3 … tokens and notes what is judged."""

    notes: list[tuple[int, int]] = field(default_factory=list)
    length: count[int] = field(default_factory=count)

    def start(self) -> int:
        return next(self.length) % 3 + 1

    def judged(self, confidences: tuple[float, ...], right: int) -> None:
        self.notes.append((len(confidences), right))


@pytest.mark.parametrize("acceptance", ["keyed", "rejection"])
def test_a_policy_is_told_what_was_accepted_of_what_was_verified(
    acceptance: AcceptanceRule,
) -> None:
    sampling = Sampling(temperature=1.0, top_k=0, min_p=0, acceptance=acceptance)
    noting = Noting()
    drafter = ModelDrafter(TableSession(seed=0, sharpness=1.4, end_bias=-60))
    target = TableSession(seed=0, end_bias=-60)
    found = run(target, Paced(drafter, noting), sampling=sampling, max_tokens=100)
    judged = [(round_.drafted, round_.accepted) for round_ in found if round_.drafted]
    assert noting.notes == judged
    assert {drafted for drafted, _right in judged} == {1, 2, 3}
    assert {drafted == right for drafted, right in judged} == {True, False}


def test_an_end_token_that_was_drafted_counts_as_a_token() -> None:
    noting = Noting(length=count(2))
    draft_model = TableSession(seed=0, end_bias=60)
    drafter = ModelDrafter(draft_model, is_end=lambda token: token == END)
    target = TableSession(seed=0, end_bias=60)
    sampling = Sampling(temperature=0)
    rounds = start(
        target,
        Paced(drafter, noting),
        list(PROMPT),
        sampling=sampling,
        max_tokens=9,
        is_end=lambda token: token == END and len(target.tokens) > len(PROMPT),
    )
    assert [round_.finish for round_ in rounds] == [None, "stop"]
    assert noting.notes == [(1, 1)]


def test_a_round_without_a_draft_is_not_judged() -> None:
    class Nothing(Noting):
        def start(self) -> int:
            return 0

    nothing = Nothing()
    session = TableSession(seed=0)
    run(TableSession(seed=0), Paced(ModelDrafter(session), nothing), sampling=Sampling())
    assert (nothing.notes, session.calls) == ([], [])


@pytest.mark.llama
@pytest.mark.model("smollm2-135m")
def test_policies_on_a_real_model_that_drafts_for_itself(model_files: list[Path]) -> None:
    from spec_local.llama.model import Model
    from spec_local.llama.session import Session
    from spec_local.runner import Runner

    prompt = [{"role": "user", "content": "Write the word banana fifty times."}]
    texts, ks = set[str](), list[int | Policy]([0, *map(policy, POLICIES)])
    with Model(model_files[0]) as model, Session(model) as target, Session(model) as drafting:
        for k in ks:
            with Runner(target, "model", draft=drafting, k=k) as runner:
                done = runner.complete(prompt, max_tokens=48, sampling=Sampling(temperature=0))
            texts.add(done.text)
            assert k == 0 or done.stats.acceptance_rate > 0.9
            assert k == 0 or done.stats.mean_accepted_length > 2
    assert len(texts) == 1
