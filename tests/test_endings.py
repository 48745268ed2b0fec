"""Ended from outside at any moment: no traceback, the right exit code, nothing left behind."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from spec_local.cli.signals import INTERRUPTED
from tests.test_cli import PROGRAM, READY, Terminal
from tests.test_peers import FAKE, executable

pytestmark = pytest.mark.llama

ENDLESS = ("-c", "60000", "--ban-token", "2")
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
HIDES, SHOWS = b"\x1b[?25l", b"\x1b[?25h"


def start(*arguments: str, nohup: bool = False) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*PROGRAM, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=(lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)) if nohup else None,
    )


def left_of(group: int) -> list[psutil.Process]:
    """Processes of a group that are still there, its leader's children among them."""

    def is_of(process: psutil.Process) -> bool:
        try:
            ended = process.status() == psutil.STATUS_ZOMBIE
            return not ended and os.getpgid(process.pid) == group
        except (psutil.Error, ProcessLookupError):
            return False

    return [process for process in psutil.process_iter() if is_of(process)]


@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
def test_an_answer_ends_with_the_code_of_the_signal(tiny: Path, number: signal.Signals) -> None:
    process = start("generate", "hi", "-m", str(tiny), *ENDLESS)
    assert process.stdout is not None
    process.stdout.read(20)
    process.send_signal(number)
    _rest, error = process.communicate(timeout=60)
    assert process.returncode == CODES[number]
    assert b"Traceback" not in error


def test_what_was_to_be_ignored_is_ignored(tiny: Path) -> None:
    """As nohup has it with SIGHUP, and a shell with the SIGINT of what runs in the background."""
    process = start("generate", "hi", "-m", str(tiny), *ENDLESS, nohup=True)
    assert process.stdout is not None
    process.stdout.read(20)
    process.send_signal(signal.SIGHUP)
    assert len(process.stdout.read(2000)) == 2000
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143


def test_a_long_batch_is_left_in_its_middle(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("word " * 10_000)
    options = ("-m", str(tiny), "-c", "60000", "--batch", "60000", "-f", str(tmp_path / "long.txt"))
    with Terminal("generate", *options) as terminal:
        terminal.wait_for(b"load ")
        time.sleep(2.0)
        terminal.process.terminate()
        # Reading it all takes a minute.
        assert terminal.process.wait(20) == 143


def test_an_ending_that_is_lost_in_a_callback_comes_again() -> None:
    script = (
        "import signal, sys, time, weakref\n"
        "from spec_local.cli import signals\n"
        "class Owner: pass\n"
        "def lost(_ref): signal.raise_signal(int(sys.argv[1])); time.sleep(0.01)\n"
        "signals.end_in_order()\n"
        "try:\n"
        "    owner = Owner(); ref = weakref.ref(owner, lost); del owner\n"
        "    time.sleep(20)\n"
        "except KeyboardInterrupt:\n"
        "    sys.exit(signals.INTERRUPTED)\n"
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        done = subprocess.run(
            [sys.executable, "-c", script, str(int(number))], capture_output=True, timeout=15
        )
        assert (done.returncode, done.stderr) == (CODES[number], b"")


def test_other_errors_in_callbacks_are_shown_as_ever() -> None:
    script = (
        "import weakref\n"
        "from spec_local.cli import signals\n"
        "class Owner: pass\n"
        "signals.end_in_order()\n"
        "owner = Owner(); ref = weakref.ref(owner, lambda _: 1 / 0); del owner\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=15)
    assert (done.returncode, b"ZeroDivisionError" in done.stderr) == (0, True)
    assert INTERRUPTED == 130


def test_a_chat_gives_the_terminal_back(tiny: Path, tmp_path: Path) -> None:
    with Terminal("chat", "-m", str(tiny), *ENDLESS, home=tmp_path) as terminal:
        before = termios.tcgetattr(terminal.main)
        terminal.wait_for(READY)
        assert termios.tcgetattr(terminal.main) != before  # it reads letter by letter
        terminal.process.terminate()
        assert terminal.process.wait(30) == 143
        assert termios.tcgetattr(terminal.main) == before
    with Terminal("chat", "-m", str(tiny), *ENDLESS, home=tmp_path) as terminal:
        terminal.wait_for(READY)
        terminal.type(b"hello\r")
        terminal.wait_for_anything(500)
        terminal.process.terminate()
        assert terminal.process.wait(30) == 143
        assert termios.tcgetattr(terminal.main) == before


def test_a_benchmark_takes_its_peers_along(tiny: Path, tmp_path: Path) -> None:
    text = FAKE.format(python=sys.executable, behaviour="hangs", record=str(tmp_path / "asked"))
    server = executable(tmp_path / "llama-server", text)
    process = start(
        "bench", "-m", str(tiny), "--quick", "--peer", f"llama-server={server}", "-c", "2048"
    )
    until = time.monotonic() + 100
    while not (tmp_path / "asked").exists() and time.monotonic() < until:
        assert process.poll() is None
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    assert any("llama-server" in " ".join(child.cmdline()) for child in children)
    process.terminate()
    _out, error = process.communicate(timeout=60)
    assert process.returncode == 143
    assert b"Traceback" not in error
    assert not any(child.is_running() for child in children)


class End(NamedTuple):
    """How a program ended that a signal came to."""

    code: int
    shown: bytes
    settings_kept: bool


def ended(home: Path, model: Path, number: signal.Signals, seconds: float | None) -> End:
    """A short answer on a terminal, ended after so long; None leaves it alone."""
    with Terminal("generate", "hi", "-m", str(model), "-n", "40", home=home) as terminal:
        before = termios.tcgetattr(terminal.main)
        end = time.monotonic() + 60
        if seconds is not None:
            time.sleep(seconds)
            terminal.process.send_signal(number)
        while terminal.process.poll() is None:
            assert time.monotonic() < end, terminal.seen
            drain(terminal)
        drain(terminal)
        return End(
            terminal.process.returncode,
            terminal.seen,
            termios.tcgetattr(terminal.main) == before,
        )


def drain(terminal: Terminal) -> None:
    """Read what has come; a terminal whose program has gone has no more."""
    os.set_blocking(terminal.main, False)
    try:
        while data := os.read(terminal.main, 1 << 16):
            terminal.seen += data
    except BlockingIOError:
        time.sleep(0.01)
    except OSError:
        pass


def test_at_any_moment_it_ends_cleanly(
    tiny: Path, tmp_path: Path, full: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nothing in its cache, so that the file is tried in a child process as well."""
    draw = random.Random(1)

    def home() -> Path:
        made = tmp_path / str(draw.random())
        made.mkdir()
        return made

    for name in ("SPEC_LOCAL_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    begun = time.monotonic()
    whole = ended(home(), tiny, signal.SIGINT, None)
    length = time.monotonic() - begun
    assert whole.code == 0, whole.shown
    for _ in range(100 if full else 10):
        number = draw.choice((signal.SIGINT, signal.SIGTERM))
        seconds = draw.uniform(0, length)
        end = ended(home(), tiny, number, seconds)
        told = (number.name, seconds, end)
        assert end.code in (CODES[number], -number, 0), told
        # What Python itself says of Ctrl-C before the program's first line is not the program's.
        before_it = b"in main" not in end.shown and number == signal.SIGINT
        assert b"Traceback" not in end.shown or before_it, told
        assert end.settings_kept, told
        assert end.shown.rfind(HIDES) <= end.shown.rfind(SHOWS), told
        assert not re.search(rb"Exception ignored", end.shown), told


def test_no_process_is_left_of_one_that_was_ended(tiny: Path, tmp_path: Path) -> None:
    """The child process that tries a file, for example."""
    environment = {**os.environ, "SPEC_LOCAL_CACHE": str(tmp_path)}
    for number in (signal.SIGINT, signal.SIGTERM):
        process = subprocess.Popen(
            [*PROGRAM, "generate", "hi", "-m", str(tiny), *ENDLESS],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        until = time.monotonic() + 60
        while len(left_of(process.pid)) < 2 and time.monotonic() < until:
            time.sleep(0.005)
        assert len(left_of(process.pid)) == 2
        process.send_signal(number)
        _out, error = process.communicate(timeout=60)
        assert process.returncode == CODES[number]
        assert b"Traceback" not in error
        assert left_of(process.pid) == []
