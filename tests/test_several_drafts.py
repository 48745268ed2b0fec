"""Several draft models for one target: their names, the same text, and who is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from spec_local import drafters
from spec_local.control.drafter_state import DrafterState
from spec_local.drafters.build import DraftModel, build, build_some
from spec_local.drafters.library import Library
from spec_local.drafters.model import ModelDrafter
from spec_local.drafters.none import NoDrafter
from spec_local.engine.rounds import Stats
from spec_local.engine.speculate import Adaptive
from spec_local.errors import ConfigError
from spec_local.models.registry import PairSpec, read_registry
from spec_local.sampling.settings import Sampling
from tests.fake import END, N_VOCAB, PROMPT, TableSession, run, sampler_for, tokens_of
from tests.test_adaptive import Unteachable, curve

GREEDY = Sampling(temperature=0)
DRAWN = Sampling(temperature=1.0, top_k=0, min_p=0.0, seed=3)


def good() -> TableSession:
    return TableSession(seed=0, sharpness=1.6, end_bias=-60)


def bad() -> TableSession:
    return TableSession(seed=99, end_bias=-60)


def models(*sessions: TableSession) -> list[DraftModel]:
    return [
        DraftModel(session, N_VOCAB, lambda token: token == END, number=number)
        for number, session in enumerate(sessions, start=1)
    ]


def plain(sampling: Sampling) -> list[int]:
    return tokens_of(run(TableSession(end_bias=-60), NoDrafter(), sampling=sampling))


# ---- names --------------------------------------------------------------------------------------


def test_a_number_after_a_name_says_which_draft_model() -> None:
    assert drafters.parted("model") == ("model", 1)
    assert drafters.parted("lookup-then-model-12") == ("lookup-then-model", 12)
    assert drafters.parted("lookup-tree") == ("lookup-tree", 1)
    assert drafters.of_each("tree", 3) == ["tree", "tree-2", "tree-3"]
    for name in ("model", "tree", "staged", "lookup-then-model", "pard"):
        second = f"{name}-2"
        assert drafters.is_known(second)
        assert drafters.needs_draft(second)
        assert drafters.default_k(second) == drafters.default_k(name)
        assert drafters.looks_up(second) is drafters.looks_up(name)
        drafters.check(second, drafts=2)
    drafters.check("lookup,model,model-2", drafts=2)


@pytest.mark.parametrize(
    ("drafter", "complaint"),
    [
        ("model-3", "The drafter model-3 needs 3 draft models, not 2; name another draft"),
        ("model,tree-3", "The drafter tree-3 needs 3 draft models, not 2"),
        ("model-1", "There is no drafter 'model-1'"),
        ("model-02", "There is no drafter 'model-02'"),
        ("lookup-2", "There is no drafter 'lookup-2'"),
        ("lookup-and-model-2", "There is no drafter 'lookup-and-model-2'"),
        ("mtp-2", "There is no drafter 'mtp-2'"),
        ("model-2,model-2", "Name each drafter once"),
        ("lookup,lookup-then-model-2", "Nobody can choose lookup-then-model-2"),
    ],
)
def test_what_there_is_not_is_told(drafter: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        drafters.check(drafter, drafts=2)


def test_drafters_of_one_draft_model_share_its_cache_and_its_number() -> None:
    names = ("model", "tree-2", "lookup", "model-2", "staged")
    found = build_some(names, models(good(), bad()), Library())
    assert [each.name for each in found] == [
        "model", "window", "tree-2", "lookup", "model-2", "window-2", "staged",
    ]  # fmt: skip
    caches: dict[int, set[int]] = {1: set(), 2: set()}
    for each in found:
        if isinstance(each, ModelDrafter):
            caches[drafters.parted(each.name)[1]].add(id(each.cache))
    assert [len(ids) for ids in caches.values()] == [1, 1]
    assert caches[1] != caches[2]
    everything = build_some(("auto",), models(good(), bad()), Library())
    assert [each.name for each in everything] == [
        "lookup",
        "model",
        "window",
        "model-2",
        "window-2",
    ]


# ---- the text -----------------------------------------------------------------------------------

WHO = {
    "model": {"model"},
    "model-2": {"model-2"},
    "tree-2": {"tree-2"},
    "staged-2": {"staged-2"},
    "lookup-then-model-2": {"lookup", "model-2"},
    "lookup-and-model": {"lookup-and-model"},
    "models": {"models"},
}
"""Who drafts, by the drafter that was named."""


@pytest.mark.parametrize("sampling", [GREEDY, DRAWN], ids=["greedy", "drawn"])
@pytest.mark.parametrize("name", WHO)
def test_the_text_is_that_of_plain_decoding(name: str, sampling: Sampling) -> None:
    first, second = good(), good()
    drafter = build(name, models(first, second), Library())
    assert drafter.name == name
    context = list(PROMPT)
    rounds = run(TableSession(end_bias=-60), drafter, sampling=sampling, context=context)
    assert tokens_of(rounds) == plain(sampling)
    assert sum(round_.accepted for round_ in rounds) > 0
    for session in (first, second):
        assert session.tokens == context[: len(session.tokens)]
    assert {round_.drafter for round_ in rounds} - {""} <= WHO[name]
    alone = {"model": (True, False), "lookup-and-model": (True, True), "models": (True, True)}
    assert (bool(first.calls), bool(second.calls)) == alone.get(name, (False, True))


def test_merged_models_go_where_any_of_them_is_right() -> None:
    """Each is right where the other is not; together they are always right about one token."""

    class Half(TableSession):
        def __init__(self, half: int) -> None:
            super().__init__(end_bias=-60)
            self.half = half

        def row(self, context: Sequence[int]) -> object:  # type: ignore[override]
            row = super().row(context)
            return row if context[-1] % 2 == self.half else -row

    accepted = {}
    for name in ("model", "model-2", "models"):
        drafter = build(name, models(Half(0), Half(1)), Library())
        rounds = run(TableSession(end_bias=-60), drafter, sampling=GREEDY, k=2)
        assert tokens_of(rounds) == plain(GREEDY)
        accepted[name] = sum(round_.accepted > 0 for round_ in rounds[1:-1]) / len(rounds[1:-1])
    assert accepted["models"] == 1.0
    assert max(accepted["model"], accepted["model-2"]) < 1.0


@pytest.mark.parametrize("rule", ["rejection", "block"])
def test_a_draw_that_cannot_be_merged_asks_nobody_else(rule: str) -> None:
    first, second = good(), good()
    drafter = build("models", models(first, second), Library())
    sampling = Sampling(temperature=1.0, acceptance=rule)  # type: ignore[arg-type]
    drafter.begin(PROMPT, sampler_for(sampling, PROMPT))
    draft = drafter.propose(PROMPT, 4)
    assert draft.drafter == "model"
    assert draft.distributions is not None
    assert second.calls == []


# ---- the choice ---------------------------------------------------------------------------------


def adaptive(*sessions: TableSession, costs: Sequence[float]) -> Adaptive:
    """costs: of one token of each draft model, in tokens of the target."""
    built = build_some(("auto",), models(*sessions), Library())
    curves = [curve(0.2, plain=cost) for cost in costs]
    states = {
        each.name: DrafterState(
            curves[drafters.parted(each.name)[1] - 1] if isinstance(each, ModelDrafter) else None
        )
        for each in built
    }
    return Adaptive(built, Unteachable(curve(0.05), states))


def earned(auto: Adaptive, sampling: Sampling) -> dict[int, int]:
    """Accepted tokens by draft model, in an answer that must be plain decoding's."""
    rounds = run(TableSession(end_bias=-60), auto, sampling=sampling, max_tokens=80)
    assert tokens_of(rounds) == plain(sampling)
    stats, found = Stats(), {1: 0, 2: 0}
    for round_ in rounds:
        stats = stats.plus(round_)
    for name, each in stats.by_drafter.items():
        if name != "lookup":
            found[drafters.parted(name)[1]] += each.accepted
    return found


@pytest.mark.parametrize("sampling", [GREEDY, DRAWN], ids=["greedy", "drawn"])
@pytest.mark.parametrize("better", [1, 2])
def test_the_better_of_two_is_chosen(better: int, sampling: Sampling) -> None:
    sessions = (TableSession(end_bias=-60), bad()) if better == 1 else (bad(), good())
    found = earned(adaptive(*sessions, costs=(0.1, 0.1)), sampling)
    assert found[better] > 30
    assert found[3 - better] < 5


@pytest.mark.parametrize("cheaper", [1, 2])
def test_of_two_that_are_alike_the_cheaper_is_chosen(cheaper: int) -> None:
    costs = (0.1, 0.3) if cheaper == 1 else (0.3, 0.1)
    auto = adaptive(TableSession(end_bias=-60), TableSession(end_bias=-60), costs=costs)
    found = earned(auto, DRAWN)
    assert found[cheaper] > 30
    assert found[3 - cheaper] < 5


# ---- models.toml --------------------------------------------------------------------------------


def test_a_pair_may_have_several_drafts(tmp_path: Path) -> None:
    path = tmp_path / "models.toml"
    path.write_text(
        "[pairs.two]\ntarget = 't'\ndraft = ['a', 'b']\n"
        "[pairs.one]\ntarget = 't'\ndraft = 'a'\n"
        "[pairs.listed]\ntarget = 't'\ndraft = ['a']\n"
        "[pairs.none]\ntarget = 't'\ndraft = []\n"
    )
    pairs = read_registry(path).pairs
    assert pairs["two"] == PairSpec("t", ("a", "b"))
    assert pairs["two"].models == ["t", "a", "b"]
    assert pairs["one"] == pairs["listed"] == PairSpec("t", "a")
    assert pairs["one"].drafts == ("a",)
    assert pairs["none"] == PairSpec("t")
    assert pairs["none"].drafts == ()


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ("['a', 'a']", r"pairs\.x: Name each draft once\."),
        ("['a', 3]", r"pairs\.x\.draft\[1\] must be a string"),
        ("3", r"pairs\.x\.draft must be a string"),
    ],
)
def test_drafts_that_cannot_be_are_told(tmp_path: Path, given: str, complaint: str) -> None:
    path = tmp_path / "models.toml"
    path.write_text(f"[pairs.x]\ntarget = 't'\ndraft = {given}\n")
    with pytest.raises(ConfigError, match=complaint):
        read_registry(path)
