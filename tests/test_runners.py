"""A chat's runner is exchanged: nothing is lost by it, and the text is the target's."""

from __future__ import annotations

from pathlib import Path

import pytest

from spec_local.chat import Chat
from spec_local.cli.options import ModelOptions
from spec_local.cli.talk.runners import Runners
from spec_local.errors import ConfigError, SpecLocalError
from spec_local.llama.options import LoadOptions
from spec_local.llama.template import ChatTemplate
from spec_local.runner import Runner
from spec_local.sampling.settings import Sampling

pytestmark = pytest.mark.llama

GREEDY = Sampling(temperature=0.0)
QUESTIONS = ("one", "two", "three", "four", "five")


def load(models: ModelOptions) -> Runner:
    return Runner.load(
        target=models.target,
        draft=models.draft,
        drafter=models.drafter,
        k=models.k,
        sampling=GREEDY,
        options=LoadOptions(n_ctx=512),
    )


def opened(target: Path, draft: Path | None, drafter: str | None = None) -> Runners:
    models = ModelOptions(
        target=str(target), draft=None if draft is None else str(draft), drafter=drafter
    )
    return Runners(load(models), models, load)


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


def test_a_draft_model_that_was_not_needed_is_loaded(tiny: Path, tiny_draft: Path) -> None:
    with opened(tiny, tiny_draft, "lookup") as runners:
        first = runners.runner
        first.sampling = Sampling(temperature=0.5)
        first.template = ChatTemplate(first.target.model, variables={"x": 1})
        runners.use_drafter("model")
        assert runners.runner.draft is not None
        assert runners.runner.sampling == Sampling(temperature=0.5)
        assert runners.runner.template.variables == {"x": 1}
        assert is_closed(first)


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


def test_another_model_frees_the_one_before(tiny: Path, tiny_draft: Path) -> None:
    with opened(tiny, None) as runners:
        first = runners.runner
        runners.use_drafter("none")
        swapped = runners.runner
        with pytest.raises(SpecLocalError):
            runners.use_model("nowhere.gguf")
        assert runners.runner is swapped
        assert not is_closed(swapped)
        runners.use_model(str(tiny_draft))
        last = runners.runner
        assert last.target.model.path == tiny_draft
        assert last.speculator.name == "none"
        assert is_closed(first)
        assert is_closed(swapped)
    assert is_closed(last)
