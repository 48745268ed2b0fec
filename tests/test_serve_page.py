"""The calls of docs/serve.md and the README, run as they stand, and how the server ends."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documents import ROOT, blocks

pytestmark = [
    pytest.mark.llama,
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is missing"),
]

PAGE = ROOT / "docs" / "serve.md"
BASE = "http://127.0.0.1:8080"
CALLS = [
    block
    for page in (PAGE, ROOT / "README.md")
    for block in blocks(page, "sh")
    if block.startswith("curl")
]


def started(path: Path, *options: str) -> tuple[subprocess.Popen[str], str]:
    """The server, and its address."""
    command = [sys.executable, "-m", "spec_local", "serve", str(path), "--port", "0", *options]
    program = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert program.stderr is not None
    for line in program.stderr:
        if " at http://" in line:
            return program, line.split(" at ")[1].split("/v1")[0]
    raise AssertionError(f"it ended with {program.wait()}")


@pytest.fixture(scope="module")
def address(tiny: Path) -> Iterator[str]:
    program, address = started(tiny)
    with program:
        yield address
        program.send_signal(signal.SIGINT)
        assert program.stderr is not None
        assert program.stderr.read() == ""
        assert program.wait() == 0


def test_the_page_has_calls() -> None:
    assert len(CALLS) == 5
    assert all(BASE in call for call in CALLS)


@pytest.mark.parametrize("call", CALLS)
def test_calls_are_answered(address: str, call: str) -> None:
    done = subprocess.run(
        ["bash", "-euc", call.replace(BASE, address)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    if '"stream": true' in call:
        assert done.stdout.endswith("data: [DONE]\n\n")
    else:
        assert json.loads(done.stdout)["object"] in ("list", "chat.completion", "text_completion")


def test_one_sentence_where_it_cannot_begin(tiny: Path) -> None:
    for options in (["--host", "0.0.0.0"], ["-d", "x", "more"], ["no-such-model"]):
        names = [] if "no-such-model" in options else [str(tiny)]
        command = [sys.executable, "-m", "spec_local", "serve", *names, "--port", "0", *options]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 1
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1
