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


def test_the_command_line_tells_of_lost_answers(tiny: Path, damaged_answers: Path) -> None:
    options = ("-m", str(tiny), "--remember", "--quiet", "-n", "3", "--ctx-size", "256")
    done = run("-m", "spec_local", "generate", "once", *options)
    assert done.returncode == 0, done.stderr
    assert f"{damaged_answers} is damaged or of another version" in done.stderr
    assert os.environ["SPEC_LOCAL_CACHE"] in str(damaged_answers)
