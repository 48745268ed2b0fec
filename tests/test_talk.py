"""A conversation in a terminal, without a model: what is typed, shown, kept."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prompt_toolkit.application import create_app_session
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from rich.console import Console

from spec_local.chat import checked_messages
from spec_local.cli.summary import gain, summary
from spec_local.cli.talk import keyboard, transcript
from spec_local.cli.talk.keyboard import Keyboard
from spec_local.cli.talk.markdown_stream import finished
from spec_local.cli.talk.screen import Screen
from spec_local.engine.rounds import Stats
from spec_local.errors import ConfigError
from spec_local.generation import Chunk

pytestmark = pytest.mark.llama

# ---- what is typed -------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "state" / "chat-history"
    monkeypatch.setattr(keyboard, "history_file", lambda: path)
    return path


def typed(*keys: str) -> list[str | None]:
    """What is read when these keys are pressed, until the end."""
    with create_pipe_input() as pipe, create_app_session(input=pipe, output=DummyOutput()):
        board = Keyboard(["/help", "/reset", "/retry"], lambda: "")
        for each in (*keys, "\x04"):
            pipe.send_text(each)
        found: list[str | None] = []
        while (line := board.read()) is not None:
            found.append(line)
        return found


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("keys", "read"),
    [
        (["hello\r"], ["hello"]),
        (["\x1b[200~a\nb\nc\x1b[201~\r"], ["a\nb\nc"]),
        (["one\x1b\rtwo\r"], ["one\ntwo"]),
        (["one\ntwo\r"], ["one\ntwo"]),
        (['"""a\rb"""\r'], ["a\nb"]),
        (["forgotten\x03", "kept\r"], ["", "kept"]),
        (["\r", "x\r"], ["", "x"]),
    ],
)
def test_lines_blocks_and_commands(keys: list[str], read: list[str]) -> None:
    assert typed(*keys) == read


@pytest.mark.parametrize(
    ("typed_so_far", "completed"),
    [("/re", ["/reset", "/retry"]), ("/help ", []), ("re", []), ("see /re", [])],
)
def test_a_command_is_completed_at_the_beginning(typed_so_far: str, completed: list[str]) -> None:
    commands = keyboard.Commands(["/help", "/reset", "/retry"])
    found = commands.get_completions(Document(typed_so_far), CompleteEvent())
    assert [each.text for each in found] == completed


def test_what_was_typed_is_there_the_next_time_and_only_its_owners(home: Path) -> None:
    typed("first question\r")
    assert typed("\x1b[A\r") == ["first question"]
    assert home.stat().st_mode & 0o077 == 0


def test_without_a_place_for_the_history_it_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(keyboard, "history_file", lambda: tmp_path / "file" / "history")
    assert typed("hello\r") == ["hello"]


# ---- what is shown -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "done"),
    [
        ("", ""),
        ("a paragraph", ""),
        ("a paragraph\n", ""),
        ("a paragraph\n\nmore", "a paragraph\n\n"),
        ("```\na\n\nb\n", ""),
        ("```\na\n\nb\n```\n", "```\na\n\nb\n```\n"),
        ("````\n```\n\n````\nrest", "````\n```\n\n````\n"),
        ("~~~py\n```\n\n", ""),
        ("- one\n\n- two\n", "- one\n\n"),
    ],
)
def test_a_block_is_finished_when_nothing_can_change_it(text: str, done: str) -> None:
    assert text[: finished(text)] == done


@given(st.lists(st.sampled_from(["a", "\n", "\n\n", "```\n", "~~~\n", "- x\n"])))
def test_what_is_finished_stays_so(pieces: list[str]) -> None:
    text, before = "", 0
    for piece in pieces:
        text += piece
        now = finished(text)
        assert now >= before
        before = now


def chunks(*texts: str) -> Iterator[Chunk]:
    """Of each text the last character is the target's own."""
    return (
        Chunk(text, (0, 1), (True, False), Stats(), drafted_characters=len(text) - 1)
        for text in texts
    )


def screen(width: int = 60) -> tuple[Screen, io.StringIO]:
    shown = io.StringIO()
    console = Console(file=shown, width=width, height=20, force_terminal=True, color_system=None)
    return Screen(console), shown


@pytest.mark.parametrize("width", [40, 100])
def test_an_answer_is_drawn_as_markdown_and_is_safe(width: int) -> None:
    on, shown = screen(width)
    text = ["# Title\n", "\nSome *words", "* \x1b[2J\n\n```py\nx = 1\n", "```\n", "done"]
    on.show(chunks(*text), "")
    drawn = shown.getvalue()
    assert "␛[2J" in drawn
    assert "*words*" not in drawn[drawn.rindex("Title") :]
    assert drawn.rindex("Title") < drawn.rindex("Some words") < drawn.rindex("x = 1")
    assert drawn.rindex("x = 1") < drawn.rindex("done")
    assert drawn.count("Title") <= 3  # drawn while it was written, then once and for all


def test_no_word_is_cut_at_the_edge() -> None:
    on, shown = screen(40)
    on.show(chunks(*["wordwordword "] * 12), "")
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.getvalue())
    assert set(plain.split()) == {"…", "wordwordword"}  # before the first: it is being read


def test_a_tinted_answer_is_shown_as_it_is_written() -> None:
    on, shown = screen()
    on.tints = True
    on.show(chunks("**ax", "bx\x07"), "")
    assert "**axbx␇" in shown.getvalue()


def test_a_thought_is_folded_into_one_line() -> None:
    on, shown = screen()
    on.folds = True
    on.show(chunks("<think>", "\nhm, ", "maybe", "</think>\n\n", "yes"), "")
    assert "thought for 6 tokens" in shown.getvalue()
    assert "hm" not in shown.getvalue()
    assert shown.getvalue().rindex("yes") > shown.getvalue().rindex("thought for 6 tokens")


def test_a_thought_that_is_cut_short_or_begun_by_the_template_is_folded() -> None:
    on, shown = screen()
    on.folds = True
    on.show(chunks("hm, ", "</thi"), "<think>")
    assert "thought for 4 tokens" in shown.getvalue()
    assert "hm" not in shown.getvalue()
    assert "thi" not in shown.getvalue().replace("thought", "")


def test_no_line_stands_for_an_empty_thought() -> None:
    on, shown = screen()
    on.folds = True
    on.show(chunks("<think>\n\n</think>\n\n", "yes"), "")
    assert "thought" not in shown.getvalue()
    assert "yes" in shown.getvalue()


def test_a_thought_is_shown_where_it_is_not_folded() -> None:
    on, shown = screen()
    on.show(chunks("hm</think>", "yes"), "<think>")
    assert shown.getvalue().rindex("hm") < shown.getvalue().rindex("yes")
    assert "think" not in shown.getvalue()


@pytest.mark.parametrize(("folds", "written"), [(True, "yes"), (False, "<think>hm</think>\nyes")])
def test_through_a_pipe_folded_thoughts_are_left_out(folds: bool, written: str) -> None:
    on, _shown = screen()
    on.folds = folds
    assert "".join(on.plain(chunks("<think>hm", "</think>\n", "yes"), "")) == written


def test_a_terminal_that_can_draw_nothing_again_gets_the_text_as_it_comes() -> None:
    shown = io.StringIO()
    on = Screen(Console(file=shown, width=60, force_terminal=True, _environ={"TERM": "dumb"}))
    on.show(chunks("**a**\x1b", "b"), "")
    assert shown.getvalue().strip() == "**a**␛b"


def test_without_colour_drafted_tokens_are_underlined() -> None:
    shown = io.StringIO()
    on = Screen(Console(file=shown, width=60, force_terminal=True, no_color=True))
    on.tints = True
    on.show(chunks("ax"), "")
    assert "\x1b[4ma\x1b[0mx" in shown.getvalue()


def test_how_far_the_prompt_has_been_read_is_shown_until_the_first_token() -> None:
    on, shown = screen()

    def answer() -> Iterator[Chunk]:
        on.progress("prompt", 0.25)
        yield from chunks("hello")
        on.progress("prompt", 0.5)

    on.show(answer(), "")
    assert "reading, 25%" in shown.getvalue()
    assert "50%" not in shown.getvalue()


STATS = Stats(
    tokens=41,
    rounds=21,
    drafted=40,
    accepted=20,
    seconds=2.0,
    draft_seconds=1.0,
    evaluate_seconds=1.0,
)


def test_an_answer_without_drafts_says_why() -> None:
    said = gain(STATS._replace(drafted=0, accepted=0), "stop")
    assert said.endswith("nothing worth drafting in this text; plain decoding")


def test_who_asked_for_no_drafter_is_told_no_reason() -> None:
    said = gain(STATS._replace(drafted=0, accepted=0), "stop", "none")
    assert said == "41 tokens at 20.0/s · plain decoding"


def test_of_a_single_token_no_speed_is_told() -> None:
    assert (
        gain(Stats(tokens=1, rounds=1), "cancelled", "none")
        == "1 token, cancelled · plain decoding"
    )


def test_of_an_answer_that_did_not_begin_nothing_is_reckoned() -> None:
    assert gain(Stats(), "cancelled") == "nothing written, cancelled"
    said = summary(Stats(prompt_tokens=2231), "cancelled")
    assert said == "[2,231 prompt tokens, nothing written, cancelled]"


@pytest.mark.parametrize(
    ("speedup", "said"),
    [
        (1.5, "1.50x plain decoding, 50% of 40 drafted accepted"),
        (1.01, "as fast as plain decoding: 50% of 40 drafted accepted"),
        (0.9, "0.90x plain decoding: 50% of 40 drafted accepted, too few to pay"),
    ],
)
def test_the_gain_is_never_boasted(
    speedup: float, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stats, "speedup", property(lambda _self: speedup))
    assert gain(STATS, "cancelled").endswith(f", cancelled · {said}")


# ---- what is kept --------------------------------------------------------------------------------

SAID = [
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": "hi\nthere"},
    {"role": "assistant", "content": "日本"},
]


def test_a_conversation_is_saved_and_loaded(tmp_path: Path) -> None:
    transcript.save(tmp_path / "talk.json", SAID)
    assert transcript.load(tmp_path / "talk.json") == SAID
    transcript.save(tmp_path / "talk.md", SAID)
    assert "## assistant\n\n日本\n" in (tmp_path / "talk.md").read_text("utf-8")
    with pytest.raises(ConfigError, match="is there already"):
        transcript.save(tmp_path / "talk.json", SAID)
    with pytest.raises(ConfigError, match="Nothing has been said"):
        transcript.save(tmp_path / "empty.json", [])


@pytest.mark.parametrize(
    "found",
    [
        "not json {",
        "{}",
        '["hi"]',
        '[{"role": "user"}]',
        '[{"role": "user", "content": 3}]',
        '[{"role": "assistant", "content": "hi"}]',
        '[{"role": "user", "content": "hi"}]',
    ],
)
def test_what_is_no_conversation_is_not_loaded(found: str, tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    path.write_text(found)
    with pytest.raises(ConfigError, match=r"talk\.json"):
        transcript.load(path)


def test_only_roles_and_contents_are_taken() -> None:
    extra = [{**message, "name": "x"} for message in SAID]
    assert checked_messages(json.loads(json.dumps(extra))) == SAID
