"""V(w) of a model of a given shape on this machine: random weights, written, measured and removed.

    python -m scripts.shape_costs 7B --type Q4_K_M --json 7B-Q4_K_M.json
    python -m scripts.shape_costs smollm2-135m --json smollm2-135m.json

MODEL is a shape of `random_gguf.py`, or a model of one's own by its name or file. Evaluations are
measured as `spec-local tune` measures them. What has no room on the disk or in memory is left out,
and the file says so: that is no error.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from shutil import disk_usage
from time import perf_counter
from typing import Any

import psutil

from scripts.random_gguf import SHAPES, TYPES, bytes_of, write
from spec_local.bench.run.environment import this_machine
from spec_local.llama.devices import free_bytes, gpus
from spec_local.llama.model import Model
from spec_local.llama.options import LoadOptions
from spec_local.llama.session import Session
from spec_local.machine.tune import TUNED_WIDTHS, tune
from spec_local.models.download import pulled
from spec_local.models.registry import load_registry
from spec_local.util.progress import no_progress

GIB = 1 << 30
_BESIDE = 1.2
"""Memory that weights take on a processor, in bytes of the file: some are rearranged for it."""


def lacks(size: int, disk: int, memory: int, cards: int) -> str | None:
    """What there is too little of for a file of so many bytes; None if there is room.

    disk, memory: free bytes. cards: of GPUs with memory of their own.
    """
    if disk < size + GIB:
        return f"it takes {size / 1e9:.1f} GB, and {disk / 1e9:.1f} GB of disk are free"
    beside = max(0, size + GIB - cards)
    if beside * _BESIDE > memory:
        return (
            f"it takes {size / 1e9:.1f} GB, and {(memory + cards) / 1e9:.1f} GB of memory are free"
        )
    return None


def lacks_here(size: int, work: Path) -> str | None:
    """The same on this machine."""
    # Apple's GPUs have no memory of their own.
    cards = [] if sys.platform == "darwin" else gpus(LoadOptions())
    own = sum(free_bytes(card) or 0 for card in cards)
    return lacks(size, disk_usage(work).free, psutil.virtual_memory().available, own)


def measure(path: Path, context: int, seconds: float) -> dict[str, Any]:
    """Everything about one file."""
    options = LoadOptions(n_ctx=context + TUNED_WIDTHS[-1], trial=False)
    begun = perf_counter()
    with Model(path, options) as model, Session(model) as session:
        loaded = perf_counter() - begun
        _curve, found = tune(session, seconds)
        return {
            "bytes": path.stat().st_size,
            "layers": model.header.hyperparameter("block_count"),
            "gpu_layers": model.options.n_gpu_layers if gpus(options) else 0,
            "machine": asdict(this_machine(model.options)),
            "loaded": round(loaded, 2),
            "measured": [asdict(each) for each in found],
        }


def measured(how: argparse.Namespace, work: Path) -> dict[str, Any]:
    """What is written into the file."""
    if how.model not in SHAPES:
        path = pulled(how.model, load_registry(), no_progress)
        return {"model": path.stem, "type": "", **measure(path, how.context, how.seconds)}
    shape = SHAPES[how.model]
    who = {"model": how.model, "type": how.type}
    if (reason := lacks_here(bytes_of(shape, how.type), work)) is not None:
        return {**who, "left out": reason}
    begun = perf_counter()
    path = write(shape, how.type, work / f"{how.model}-{how.type}.gguf")
    written = round(perf_counter() - begun, 2)
    return {**who, "written": written, **measure(path, how.context, how.seconds)}


def line(found: Mapping[str, Any]) -> str:
    """One line that says what was found."""
    name = " ".join(filter(None, (found["model"], found["type"])))
    if "left out" in found:
        return f"{name} was left out: {found['left out']}."
    first = found["measured"][0]["context"]
    times = {m["width"]: m["median"] for m in found["measured"] if m["context"] == first}
    ratios = ", ".join(f"{width}: {times[width] / times[1]:.2f}" for width in times if width > 1)
    return f"{name}: one token takes {times[1] * 1e3:.2f} ms, several at once {ratios}"


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help=f"{', '.join(SHAPES)}, or a model's name or file")
    parser.add_argument("--type", choices=TYPES, default="Q4_K_M", help="of a shape")
    parser.add_argument("--context", type=int, default=1024, help="longest one, in tokens")
    parser.add_argument("--seconds", type=float, default=15.0, help="of measuring")
    parser.add_argument("--work", type=Path, help="folder for the model, which is removed")
    parser.add_argument("--json", type=Path, help="write everything there")
    how = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=how.work) as work:
        found = measured(how, Path(work))
    print(line(found))
    if how.json:
        how.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
