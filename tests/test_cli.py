"""The command line as a person meets it: real processes, pipes, terminals, wrong inputs."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from spec_local.cli.app import app
from spec_local.cli.names import known_names
from tests.tiny_gguf import write_tiny

pytestmark = pytest.mark.llama

PROGRAM = [sys.executable, "-c", "from spec_local.cli import main; main()"]

Argument = str | Path | int
"""A word of a command line, before it is written as text."""


def spec_local(
    *arguments: Argument, stdin: str | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
        env={**os.environ, **environment},
    )


def fails_with(done: subprocess.CompletedProcess[str], sentence: str, code: int = 1) -> bool:
    """One line on stderr, nothing on stdout, the right exit code."""
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    return done.returncode == code and len(done.stderr.strip().splitlines()) == 1


def commands() -> Iterator[list[str]]:
    """The words of every command there is, that of the program itself first."""

    def below(command: object, words: list[str]) -> Iterator[list[str]]:
        yield words
        for name, each in getattr(command, "commands", {}).items():
            yield from below(each, [*words, name])

    return below(get_command(app), [])


@pytest.mark.parametrize(
    "command", ["race", "chat", "generate", "tune", "verify", "serve", "bench"]
)
def test_the_help_fits_a_screen_and_the_rest_is_there_too(command: str) -> None:
    """Forty lines of eighty columns; a terminal's first window has no less on most desktops."""
    environment = {"COLUMNS": "80"}
    brief = CliRunner().invoke(app, [command, "--help"], env=environment).output
    whole = CliRunner().invoke(app, [command, "--help-all"], env=environment).output
    assert len(brief.splitlines()) <= 40
    assert f"more options: spec-local {command}" in " ".join(brief.split())
    assert "--help-all" in brief
    assert "--threads" in whole
    assert "--threads" not in brief
    assert "--target" in brief
    assert "spec-local" in whole.rsplit("╯", 1)[-1] or command == "bench"  # the examples


@pytest.mark.parametrize("columns", ["40", "60", "80"])
@pytest.mark.parametrize("command", list(commands()), ids=" ".join)
def test_no_option_is_cut_short_on_a_narrow_terminal(command: list[str], columns: str) -> None:
    help_all = CliRunner().invoke(app, [*command, "--help-all"], env={"COLUMNS": columns})
    assert max(len(line.rstrip()) for line in help_all.output.splitlines()) <= int(columns)
    assert not re.findall(r"--[a-z-]*…", help_all.output)


def test_the_help_of_bench_names_the_commands_below_it() -> None:
    brief = " ".join(CliRunner().invoke(app, ["bench", "--help"]).output.split())
    assert all(f"bench {name}" in brief for name in ("compare", "show", "drafts"))


def test_the_shell_completes_names_and_files(tmp_path: Path) -> None:
    (tmp_path / "own.gguf").touch()
    (tmp_path / "own.txt").touch()
    (tmp_path / "owned").mkdir()
    assert "smollm2" in known_names("smol")
    assert known_names("no such name") == []
    here = f"{tmp_path}/own"
    assert known_names(here) == [f"{here}.gguf", f"{here}ed/"]


def test_commands_are_found() -> None:
    assert {"", "verify", "generate", "models pull", "bench compare"} <= set(
        map(" ".join, commands())
    )


@pytest.mark.parametrize(
    "command",
    list(commands()),
    ids=" ".join,
)
def test_every_command_explains_itself(command: list[str]) -> None:
    result = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "60"})
    assert result.exit_code == 0
    assert "Usage:" in result.output
    assert max(map(len, result.output.splitlines())) <= 60


def test_without_llama_cpp_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "llama_cpp.py").write_text("raise ModuleNotFoundError(name='llama_cpp')")
    path = str(tmp_path)
    done = spec_local("generate", "hi", "-m", "x.gguf", PYTHONPATH=path)
    assert fails_with(done, "llama.cpp is missing; run pip install llama-cpp-python.")


def test_help_does_not_load_llama_cpp() -> None:
    code = (
        "import sys; from spec_local.cli import app; assert 'llama_cpp' not in sys.modules\n"
        "import spec_local; assert 'llama_cpp' not in sys.modules; print(spec_local.__version__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() in spec_local("--version").stdout


# ---- generate ------------------------------------------------------------------------------------


def test_text_goes_to_stdout_and_statistics_to_stderr(tiny: Path) -> None:
    done = spec_local("generate", "-m", tiny, "hello", "-n", "12", "--temperature", "0")
    assert done.returncode == 0
    assert "12 tokens at" in done.stderr
    assert "12 tokens at" not in done.stdout
    quiet = spec_local("generate", "-m", tiny, "hello", "-n", "12", "--temperature", "0", "-q")
    assert quiet.stderr == ""
    assert quiet.stdout == done.stdout


def test_the_prompt_comes_from_argument_file_or_stdin(tiny: Path, tmp_path: Path) -> None:
    file = tmp_path / "prompt.txt"
    file.write_text("hello")
    how: list[Argument] = ["-m", tiny, "-n", "9", "-q", "--seed", "3"]
    outputs = {
        spec_local("generate", "hello", *how).stdout,
        spec_local("generate", "--file", file, *how).stdout,
        spec_local("generate", *how, stdin="hello").stdout,
        spec_local("generate", "-", *how, stdin="hello").stdout,
    }
    assert len(outputs) == 1
    assert outputs != {spec_local("generate", "--raw", "hello", *how).stdout}
    joined = {
        spec_local("generate", "hello\n\nwho is it?", *how).stdout,
        spec_local("generate", "who is it?", *how, stdin="hello\n").stdout,
        spec_local("generate", "who is it?", "--file", file, *how).stdout,
    }
    assert len(joined) == 1
    assert joined != outputs


def test_the_drafter_does_not_change_the_text(tiny: Path, tiny_draft: Path) -> None:
    how: list[Argument] = [
        "-m",
        tiny,
        "-d",
        tiny_draft,
        "-n",
        "40",
        "-q",
        "--temperature",
        "1.1",
        "--seed",
        "5",
        "hello",
    ]
    drafters = ("none", "lookup", "model", "lookup-then-model", "staged")
    outputs = {spec_local("generate", "--drafter", name, *how).stdout for name in drafters}
    again = spec_local("generate", "--drafter", "none", *how[:-3], "--seed", "6", "hello").stdout
    assert len(outputs) == 1
    assert outputs != {again}


def test_switches_of_llama_cpp_are_known(tiny: Path, tiny_draft: Path) -> None:
    how = ("-n", "9", "-q", "--seed", "3", "hello")
    ours = spec_local("generate", "-m", tiny, "-d", tiny_draft, "--temperature", "0.5", *how)
    theirs = ("-hf", tiny, "-md", tiny_draft, "-ngl", "0", "-fa", "auto", "--temp", "0.5")
    of_draft = ("-ngld", "0", "-td", "1", "-devd", "cpu", "-ctkd", "f16")
    more = (*of_draft, "-cmoe", "-ncmoe", "1", "-dev", "cpu", "-ctk", "f16")
    assert spec_local("generate", *theirs, *more, *how).stdout == ours.stdout != ""


def test_json_has_everything(tiny: Path, tiny_draft: Path) -> None:
    done = spec_local(
        "generate", "-m", tiny, "-d", tiny_draft, "--drafter", "model", "-k", "2", "hello",
        "-n", "10", "--json", "--quiet",
    )  # fmt: skip
    answer = json.loads(done.stdout)
    assert (answer["target"], answer["draft"]) == ("tiny.gguf", "tiny-draft.gguf")
    assert answer["drafter"] == "model"
    assert len(answer["tokens"]) == answer["stats"]["tokens"] == 10
    assert answer["finish_reason"] == "length"
    assert answer["stats"]["rounds"] <= 10


def test_the_answer_follows_a_schema_or_a_grammar(tiny: Path, tmp_path: Path) -> None:
    schema = '{"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2}'
    (tmp_path / "pair.json").write_text(schema)
    (tmp_path / "word.gbnf").write_text('root ::= "yes" | "no"')
    how: list[Argument] = ["generate", "-m", tiny, "hello", "-q", "--seed", "1"]
    inline = spec_local(*how, "--json-schema", schema)
    assert len(json.loads(inline.stdout)) == 2
    assert spec_local(*how, "--json-schema", tmp_path / "pair.json").stdout == inline.stdout
    assert spec_local(*how, "--grammar-file", tmp_path / "word.gbnf").stdout in ("yes\n", "no\n")


def test_log_probabilities_come_with_the_json(tiny: Path) -> None:
    done = spec_local(
        "generate", "-m", tiny, "hello", "-n", "5", "--json", "-q", "--logprobs", "2",
        "--temperature", "0",
    )  # fmt: skip
    answer = json.loads(done.stdout)
    assert [found["token"] for found in answer["logprobs"]] == answer["tokens"]
    for found in answer["logprobs"]:
        assert found["top"][0]["token"] == found["token"]  # greedy
        assert found["top"][0]["logprob"] == found["logprob"] > found["top"][1]["logprob"]


def test_bans_and_biases_reach_the_sampler(tiny: Path) -> None:
    how: list[Argument] = ["generate", "-m", tiny, "hello", "-n", "30", "-q", "--seed", "1"]
    banned = spec_local(*how, "--ban-string", "e", "--ban-string", "a", "--ban-string", "o").stdout
    assert not set("eao") & set(banned)
    # Token 265 is the letter e; a bias that large leaves nothing else.
    assert spec_local(*how, "--logit-bias", "265+200").stdout.strip() == "e" * 30
    assert "e" not in spec_local(*how, "--ban-token", "265", "--ban-token", "105").stdout


def test_wrong_inputs_are_one_sentence_each(tiny: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(tiny.read_bytes()[:-4000])
    text = tmp_path / "text.gguf"
    text.write_text("hello, I am no model, sorry")
    other = write_tiny(tmp_path / "other.gguf", letters="zyx", token_map=range(263))
    (tmp_path / "binary").write_bytes(b"\xff\xfe\xfd")
    (tmp_path / "empty").touch()
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("Write a haiku.")
    generate = ("generate", "hi", "-m")
    cases: dict[tuple[Argument, ...], str] = {
        (*generate, "none.gguf"): "There is no file none.gguf.",
        (*generate, text): "text.gguf is not a GGUF file",
        (*generate, cut): "cut.gguf is damaged: 4,000 bytes are missing at its end",
        (*generate, tmp_path / "x/y.gguf"): "There is no file",
        (
            *generate,
            "nothing",
        ): "no model or pair 'nothing'; give a .gguf file or one of smollm2,",
        ("generate", " ", "-m", tiny): "The prompt is empty; give at least one word.",
        (*generate, tiny, "-d", other): "cannot draft for tiny.gguf",
        (*generate, tiny, "-d", "none.gguf"): "There is no file none.gguf.",
        (*generate, tiny, "-t", "5000"): f"There are {os.cpu_count()} processors here",
        (*generate, tiny, "--drafter", "model"): "needs a draft model",
        (*generate, tiny, "--drafter", "magic"): "no drafter 'magic'",
        (
            *generate,
            tiny,
            "--temperature",
            "-1",
        ): "error: --temperature must be a number of at least",
        (*generate, tiny, "--kv-type", "q9"): "error: --kv-type must be one of",
        (
            *generate,
            tiny,
            "--acceptance",
            "never",
        ): "acceptance must be one of keyed, rejection, block.",
        (*generate, tiny, "--logprobs", "3"): "add --json",
        (*generate, tiny, "--top-p", "2"): "error: --top-p must be a number of at least 0 and",
        (*generate, tiny, "--flash-attention", "maybe"): "--flash-attention must be auto, on or",
        (*generate, tiny, "--ban-string", ""): "error: --ban-string must be texts that are not",
        (*generate, tiny, "--logit-bias", "5+1", "--logit-bias", "5+2"): "every token once",
        (*generate, tiny, "--exact", "--acceptance", "block"): "exact modes need keyed.",
        (*generate, prompt): "prompt.txt is not a GGUF file; choose a .gguf model.",
        ("models", "check", prompt, prompt): "prompt.txt is not a GGUF file; choose a .gguf",
        ("models", "pair", prompt): "prompt.txt is not a GGUF file; choose a .gguf model.",
        ("race", prompt, "hi"): "prompt.txt is not a GGUF file; choose a .gguf model.",
        (*generate, "prompt.txt"): "no model or pair 'prompt.txt'; give a .gguf file or one of",
        (*generate, tiny, "-c", "10"): "tokens and the context 10; shorten it",
        (*generate, tiny, "--logit-bias", "5"): "--logit-bias 5 must be like 15043+1",
        (*generate, tiny, "--ban-token", "999999"): "The model has no token 999999",
        (*generate, tiny, "--json-schema", "{"): "error: --json-schema is not JSON",
        (*generate, tiny, "--json-schema", "none.json"): "none.json cannot be read",
        (*generate, tiny, "--grammar-file", text): "The grammar cannot be used",
        (*generate, tiny, "--device", "TPU"): "no device 'TPU' here; choose from",
        (*generate, tiny, "-c", "2000000000"): "needs 512.0 GB of memory",
        ("tune", "smollm2", "-m", tiny): "Give the model once: smollm2 or ",
        ("generate", "-m", tiny, "--file", tmp_path / "none"): "cannot be read",
        ("generate", "-m", tiny, "--file", tmp_path / "binary"): "it is not UTF-8 text",
        (*generate, tiny, "--remember", "--drafter", "none"): "no use for past answers; take auto",
        (*generate, tiny, "--lookup-corpus", tmp_path / "none"): "cannot be read",
        (*generate, tiny, "--lookup-corpus", tmp_path / "empty"): "empty is empty; leave it out",
        (*generate, tiny, "--prediction", tmp_path / "binary"): "it is not UTF-8 text",
        (*generate, tiny, "--prediction", tmp_path / "empty"): "The prediction is empty; leave it",
        (*generate, tiny, "--prediction", text, "--drafter", "none"): "no use for a prediction",
        ("generate", "hi", "-p", "smolm2"): "no model or pair 'smolm2'; did you mean smollm2",
        (*generate, tiny, "--raw", "-s", "x"): "--system needs the chat template",
        ("models", "path", "qwen3-32b"): "spec-local models pull qwen3-32b",
        ("models", "pull", "qwen3-33b"): "no model or pair 'qwen3-33b'; did you mean qwen3-32b",
    }
    environment = {"SPEC_LOCAL_CACHE": str(tmp_path), "HF_HUB_CACHE": str(tmp_path)}
    for arguments, sentence in cases.items():
        assert fails_with(spec_local(*arguments, **environment), sentence), arguments
    long = "x" * 5000
    done = spec_local("generate", "-m", tiny, stdin=long)
    assert fails_with(done, "the context 4,096; shorten it")


def test_what_is_remembered_is_shown_and_forgotten(tiny: Path, tmp_path: Path) -> None:
    here = {"SPEC_LOCAL_CACHE": str(tmp_path / "cache")}
    assert spec_local("remembered", **here).stdout.startswith("Nothing is kept in ")
    how: list[Argument] = ["generate", "-m", tiny, "-n", "9", "-q", "--temperature", "0"]
    first = spec_local(*how, "hello", "--remember", **here)
    again = spec_local(*how, "hello", "--remember", **here)
    assert first.stdout == again.stdout
    spec_local(*how, "hello", **here)
    spec_local(*how, "another prompt", "--remember", **here)
    assert spec_local("remembered", **here).stdout.startswith("tiny.gguf: 2 answers, ")
    done = spec_local("remembered", "none.gguf", "--forget", **here)
    assert fails_with(done, "No answers of none.gguf are kept; see: spec-local remembered")
    done = spec_local("remembered", "tiny.gguf", "--forget", **here)
    assert done.stdout.strip().endswith(", forgotten")
    assert spec_local("remembered", **here).stdout.startswith("Nothing is kept in ")


def test_debug_shows_the_traceback() -> None:
    done = spec_local("--debug", "generate", "-m", "none.gguf", "hi")
    assert "Traceback" in done.stderr
    assert done.returncode == 1


def start_long_answer(model: Path) -> subprocess.Popen[bytes]:
    """A process that writes for longer than any test looks at it."""
    return subprocess.Popen(
        [*PROGRAM, "generate", "-m", str(model), "hi", "-c", "60000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_a_reader_that_leaves_is_no_error(tiny: Path) -> None:
    process = start_long_answer(tiny)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(5)
    process.stdout.close()
    error = process.stderr.read().decode(errors="replace")
    process.stderr.close()
    assert process.wait(60) != 0
    assert error == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
def test_a_full_disk_is_one_sentence(tiny: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*PROGRAM, "generate", "aaa", "-m", str(tiny), "-n", "3", "-q"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
        )
    assert done.returncode == 1
    assert done.stderr == "error: the disk is full; free some space and try again.\n"


def test_a_terminal_that_knows_only_ascii_is_no_error(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "a.gbnf").write_text('root ::= "\u00e9"', encoding="utf-8")
    given = ("generate", "aaa", "-m", tiny, "-q", "--grammar-file", tmp_path / "a.gbnf")
    done = spec_local(*given, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "?\n"


def test_ctrl_c_while_a_model_loads_ends_the_program(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("spec_local.llama.model.Model._load", interrupted)
    done = CliRunner().invoke(app, ["generate", "-m", str(tiny), "hello"])
    assert done.exit_code == 130
    assert done.output == ""


def test_control_characters_are_shown_on_a_terminal_and_kept_in_a_pipe(
    tiny: Path, tmp_path: Path
) -> None:
    attack = r"\x1b]0;pwned\x07\x1b[2J"
    (tmp_path / "attack.gbnf").write_text(f'root ::= "{attack}"')
    given = ["generate", "aaa", "-m", str(tiny), "--grammar-file", str(tmp_path / "attack.gbnf")]
    assert spec_local(*given, "-q").stdout == "\x1b]0;pwned\x07\x1b[2J\n"
    with Terminal(*given, "-q", home=tmp_path) as terminal:
        terminal.wait_for("␛]0;pwned␇␛[2J".encode())


def test_ctrl_c_keeps_what_was_written(tiny: Path) -> None:
    process = start_long_answer(tiny)
    assert process.stdout is not None
    process.stdout.read(20)
    process.send_signal(signal.SIGINT)
    rest, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"cancelled]" in error
    assert b"Traceback" not in error
    assert rest.endswith(b"\n")


# ---- chat ----------------------------------------------------------------------------------------


def test_a_piped_chat_answers_line_by_line(tiny: Path) -> None:
    lines = "/stats\nhello\n/stats\n/reset\n/nonsense\n\n/exit\nnever read\n"
    done = spec_local("chat", "-m", tiny, "-n", "8", "--temperature", "0", stdin=lines)
    assert done.returncode == 0
    first = spec_local("chat", "-m", tiny, "-n", "8", "--temperature", "0", stdin="hello")
    assert done.stdout == first.stdout != ""
    assert "Nothing has been said yet." in done.stderr
    assert "8 tokens at" in done.stderr
    assert "The conversation is forgotten." in done.stderr
    assert "There is no command /nonsense;" in done.stderr


def test_the_greeting_names_the_models_and_who_drafts(tiny: Path, tiny_draft: Path) -> None:
    alone = spec_local("chat", "-m", tiny, stdin="", COLUMNS="200")
    assert alone.stderr.startswith("target tiny (llama ")
    assert alone.stderr.endswith("), drafter auto. /help lists commands.\n")
    named = (tiny, "-d", tiny_draft, "--drafter", "model")
    both = spec_local("chat", *named, stdin="", COLUMNS="200")
    assert both.stderr.endswith("), draft tiny-draft, drafter model. /help lists commands.\n")


def test_a_turn_too_long_does_not_end_the_chat(tiny: Path) -> None:
    lines = "x" * 600 + "\nhello\n"
    done = spec_local("chat", "-m", tiny, "-n", "8", "-c", "256", stdin=lines)
    assert done.returncode == 0
    assert "error: The prompt has" in done.stderr
    assert done.stdout.strip()


READY = b"\x1b[?2004h"
"""What a chat writes when it begins to read: a pasted block shall be marked as one."""


class Terminal:
    """A program on a pseudo-terminal."""

    def __init__(self, *arguments: str, home: Path | None = None) -> None:
        """home: the user's directory there, and the present one; None keeps both."""
        self.main, child = pty.openpty()
        ours = {} if home is None else {"HOME": str(home), "XDG_STATE_HOME": ""}
        self.process = subprocess.Popen(
            [*PROGRAM, *arguments],
            cwd=home,
            env={**os.environ, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", **ours},
            stdin=child,
            stdout=child,
            stderr=child,
            start_new_session=True,
            preexec_fn=lambda: __import__("fcntl").ioctl(0, __import__("termios").TIOCSCTTY, 0),
        )
        os.close(child)
        self.seen = b""

    def wait_for(self, text: bytes, timeout: float = 60) -> None:
        """Read until the text has come since the last wait."""
        end = time.monotonic() + timeout
        while text not in self.seen:
            self._read(end)
        self.seen = self.seen.split(text, 1)[1]

    def wait_for_anything(self, length: int) -> None:
        """Read until so many bytes have come since the last wait."""
        while len(self.seen) < length:
            self._read(time.monotonic() + 60)

    def _read(self, end: float) -> None:
        ready, _, _ = select.select([self.main], [], [], max(0.0, end - time.monotonic()))
        assert ready, self.seen
        self.seen += os.read(self.main, 1000)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.main)

    def type(self, data: bytes) -> None:
        os.write(self.main, data)


def test_ctrl_c_stops_the_answer_and_not_the_chat(tiny: Path, tmp_path: Path) -> None:
    endless = ("-c", "60000", "--ban-token", "2")  # it never ends a turn
    with Terminal("chat", "-m", str(tiny), *endless, home=tmp_path) as terminal:
        terminal.wait_for(READY)
        terminal.type(b"hello\r")
        terminal.wait_for_anything(500)
        terminal.type(b"typed ahead")
        terminal.wait_for_anything(1000)
        assert b"typed ahead" not in terminal.seen
        terminal.type(b"\x03")
        terminal.wait_for(b", cancelled")
        terminal.wait_for(READY)
        terminal.type(b"/stats\r")
        terminal.wait_for(b"cancelled]")
        terminal.wait_for(READY)
        terminal.type(b"half a line\x03")  # at the prompt it forgets the line
        terminal.wait_for(READY)
        terminal.type(b"\x04")
        assert terminal.process.wait(60) == 0
    assert "+hello" in (tmp_path / ".local/state/spec-local/chat-history").read_text()


def test_a_pasted_block_is_one_message(tiny: Path, tmp_path: Path) -> None:
    with Terminal("chat", "-m", str(tiny), "-n", "4", home=tmp_path) as terminal:
        terminal.wait_for(READY)
        terminal.type(b"\x1b[200~one\ntwo\nthree\x1b[201~\r")
        terminal.wait_for(b"stopped by --max-tokens")
        terminal.wait_for(READY)
        terminal.type(b"/save talk.json\r")
        terminal.wait_for(b"written:")
        terminal.wait_for(READY)
        terminal.type(b"\x04")
        assert terminal.process.wait(60) == 0
    messages = json.loads((tmp_path / "talk.json").read_text())
    assert [message["role"] for message in messages] == ["user", "assistant"]
    assert messages[0]["content"] == "one\ntwo\nthree"


def test_ctrl_c_stops_in_the_middle_of_a_long_batch(tiny: Path, tmp_path: Path) -> None:
    """Python itself would look at the signal when all of it has been evaluated."""
    (tmp_path / "long.txt").write_text("word " * 10_000)
    options = ("-m", str(tiny), "-c", "60000", "--batch", "60000", "-f", str(tmp_path / "long.txt"))
    with Terminal("generate", *options) as terminal:
        terminal.wait_for(b"load ")
        time.sleep(2.0)
        terminal.type(b"\x03")
        # Reading it all takes a minute.
        terminal.wait_for(b" prompt tokens, nothing written, cancelled]", timeout=20)
        assert terminal.process.wait(60) == 130


# ---- models --------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", ["50", "100"])
def test_the_list_names_models_and_pairs(tmp_path: Path, columns: str) -> None:
    done = spec_local("models", "list", SPEC_LOCAL_CACHE=str(tmp_path), COLUMNS=columns)
    assert done.returncode == 0
    assert "qwen2.5-coder-1.5b" in done.stdout
    assert "0.10 GB" in done.stdout or columns == "50"
    names = [line.split()[0] for line in done.stdout.splitlines() if line[:1].isalpha()]
    assert {"smollm2-135m", "qwen2.5-coder-32b", "gemma-3-27b"} <= set(names)
    assert "models.toml" in done.stdout
    assert "Qwen/Qwen2.5-Coder-1.5B-Instruct (in 22 wheels)" in done.stdout or columns == "50"


def test_check_says_whether_a_pair_fits(tiny: Path, tiny_draft: Path, tmp_path: Path) -> None:
    good = spec_local("models", "check", tiny, tiny_draft)
    assert good.returncode == 0
    assert "SPM, 292 tokens, BOS 1 <s>, EOS 2 <|im_end|>" in good.stdout
    assert "The vocabularies agree" in good.stdout
    other = write_tiny(tmp_path / "other.gguf", letters="zyx", extra_tokens=300)
    fair = spec_local("models", "check", tiny, other)
    assert fair.returncode == 0
    assert "differs: the size is 292 here and 563 there" in fair.stdout
    assert "are spelled differently, the first is 260" in fair.stdout
    assert "common tokens: 260, which are 46% of the draft's and 89% of the target's" in fair.stdout
    assert "the draft draws among them" in fair.stdout
    assert "can be used if it is named" in fair.stdout
    trimmed = write_tiny(tmp_path / "trimmed.gguf", letters="zyx", token_map=range(263))
    bad = spec_local("models", "check", tiny, trimmed)
    assert bad.returncode == 1
    assert "cannot be used" in bad.stderr


def test_path_prints_where_a_file_is(tiny: Path) -> None:
    assert spec_local("models", "path", tiny).stdout == f"{tiny}\n"
