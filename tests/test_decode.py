"""The round: the same text with every drafter, one evaluation each, caches always right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import pairwise, product

import pytest

from spec_local.drafters.logitspec import LogitSpecDrafter
from spec_local.drafters.lookahead import LookaheadDrafter
from spec_local.drafters.lookup import LookupDrafter
from spec_local.drafters.lookup_tree import LookupTreeDrafter
from spec_local.drafters.merged import MergedDrafter
from spec_local.drafters.model import ModelDrafter
from spec_local.drafters.none import NoDrafter
from spec_local.drafters.preference import FirstThatDrafts
from spec_local.drafters.recycling import RecyclingDrafter
from spec_local.drafters.staged import StagedDrafter
from spec_local.drafters.tree import TreeDrafter
from spec_local.drafters.window import WindowDrafter
from spec_local.engine.rounds import Round
from spec_local.engine.types import Drafter
from spec_local.sampling.settings import Sampling
from tests.fake import END, N_VOCAB, PROMPT, ScriptedDrafter, TableSession, run, start
from tests.fake import tokens_of as tokens_of_rounds

TEMPERATURES = (0.0, 0.5, 1.0, 1.5)
PENALTIES = Sampling(repeat_penalty=1.3, frequency_penalty=0.4, presence_penalty=0.2)

DRAFTERS: dict[str, Callable[[], Drafter]] = {
    "lookup": lambda: LookupDrafter(min_match=1),
    "lookup of long matches": lambda: LookupDrafter(min_match=4),
    "perfect model": lambda: ModelDrafter(TableSession(seed=0)),
    "good model": lambda: ModelDrafter(TableSession(seed=0, sharpness=1.6, end_bias=-4)),
    "bad model": lambda: ModelDrafter(TableSession(seed=99)),
    "adversarial model": lambda: ModelDrafter(TableSession(seed=0, sign=-1.0)),
    "model with a small context": lambda: ModelDrafter(TableSession(seed=0, n_ctx=14)),
    "model that reads the end": lambda: WindowDrafter(ModelDrafter(TableSession(seed=0)), width=2),
    "model that wants to end": lambda: ModelDrafter(TableSession(seed=0, end_bias=4.0)),
    "tree": lambda: TreeDrafter(TableSession(seed=0, sharpness=1.6, end_bias=-4)),
    "bad tree": lambda: TreeDrafter(TableSession(seed=99)),
    "tree of a session without branches": lambda: TreeDrafter(TableSession(seed=0, branches=1)),
    "tree that wants to end": lambda: TreeDrafter(TableSession(seed=0, end_bias=4.0)),
    "lookup tree": lambda: LookupTreeDrafter(min_match=1),
    "recycling": RecyclingDrafter,
    "logits and lookup": lambda: LogitSpecDrafter(min_match=1),
    "lookahead": LookaheadDrafter,
    "lookup and model": lambda: MergedDrafter(
        [LookupDrafter(min_match=1), ModelDrafter(TableSession(seed=0, sharpness=1.5))], "both"
    ),
    "lookup then model": lambda: FirstThatDrafts(
        [LookupDrafter(min_match=2), ModelDrafter(TableSession(seed=0, sharpness=1.5))]
    ),
    "staged": lambda: StagedDrafter(TableSession(seed=0, sharpness=1.5), lookup=LookupDrafter(1)),
    "empty": lambda: ScriptedDrafter(lambda context, budget: ()),
    "only end tokens": lambda: ScriptedDrafter(lambda context, budget: [END] * budget),
    "one token": lambda: ScriptedDrafter(lambda context, budget: [context[-1]]),
    "changing length": lambda: ScriptedDrafter(
        lambda context, budget: [7] * (len(context) % (budget + 1))
    ),
}


CHAINS = {name for name in DRAFTERS if "tree" not in name} - {
    "recycling", "logits and lookup", "lookahead", "lookup and model",
}  # fmt: skip


@cache
def decoded_plainly(sampling: Sampling, tokens: int) -> list[Round]:
    return run(TableSession(seed=0), NoDrafter(), sampling=sampling, max_tokens=tokens)


@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize("name", DRAFTERS)
@pytest.mark.parametrize("settings", [Sampling(), PENALTIES], ids=["plain", "penalties"])
def test_every_drafter_leaves_the_text_unchanged(
    name: str, temperature: float, settings: Sampling, full: bool
) -> None:
    seeds, ks, tokens = range(3), (1, 4, 7), 80 if full else 40
    for seed, k in product(seeds, ks) if full else zip(seeds, ks, strict=True):
        sampling = replace(settings, temperature=temperature, top_k=0, seed=seed, min_p=0.0)
        plain = decoded_plainly(sampling, tokens)
        drafted = run(
            TableSession(seed=0), DRAFTERS[name](), sampling=sampling, k=k, max_tokens=tokens
        )
        assert tokens_of_rounds(drafted) == tokens_of_rounds(plain)
        assert drafted[-1].finish == plain[-1].finish


def test_plain_decoding_is_the_argmax_at_temperature_zero() -> None:
    target = TableSession(seed=5)
    rounds = run(target, NoDrafter(), sampling=Sampling(temperature=0), max_tokens=30)
    context = list(PROMPT)
    for token in tokens_of_rounds(rounds):
        assert token == int(target.row(context).argmax())
        context.append(token)


def test_every_round_is_one_evaluation_of_the_pending_token_and_the_draft() -> None:
    target = TableSession(seed=0)
    drafter = ModelDrafter(TableSession(seed=0, sharpness=1.5))
    rounds = run(target, drafter, sampling=Sampling(temperature=1.0), k=4)
    assert len(target.calls) == len(rounds)
    assert target.calls == [round_.evaluated for round_ in rounds]
    assert rounds[0].evaluated == len(PROMPT)
    assert rounds[0].drafted == 0
    assert all(round_.evaluated == 1 + round_.drafted for round_ in rounds[1:])
    assert all(len(round_.tokens) == 1 + round_.accepted for round_ in rounds)


@pytest.mark.parametrize("sharpness", [2.0, 1.5])
def test_a_draft_of_k_costs_k_evaluations_and_one_more_after_full_acceptance(
    sharpness: float,
) -> None:
    k = 3
    draft = TableSession(seed=0, sharpness=sharpness, end_bias=-60)
    target = TableSession(seed=0, end_bias=-60)
    sampling = Sampling(temperature=1.0, top_k=0, min_p=0)
    rounds = run(target, ModelDrafter(draft), sampling=sampling, k=k, max_tokens=120)
    speculative = [round_ for round_ in rounds if round_.drafted == k]
    assert rounds[1].draft_evaluated == len(PROMPT) + k  # its prompt, only after the first token
    for before, round_ in pairwise(speculative):
        fully_accepted = before.accepted == k
        assert round_.draft_evaluated == k + fully_accepted
    assert sum(draft.calls) == sum(round_.draft_evaluated for round_ in rounds)
    assert {r.accepted == k for r in speculative} == ({True} if sharpness == 2.0 else {True, False})


@pytest.mark.parametrize("name", DRAFTERS)
def test_caches_hold_the_committed_tokens_after_every_round(name: str) -> None:
    target, draft = TableSession(seed=0), TableSession(seed=0, sharpness=1.5)
    drafter = ModelDrafter(draft) if "model" in name else DRAFTERS[name]()
    context = list(PROMPT)
    sampling = Sampling(temperature=1.0)
    rounds = start(target, drafter, context, sampling=sampling, k=4, max_tokens=60)
    emitted: list[int] = []
    for round_ in rounds:
        emitted += round_.tokens
        assert context == [*PROMPT, *emitted]
        # After a tree more is pending than the last token.
        pending = len(context) - len(target.tokens)
        assert target.tokens == context[:-pending]
        assert 1 <= pending <= len(round_.tokens)
        assert pending == 1 or name not in CHAINS
        assert draft.tokens == context[: len(draft.tokens)]
        assert len(draft.tokens) < len(context)


def _interrupted(
    target: TableSession, drafter: Drafter, context: list[int], rounds: int
) -> list[Round]:
    generation = start(
        target,
        drafter,
        context,
        sampling=Sampling(temperature=1.0),
        k=3,
        max_tokens=60,
        is_end=lambda token: False,
    )
    done = []
    try:
        for round_ in generation:
            done.append(round_)
            if len(done) == rounds:
                break
    except KeyboardInterrupt:
        pass
    generation.close()
    return done


@pytest.mark.parametrize("where", ["target", "draft", "between"])
@pytest.mark.parametrize("after", [1, 2, 5])
def test_caches_are_right_after_an_interruption(where: str, after: int) -> None:
    target, draft = TableSession(seed=0), TableSession(seed=0, sharpness=1.5)
    context = list(PROMPT)
    if where == "target":
        target.fail_at = after
    elif where == "draft":
        draft.fail_at = after * 2
    _interrupted(target, ModelDrafter(draft), context, after if where == "between" else 60)
    assert target.tokens == context[: len(target.tokens)]
    assert len(target.tokens) <= len(context) - 1
    assert draft.tokens == context[: len(draft.tokens)]
    assert len(draft.tokens) <= len(context) - 1

    # The same sessions go on as if nothing had happened.
    target.fail_at = draft.fail_at = None
    sampling = Sampling(temperature=1.0)
    again = run(target, ModelDrafter(draft), sampling=sampling, context=list(context))
    fresh = run(TableSession(seed=0), NoDrafter(), sampling=sampling, context=list(context))
    assert tokens_of_rounds(again) == tokens_of_rounds(fresh)


def test_a_generation_that_never_started_changes_nothing() -> None:
    target = TableSession(tokens=[1, 2, 3])
    generation = start(target, NoDrafter(), list(PROMPT), sampling=Sampling(), k=3, max_tokens=5)
    generation.close()
    assert target.tokens == [1, 2, 3]
    assert target.calls == []


def test_a_known_prefix_is_not_evaluated_again() -> None:
    target = TableSession()
    first = run(target, NoDrafter(), sampling=Sampling(temperature=0), max_tokens=5)
    context = [*PROMPT, *tokens_of_rounds(first), 8, 8]
    target.calls.clear()
    run(target, NoDrafter(), sampling=Sampling(temperature=0), max_tokens=1, context=context)
    assert target.calls == [3]  # the pending token of the first generation and the two new ones

    target.calls.clear()
    run(target, NoDrafter(), sampling=Sampling(temperature=0), max_tokens=1, context=context)
    assert target.calls == [1]  # the last token always is, for its logits


@pytest.mark.parametrize("max_tokens", [1, 2, 3, 4, 5, 17])
def test_max_tokens_is_exact(max_tokens: int) -> None:
    rounds = run(
        TableSession(end_bias=-60),
        ModelDrafter(TableSession(end_bias=-60)),
        sampling=Sampling(temperature=0),
        k=4,
        max_tokens=max_tokens,
    )
    assert len(tokens_of_rounds(rounds)) == max_tokens
    assert rounds[-1].finish == "length"
    assert all(round_.finish is None for round_ in rounds[:-1])


@pytest.mark.parametrize("k", [0, 1, 4, 9])
def test_a_full_context_ends_the_generation(k: int) -> None:
    n_ctx = 20
    target = TableSession(n_ctx=n_ctx, end_bias=-60)
    drafter = ModelDrafter(TableSession(n_ctx=n_ctx, end_bias=-60))
    rounds = run(target, drafter, sampling=Sampling(temperature=0), k=k, max_tokens=999)
    assert rounds[-1].finish == "context"
    # Every position is used, and the token drawn after the last one is emitted too.
    assert len(PROMPT) + len(tokens_of_rounds(rounds)) == n_ctx + 1


def test_the_end_token_ends_the_text_and_nothing_is_verified_after_it() -> None:
    target = TableSession(end_bias=1.0)
    rounds = run(
        target, ModelDrafter(TableSession(end_bias=1.0)), sampling=Sampling(temperature=0), k=6
    )
    assert rounds[-1].finish == "stop"
    assert rounds[-1].tokens[-1] == END
    assert END not in tokens_of_rounds(rounds)[:-1]
    assert END not in target.tokens


def test_nothing_is_evaluated_after_a_drafted_end_token() -> None:
    draft = TableSession(end_bias=60.0)
    drafter = ModelDrafter(draft, is_end=lambda token: token == END)
    target = TableSession(end_bias=-60.0)
    rounds = run(target, drafter, sampling=Sampling(temperature=0), k=5, max_tokens=9)
    assert all(round_.drafted == 0 for round_ in rounds)  # the end token itself is only judged
    assert all(call == 1 for call in draft.calls[1:])


def test_a_draft_model_with_a_smaller_vocabulary_never_sees_unknown_tokens() -> None:
    small = TableSession(seed=0, n_vocab=N_VOCAB)
    drafter = ModelDrafter(small, n_vocab=12)
    sampling = Sampling(temperature=1.0)
    drafted = run(TableSession(seed=0), drafter, sampling=sampling, k=3)
    plain = run(TableSession(seed=0), NoDrafter(), sampling=sampling)
    assert tokens_of_rounds(drafted) == tokens_of_rounds(plain)
