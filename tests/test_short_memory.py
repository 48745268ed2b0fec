"""Where memory is short it is said in a sentence, wherever it runs out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from spec_local import LoadOptions, ModelFileError
from spec_local.llama.model import Model
from tests.test_cli import PROGRAM

pytestmark = pytest.mark.llama

resource = pytest.importorskip("resource")

SENTENCE = b"error: there is not enough memory; take a smaller model or --ctx-size.\n"


def test_weights_that_are_read_must_fit(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = LoadOptions(mmap=False, n_gpu_layers=0)
    Model(tiny, read).close()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    monkeypatch.setattr(psutil, "swap_memory", lambda: SimpleNamespace(free=1000))
    Model(tiny, LoadOptions(n_gpu_layers=0)).close()  # mapped: read again as it is needed
    with pytest.raises(ModelFileError, match=r"needs 0\.0 GB .* leave out --no-mmap, or choose"):
        Model(tiny, read)


@pytest.mark.skipif(sys.platform != "linux", reason="macOS takes no limit of memory")
@pytest.mark.parametrize("mapping", ["--mmap", "--no-mmap"])
def test_a_context_that_cannot_be_had_is_one_sentence(tiny: Path, mapping: str) -> None:
    """Though the machine has the memory: the process may not."""
    if psutil.virtual_memory().available < 5 << 30:
        pytest.skip("the machine has not")
    done = subprocess.run(
        [*PROGRAM, "generate", "hi", "-m", str(tiny), "-c", "12000000", "-t", "1", mapping],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=100,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30)),
    )
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: A context of 12,000,000 tokens cannot be made: ")
    assert done.stderr.endswith(b"Ask for a smaller one with --ctx-size.\n")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "broken",
    [
        'def start(self): raise RuntimeError("can\'t start new thread")\n'
        "threading.Thread.start = start\n",
        "import spec_local.llama.model as model\n"
        "def load(*_): raise MemoryError\n"
        "model.Model._load = load\n",
    ],
    ids=["threads", "Python's own"],
)
def test_memory_that_runs_out_elsewhere_is_one_sentence(tiny: Path, broken: str) -> None:
    script = f"import threading\n{broken}from spec_local.cli import main\nmain()\n"
    how = ("generate", "hi", "-m", str(tiny), "-n", "3", "--no-trial")
    done = subprocess.run(
        [sys.executable, "-c", script, *how],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (1, SENTENCE)
