"""Where memory is short it is said in a sentence, wherever it runs out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from spec_local import LoadOptions, ModelFileError
from spec_local.gguf.header import check_model_file
from spec_local.llama import weights
from spec_local.llama.backend import lib
from spec_local.llama.model import Model
from spec_local.llama.quantize import quantize
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


def test_weights_that_are_rearranged_must_fit(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Into memory of their own, beside the file that is mapped."""
    path = tmp_path / "tiny-Q4_0.gguf"
    quantize(tiny, path, "Q4_0")
    size = check_model_file(path).tensors.matrix_bytes["Q4_0"]
    told = b"AVX2 = 1 | REPACK = 1 |"
    monkeypatch.setattr(lib, "llama_print_system_info", lambda: told)
    for free in (size - 1, size):
        found = SimpleNamespace(available=free)
        monkeypatch.setattr(psutil, "virtual_memory", lambda found=found: found)
        monkeypatch.setattr(psutil, "swap_memory", lambda: SimpleNamespace(free=0))
        Model(path, LoadOptions(n_gpu_layers=0, repack=False)).close()
        if free == size:
            Model(path, LoadOptions(n_gpu_layers=0)).close()
            continue
        with pytest.raises(ModelFileError, match=r"rearrange .* free; add --no-repack, or choose"):
            Model(path, LoadOptions(n_gpu_layers=0))
        told = b"SSE3 = 1 | REPACK = 1 |"  # where nothing is rearranged
        Model(path, LoadOptions(n_gpu_layers=0)).close()


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.model("qwen2.5-coder-0.5b")
def test_what_is_rearranged_is_no_less_than_expected(model_files: list[Path]) -> None:
    """Memory that belongs to no file, with and without."""
    script = """
import sys
from pathlib import Path
from spec_local.llama.model import Model
from spec_local.llama.options import LoadOptions
def anonymous():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) * 1024
before = anonymous()
options = LoadOptions(repack=None if sys.argv[2] else False, n_gpu_layers=0, trial=False)
with Model(sys.argv[1], options):
    print(anonymous() - before)
"""
    taken = [
        int(subprocess.check_output([sys.executable, "-c", script, model_files[0], repack]))
        for repack in ("", "yes")
    ]
    expected = weights._rearranged_bytes(check_model_file(model_files[0]))
    assert expected * 0.98 <= taken[1] - taken[0]


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
    assert done.stderr.endswith(b"; ask for a smaller one with --ctx-size.\n")
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
