"""Where memory is short it is said in a sentence, wherever it runs out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from spec_local import LoadOptions, ModelFileError
from spec_local.errors import ContextTooLarge, NotEnoughMemory
from spec_local.gguf.header import GGUFHeader, check_model_file
from spec_local.llama import weights
from spec_local.llama.backend import lib
from spec_local.llama.devices import Device
from spec_local.llama.memory import kv_cache_bytes, require_memory
from spec_local.llama.model import Model
from spec_local.llama.options import ALL
from spec_local.llama.quantize import quantize
from spec_local.llama.weights import require_room_for_weights
from tests.test_cli import PROGRAM
from tests.zoo.recipes import recipes, write

pytestmark = pytest.mark.llama

resource = pytest.importorskip("resource")

SENTENCE = b"error: there is not enough memory; take a smaller model or --ctx-size.\n"


def test_weights_that_are_read_must_fit(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = LoadOptions(mmap=False, n_gpu_layers=0)
    Model(tiny, read).close()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    monkeypatch.setattr(psutil, "swap_memory", lambda: SimpleNamespace(free=1000))
    Model(tiny, LoadOptions(n_gpu_layers=0)).close()  # mapped: read again as it is needed
    with pytest.raises(NotEnoughMemory, match=r"needs 0\.0 GB .* --no-mmap, or choose") as caught:
        Model(tiny, read)
    assert caught.value.of_machine


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


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU for which nothing is kept in buffers of its own."""
    monkeypatch.setattr(weights, "on_gpu", lambda options: options.n_gpu_layers != 0)
    monkeypatch.setattr(weights, "gpus", lambda _: [Device(1, "MTL0", "MTL", "a card", 1)])
    monkeypatch.setattr(weights, "has_host_buffers", lambda _: False)


def has_room(free: int, header: GGUFHeader, options: LoadOptions, *, mapped: bool) -> bool:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=free))
        patch.setattr(psutil, "swap_memory", lambda: SimpleNamespace(free=0))
        try:
            require_room_for_weights("model.gguf", header, options, mapped=mapped)
        except NotEnoughMemory:
            return False
    return True


@pytest.mark.usefixtures("card")
def test_weights_that_a_gpu_leaves_to_the_processor_must_fit(tmp_path: Path) -> None:
    header = check_model_file(write(recipes()["qwen3moe"], tmp_path / "experts.gguf"))
    table = header.tensors
    (looked_up,) = (each.bytes for each in table.entries if each.name == "token_embd.weight")
    layers, experts = table.layer_bytes, table.expert_bytes
    assert set(layers) == set(experts) == {0, 1}
    for on_gpus, cpu_moe, size in (
        (ALL, 0, looked_up),
        (7, 0, looked_up),
        (2, 0, looked_up + layers[0]),
        (1, 0, looked_up + layers[0] + layers[1]),
        (0, 0, table.bytes),
        (ALL, 1, looked_up + experts[0]),
        (2, ALL, looked_up + layers[0] + experts[1]),
    ):
        options = LoadOptions(n_gpu_layers=on_gpus, n_cpu_moe=cpu_moe, mmap=False)
        assert has_room(size, header, options, mapped=False)
        assert not has_room(size - 1, header, options, mapped=False)


@pytest.mark.usefixtures("card")
def test_what_of_them_is_rearranged_must_fit(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tiny-Q4_0.gguf"
    quantize(tiny, path, "Q4_0")
    header = check_model_file(path)
    monkeypatch.setattr(lib, "llama_print_system_info", lambda: b"AVX2 = 1 | REPACK = 1 |")
    one_layer = header.tensors.left(1, 0).matrix_bytes["Q4_0"]
    assert 0 < one_layer < header.tensors.matrix_bytes["Q4_0"]
    options = LoadOptions(n_gpu_layers=2, n_cpu_moe=0)
    assert has_room(one_layer, header, options, mapped=True)
    assert not has_room(one_layer - 1, header, options, mapped=True)
    assert has_room(0, header, LoadOptions(n_gpu_layers=ALL, n_cpu_moe=0), mapped=True)
    monkeypatch.setattr(weights, "has_host_buffers", lambda _: True)
    assert has_room(0, header, options, mapped=True)  # they are read where they are mapped


@pytest.mark.usefixtures("card")
def test_a_cache_that_a_gpu_leaves_to_the_processor_must_fit(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_layer = 100 * 2 * (16 + 16) * 2
    for on_gpus, left in ((ALL, 0), (3, 0), (2, 1), (1, 2)):
        with (
            Model(tiny, LoadOptions(n_gpu_layers=on_gpus)) as model,
            monkeypatch.context() as patch,
        ):
            assert kv_cache_bytes(model, 100) == left * a_layer
            free = SimpleNamespace(available=left * a_layer)
            patch.setattr(psutil, "virtual_memory", lambda free=free: free)
            require_memory(model, 100)
            if left:
                with pytest.raises(ContextTooLarge, match=r"GB are free; ask for a ") as caught:
                    require_memory(model, 101)
                assert caught.value.of_machine


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
    expected = weights._rearranged_bytes(check_model_file(model_files[0]).tensors)
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
