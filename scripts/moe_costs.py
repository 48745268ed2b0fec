"""What checking several tokens costs in a mixture of experts, beside a dense model and a formula.

    python -m scripts.moe_costs --json docs/moe-Q4_K_M.json --page docs/moe.md
    python -m scripts.moe_costs --show docs/moe-Q4_K_M.json

A mixture of random weights is written, of OLMoE's shape with 6 of its 16 layers, and a dense model
with as many weights as one token of it is computed with. V(w) of both is measured in alternation,
each width beside plain tokens, with the tokens of a text; and of the mixture with one token that is
repeated, which shows why nothing else is measured with that. The formula is `gguf/experts.py`'s,
with what the file's header says. Experts of random weights are chosen evenly; those of a trained
model less so, which makes it cheaper than this one. 1.7 GB of disk and 3 GB of memory; a
minute and a half on two cores.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from itertools import repeat
from pathlib import Path
from time import perf_counter
from typing import Any

from scripts.kept import fill
from scripts.random_gguf import SHAPES, TYPES, Shape, write
from spec_local.bench.run.environment import this_machine
from spec_local.control.advice import best_k_of
from spec_local.gguf.experts import Experts, experts_of
from spec_local.llama.model import Model
from spec_local.llama.options import LoadOptions
from spec_local.llama.session import Session
from spec_local.machine.running_text import running_text, taken

WIDTHS = tuple(range(1, 18))
CONTEXT = 256
FEWEST, MOST = 3, 40
"""Passes over all widths, however slow or fast the machine is."""
DRAFTED = 0.1
"""What drafting a token costs in the table of best lengths, in tokens of the target."""
RATES = (0.5, 0.6, 0.7, 0.8, 0.9)
REPEATED = "mixture, one token repeated"
WAYS = {"mixture": "mixture", "dense": "dense", REPEATED: "mixture"}
"""What is measured, and of which model."""

Timings = Mapping[int, Sequence[float]]
"""By width, seconds of an evaluation in each pass."""


class Timed:
    """A model that is measured: its session, and a text that goes on."""

    def __init__(self, session: Session, *, repeats: bool = False) -> None:
        """repeats: one token again and again, instead of the text, after the context."""
        self._session, self._text = session, running_text(session.model.vocab)
        session.evaluate(taken(self._text, CONTEXT))
        if repeats:
            self._text = repeat(next(self._text))
        session.mark(WIDTHS[-1])
        for width in (1, WIDTHS[-1]):  # the first evaluations are slow
            self.seconds(width)

    def seconds(self, width: int) -> float:
        """Of one evaluation, which is taken back."""
        tokens, begun = taken(self._text, width), perf_counter()
        self._session.evaluate(tokens, rows=width)
        spent = perf_counter() - begun
        self._session.truncate(CONTEXT)
        return spent


def measured(models: Sequence[Timed], seconds: float) -> list[Timings]:
    """Of each model; all are gone through in turn, width by width, for about so many seconds.

    Width 1 is measured beside every other one, and its time in a pass is the median of these.
    """
    found: list[dict[int, list[float]]] = [defaultdict(list) for _ in models]
    for _ in _passes(seconds):
        plain: list[list[float]] = [[] for _ in models]
        for width in WIDTHS[1:]:
            for model, alone, kept in zip(models, plain, found, strict=True):
                alone.append(model.seconds(1))
                kept[width].append(model.seconds(width))
        for alone, kept in zip(plain, found, strict=True):
            kept[1].append(statistics.median(alone))
    return list(found)


def _passes(seconds: float) -> Iterator[int]:
    until = perf_counter() + seconds
    for done in range(MOST):
        if done >= FEWEST and perf_counter() > until:
            return
        yield done


def ratios(timings: Timings) -> dict[str, list[float]]:
    """Quartiles of V(w) / V(1) by width, each pass by its own V(1)."""
    found = {}
    for width in WIDTHS[1:]:
        each = [wide / one for wide, one in zip(timings[width], timings[1], strict=True)]
        found[str(width)] = [round(part, 3) for part in statistics.quantiles(each, n=4)]
    return found


def measure(how: argparse.Namespace) -> dict[str, Any]:
    """Everything that is kept."""
    mixed = SHAPES[how.shape].cut(how.layers)
    shapes = {"mixture": mixed, "dense": mixed.dense}
    with tempfile.TemporaryDirectory(dir=how.work) as directory, ExitStack() as stack:
        options = LoadOptions(n_ctx=CONTEXT + WIDTHS[-1] + 1, trial=False)
        models = {
            name: stack.enter_context(
                Model(_written(Path(directory), name, shape, how.type), options)
            )
            for name, shape in shapes.items()
        }
        ways = [
            Timed(stack.enter_context(Session(models[name])), repeats=way == REPEATED)
            for way, name in WAYS.items()
        ]
        timings = dict(zip(WAYS, measured(ways, how.seconds), strict=True))
        experts = experts_of(models["mixture"].header)
        assert experts is not None
        return {
            "of": how.shape,
            "type": how.type,
            "experts": asdict(replace(experts, share=round(experts.share, 4))),
            "machine": asdict(this_machine(options)),
            "models": {
                name: {"shape": asdict(shape), "bytes": models[name].path.stat().st_size}
                for name, shape in shapes.items()
            },
            "passes": len(timings["mixture"][1]),
            "one": {way: statistics.median(times[1]) for way, times in timings.items()},
            "ratios": {way: ratios(times) for way, times in timings.items()},
        }


def _written(directory: Path, name: str, shape: Shape, file_type: str) -> Path:
    print(f"writing the {name} model", flush=True)
    return write(shape, file_type, directory / f"{name}.gguf")


def table(kept: Mapping[str, Any]) -> str:
    """Markdown: where, V(w) / V(1) by width with quartiles, and the best lengths of drafts."""
    experts, machine = Experts(**kept["experts"]), kept["machine"]
    mixed, dense = (1e3 * kept["one"][way] for way in ("mixture", "dense"))
    lines = [
        f"{machine['cpu']}, {machine['threads']} threads, {', '.join(machine['devices'])}, "
        f"{kept['passes']} passes: one token of the mixture takes {mixed:.1f} ms, of the dense "
        f"model {dense:.1f}.",
        "",
        f"| w | experts touched, of {experts.count} | weights read | {' | '.join(WAYS)} |",
        f"|--:|--:|--:|{'--:|' * len(WAYS)}",
    ]
    for width in WIDTHS[1:]:
        cells = [_cell(kept["ratios"][way][str(width)]) for way in WAYS]
        lines.append(
            f"| {width} | {experts.touched(width):.1f} | {experts.weights_read(width):.2f} "
            f"| {' | '.join(cells)} |"
        )
    rows = {
        "by the formula alone": [0.0, *(experts.weights_read(width) for width in WIDTHS)],
        "mixture": costs(kept, "mixture"),
        "dense": costs(kept, "dense"),
    }
    heads = " | ".join(rows)
    lines += ["", f"| accepted | {heads} |", f"|--:|{'--:|' * len(rows)}"]
    for rate in RATES:
        best = (best_k_of(row, DRAFTED, rate) for row in rows.values())
        lengths = (f"{k} ({speedup:.2f})" if k else "none" for k, speedup in best)
        lines.append(f"| {rate:.0%} | {' | '.join(lengths)} |")
    return "\n".join(lines)


def costs(kept: Mapping[str, Any], way: str) -> list[float]:
    """V(w) / V(1) for every width from 0."""
    found = kept["ratios"][way]
    return [0.0, 1.0, *(found[str(width)][1] for width in WIDTHS[1:])]


def mark(file: Path) -> str:
    """What stands before the tables of that file in a page."""
    return f"<!-- scripts/moe_costs.py --show {file.as_posix()} -->"


def _cell(quartiles: Sequence[float]) -> str:
    low, median, high = quartiles
    return f"{median:.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    """Measure or show."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    mixtures = [name for name, shape in SHAPES.items() if shape.experts]
    parser.add_argument("--shape", choices=mixtures, default="olmoe")
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--type", choices=TYPES, default="Q4_K_M")
    parser.add_argument("--seconds", type=float, default=60.0, help="of measuring")
    parser.add_argument("--work", type=Path, help="folder for the models, which are removed")
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--show", type=Path, help="show those of such a file instead")
    parser.add_argument(
        "--page", type=Path, help="put the tables into this page, at the file's mark"
    )
    how = parser.parse_args()
    if how.page and not (how.json or how.show):
        parser.error("--page needs a file of figures, with --json or --show")
    kept = json.loads(how.show.read_text()) if how.show else measure(how)
    print(table(kept))
    if how.json:
        how.json.write_text(json.dumps(kept, indent=1) + "\n")
    if how.page:
        fill(how.page, mark(how.json or how.show), table(kept))


if __name__ == "__main__":
    main()
