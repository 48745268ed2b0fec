"""An application's stdout and stderr are its own: nothing is written there, whatever goes wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from spec_local.drafters.past_answers import PastAnswers
from spec_local.llama.model import Model

pytestmark = pytest.mark.llama

ALL_THAT_GOES_WRONG = """
import sys
from pathlib import Path
from spec_local import LoadOptions, Runner, Sampling, SpecLocalError

def refused(use):
    try:
        use()
    except SpecLocalError:
        return
    raise AssertionError(use)

tiny, options = sys.argv[1], LoadOptions(n_ctx=256)
with Runner.load(target=tiny, draft=tiny, options=options, remember=True) as runner:
    runner.complete("once", max_tokens=20)
    for grammar in ("root ::= (", 'root ::= root "a"', "root ::= other"):
        refused(lambda: runner.check(Sampling(grammar=grammar)))
    refused(lambda: runner.complete("x" * 500))
damaged = Path(sys.argv[2])
damaged.write_bytes(Path(tiny).read_bytes()[:3000])
refused(lambda: Runner.load(target=damaged))
refused(lambda: Runner.load(target=tiny, options=LoadOptions(n_ctx=1 << 30)))
"""


TWO_RUNNERS_AND_A_LOG = """
import json, os, sys, threading
from spec_local import ConfigError, LoadOptions, Runner, Sampling

LINES = 2000
before, over, complaints = os.fstat(2), threading.Event(), set()

def work(number):
    with Runner.load(target=sys.argv[1], drafter="none", options=LoadOptions(n_ctx=256)) as runner:
        for i in range(25):
            field = {f"field_{number}_{i}": {"type": "string", "maxLength": 20}}
            schema = json.dumps({"type": "object", "properties": field})
            runner.complete("hi", max_tokens=2, sampling=Sampling(json_schema=schema))
            runner.check(Sampling(grammar=f'root ::= "a{number}{i}" | "b"'))
            try:
                runner.check(Sampling(grammar=f"root ::= nowhere{i} (" + "x " * i))
            except ConfigError as error:
                complaints.add(str(error))

def log():
    for i in range(LINES):
        os.write(2, b"line %d of the log\\n" % i)
        over.wait(0.0005)

threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
threads.append(threading.Thread(target=log))
for thread in threads:
    thread.start()
for thread in threads[:2]:
    thread.join()
over.set()
threads[2].join()
assert os.path.samestat(before, os.fstat(2))
assert complaints and not any("of the log" in each for each in complaints), complaints
"""


@pytest.fixture
def damaged_answers(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of past answers of the tiny model that nobody can read."""
    monkeypatch.setenv("SPEC_LOCAL_CACHE", str(tmp_path / "cache"))
    with Model(tiny) as model:
        path = PastAnswers.of_user(model.identity).path
    path.parent.mkdir(parents=True)
    path.write_text("not what it should be")
    return path


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


@pytest.mark.usefixtures("damaged_answers")
def test_the_library_writes_nothing(tiny: Path, tmp_path: Path) -> None:
    done = run("-c", ALL_THAT_GOES_WRONG, tiny, tmp_path / "damaged.gguf")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_no_line_of_other_threads_is_lost_while_grammars_are_made(tiny: Path) -> None:
    """Two runners at once, each with schemas and grammars of its own, good and broken."""
    done = run("-c", TWO_RUNNERS_AND_A_LOG, tiny)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr[-2000:]
    assert done.stderr == "".join(f"line {i} of the log\n" for i in range(2000))


def test_the_command_line_tells_of_lost_answers(tiny: Path, damaged_answers: Path) -> None:
    options = ("-m", str(tiny), "--remember", "--quiet", "-n", "3", "--ctx-size", "256")
    done = run("-m", "spec_local", "generate", "once", *options)
    assert done.returncode == 0, done.stderr
    assert f"{damaged_answers} is damaged or of another version" in done.stderr
    assert os.environ["SPEC_LOCAL_CACHE"] in str(damaged_answers)
