"""Several drafts on llama.cpp: the same text, what is kept of each, and what all commands say."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from spec_local import ConfigError, LoadOptions, ModelFileError, Runner, Sampling
from spec_local.bench.record.result import Result
from spec_local.bench.report.compare import compare
from spec_local.bench.report.sections import facts
from spec_local.bench.run.race import race
from spec_local.cli.machine_options import MachineOptions
from spec_local.cli.options import ModelOptions, PairOptions, chosen_pair
from spec_local.cli.sampling_options import SamplingOptions
from spec_local.cli.talk.commands import models_of
from spec_local.cli.talk.loader import Loader
from spec_local.cli.talk.runners import Runners
from spec_local.cli.template_options import TemplateOptions
from spec_local.drafters.library import Library
from spec_local.engine.speculate import Adaptive
from spec_local.errors import ContextOverflow
from spec_local.llama.model import Model
from spec_local.llama.session import Session
from spec_local.machine.learned import pair_of, pairs_of
from spec_local.machine.profile import ProfileStore
from spec_local.models.loading import choose_pair, draft_session
from spec_local.models.registry import ModelSpec, PairSpec, Registry
from spec_local.pair import open_pair
from spec_local.serve.sharing import beside
from tests.test_bench import benchmark, schedule
from tests.test_cli import Argument, fails_with, spec_local
from tests.test_failing_draft import learn_to_draft
from tests.test_serve_runner import said, served
from tests.tiny_gguf import LETTERS, write_tiny
from tests.zoo.eagle import write_eagle
from tests.zoo.headed import write_headed

pytestmark = pytest.mark.llama

OPTIONS = LoadOptions(n_ctx=512, n_batch=32, n_threads=1)
SAMPLINGS = (Sampling(temperature=0), Sampling(temperature=1.0, seed=3))
PROMPT = "the thing and the other thing, the thing"


def texts(
    target: Path, drafts: Sequence[Path], drafter: str, **how: Any
) -> tuple[list[tuple[int, ...]], set[str]]:
    """What is written greedily and sampled, and who has drafted for it."""
    found, who = [], set[str]()
    k = None if drafter == "auto" or "," in drafter else 3
    with Runner.load(
        target=target, draft=drafts, drafter=drafter, k=k, options=OPTIONS, **how
    ) as runner:
        for name in ("model", "window", "model-2", "window-2"):
            if isinstance(runner.speculator, Adaptive) and drafter == "auto":
                learn_to_draft(runner, name)
        for sampling in SAMPLINGS:
            done = runner.complete(PROMPT, max_tokens=50, sampling=sampling)
            found.append(done.tokens)
            who |= {*done.stats.by_drafter}
            for draft in runner.drafts:
                if draft.model.shared is None and draft.model.token_map is None:
                    held = [*runner.tokenize(PROMPT), *done.tokens][: len(draft.tokens)]
                    assert list(draft.tokens) == held
    return found, who


@pytest.mark.parametrize(
    ("drafter", "who"),
    [
        ("model", {"model"}),
        ("model-2", {"model-2"}),
        ("tree-2", {"tree-2"}),
        ("staged-2", {"staged-2"}),
        ("models", {"models"}),
        ("lookup-and-model", {"lookup-and-model"}),
        ("auto", {"lookup", "model", "window", "model-2", "window-2"}),
        ("model,tree-2", {"model", "window", "tree-2"}),
    ],
)
def test_the_text_is_that_of_plain_decoding(
    drafter: str, who: set[str], tiny: Path, tiny_draft: Path
) -> None:
    expected, nobody = texts(tiny, "none", "none")  # type: ignore[arg-type]
    found, drafted = texts(tiny, [tiny_draft, tiny], drafter)
    assert found == expected
    assert nobody == set()
    assert drafted <= who
    assert drafted or "," in drafter


def test_trimmed_drafts_and_those_of_other_vocabularies_draft_beside_others(
    tiny: Path, tiny_draft: Path, tmp_path: Path
) -> None:
    other = write_tiny(tmp_path / "other.gguf", bpe=True, seed=5)
    trimmed = write_tiny(tmp_path / "trimmed.gguf", letters=LETTERS[:6], token_map=range(266))
    expected, _nobody = texts(tiny, "none", "none")  # type: ignore[arg-type]
    drafts = [tiny_draft, other, trimmed]
    for drafter in ("model-2", "model-3", "models", "auto"):
        assert texts(tiny, drafts, drafter)[0] == expected


@pytest.fixture
def headed(tmp_path: Path) -> tuple[Path, Path]:
    """A target and a head for it."""
    return write_headed("qwen35", tmp_path / "qwen35.gguf"), write_eagle(tmp_path / "head.gguf")


def test_a_head_drafts_beside_draft_models(headed: tuple[Path, Path], tmp_path: Path) -> None:
    target, head = headed
    model = write_headed("qwen35", tmp_path / "draft.gguf")
    written = set()
    for drafter in ("none", "eagle3", "model", "models", "auto"):
        for drafts in ([head, model], [model, head]):
            with Runner.load(
                target=target, draft=drafts, drafter=drafter, options=OPTIONS
            ) as runner:
                done = runner.complete(PROMPT, max_tokens=40, sampling=SAMPLINGS[0])
                written.add(done.tokens)
                if drafter in ("eagle3", "model"):
                    assert {*done.stats.by_drafter} == {drafter}
                if isinstance(runner.speculator, Adaptive):
                    known = runner.speculator.controller.drafters
                    assert {"lookup", "model", "window", "eagle3", "mtp"} == {*known}
                if drafter != "none":
                    assert [each.model.path for each in runner.drafts] == [model]
    assert len(written) == 1
    with pytest.raises(ConfigError, match="model-2 needs 2 draft models, not 1"):
        Runner.load(target=target, draft=[head, model], drafter="model-2", options=OPTIONS)
    second = write_eagle(tmp_path / "second.gguf")
    with pytest.raises(ConfigError, match="are heads, and a target drafts with one alone"):
        Runner.load(target=target, draft=[head, second], drafter="auto", options=OPTIONS)


# ---- what is named, and what cannot be ----------------------------------------------------------


def test_what_is_named_is_what_drafts(tiny: Path, tiny_draft: Path) -> None:
    both: list[str | Path] = [str(tiny_draft), tiny]
    spec = choose_pair(None, tiny, both)
    assert spec.drafts == (str(tiny_draft), str(tiny))
    assert choose_pair(spec, draft="auto") is choose_pair(spec, draft=["auto"]) is spec
    assert choose_pair(spec, draft="none").drafts == choose_pair(spec, draft=[]).drafts == ()
    assert choose_pair(spec, draft=[tiny]).draft == str(tiny)
    options = PairOptions(target=str(tiny), draft=[str(tiny_draft), str(tiny)])
    assert chosen_pair(options) == spec
    with Runner.load(target=tiny, draft=both, options=OPTIONS) as runner:
        assert [each.model.path for each in runner.drafts] == [tiny_draft, tiny]
        assert runner.draft is runner.drafts[0]
        assert runner.pair == spec
        with Runner(runner.target, "model-2", draft=runner.drafts, k=2) as again:
            done = again.complete(PROMPT, max_tokens=20, sampling=SAMPLINGS[0])
            assert {*done.stats.by_drafter} == {"model-2"}
            assert done.stats.acceptance_rate > 0.9
    with Runner.load(target=tiny, draft=both, drafter="lookup", options=OPTIONS) as runner:
        assert runner.drafts == ()
        assert runner.pair is not None
        assert runner.pair.drafts == ()


@pytest.mark.parametrize(
    ("drafts", "drafter", "complaint"),
    [
        (("a", "b"), "model-3", "The drafter model-3 needs 3 draft models, not 2"),
        (("a",), "model-2", "The drafter model-2 needs 2 draft models, not 1"),
        (("none",), "model-2", "The drafter model-2 needs a draft model"),
        (("a", "a"), "auto", "Name each draft once"),
        (("auto", "a"), "auto", "auto and none stand alone"),
        (("a", "none"), "auto", "auto and none stand alone"),
    ],
)
def test_what_cannot_be_is_known_before_anything_is_loaded(
    drafts: Sequence[str], drafter: str, complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        Runner.load(target="nowhere.gguf", draft=drafts, drafter=drafter)


def test_one_of_several_that_fails_is_an_error_if_it_was_named(
    tiny: Path,
    tiny_draft: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(tiny.read_bytes()[:-4000])
    with pytest.raises(ModelFileError, match=r"damaged\.gguf is damaged"):
        Runner.load(target=tiny, draft=[tiny_draft, damaged], options=OPTIONS)
    files = {"target": tiny, "wrong": damaged, "right": tiny_draft}
    registry = Registry(
        {name: ModelSpec(path=str(path)) for name, path in files.items()},
        {"pair": PairSpec("target", ("wrong", "right"))},
    )
    for module in ("models.loading", "models.registry", "pair"):
        monkeypatch.setattr(f"spec_local.{module}.load_registry", lambda: registry)
    caplog.set_level(logging.WARNING)
    with Runner.load("pair", options=OPTIONS) as runner:
        assert [each.model.path for each in runner.drafts] == [tiny_draft]
        assert runner.pair is not None
        assert runner.pair.draft == "right"
        assert caplog.messages[0].startswith("note: nothing drafts with wrong: ")
    with pytest.raises(ModelFileError, match=r"damaged\.gguf is damaged"):
        Runner.load("pair", drafter="model", options=OPTIONS)


def test_of_several_contexts_the_one_that_cannot_be_made_is_left_out(
    tiny: Path, tiny_draft: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(draft: Model) -> Session:
        if draft.path == tiny_draft:
            raise ContextOverflow("A context of 512 tokens cannot be made: failed to allocate.")
        return draft_session(draft)

    third = write_tiny(tmp_path / "third.gguf", seed=2)
    monkeypatch.setattr("spec_local.pair.draft_session", refused)
    spec = PairSpec(str(tiny), (str(tiny_draft), str(third)))
    opened = open_pair(spec, options=OPTIONS, may_lack_draft=True)
    with opened as pair, ExitStack() as stack:
        _target, drafts = pair.sessions(stack)
        assert [each.model.path for each in drafts] == [third]
        assert pair.of(spec) == PairSpec(str(tiny), str(third))


# ---- what is learned ----------------------------------------------------------------------------


def test_what_each_earns_is_kept_apart(tiny: Path, tiny_draft: Path, tmp_path: Path) -> None:
    store = ProfileStore(tmp_path)

    def learned(drafter: str, *drafts: Path) -> None:
        with Runner.load(
            target=tiny, draft=drafts, drafter=drafter, options=OPTIONS, profiles=store
        ) as runner:
            identities.update({each.model.path: each.model.identity for each in runner.drafts})
            identities[tiny] = runner.target.model.identity
            speculator = runner.speculator
            assert isinstance(speculator, Adaptive)
            states = speculator.controller.drafters
            for name, state in states.items():
                for _ in range(3 * number_of(name) if state.cost else 1):
                    state.known.setdefault("greedy", state.acceptance).observe([0.9], [])
            runner.complete(PROMPT, max_tokens=4, sampling=Sampling(temperature=1.0))

    def number_of(name: str) -> int:
        return 2 if name.endswith("-2") else 1

    identities: dict[Path, Any] = {}
    third = write_tiny(tmp_path / "third.gguf", seed=2)
    learned("auto", tiny_draft)
    alone = pair_of(identities[tiny], identities[tiny_draft])
    assert set(store.read(alone)["acceptance"]) == {"lookup", "model", "window"}
    learned("auto", tiny_draft, third)
    first, second = pairs_of(identities[tiny], [identities[tiny_draft], identities[third]])
    assert first == alone
    assert second not in (alone, pair_of(identities[tiny], identities[third]))
    assert set(store.read(first)["acceptance"]) == {"lookup", "model", "window"}
    assert set(store.read(second)["acceptance"]) == {"model", "window"}
    assert store.credit(first) is not None
    assert store.credit(second) is None
    assert store.read(pair_of(identities[tiny], identities[third])) == {}
    before = store.read(first)["acceptance"]["model"]
    learned("lookup,model-2", tiny_draft, third)  # what does not draft is not forgotten
    assert store.read(first)["acceptance"]["model"] == before
    assert set(store.read(second)["acceptance"]) == {"model", "window"}
    for each in (tiny_draft, third):
        assert store.curve(identities[each]).is_known


def test_each_draft_has_costs_of_its_own(tiny: Path, tiny_draft: Path) -> None:
    with Runner.load(target=tiny, draft=[tiny_draft, tiny], options=OPTIONS) as runner:
        assert isinstance(runner.speculator, Adaptive)
        states = runner.speculator.controller.drafters
        costs = {name: id(state.cost) for name, state in states.items() if state.cost}
    assert costs["model"] == costs["window"] != costs["model-2"] == costs["window-2"]


# ---- what commands say --------------------------------------------------------------------------


@pytest.fixture
def both(tiny: Path, tiny_draft: Path) -> list[Argument]:
    return ["-m", tiny, "-d", tiny_draft, "-d", tiny]


def test_generate_tells_all(both: list[Argument], tiny: Path, tiny_draft: Path) -> None:
    how: list[Argument] = ["-n", "12", "--temperature", "0", "hello", "--json", "-q"]
    done = spec_local("generate", *both, "--drafter", "model-2", *how)
    answer = json.loads(done.stdout)
    assert answer["draft"] == tiny_draft.name
    assert answer["drafts"] == [tiny_draft.name, tiny.name]
    assert answer["drafter"] == "model-2"
    assert list(answer["stats"]["by_drafter"]) == ["model-2"]
    plain = json.loads(spec_local("generate", "-m", tiny, "--no-draft", *how).stdout)
    assert (plain["text"], plain["draft"], plain["drafts"]) == (answer["text"], None, [])
    wrong = spec_local("generate", *both, "--drafter", "model-3", *how)
    assert fails_with(wrong, "The drafter model-3 needs 3 draft models, not 2;")
    assert fails_with(spec_local("generate", *both, "--no-draft", *how), "not both")


def test_a_pair_that_has_several_is_listed_and_run(
    tiny: Path, tiny_draft: Path, tmp_path: Path
) -> None:
    for config in (".config", "Library/Application Support"):  # of Linux and of macOS
        own = tmp_path / config / "spec-local" / "models.toml"
        own.parent.mkdir(parents=True)
        own.write_text(
            f"[models.t]\npath = '{tiny}'\n[models.d]\npath = '{tiny_draft}'\n"
            "[pairs.own]\ntarget = 't'\ndraft = ['d', 't']\n"
        )
    here = {"XDG_CONFIG_HOME": "", "HOME": str(tmp_path)}
    listed = spec_local("models", "list", **here).stdout.splitlines()
    (line,) = (line for line in listed if line.startswith("own "))
    assert line.split() == ["own", "t", "d,", "t", "auto"]
    paths = spec_local("models", "path", "own", **here).stdout.split()
    assert paths == [str(tiny), str(tiny_draft), str(tiny)]
    how: list[Argument] = ["-m", "own", "-n", "6", "--json", "-q", "hello"]
    done = spec_local("generate", "--drafter", "lookup-then-model-2", *how, **here)
    assert json.loads(done.stdout)["drafts"] == [tiny_draft.name, tiny.name]


def test_verify_compares_all(both: list[Argument], tmp_path: Path) -> None:
    questions, found = tmp_path / "q.jsonl", tmp_path / "found.json"
    questions.write_text('{"category": "short", "turns": ["one and the other"]}\n')
    how: list[Argument] = ["-n", "16", "--temperature", "0", "--prompts", questions]
    done = spec_local("verify", *both, *how, "--json", found)
    assert "IDENTICAL: all 4 answers" in done.stdout, done.stderr
    names = [each["drafter"] for each in json.loads(found.read_text())["drafters"]]
    assert names == ["auto", "lookup", "model", "model-2"]


def test_a_head_is_compared_as_what_it_is(headed: tuple[Path, Path], tmp_path: Path) -> None:
    (target, head), found = headed, tmp_path / "found.json"
    model = write_headed("qwen35", tmp_path / "draft.gguf")
    questions = tmp_path / "q.jsonl"
    questions.write_text('{"category": "short", "turns": ["one and the other"]}\n')
    how: list[Argument] = ["-n", "8", "--temperature", "0", "--prompts", questions, "--json", found]
    for drafts, own in (([head], ["eagle3"]), ([head, model], ["model", "eagle3"])):
        named: list[Argument] = [word for draft in drafts for word in ("-d", draft)]
        done = spec_local("verify", "-m", target, *named, *how)
        assert done.returncode == 0, done.stderr
        names = [each["drafter"] for each in json.loads(found.read_text())["drafters"]]
        assert names == ["auto", "lookup", *own]


def test_what_is_known_is_shown_beside_a_head(headed: tuple[Path, Path], tmp_path: Path) -> None:
    own = {"SPEC_LOCAL_CACHE": str(tmp_path)}
    how: list[Argument] = ["-m", headed[0], "-d", headed[1]]
    assert spec_local("tune", *how, "--seconds", "1", **own).returncode == 0
    shown = spec_local("tune", *how, "--show", **own)
    assert shown.stdout.count("measured by spec-local tune") == 1, shown.stderr


def test_tune_measures_all(both: list[Argument], tmp_path: Path) -> None:
    own = {"SPEC_LOCAL_CACHE": str(tmp_path)}
    done = spec_local("tune", *both, "--seconds", "1", **own)
    assert done.returncode == 0, done.stderr
    shown = spec_local("tune", *both, "--show", **own)
    for output in (done.stdout, shown.stdout):
        assert output.count("measured by spec-local tune") == 3
        assert "With tiny-draft.gguf:" in output
        assert "With tiny.gguf:" in output


def test_a_chat_tells_and_changes_them(tiny: Path, tiny_draft: Path) -> None:
    names = [str(tiny_draft), str(tiny)]
    models = ModelOptions(target=str(tiny), draft=names, drafter="lookup")
    machine = MachineOptions(ctx_size=512)
    loader = Loader(models, SamplingOptions(temperature=0.0), machine, TemplateOptions())
    with Runners(models, loader) as runners:
        assert "draft" not in models_of(runners.runner)
        runners.use_drafter("model-2")
        assert models_of(runners.runner).endswith(", draft tiny-draft, draft tiny")
        done = runners.runner.complete(PROMPT, max_tokens=12)
        assert {*done.stats.by_drafter} == {"model-2"}
        with pytest.raises(ConfigError, match="needs 3 draft models, not 2"):
            runners.use_drafter("model-3")
        assert runners.runner.speculator.name == "model-2"


def test_the_server_has_them_in_every_context(tiny: Path, tiny_draft: Path) -> None:
    drafts = [str(tiny_draft), str(tiny)]
    with served(tiny, parallel=2, draft=drafts, drafter="model,model-2") as client:
        first = said(client, "hello there")
        about = client.get("/v1/models/tiny").json()["meta"]
        assert about["draft"] == tiny_draft.name
        assert about["drafts"] == [tiny_draft.name, tiny.name]
        second = said(client, "hello there", speculative={"drafter": "model-2"})
        assert first["choices"] == second["choices"]
        asked = {"messages": [{"role": "user", "content": "a"}], "max_tokens": 4}
        wrong = {"speculative": {"drafter": "model-3"}}
        refused = client.post("/v1/chat/completions", json={**asked, **wrong})
        assert refused.status_code == 400
        assert "needs 3 draft models, not 2" in refused.text


def test_every_context_of_the_server_chooses_among_those_that_were_named(tiny: Path) -> None:
    with (
        Runner.load(target=tiny, drafter="lookup,recycling", options=OPTIONS) as runner,
        ExitStack() as stack,
    ):
        other = stack.enter_context(beside(runner, None, Library(), stack))
        assert isinstance(other.speculator, Adaptive)
        assert {*other.speculator.controller.drafters} == {"lookup", "recycling"}


# ---- the benchmark ------------------------------------------------------------------------------


def test_contenders_of_every_draft_are_measured(
    tiny: Path, tiny_draft: Path, tmp_path: Path
) -> None:
    default = [each.name for each in schedule(drafts=2).contenders]
    assert default == ["none", "lookup k=3", "model k=3", "model-2 k=3", "auto"]
    asked = schedule(["model-2=3", "tree-2", "models=4", "auto"], 2, (0.0,))
    with benchmark(asked, tiny, tiny_draft, tiny) as bench:
        bench.run()
        result = bench.result("spec-local bench")
    assert {each.contender: each.identical for each in result.lossless} == {
        "model-2 k=3": 8, "tree-2 k=8": 8, "models k=4": 8, "auto": 8,
    }  # fmt: skip
    assert [each.name for each in result.drafts] == [tiny_draft.name, tiny.name]
    assert list(result.curves) == ["target", "draft", "draft-2"]
    predicted = {cell.contender for cell in result.cells if cell.predicted is not None}
    assert predicted == {"model-2 k=3"}
    assert f"{tiny_draft.name} (" in dict(facts(result))["draft"]
    assert f", {tiny.name} (" in dict(facts(result))["draft"]
    result.save(tmp_path / "a.json")
    again = Result.load(tmp_path / "a.json")
    assert again == result
    assert compare(result, again) == compare(result, result)


def test_costs_are_those_of_the_draft_that_was_evaluated(
    tiny: Path, tiny_draft: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = dict[int, list[int]]()
    asked = schedule(["model-2=3", "models=2"], 2, (0.0,))
    with benchmark(asked, tiny, tiny, tiny_draft) as bench:
        field = bench.field
        for number, curve in enumerate(field.draft_curves, start=1):

            def observe(width: int, _context: int, *_seconds: float, number: int = number) -> None:
                seen.setdefault(number, []).append(width)

            monkeypatch.setattr(curve, "observe", observe)
        context = field.running["none"].runner.tokenize(PROMPT)
        race([field.running["model-2 k=3"]], context, 12, SAMPLINGS[0], turned=False)
        assert set(seen) == {2}
        seen.clear()
        race([field.running["models k=2"]], context, 12, SAMPLINGS[0], turned=False)
        assert seen == {}  # nobody can say whose tokens they were
        assert min(field.running["models k=2"].answer.overheads) >= 0.0
