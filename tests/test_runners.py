"""A chat's runner is exchanged: nothing is lost by it, and the text is the target's."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

import pytest

from spec_local.chat import Chat
from spec_local.cli.machine_options import MachineOptions
from spec_local.cli.options import ModelOptions
from spec_local.cli.sampling_options import SamplingOptions
from spec_local.cli.talk.loader import Loader
from spec_local.cli.talk.runners import NoModelLeft, Runners
from spec_local.cli.template_options import TemplateOptions
from spec_local.errors import ConfigError, EngineError, ModelFileError, SpecLocalError
from spec_local.llama import placing
from spec_local.llama.devices import Device
from spec_local.llama.model import Model
from spec_local.llama.session import Session
from spec_local.llama.template import ChatTemplate
from spec_local.models.registry import PairSpec
from spec_local.runner import Runner
from spec_local.sampling.settings import Sampling

pytestmark = pytest.mark.llama

QUESTIONS = ("one", "two", "three", "four", "five")


class Watched(Loader):
    """Notes what is loaded, and fails where it is told to."""

    loaded: ClassVar[list[str]] = []
    failing: ClassVar[list[BaseException]] = []
    """Raised instead of loading, one after the other."""

    def load(self, models: ModelOptions, spec: PairSpec | None = None) -> Runner:
        if self.failing:
            raise self.failing.pop(0)
        self.loaded.append(Path(str(models.target)).name)
        return Loader.load(self, models, spec)

    def open_drafts(self, spec: PairSpec, target: Model, stack: ExitStack) -> tuple[Session, ...]:
        found = Loader.open_drafts(self, spec, target, stack)
        self.loaded.extend(each.model.path.name for each in found)
        return found


@pytest.fixture(autouse=True)
def nothing_loaded() -> None:
    Watched.loaded.clear()
    Watched.failing.clear()


def watched(models: ModelOptions) -> Watched:
    greedy, small = SamplingOptions(temperature=0.0), MachineOptions(ctx_size=512)
    return Watched(models, greedy, small, TemplateOptions())


def opened(target: Path, draft: Path | None, drafter: str | None = None) -> Runners:
    models = ModelOptions(
        target=str(target),
        draft=None if draft is None else [str(draft)],
        no_draft=draft is None,
        drafter=drafter,
    )
    return Runners(models, watched(models))


def test_drafters_change_and_the_conversation_does_not(tiny: Path, tiny_draft: Path) -> None:
    with opened(tiny, None, "none") as plain:
        expected = plain.runner.chat(max_tokens=8)
        for question in QUESTIONS:
            list(expected.send(question))
    with opened(tiny, tiny_draft) as runners:
        chat = runners.runner.chat(max_tokens=8)
        list(chat.send(QUESTIONS[0]))
        names = ("none", "model", "lookup-then-model", "auto")
        for name, question in zip(names, QUESTIONS[1:], strict=True):
            before = len(runners.runner.target.tokens)
            runners.use_drafter(name)
            chat.use(runners.runner)
            list(chat.send(question))
            assert runners.runner.speculator.name == name
            assert (runners.runner.draft is None) == (name == "none")
            assert cached(chat) >= before - 1
    assert chat.messages == expected.messages


def cached(chat: Chat) -> int:
    assert chat.generation is not None
    return chat.generation.stats.cached_tokens


def test_a_draft_model_that_was_not_needed_is_loaded_alone(tiny: Path, tiny_draft: Path) -> None:
    with opened(tiny, tiny_draft, "lookup") as runners:
        first = runners.runner
        first.sampling = Sampling(temperature=0.5)
        first.template = ChatTemplate(first.target.model, variables={"x": 1})
        chat = first.chat(max_tokens=8)
        list(chat.send("one"))
        before = len(first.target.tokens)
        for name in ("auto", "none", "model"):
            runners.use_drafter(name)
        draft = runners.runner.draft
        assert draft is not None
        assert draft.model.path == tiny_draft
        assert runners.runner.target is first.target
        assert runners.runner.sampling == Sampling(temperature=0.5)
        assert runners.runner.template.variables == {"x": 1}
        chat.use(runners.runner)
        list(chat.send("two"))
        assert cached(chat) >= before - 1
        assert Watched.loaded == [tiny.name, tiny_draft.name]
    with pytest.raises(AssertionError, match="closed"):
        _ = draft.handle


@pytest.mark.parametrize("fails", [False, True])
def test_where_gpus_lack_room_for_a_draft_everything_is_loaded_again(
    fails: bool, tiny: Path, tiny_draft: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The target has taken all but the margin; a part of it is left to the processor then."""
    card = Device(1, "CUDA0", "CUDA", "a card", 1)
    free = [1 << 40]
    monkeypatch.setattr(placing, "gpus", lambda _options: (card,))
    monkeypatch.setattr(placing, "free_bytes", lambda _card: free[0])
    with opened(tiny, tiny_draft, "lookup") as runners:
        first = runners.runner
        first.sampling = Sampling(temperature=0.5)
        first.template.variables["x"] = 1
        chat = first.chat(max_tokens=8)
        list(chat.send("one"))
        free[0] = placing.MARGIN
        if fails:
            Watched.failing.append(EngineError("It does not fit."))
            with pytest.raises(ModelFileError, match=r"^It does not fit; tiny answers again\.$"):
                runners.use_drafter("model")
        else:
            runners.use_drafter("model")
        again = runners.runner
        assert again is not first
        assert is_closed(first)
        assert again.target.model.options.n_gpu_layers == 0
        assert again.speculator.name == ("lookup" if fails else "model")
        assert (again.draft is None) == fails
        assert again.sampling == Sampling(temperature=0.5)
        assert again.template.variables == {"x": 1}
        chat.use(again)
        list(chat.send("two"))
        assert len(chat.messages) == 4
        assert Watched.loaded == [tiny.name, tiny.name]


def test_a_draft_that_has_room_is_loaded_beside_its_target(
    tiny: Path, tiny_draft: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = Device(1, "CUDA0", "CUDA", "a card", 1)
    monkeypatch.setattr(placing, "gpus", lambda _options: (card,))
    monkeypatch.setattr(placing, "free_bytes", lambda _card: 1 << 40)
    with opened(tiny, tiny_draft, "lookup") as runners:
        first = runners.runner
        runners.use_drafter("model")
        assert runners.runner.target is first.target
        assert Watched.loaded == [tiny.name, tiny_draft.name]


@pytest.mark.parametrize("begun", ["lookup", "none"])
def test_auto_without_a_draft_model_loads_nothing(begun: str, tiny: Path) -> None:
    with opened(tiny, None, begun) as runners:
        runners.use_drafter("auto")
        assert runners.runner.speculator.name == "auto"
        assert Watched.loaded == [tiny.name]


def is_closed(runner: Runner) -> bool:
    try:
        runner.complete("a", max_tokens=1)
    except ConfigError as error:
        return "closed" in str(error)
    return False


def test_a_drafter_that_cannot_draft_changes_nothing(tiny: Path) -> None:
    with opened(tiny, None, "lookup") as runners:
        first = runners.runner
        for wrong in ("luck", "model", "lookup-then-model"):
            with pytest.raises(ConfigError):
                runners.use_drafter(wrong)
            assert runners.runner is first
        assert not is_closed(first)


def test_another_model_is_loaded_when_the_one_before_is_freed(
    tiny: Path, tiny_draft: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tiny, None) as runners:
        first = runners.runner
        runners.use_drafter("none")
        swapped = runners.runner
        load = Watched.load

        def freed_first(
            self: Watched, models: ModelOptions, spec: PairSpec | None = None
        ) -> Runner:
            assert is_closed(first)
            assert is_closed(swapped)
            return load(self, models, spec)

        monkeypatch.setattr(Watched, "load", freed_first)
        runners.use_model(str(tiny_draft))
        last = runners.runner
        assert last.target.model.path == tiny_draft
        assert last.speculator.name == "none"
    assert is_closed(last)


def test_what_is_no_model_is_refused_before_anything_is_freed(tiny: Path, tmp_path: Path) -> None:
    text = tmp_path / "prompt.txt"
    text.write_text("hello")
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(tiny.read_bytes()[:-64])
    with opened(tiny, None) as runners:
        first = runners.runner
        for wrong in ("nowhere.gguf", "smollm3", str(text), str(damaged)):
            with pytest.raises(SpecLocalError):
                runners.use_model(wrong)
            assert runners.runner is first
        assert not is_closed(first)
        assert Watched.loaded == [tiny.name]


def test_what_needs_a_draft_is_refused_before_anything_is_freed(
    tiny: Path, tiny_draft: Path
) -> None:
    models = ModelOptions(target=str(tiny), draft=[str(tiny_draft)], drafter="model")
    with Runners(models, watched(models)) as runners:
        first = runners.runner
        with pytest.raises(ConfigError, match="needs a draft model"):
            runners.use_model(str(tiny_draft))
        assert not is_closed(first)


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (EngineError("It does not fit."), "It does not fit; tiny answers again."),
        (KeyboardInterrupt(), "Loading was interrupted; tiny answers again."),
    ],
)
def test_where_loading_fails_the_model_before_answers_again(
    failure: BaseException, said: str, tiny: Path, tiny_draft: Path
) -> None:
    with opened(tiny, None) as runners:
        runners.use_drafter("lookup")
        first = runners.runner
        first.sampling = Sampling(temperature=0.5)
        first.template.variables["x"] = 1
        chat = first.chat(max_tokens=8)
        list(chat.send("one"))
        Watched.failing.append(failure)
        with pytest.raises(ModelFileError) as error:
            runners.use_model(str(tiny_draft))
        assert str(error.value) == said.replace("tiny", tiny.stem)
        again = runners.runner
        assert again is not first
        assert again.target.model.path == tiny
        assert again.speculator.name == "lookup"
        assert again.sampling == Sampling(temperature=0.5)
        assert again.template.variables == {"x": 1}
        chat.use(again)
        list(chat.send("two"))
        assert len(chat.messages) == 4


def test_where_nothing_can_be_loaded_any_more_the_chat_ends(tiny: Path, tiny_draft: Path) -> None:
    with opened(tiny, None) as runners:
        Watched.failing += [EngineError("It does not fit."), EngineError("Nor this.")]
        with pytest.raises(NoModelLeft) as error:
            runners.use_model(str(tiny_draft))
        said = f"It does not fit; {tiny.stem} cannot be loaded again either: Nor this."
        assert str(error.value) == said
