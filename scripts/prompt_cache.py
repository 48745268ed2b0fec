"""Seconds to the first token behind a long system message: read, and taken up from a file.

    python -m scripts.prompt_cache --json FILE
    python -m scripts.prompt_cache --show FILE

The message is source text of Python's standard library. In turns the target begins with nothing,
and with what `Runner.load_prefix` brings; both times it is then asked the same, and the clock stops
at the first chunk. The file has been read before, so it comes from the system's own cache of files.
"""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, NamedTuple

from scripts.kept import measure_or_show
from spec_local.llama.options import LoadOptions
from spec_local.runner import Runner
from spec_local.sampling.settings import Sampling

_QUESTION = "What is this about?"


class FirstToken(NamedTuple):
    """One turn."""

    model: str
    tokens: int
    """Of the beginning that is kept."""
    bytes: int
    """Of its file."""
    reading: float
    """Seconds to the first token where it is read."""
    taking_up: float
    """The same where it comes from the file."""


def system_message(runner: Runner, tokens: int) -> dict[str, Any]:
    """With about so many tokens."""
    vocab = runner.vocab
    text = inspect.getsource(argparse)
    found = vocab.tokenize(text, add_special=False, parse_special=False)[:tokens]
    return {"role": "system", "content": vocab.pieces(found).decode(errors="ignore")}


def seconds(runner: Runner, prefix: Path | None, prompt: Sequence[dict[str, Any]]) -> float:
    """To the first token. prefix: what to begin with; None begins with nothing."""
    runner.target.truncate(0)
    started = perf_counter()
    if prefix is not None:
        runner.load_prefix(prefix)
    runner.complete(prompt, max_tokens=1, sampling=Sampling(temperature=0))
    return perf_counter() - started


def measure(how: argparse.Namespace) -> Iterator[FirstToken]:
    """In turns, so that what else the machine does meets both ways alike."""
    with TemporaryDirectory() as folder:
        prefix = Path(folder) / "system.prefix"
        for model in how.models:
            options = LoadOptions(n_ctx=how.tokens + 256)
            with Runner.load(target=model, drafter="none", options=options) as runner:
                system = system_message(runner, how.tokens)
                prompt = [system, {"role": "user", "content": _QUESTION}]
                prefix.unlink(missing_ok=True)
                count = runner.save_prefix(prefix, [system])
                for _turn in range(how.turns):
                    yield FirstToken(
                        model,
                        count,
                        prefix.stat().st_size,
                        seconds(runner, None, prompt),
                        seconds(runner, prefix, prompt),
                    )


def table(found: Sequence[FirstToken]) -> list[str]:
    """Of medians, in Markdown."""
    rows = ["| target | tokens | file | read | taken up |", "|---|--:|--:|--:|--:|"]
    for model, turns in groupby(found, lambda each: each.model):
        here = list(turns)
        reading, taking_up = (
            median(each) for each in ([t.reading for t in here], [t.taking_up for t in here])
        )
        size = f"{here[0].bytes / 1e6:,.0f} MB"
        rows.append(
            f"| {model} | {here[0].tokens:,} | {size} | {reading:.2f} s | {taking_up:.2f} s |"
        )
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["smollm2-135m"])
    parser.add_argument("--tokens", type=int, default=1_500, help="of the system message")
    parser.add_argument("--turns", type=int, default=5)
    measure_or_show(parser, FirstToken, measure, table)


if __name__ == "__main__":
    main()
