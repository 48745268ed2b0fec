"""Streams that are closed, full, or of another encoding: one sentence, and the right exit code."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from spec_local.errors import ConfigError
from spec_local.models.registry import read_registry
from spec_local.util.files import read_text, text_of
from tests.test_cli import PROGRAM, Argument, fails_with, spec_local

pytestmark = pytest.mark.llama

SHORT = ("-n", "6", "--temperature", "0", "-q")
needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")


def redirected(
    where: str,
    *arguments: Argument | bytes,
    stdin: bytes | None = None,
    encoding: str = "utf-8:replace",
) -> subprocess.CompletedProcess[bytes]:
    """What becomes of a command whose streams a shell has redirected."""
    words = [each if isinstance(each, bytes) else str(each) for each in arguments]
    return subprocess.run(
        ["sh", "-c", f'"$@" {where}', "sh", *PROGRAM, *words],
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        timeout=120,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )


@pytest.mark.parametrize(
    ("where", "code", "said"),
    [("<&-", 0, "out"), (">&-", 0, ""), ("2>&-", 0, "out"), ("<&- >&- 2>&-", 0, "")],
)
def test_a_closed_stream_is_no_error(tiny: Path, where: str, code: int, said: str) -> None:
    done = redirected(where, "generate", "hi", "-m", tiny, *SHORT)
    assert (done.returncode, done.stderr) == (code, b"")
    assert bool(done.stdout.strip()) == (said == "out")
    listed = redirected(where, "models", "list")
    assert (listed.returncode, listed.stderr) == (code, b"")
    assert (b"smollm2" in listed.stdout) == (said == "out")


def test_what_was_to_come_through_a_closed_stream_is_missed(tiny: Path) -> None:
    done = redirected("<&-", "generate", "-m", tiny)
    assert done.returncode == 1
    assert done.stderr == b"error: The prompt is empty; give at least one word.\n"
    chat = redirected("<&-", "chat", "-m", tiny)
    assert chat.returncode == 0
    assert b"Traceback" not in chat.stderr
    assert redirected("2>&-", "generate", "hi", "-m", "none.gguf").returncode == 1


@needs_full
@pytest.mark.parametrize(
    "command",
    [["generate", "aaa", "--json"], ["models", "list"], ["--help"], ["remembered"], ["--version"]],
    ids=" ".join,
)
def test_a_full_disk_is_one_sentence_of_every_command(tiny: Path, command: list[str]) -> None:
    model = ["-m", str(tiny), *SHORT] if command[0] == "generate" else []
    done = redirected("> /dev/full", *command, *model)
    assert done.returncode == 1
    assert done.stderr == b"error: the disk is full; free some space and try again.\n"


@needs_full
def test_notes_may_be_lost(tiny: Path) -> None:
    done = redirected("2> /dev/full", "generate", "hi", "-m", tiny, *SHORT[:-1])
    assert done.returncode == 0
    assert done.stdout.strip()
    assert redirected("2> /dev/full", "generate", "hi", "-m", "none.gguf").returncode == 1


def test_a_reader_that_leaves_before_the_end_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as out:
        done = subprocess.run(
            [*PROGRAM, "models", "list"], stdout=out, stderr=subprocess.PIPE, timeout=60
        )
    assert (done.returncode, done.stderr) == (1, b"")


def test_bytes_that_are_no_text_are_replaced(tiny: Path) -> None:
    strict = "utf-8:strict"
    how = ("-m", tiny, *SHORT[:-1])
    raw = redirected("", "generate", "-q", *how, stdin=b"hi \xff there", encoding=strict)
    text = redirected("", "generate", "-q", *how, stdin="hi \ufffd there".encode(), encoding=strict)
    assert raw.returncode == 0
    assert raw.stdout == text.stdout != b""
    argument = redirected("", "generate", "-q", *how, b"hi \xff there", encoding=strict)
    assert (argument.returncode, argument.stderr) == (0, b"")
    lines = redirected("", "chat", *how, stdin=b"hello\nhi \xff there\nbye\n", encoding=strict)
    assert lines.returncode == 0
    assert b"Traceback" not in lines.stderr
    assert lines.stdout.count(b"\n") >= 3


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_what_an_encoding_lacks_is_replaced_and_the_text_goes_on(
    tiny: Path, tmp_path: Path, encoding: str
) -> None:
    (tmp_path / "face.gbnf").write_text('root ::= "a\U0001f600b"', encoding="utf-8")
    grammar = ("--grammar-file", tmp_path / "face.gbnf")
    for more in ((), ("--json",)):
        done = redirected(
            "", "generate", "aaa", "-m", tiny, "-q", *grammar, *more, encoding=encoding
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert b"a?b" in done.stdout


@pytest.mark.parametrize("name", [b"lat\xe9.gguf", "ü.gguf".encode()])
def test_a_name_need_not_be_utf_8(tiny: Path, tmp_path: Path, name: bytes) -> None:
    path = os.path.join(os.fsencode(tmp_path), name)
    try:
        os.link(tiny, path)
    except OSError:
        pytest.skip("this file system takes UTF-8 alone")
    named = redirected("", "generate", "hi", "-m", path, *SHORT)
    assert (named.returncode, named.stderr) == (0, b"")
    assert named.stdout == redirected("", "generate", "hi", "-m", tiny, *SHORT).stdout
    gone = redirected("", "generate", "hi", "-m", path + b"x")
    assert gone.returncode == 1
    assert b"Traceback" not in gone.stderr
    shown = redirected("", "models", "path", path)
    assert (shown.returncode, shown.stderr) == (0, b"")


# ---- texts ---------------------------------------------------------------------------------------

WRITINGS = {
    "unix": b"one\ntwo\n",
    "windows": b"one\r\ntwo\r\n",
    "old mac": b"one\rtwo\r",
    "mark": b"\xef\xbb\xbfone\ntwo\n",
    "mark and windows": b"\xef\xbb\xbfone\r\ntwo\r\n",
}


@pytest.mark.parametrize("data", WRITINGS.values(), ids=WRITINGS)
def test_a_text_is_the_same_however_lines_end(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "text").write_bytes(data)
    assert read_text(tmp_path / "text") == text_of(data) == "one\ntwo\n"


def test_a_mark_in_the_middle_stays() -> None:
    assert text_of("a\ufeffb".encode()) == "a\ufeffb"


def test_a_file_and_a_pipe_are_read_alike(tiny: Path, tmp_path: Path) -> None:
    data = WRITINGS["mark and windows"]
    (tmp_path / "text").write_bytes(data)
    how = ("generate", "--raw", "-m", tiny, *SHORT)
    file = redirected("", *how, "--file", tmp_path / "text").stdout
    plain = redirected("", *how, "one\ntwo\n").stdout
    assert redirected("", *how, stdin=data).stdout == file == plain != b""
    assert redirected("", *how, stdin=b"another").stdout != file
    mac = redirected("", "chat", "-m", tiny, *SHORT[:-1], stdin=b"\xef\xbb\xbfhello\r\n")
    assert mac.stdout == redirected("", "chat", "-m", tiny, *SHORT[:-1], stdin=b"hello").stdout


def test_files_with_a_mark_can_be_grammars_schemas_and_models(tiny: Path, tmp_path: Path) -> None:
    mark = "\ufeff"
    (tmp_path / "word.gbnf").write_text(f'{mark}root ::= "yes"\r\n', encoding="utf-8")
    (tmp_path / "one.json").write_text(f'{mark}{{"const": 1}}', encoding="utf-8")
    own = tmp_path / "models.toml"
    own.write_text(f"{mark}[models.own]\r\npath = 'x'\r\n", encoding="utf-8")
    how = ("generate", "hi", "-q", "-m", tiny)
    assert spec_local(*how, "--grammar-file", tmp_path / "word.gbnf").stdout == "yes\n"
    assert spec_local(*how, "--json-schema", tmp_path / "one.json").stdout == "1\n"
    assert read_registry(own).models["own"].path == "x"


def test_half_a_character_is_one_sentence_or_replaced(tiny: Path, tmp_path: Path) -> None:
    how = ("generate", "hi", "-m", tiny)
    for schema in (r'{"const": "\ud800"}', r'{"properties": {"\ud800": {}}}'):
        assert fails_with(spec_local(*how, "--json-schema", schema), "JSON schema cannot be obeyed")
    for option in ("--ban-string", "--dry-sequence-breaker"):
        done = spec_local(*how, option, "\udcff", "--dry-multiplier", "0.5")
        assert fails_with(done, f"{option} must be texts that are not empty")
    for option in ("--stop", "-s"):
        assert spec_local(*how, *SHORT, option, "\udcff").returncode == 0


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="this system has it not")
def test_a_file_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spec_local.util.files._LARGEST_TEXT", 1 << 20)
    with pytest.raises(ConfigError, match="it is too large for a text"):
        read_text(Path("/dev/zero"))


def test_models_of_bottomless_nesting_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text("a = " + "[" * 100_000)
    with pytest.raises(ConfigError, match=r"models\.toml cannot be read"):
        read_registry(tmp_path / "models.toml")
