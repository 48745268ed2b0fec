"""Conversations kept between runs: private, whole, one chat at a time, nothing lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from spec_local.cli.talk import kept
from spec_local.cli.talk.kept import KeptConversation
from spec_local.errors import ConfigError

pytestmark = pytest.mark.llama

SAID = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "日本"}]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(kept, "state_directory", lambda: tmp_path / "state")
    return tmp_path / "state" / "conversations"


def keep(name: str, messages: list[dict[str, str]]) -> Path:
    with KeptConversation(name) as conversation:
        conversation.write(messages)
    return conversation.path


def test_a_conversation_is_there_the_next_time_for_its_owner_alone() -> None:
    path = keep("notes", SAID)
    assert path.stat().st_mode & 0o077 == 0
    with KeptConversation("notes") as conversation:
        assert conversation.read() == SAID
        conversation.write([])
        assert conversation.read() == []


def test_the_latest_is_the_one_to_go_on_with() -> None:
    assert kept.latest() == kept.FIRST
    for second, name in enumerate(("b", "a", "c.d")):
        os.utime(keep(name, SAID), (second, second))
    assert list(kept.all_kept()) == ["c.d", "a", "b"]
    assert kept.latest() == "c.d"


def test_what_has_not_changed_is_not_written() -> None:
    path = keep("notes", SAID)
    with KeptConversation("notes") as conversation:
        conversation.write(conversation.read())
        path.unlink()
        conversation.write([*SAID])
        assert not path.exists()
    with KeptConversation("new") as conversation:
        conversation.write([])
        assert not conversation.path.exists()


@pytest.mark.parametrize("damage", ["", "{", "[" * 100_000, '[{"role": "user"}]'])
def test_a_damaged_file_is_moved_aside_and_said(home: Path, damage: str) -> None:
    for number in (1, 2):
        path = keep("notes", SAID)
        path.write_text(damage)
        with KeptConversation("notes") as conversation:
            assert conversation.read() == []
            assert conversation.trouble is not None
            assert f"notes.damaged-{number}" in conversation.trouble
        assert (home / f"notes.damaged-{number}").read_text() == damage
    assert list(kept.all_kept()) == []


def test_a_write_that_fails_leaves_what_was_there(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = keep("notes", SAID)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with KeptConversation("notes") as conversation, monkeypatch.context() as patch:
        before = conversation.read()
        patch.setattr(os, "replace", full)
        with pytest.raises(ConfigError, match=r"cannot be kept in .*: No space left"):
            conversation.write(before[:1])
    assert [each for each in home.iterdir() if not each.name.endswith(".lock")] == [path]
    with KeptConversation("notes") as conversation:
        assert conversation.read() == SAID


def test_one_chat_has_it_at_a_time() -> None:
    with KeptConversation("notes"):
        with pytest.raises(ConfigError, match="open in another chat"), KeptConversation("notes"):
            pass
        with KeptConversation("others"):
            pass
    with KeptConversation("notes"):
        pass


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", ".hidden", "a b"])
def test_a_name_is_a_plain_one(name: str) -> None:
    with pytest.raises(ConfigError, match="conversation's name has letters"):
        KeptConversation(name)
