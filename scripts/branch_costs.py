"""What branches cost in llama.cpp's cache, beside evaluating: by length of the context and leaves.

    python -m scripts.branch_costs MODEL --context 1024 8192 --leaves 4 16 --json FILE
    python -m scripts.branch_costs --show docs/drafters/branches.json

MODEL is a name or a file. After a context has been read, rounds evaluate the pending token and a
tree in which each leaf is a branch of two tokens, and keep the first token of the first branch: the
dearest thing to keep, as all other branches have another token there. Told are, of a round,

- calls: of llama.cpp's that put cells into sequences or take them out, each of which passes over
  all cells of the cache. They are counted, and the same on every machine;
- calls_ms: milliseconds in them, the median of the rounds after the first;
- first_ms: the same of the first round, in which every leaf is given the whole context;
- round_ms: milliseconds of the round, evaluation included.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any
from unittest.mock import patch

from spec_local.llama.backend import lib
from spec_local.llama.options import LoadOptions
from spec_local.llama.session import Session
from spec_local.models.loading import load_model
from spec_local.models.registry import load_registry
from spec_local.util.progress import no_progress
from spec_local.util.tree import MOST_LEAVES, ROOT

CALLS = ("llama_memory_seq_cp", "llama_memory_seq_rm")
ROUNDS = 24
KEPT = 2
"""Tokens that a round adds to the context: the pending one, and one of the tree."""
FIELDS = ("context", "leaves", "calls", "calls_ms", "first_ms", "round_ms")


@contextmanager
def watched() -> Iterator[list[float]]:
    """Seconds of each of these calls meanwhile."""
    seconds = list[float]()

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            started = perf_counter()
            found = function(*given)
            seconds.append(perf_counter() - started)
            return found

        return call

    with ExitStack() as stack:
        for name in CALLS:
            stack.enter_context(patch.object(lib, name, timed(getattr(lib, name))))
        yield seconds


def measured(session: Session, leaves: int, rounds: int = ROUNDS) -> dict[str, float]:
    """Rounds with trees of so many leaves, after what the session holds."""
    context, each = len(session.tokens), list[tuple[int, float, float]]()
    parents = [node - 1 if node % 2 else ROOT for node in range(2 * leaves)]
    tokens = [node % session.n_vocab for node in range(1, 2 * leaves + 1)]
    with watched() as seconds:
        for _ in range(rounds):
            seconds.clear()
            started = perf_counter()
            session.evaluate([0, *tokens], len(tokens) + 1, parents)
            session.keep([0])
            each.append((len(seconds), sum(seconds), perf_counter() - started))
    first, *later = each
    return {
        "context": context,
        "leaves": leaves,
        "calls": max(calls for calls, _inside, _whole in later),
        "calls_ms": round(median(inside for _calls, inside, _whole in later) * 1e3, 3),
        "first_ms": round(first[1] * 1e3, 3),
        "round_ms": round(median(whole for _calls, _inside, whole in later) * 1e3, 1),
    }


def measure(name: str, contexts: Sequence[int], leaves: Sequence[int]) -> list[dict[str, float]]:
    """Every length of the context with every number of leaves."""
    found = list[dict[str, float]]()
    n_ctx = max(contexts) + ROUNDS * KEPT + 2 * MOST_LEAVES
    options = LoadOptions(n_ctx=n_ctx)
    with (
        load_model(name, load_registry(), options, no_progress) as model,
        Session(model) as session,
    ):
        for context in sorted(contexts):
            session.truncate(0)
            session.evaluate([place % session.n_vocab for place in range(context)])
            held = session.saved()
            for count in leaves:
                session.adopt(held)  # of which no other sequence holds anything
                found.append(measured(session, count))
                print(json.dumps(found[-1]), flush=True)
    return found


def table(rows: Sequence[Mapping[str, float]]) -> str:
    """Markdown: a line for each."""
    heads = ("context", "leaves", "calls", "ms of them", "in the first round", "ms of the round")
    lines = [f"| {' | '.join(heads)} |", "|" + "--:|" * len(heads)]
    lines += [f"| {' | '.join(f'{row[field]:,g}' for field in FIELDS)} |" for row in rows]
    return "\n".join(lines)


def main() -> None:
    """Measure, or draw the table again from what was measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="smollm2-135m")
    parser.add_argument("--context", type=int, nargs="+", default=[1024, 8192])
    parser.add_argument("--leaves", type=int, nargs="+", default=[4, MOST_LEAVES])
    parser.add_argument("--json", type=Path, help="write the figures there")
    parser.add_argument("--show", type=Path, help="draw the table of such a file")
    options = parser.parse_args()
    if options.show:
        print(table(json.loads(options.show.read_text())["rounds"]))
        return
    rounds = measure(options.model, options.context, options.leaves)
    if options.json:
        data = {"model": options.model, "rounds": rounds}
        options.json.write_text(json.dumps(data, indent=1) + "\n")
    print(table(rounds))


if __name__ == "__main__":
    main()
