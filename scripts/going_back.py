"""What going back costs: rounds that take drafted tokens back beside rounds that take none.

    python -m scripts.going_back                     # every architecture of the zoo, a minute
    python -m scripts.going_back --wide              # some of them, as wide as small real models
    python -m scripts.going_back --json docs/going-back.json

A round evaluates its tokens at once, with logits for each, and takes some of the last ones back.
Beside it the same tokens are evaluated, after the same ones, by a session that keeps no state to go
back to and takes nothing back: in turn, so that both meet the same machine. What is counted is
exact: how often llama.cpp evaluates in a round, and how many tokens it has to read again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest import mock

import numpy as np

from spec_local.llama.model import Model
from spec_local.llama.options import LoadOptions
from spec_local.llama.session import Session
from tests.zoo.recipes import DIFFUSION, Recipe, recipes, write

ROUNDS = ((5, 2), (17, 2), (17, 12))
"""Tokens of a round, drafted and one more, and how many of them are taken back."""
WIDE = ("llama", "gemma2", "lfm2", "mamba", "jamba")
"""One of each way of going back, and a hybrid with attention."""
TIMES, LAYERS = 16, 12
"""How much wider those are than in the zoo, and how many layers they have."""
KINDS = ("remove", "window", "snapshot", "checkpoint")
_N_CTX, _PROMPT, _REPEATS = 256, 64, 30


def wide(recipe: Recipe) -> Recipe:
    """The same architecture in the shapes of a small real model."""

    def scaled(size: int) -> int:
        # Widths are; sizes of a head, a state, a convolution and the vocabulary are not.
        return size * TIMES if size % 32 == 0 else size

    keys: dict[str, Any] = {}
    for name, value in recipe.keys.items():
        if name.endswith(("embedding_length", "feed_forward_length", "inner_size")):
            keys[name] = value * TIMES
        elif "head_count" in name and isinstance(value, list):
            keys[name] = [heads * TIMES for heads in value] * (LAYERS // len(value))
        elif "head_count" in name:
            keys[name] = value * TIMES
        else:
            keys[name] = value
    own = keys["block_count"]
    keys["block_count"] = LAYERS
    tensors: dict[str, Sequence[int]] = {}
    for name, shape in recipe.tensors.items():
        sizes = [scaled(size) for size in shape]
        if not name.startswith("blk."):
            tensors[name] = sizes
            continue
        _, layer, rest = name.split(".", 2)
        for number in range(int(layer), LAYERS, own):
            tensors[f"blk.{number}.{rest}"] = sizes
    return replace(recipe, keys=keys, tensors=tensors)


def _mark_nothing(_depth: int) -> None:
    pass


@contextmanager
def never_back(model: Model) -> Iterator[Session]:
    """A session that keeps nothing to go back to."""
    with (
        mock.patch("spec_local.llama.context.SNAPSHOTS", 0),
        Session(model) as session,
        mock.patch.object(session, "mark", _mark_nothing),
    ):
        yield session


def measured(arch: str, model: Model, width: int, taken: int) -> dict[str, Any]:
    """Rounds of that width on one model."""
    rng = np.random.default_rng(0)
    prompt = [1, *rng.integers(260, 285, _PROMPT).tolist()]
    calls, again, ratios = set[int](), set[int](), list[float]()
    with Session(model) as session, never_back(model) as plain:
        for number in range(_REPEATS):
            if number == 0 or len(session.tokens) + width > _N_CTX:
                session.sync([])
                session.evaluate(prompt)
            held = list(session.tokens)
            if missing := held[plain.sync(held) :]:
                plain.evaluate(missing)
            given = rng.integers(260, 285, width).tolist()
            before = session.decode_calls
            order = [(session, len(held) + width - taken), (plain, len(held) + width)]
            order = order[:: 1 if number % 2 else -1]
            seconds = {each: _seconds(each, given, left) for each, left in order}
            ratios.append(seconds[session] / seconds[plain])
            calls.add(session.decode_calls - before)
            again.add(width - taken if session.decode_calls - before > 1 else 0)
        (evaluations,), (read_again,) = calls, again  # every round goes back in the same way
        low, middle, high = np.percentile(ratios, (25, 50, 75))
        return {
            "architecture": arch,
            "way": session.capabilities.rollback,
            "tokens": width,
            "taken back": taken,
            "evaluations": evaluations,
            "read again": read_again,
            "time": {"median": round(middle, 3), "quartiles": [round(low, 3), round(high, 3)]},
        }


def _seconds(session: Session, given: list[int], left: int) -> float:
    started = perf_counter()
    session.evaluate(given, rows=len(given))
    session.truncate(left)
    return perf_counter() - started


def measure(architectures: Sequence[str], is_wide: bool) -> list[dict[str, Any]]:
    """Those architectures, at each width."""
    known, found = recipes(), list[dict[str, Any]]()
    options = LoadOptions(n_ctx=_N_CTX, n_threads=1)
    for name in architectures:
        recipe = wide(known[name]) if is_wide else known[name]
        with tempfile.TemporaryDirectory() as directory:
            path = write(recipe, Path(directory) / "model.gguf")
            with Model(path, options, vouched=True) as model:
                for width, taken in ROUNDS:
                    found.append(measured(name, model, width, taken))
                    print(json.dumps(found[-1]), flush=True)
    return found


def as_json(measured: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The file's text, a line for every kind of round."""
    parts = []
    for name, rounds in measured.items():
        lines = ",\n".join(json.dumps(each) for each in rounds)
        parts.append(f'"{name}": [\n{lines}\n]')
    return "{" + ",\n".join(parts) + "}\n"


def zoo_table(rounds: Sequence[Mapping[str, Any]]) -> str:
    """The zoo by way of going back, as Markdown."""
    same = Counter(
        (each["way"], each["tokens"], each["taken back"], each["evaluations"], each["read again"])
        for each in rounds
    )
    lines = [
        "| way | tokens of a round | taken back | evaluations | read again | architectures |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    by_way = sorted(same, key=lambda cells: (KINDS.index(cells[0]), *cells[1:]))
    return "\n".join([*lines, *(_row(*cells, same[cells]) for cells in by_way)])


def names(rounds: Sequence[Mapping[str, Any]], way: str) -> str:
    """The architectures that go back in that way."""
    return ", ".join(sorted({each["architecture"] for each in rounds if each["way"] == way}))


def wide_table(rounds: Sequence[Mapping[str, Any]]) -> str:
    """What a round takes beside one that takes nothing back, as Markdown."""
    lines = [
        "| architecture | way | tokens | taken back | evaluations | time | quartiles |",
        "|---|---|--:|--:|--:|--:|---|",
    ]
    for each in rounds:
        time = each["time"]
        told = ("architecture", "way", "tokens", "taken back", "evaluations")
        spread = " to ".join(f"{share:.2f}" for share in time["quartiles"])
        lines.append(_row(*(each[name] for name in told), f"{time['median']:.2f}", spread))
    return "\n".join(lines)


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", help="architectures; all by default")
    parser.add_argument("--wide", action="store_true", help="as wide as small real models")
    parser.add_argument("--json", type=Path, help="measure both kinds and write this file")
    asked = parser.parse_args()
    every = sorted(recipes().keys() - {*DIFFUSION})
    if asked.json is None:
        measure(asked.names or (list(WIDE) if asked.wide else every), asked.wide)
        return
    zoo, larger = measure(every, False), measure(list(WIDE), True)
    for each in zoo:  # evaluating so little takes no longer than what a round has around it
        del each["time"]
    asked.json.write_text(as_json({"zoo": zoo, "wide": larger}), "utf-8")
    print(zoo_table(zoo), wide_table(larger), sep="\n\n")


if __name__ == "__main__":
    main()
