"""Options of the chat as a person gives them: templates, thoughts, kept conversations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.test_cli import fails_with, spec_local
from tests.tiny_gguf import CHATML, write_tiny

pytestmark = pytest.mark.llama

SWITCH = "{% if enable_thinking %}{{ x }}{% endif %}" + CHATML
REFUSING = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}" + CHATML
)
SHORT = ("-n", "8", "--temperature", "0")


def test_a_template_and_its_variables_are_given(tiny: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.jinja"
    own.write_text("{% if think_hard == 2 %}one{% else %}two{% endif %} the other thing")
    options = ("generate", "-q", "-m", tiny, *SHORT)
    for value, word in (("2", "one"), ("two", "two")):
        raw = spec_local(*options, "--raw", f"{word} the other thing")
        given = ("--chat-template-file", own, "--template-var", f"think_hard={value}")
        done = spec_local(*options, "hi", *given)
        assert (done.stdout, done.stderr) == (raw.stdout, "")


def test_what_a_template_does_not_know_is_said(tiny: Path, tmp_path: Path) -> None:
    done = spec_local("generate", "-m", tiny, *SHORT, "hi", "--no-think", "--template-var", "x=1")
    assert done.returncode == 0
    assert "note: the model's chat template does not read x.\n" in done.stderr
    assert "note: This model's chat template has no switch for thinking.\n" in done.stderr
    knowing = write_tiny(tmp_path / "knowing.gguf", template=SWITCH)
    variable = ("--think", "--template-var", "x=abc")
    known = spec_local("generate", "-q", "-m", knowing, *SHORT, "hi", *variable)
    assert (known.returncode, known.stderr) == (0, "")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--template-var", "x"], "--template-var x must be like"),
        (["--template-var", "messages=1"], "gets messages from spec-local"),
        (["--chat-template", "nowhere.jinja"], "nowhere.jinja cannot be read"),
        (["--raw", "--no-think"], "--raw uses no chat template"),
    ],
)
def test_wrong_template_options_are_one_sentence(options: list[str], sentence: str) -> None:
    assert fails_with(spec_local("generate", "-m", "nothing.gguf", "hi", *options), sentence)


def test_where_a_system_message_goes_is_said_once(tmp_path: Path) -> None:
    model = write_tiny(tmp_path / "refusing.gguf", template=REFUSING)
    done = spec_local("chat", "-m", model, *SHORT, "-s", "be brief", stdin="one\ntwo\n")
    assert done.returncode == 0
    assert done.stderr.count("takes no system message") == 1
    assert (
        "takes no system message"
        in spec_local("generate", "-m", model, *SHORT, "-s", "be brief", "one").stderr
    )


def test_folded_thoughts_do_not_go_through_a_pipe(tiny: Path, tmp_path: Path) -> None:
    grammar = tmp_path / "thought.gbnf"
    grammar.write_text('root ::= "<think>hm</think>yes"')
    chat = ("chat", "-m", tiny, "--grammar-file", grammar)
    done = spec_local(*chat, stdin="one\n/thoughts\ntwo\n")
    assert done.stdout == "<think>hm</think>yes\nyes\n"


def test_a_conversation_is_kept_only_if_asked_for(tiny: Path, tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state")}
    chat = ("chat", "-m", tiny, *SHORT)
    folder = tmp_path / "state" / "spec-local" / "conversations"

    def said(name: str) -> list[str]:
        return [each["content"] for each in json.loads((folder / f"{name}.json").read_text())]

    spec_local(*chat, stdin="nobody keeps this\n", **home)
    assert not folder.exists()
    spec_local(*chat, "--session", "notes", "-s", "be brief", stdin="one\n", **home)
    go_on = spec_local(*chat, "--continue", stdin="two\n/undo\nthree\n", **home)
    assert "Conversation notes, 2 messages" in go_on.stderr
    assert said("notes")[:2] + said("notes")[3:4] == ["be brief", "one", "three"]
    assert len(said("notes")) == 5
    (folder / "notes.json").write_text("{")
    damaged = spec_local(*chat, "--session", "notes", stdin="four\n", **home)
    assert damaged.returncode == 0
    assert "notes.json is damaged; it is now" in damaged.stderr
    assert (folder / "notes.damaged-1").read_text() == "{"
    assert said("notes")[0] == "four"
    listed = spec_local("chat", "--list-sessions", **home)
    assert (listed.stdout, listed.returncode) == ("notes\n", 0)
    assert str(folder) in listed.stderr
    both = spec_local(*chat, "--continue", "--session", "notes", **home)
    assert fails_with(both, "Say --session or --continue")


def test_continue_keeps_the_first_conversation_also(tiny: Path, tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state")}
    for count in (0, 2):
        done = spec_local("chat", "-m", tiny, *SHORT, "--continue", stdin="hi\n", **home)
        assert f"Conversation last, {count} messages" in done.stderr
