"""Conversations on a tiny model: taking back, repeating, and what a full context forgets."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from spec_local.chat import Chat
from spec_local.cli.chat import _status
from spec_local.cli.machine_options import MachineOptions
from spec_local.cli.options import ModelOptions
from spec_local.cli.sampling_options import SamplingOptions
from spec_local.cli.talk.commands import Talk, parsed, unescaped
from spec_local.cli.talk.loader import Loader
from spec_local.cli.talk.runners import Runners
from spec_local.cli.talk.screen import Screen
from spec_local.cli.template_options import TemplateOptions
from spec_local.errors import ConfigError, ContextOverflow, SpecLocalError
from spec_local.llama.options import LoadOptions
from spec_local.llama.template import ChatTemplate
from spec_local.runner import Runner
from spec_local.sampling.settings import Sampling

pytestmark = pytest.mark.llama

GREEDY = Sampling(temperature=0.0)
OPTIONS = LoadOptions(n_ctx=512)


@pytest.fixture(scope="module")
def runner(tiny: Path) -> Iterator[Runner]:
    with Runner.load(target=tiny, options=OPTIONS) as runner:
        yield runner


@pytest.fixture
def chat(runner: Runner) -> Chat:
    return Chat(runner, "be brief", max_tokens=8, sampling=GREEDY)


def contents(chat: Chat) -> list[str]:
    return [message["content"] for message in chat.messages]


def test_a_turn_is_taken_back_and_can_be_repeated(chat: Chat) -> None:
    list(chat.send("one"))
    before = [*chat.messages]
    list(chat.send("two"))
    assert chat.undo() == "two"
    assert chat.messages == before
    list(chat.send("two"))
    answered = [*chat.messages]
    list(chat.retry())
    assert chat.messages == answered  # greedy
    assert (chat.undo(), chat.undo(), chat.undo()) == ("two", "one", None)
    assert contents(chat) == ["be brief"]
    with pytest.raises(ConfigError, match="no turn to repeat"):
        chat.retry()


def test_a_repeated_turn_that_cannot_begin_changes_nothing(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    list(chat.send("one"))
    before = [*chat.messages]

    def full(*_: object, **__: object) -> None:
        raise ContextOverflow("full")

    monkeypatch.setattr(Runner, "generate", full)
    with pytest.raises(ContextOverflow):
        chat.retry()
    assert chat.messages == before


def test_a_repeated_turn_that_writes_nothing_changes_nothing(chat: Chat) -> None:
    for _chunk in chat.send("hello"):
        pass
    before = [*chat.messages]
    chat.retry().close()
    assert chat.messages == before


def test_an_old_answer_does_not_bring_a_forgotten_conversation_back(chat: Chat) -> None:
    answer = chat.send("hello")
    next(answer)
    chat.reset()
    before = [*chat.messages]
    answer.close()
    assert chat.messages == before


def test_an_answer_may_outlive_its_runner(tiny: Path) -> None:
    runner = Runner.load(target=tiny, sampling=Sampling(temperature=0))
    chat = runner.chat(max_tokens=50)
    answer = chat.send("hello")
    next(answer)
    runner.close()
    answer.close()
    assert [message["role"] for message in chat.messages] == ["user", "assistant"]
    with pytest.raises(SpecLocalError, match="closed"):
        chat.send("again")
    with pytest.raises(SpecLocalError, match="closed"):
        runner.count_tokens("again")


def test_half_a_character_is_no_fault(chat: Chat) -> None:
    for _chunk in chat.send("half \ud800"):
        pass
    assert chat.messages[-2]["content"] == "half ?"


def test_the_system_message_can_be_changed_later(chat: Chat) -> None:
    list(chat.send("one"))
    chat.system = "be long"
    assert chat.system == "be long"
    assert contents(chat)[:2] == ["be long", "one"]
    chat.system = None
    assert contents(chat)[0] == "one"
    chat.reset()
    assert chat.messages == []


def test_a_full_context_forgets_the_oldest_turns_and_keeps_the_system_message(chat: Chat) -> None:
    forgotten = list[int]()
    for turn in range(12):
        list(chat.send(f"turn {turn} " + "word " * 12))
        forgotten.append(chat.forgotten)
    assert contents(chat)[0] == "be brief"
    assert contents(chat)[-2].startswith("turn 11")
    dropped = [count for count in forgotten if count]
    assert dropped
    assert all(count % 2 == 0 for count in dropped)
    assert len(dropped) < len(forgotten) / 2  # many at once, so that seldom all is read anew
    assert sum(dropped) + len(chat.messages) == 1 + 2 * 12


def test_what_never_fits_is_an_error_and_forgets_nothing(chat: Chat) -> None:
    list(chat.send("one"))
    before = [*chat.messages]
    with pytest.raises(ContextOverflow):
        chat.send("word " * 200)
    assert chat.messages == before


# ---- commands ------------------------------------------------------------------------------------


def loader(models: ModelOptions) -> Loader:
    return Loader(models, SamplingOptions(), MachineOptions(ctx_size=512), TemplateOptions())


@pytest.fixture
def talk(tiny: Path, runner: Runner, chat: Chat, monkeypatch: pytest.MonkeyPatch) -> Talk:
    monkeypatch.setattr(runner, "sampling", GREEDY)

    models = ModelOptions(target=str(tiny))
    monkeypatch.setattr(Loader, "load", lambda *_: runner)
    runners = Runners(models, loader(models))
    return Talk(runners, chat, Screen(Console(file=io.StringIO(), width=100, color_system=None)))


def obey(talk: Talk, line: str) -> str:
    """What a command shows."""
    file = talk.screen.console.file
    assert isinstance(file, io.StringIO)
    start, found = len(file.getvalue()), parsed(line)
    assert found is not None
    command, argument = found
    answer = command.run(talk, argument)
    if answer is not None:
        list(answer)
    return file.getvalue()[start:]


@pytest.mark.parametrize(
    "text", ["hello", "/usr/bin/env python", "//help", "1/2", "/", "/Users are many", ""]
)
def test_what_is_no_command_is_text(text: str) -> None:
    assert parsed(text) is None


@pytest.mark.parametrize("line", ["/?", "/help", "/quit", "/bye", "/exit", "/clear"])
def test_words_of_other_chats_are_known(line: str) -> None:
    assert parsed(line) is not None


def test_two_slashes_begin_a_text_with_one() -> None:
    assert unescaped("//help me") == "/help me"
    assert unescaped("/usr/bin") == "/usr/bin"


@pytest.mark.parametrize("line", ["/nonsense", "/nonsense with words", "/reset now"])
def test_a_wrong_command_is_one_sentence(line: str) -> None:
    with pytest.raises(ConfigError, match=r"no command /nonsense|/reset takes nothing"):
        parsed(line)


def test_settings_are_shown_changed_and_checked(talk: Talk) -> None:
    assert "top_p 0.95" in obey(talk, "/set")
    assert obey(talk, "/set temperature 0.2") == "temperature 0.2\n"
    assert obey(talk, "/set top-k 7") == "top_k 7\n"
    assert obey(talk, "/set repeat-last-n -1") == "repeat_last_n -1\n"
    assert obey(talk, "/seed 42") == obey(talk, "/seed") == "seed 42\n"
    sampling = talk.runner.sampling
    assert (sampling.temperature, sampling.top_k, sampling.seed) == (0.2, 7, 42)
    for wrong in ("/set heat 1", "/set temperature hot", "/set temperature -1", "/set top_k 1.5"):
        with pytest.raises(SpecLocalError):
            obey(talk, wrong)
    assert talk.runner.sampling == sampling


def test_a_turn_is_repeated_with_another_seed_and_edited(talk: Talk) -> None:
    list(talk.say("hello"))
    seed = talk.runner.sampling.seed
    obey(talk, "/retry")
    assert talk.runner.sampling.seed != seed
    assert contents(talk.chat)[1] == "hello"
    obey(talk, "/edit")
    assert talk.prefill == "hello"
    assert contents(talk.chat) == ["be brief"]
    with pytest.raises(ConfigError):
        obey(talk, "/undo")


def test_a_file_goes_before_the_next_message_and_no_other(talk: Talk, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("the notes")
    obey(talk, f"/file {tmp_path / 'notes.txt'}")
    list(talk.say("sum up"))
    list(talk.say("again"))
    assert contents(talk.chat)[1] == "notes.txt:\n\nthe notes\n\nsum up"
    assert contents(talk.chat)[3] == "again"
    with pytest.raises(ConfigError, match="cannot be read"):
        obey(talk, "/file nowhere.txt")


def test_a_conversation_is_taken_up_again(talk: Talk, tmp_path: Path) -> None:
    list(talk.say("hello"))
    before = [*talk.chat.messages]
    obey(talk, f"/save {tmp_path / 'talk.json'}")
    obey(talk, "/reset")
    talk.chat.system = "another"
    assert obey(talk, f"/load {tmp_path / 'talk.json'}") == "2 messages\n"
    assert talk.chat.messages == before
    list(talk.say("go on"))
    assert contents(talk.chat)[:2] == ["be brief", "hello"]


def test_what_is_shown_and_the_end(talk: Talk) -> None:
    with pytest.raises(ConfigError, match="Nothing has been said"):
        obey(talk, "/stats")
    assert obey(talk, "/system") == "system: be brief\n"
    assert obey(talk, "/system be kind") == "system: be kind\n"
    assert "are coloured" in obey(talk, "/accepted")
    assert talk.screen.tints
    talk.screen.console.width = 40
    *commands, _one, _two = obey(talk, "/help").splitlines()
    assert {line[:1] for line in commands} == {"/", " "}
    assert "/set [NAME VALUE]" in "\n".join(commands)
    list(talk.say("hello"))
    assert "8 tokens at" in obey(talk, "/stats")
    assert not talk.over
    obey(talk, "/bye")
    assert talk.over


def test_how_full_the_context_is_stands_below_the_line(talk: Talk) -> None:
    assert _status(talk).startswith(" context 0% full · target tiny (")
    list(talk.say("hello " * 10))
    share = talk.chat.tokens / talk.runner.n_ctx
    assert share > 0.1
    assert _status(talk).startswith(f" context {share:.0%} full · ")


def test_another_drafter_is_shown_and_used(talk: Talk) -> None:
    assert obey(talk, "/drafter") == "drafter auto\n"
    assert obey(talk, "/drafter lookup") == "drafter lookup\n"
    list(talk.say("hello"))
    assert talk.runner.speculator.name == "lookup"
    with pytest.raises(ConfigError, match="no drafter 'luck'"):
        obey(talk, "/drafter luck")
    assert obey(talk, "/drafter") == "drafter lookup\n"
    obey(talk, "/drafter auto")


def test_images_and_thoughts(talk: Talk) -> None:
    with pytest.raises(ConfigError, match="Images need the model's encoder"):
        obey(talk, "/image cat.png")
    assert obey(talk, "/thoughts") == "Thoughts are folded into one line.\n"
    assert talk.screen.folds
    with pytest.raises(ConfigError, match="no switch for thinking"):
        obey(talk, "/think on")
    with pytest.raises(ConfigError, match="Say /think on"):
        obey(talk, "/think")


def test_a_model_that_can_be_told_is_told_whether_to_think(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = ChatTemplate(talk.runner.target.model, "{{ enable_thinking }} {{ messages }}")
    monkeypatch.setattr(talk.runner, "template", own)
    assert obey(talk, "/think off") == "The model answers at once from now on.\n"
    assert own.render([{"role": "user", "content": "hi"}]).startswith("False ")


def test_it_is_said_once_where_the_system_message_goes(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = ChatTemplate(talk.runner.target.model, "{{ messages[0]['role'] }}")
    monkeypatch.setattr(talk.runner, "template", own)
    file = talk.screen.console.file
    assert isinstance(file, io.StringIO)
    for _turn in range(2):
        talk.say_what_is_folded()
    assert file.getvalue().count("takes no system message") == 1


def test_another_model_takes_the_conversation_and_the_settings(
    tiny: Path, tiny_draft: Path
) -> None:
    models = ModelOptions(target=str(tiny))
    with Runners(models, loader(models)) as runners:
        screen = Screen(Console(file=io.StringIO(), width=100, color_system=None))
        talk = Talk(runners, runners.runner.chat(max_tokens=4), screen)
        obey(talk, "/set top_k 7")
        list(talk.say("hello"))
        assert "target tiny-draft (" in obey(talk, f"/model {tiny_draft}")
        list(talk.say("and you"))
        assert talk.runner.sampling.top_k == 7
        assert contents(talk.chat)[::2] == ["hello", "and you"]
        assert talk.chat.generation is not None
        assert talk.chat.generation.stats.cached_tokens == 0
        with pytest.raises(SpecLocalError, match="nowhere"):
            obey(talk, "/model nowhere")
        assert "target tiny-draft (" in obey(talk, "/model")
