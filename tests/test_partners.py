"""Which model drafts for a target: what each would earn, which comes first, and taking it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from spec_local import LoadOptions, Runner
from spec_local.cli.app import app
from spec_local.cli.options import PairOptions, chosen_pair
from spec_local.control.acceptance import Acceptance
from spec_local.control.costs import CostCurve
from spec_local.llama.identity import identity
from spec_local.machine.learned import pair_of
from spec_local.machine.prediction import Prediction, by_size, predict
from spec_local.machine.profile import ProfileStore
from spec_local.models.loading import choose_pair
from spec_local.models.registry import load_registry
from spec_local.partners import best_draft, partners
from tests.tiny_gguf import write_tiny

pytestmark = pytest.mark.llama

OPTIONS = LoadOptions()


@pytest.fixture
def target(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A target that two models of llama.cpp's cache could draft for, small.gguf and larger.gguf."""
    monkeypatch.setattr("spec_local.models.pairing.SHARES", (0.2, 0.95))
    cache = home / "llama.cpp"
    cache.mkdir()
    write_tiny(cache / "small.gguf")
    write_tiny(cache / "larger.gguf", template="x" * 3000)
    write_tiny(cache / "other-words.gguf", letters="abc")
    return write_tiny(home / "target.gguf", "gemma3")


def flat(seconds: float) -> CostCurve:
    """Evaluating several tokens takes as long as one."""
    curve = CostCurve()
    for _ in range(10):
        for width in range(1, 34):
            curve.observe(width, 100, seconds)
    return curve


def draft_of(target: Path, name: str) -> Path:
    return target.parent / "llama.cpp" / f"{name}.gguf"


def learn(store: ProfileStore, target: Path, name: str, right: int, of: int = 20) -> None:
    """A draft whose tokens take a fifth of the target's, and how many of them were accepted."""
    mine, theirs = (identity(path, OPTIONS) for path in (target, draft_of(target, name)))
    store.save_curve(mine, flat(0.1))
    store.save_draft_curve(theirs, flat(0.02), mine, store.curve(mine))
    known = Acceptance(drawn=True)
    for i in range(of):
        known.observe(*(([0.5], []) if i < right else ([], [0.5])))
    store.save_pair(pair_of(mine, theirs), {"model": {"greedy": known}} if of else {}, 0.0)


def best(share: float) -> float:
    """The speed-up at 70 % where checking is free and drafting costs that share of a token."""
    return max(1.0, *(sum(0.7**i for i in range(k + 1)) / (1 + share * k) for k in range(1, 17)))


def names(target: Path) -> list[str]:
    return [each.name for each in partners(str(target), load_registry())]


def test_without_knowledge_the_sizes_tell_and_that_is_said(target: Path) -> None:
    draft = draft_of(target, "small")
    share = draft.stat().st_size / target.stat().st_size
    found = predict(target, draft, OPTIONS, ProfileStore.of_user())
    sizes = draft.stat().st_size, target.stat().st_size
    assert found == by_size(*sizes) == Prediction(found.speedup, None, "by size")
    assert found.speedup == pytest.approx(best(share))
    assert str(by_size(1, 10)) == "at most 1.98 if 70% are accepted, by size"
    assert str(by_size(9, 10)) == "does not pay if 70% are accepted, by size"


def test_what_was_measured_is_told_from_what_is_guessed(target: Path) -> None:
    store, draft = ProfileStore.of_user(), draft_of(target, "small")
    share = draft.stat().st_size / target.stat().st_size
    store.save_curve(identity(target, OPTIONS), flat(0.1))
    found = predict(target, draft, OPTIONS, store)
    assert found.speedup == pytest.approx(best(share), rel=0.01)
    assert str(found).endswith(" if 70% are accepted, its cost by size")

    learn(store, target, "small", 0, of=0)
    found = predict(target, draft, OPTIONS, store)
    assert (found.accepted, found.costs) == (None, "measured")
    assert found.speedup == pytest.approx(best(0.2), rel=0.01)
    assert str(found).endswith(" if 70% are accepted")

    learn(store, target, "small", 18)
    found = predict(target, draft, OPTIONS, store)
    assert found.accepted == pytest.approx(0.9, abs=0.02)
    assert found.speedup > 2
    assert str(found).endswith("% accepted so far")
    assert predict(target, draft, LoadOptions(n_threads=3), store).costs == "by size"


def test_what_has_paid_comes_first_and_what_has_not_last(target: Path) -> None:
    store = ProfileStore.of_user()
    assert names(target) == ["small", "larger"]
    learn(store, target, "larger", 18)
    assert names(target) == ["larger", "small"]
    learn(store, target, "larger", 0)
    assert names(target) == ["small", "larger"]
    learn(store, target, "small", 0)
    assert [str(each.prediction) for each in partners(str(target), load_registry())] == [
        "does not pay, 0% accepted so far"
    ] * 2


def test_models_toml_knows_drafts_of_what_is_not_here(home: Path) -> None:
    found = partners("qwen2.5-coder-14b", load_registry())
    assert [(each.name, each.store, each.bytes) for each in found] == [
        ("qwen2.5-coder-0.5b", "", 491_400_064)
    ]
    assert found[0].prediction is None  # the target's size is not known
    (own,) = partners("qwen2.5-coder-1.5b", load_registry())
    assert own.share == pytest.approx(0.44, abs=0.01)  # more than one would choose, but listed
    assert str(own.prediction) == "at most 1.18 if 70% are accepted, by size"
    assert partners("qwen2.5-coder-0.5b", load_registry()) == []


def test_a_file_is_of_the_family_whose_vocabulary_it_has(
    target: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = tmp_path / "models.toml"
    entries = [
        f"[models.here]\npath = '{draft_of(target, 'small')}'",
        '[models.far]\nhf = { repo = "an-owner/a-repository", file = "far.gguf" }',
        '[models.gone]\npath = "/gone.gguf"',
        '[pairs.one]\ntarget = "here"\ndraft = "far"',
        '[pairs.lost]\ntarget = "here"\ndraft = "gone"',
    ]
    own.write_text("\n".join(entries))
    monkeypatch.setattr("spec_local.models.registry.user_file", lambda: own)
    found = partners(str(target), load_registry())
    assert [each.name for each in found] == ["here", "larger", "far", "gone"]
    assert [bool(each.path) for each in found] == [True, True, False, False]


def test_the_command_says_what_each_would_earn(target: Path, tmp_path: Path) -> None:
    learn(ProfileStore.of_user(), target, "larger", 18)
    (tmp_path / "more").mkdir()
    write_tiny(tmp_path / "more" / "mine.gguf", seed=3)
    found = CliRunner().invoke(app, ["models", "pair", str(target), str(tmp_path / "more")])
    assert found.exit_code == 0, found.output
    words = " ".join(found.output.split())
    assert "accepted so far" in words
    for name in ("small", "larger", "mine"):
        assert name in words
    alone = CliRunner().invoke(app, ["models", "pair", str(draft_of(target, "other-words"))])
    assert "No model here can draft for" in alone.output
    far = CliRunner().invoke(app, ["models", "pair", "qwen2.5-coder-14b"])
    assert far.exit_code == 0
    assert "models pull qwen2.5-coder-14b" in far.output
    assert "to pull" in far.output
    none = CliRunner().invoke(app, ["models", "pair", "an-owner/a-repository"])
    assert none.exit_code == 1


def test_a_runner_takes_the_best_draft_only_when_asked_and_tells(target: Path) -> None:
    options = LoadOptions(n_ctx=256)
    stages = list[str]()
    with Runner.load(target=target, options=options) as plain:
        assert plain.draft is None
        assert plain.pair == choose_pair(None, target)
        text = plain.complete("once", max_tokens=20).text
    with Runner.load(
        target=target,
        draft="auto",
        options=options,
        progress=lambda stage, _share: stages.append(stage),
    ) as paired:
        assert paired.pair is not None
        assert paired.pair.draft == str(draft_of(target, "small"))
        assert paired.draft is not None
        assert paired.draft.model.path == draft_of(target, "small")
        assert paired.complete("once", max_tokens=20).text == text
    assert "load small" in stages
    with Runner.load(target=target, draft="auto", drafter="lookup", options=options) as looking:
        assert looking.draft is None
        assert looking.pair is not None
        assert looking.pair.draft is None


def test_a_draft_of_ones_own_takes_the_place_of_the_pairs_and_none_does_without() -> None:
    pair = load_registry().pairs["qwen2.5-7b"]
    assert choose_pair("qwen2.5-7b", draft="auto") == pair
    assert choose_pair("qwen2.5-7b", draft="mine.gguf").draft == "mine.gguf"
    assert choose_pair("qwen2.5-7b", draft="none").draft is None
    assert choose_pair(None, "a.gguf", "auto").draft == "auto"


def test_the_command_line_takes_it_unasked_and_says_so(
    target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draft = draft_of(target, "small")
    assert chosen_pair(PairOptions(target=str(target))).draft == str(draft)
    assert capsys.readouterr().err == f"note: {draft} drafts, as it has the same vocabulary.\n"
    assert chosen_pair(PairOptions(target=str(target), no_draft=True)).draft is None
    assert chosen_pair(PairOptions(target=str(target)), drafter="lookup").draft is None
    assert capsys.readouterr().err == ""
    arguments = ["generate", "-m", str(target), "-c", "256", "-n", "3", "once"]
    found = CliRunner().invoke(app, arguments)
    assert found.exit_code == 0, found.output
    assert f"note: {draft} drafts" in found.stderr


def test_a_draft_is_named_as_it_can_be_loaded(target: Path) -> None:
    registry = load_registry()
    assert best_draft(target, registry) == str(draft_of(target, "small"))
    assert best_draft(draft_of(target, "other-words"), registry) is None
