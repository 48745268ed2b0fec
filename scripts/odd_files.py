"""Damaged and odd GGUF files by the hundred: each works, or is refused in a sentence.

    python -m scripts.odd_files --files 1000 --seed 1 --json docs/odd-files.json
    python -m scripts.odd_files --show docs/odd-files.json

The files are the zoo's tiny models of all architectures (`tests/zoo`) with one thing changed at
random: a key left out or set to what it should not be, a tensor left out or of another shape, a
byte of the header, the end cut off. A child process opens one after the other as an application
would, and writes a few tokens with lookup. Counted is what becomes of them, by what was changed:

- works: text came;
- refused: a `SpecLocalError` of one sentence, which is what is wanted of what cannot work;
- raised: anything else; died: the process ended; hung: nothing for a minute. None of them is right.

Those that end wrongly are kept in --keep FOLDER.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event, Timer
from typing import Any, NamedTuple

from scripts.kept import measure_or_show
from tests.zoo.recipes import Recipe, recipes, write

SECONDS = 60.0
WRONG = ("raised", "died", "hung")
OUTCOMES = ("works", "refused", *WRONG)
_NUMBERS = (0, 1, 2, 3, 7, 513, 65_537, (1 << 31) - 1, (1 << 32) - 1)
_FLOATS = (0.0, -1.0, float("nan"), float("inf"), 1e-30, 1e30)
_OTHERS: tuple[Any, ...] = ("", "nonsense", True, 1.5, 3, [1], [1, 2, 3, 4, 5, 6, 7])


class Found(NamedTuple):
    """How many files with such a change ended in such a way."""

    change: str
    outcome: str
    files: int


def odd_key(recipe: Recipe, rng: random.Random) -> tuple[str, Recipe]:
    """One key is another."""
    name = rng.choice(list(recipe.keys))
    keys = dict(recipe.keys)
    change = rng.choice(["key left out", "key out of range", "key of another type"])
    if change == "key left out":
        del keys[name]
    elif change == "key of another type":
        keys[name] = rng.choice(_OTHERS)
    else:
        keys[name] = rng.choice(_FLOATS if isinstance(keys[name], float) else _NUMBERS)
    return change, replace(recipe, keys=keys)


def odd_tensor(recipe: Recipe, rng: random.Random) -> tuple[str, Recipe]:
    """One tensor is another."""
    name = rng.choice(list(recipe.tensors))
    tensors = dict(recipe.tensors)
    if rng.random() < 0.5:
        del tensors[name]
        return "tensor left out", replace(recipe, tensors=tensors)
    shape = list(tensors[name])
    at = rng.randrange(len(shape))
    shape[at] = max(1, rng.choice([shape[at] - 1, shape[at] + 1, shape[at] // 2, shape[at] * 2, 1]))
    tensors[name] = shape if rng.random() < 0.7 else shape[::-1]
    return "tensor of another shape", replace(recipe, tensors=tensors)


def odd_bytes(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    """The file is damaged; the vocabulary and the list of tensors are in its header."""
    if rng.random() < 0.3:
        return "end cut off", data[: rng.randrange(len(data))]
    damaged = bytearray(data)
    for _ in range(rng.choice([1, 1, 3])):
        damaged[rng.randrange(min(len(data), 24_000))] = rng.randrange(256)
    return "bytes of the header", bytes(damaged)


def make(folder: Path, files: int, seed: int) -> dict[Path, str]:
    """Odd files, and what was changed in each."""
    rng, known = random.Random(seed), list(recipes().values())
    made = dict[Path, str]()
    for number in range(files):
        recipe, path = rng.choice(known), folder / f"{number:05}.gguf"
        how = rng.random()
        if how < 0.6:
            change, recipe = (odd_key if how < 0.4 else odd_tensor)(recipe, rng)
        write(recipe, path)
        if how >= 0.6:
            change, data = odd_bytes(path.read_bytes(), rng)
            path.write_bytes(data)
        made[path] = change
    return made


def use(path: Path) -> tuple[str, str]:
    """Open it and write with it; the outcome and its words."""
    from spec_local import LoadOptions, Runner, Sampling, SpecLocalError

    try:
        with Runner.load(
            target=path, drafter="lookup", options=LoadOptions(n_ctx=256, n_threads=1)
        ) as runner:
            done = runner.complete("one two one two", max_tokens=8, sampling=Sampling(seed=1))
            return "works", done.text
    except SpecLocalError as error:
        words = str(error)
        return ("refused" if "\n" not in words and words.endswith(".") else "raised"), words
    except Exception as error:
        return "raised", repr(error)


def use_all(paths: Sequence[Path], cache: Path) -> Iterator[tuple[Path, str, str]]:
    """In a child process, and another where one ends; cache: where it keeps what it finds out."""
    left, environment = list(paths), {**os.environ, "SPEC_LOCAL_CACHE": str(cache)}
    while left:
        command = [sys.executable, "-m", "scripts.odd_files", "--use", *map(str, left[:50])]
        with subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        ) as child:
            given = len(left[:50])
            for _ in range(given):
                line, hung = _line_of(child)
                if not line.endswith("\n"):
                    child.kill()  # it may have closed its output and go on
                    yield left.pop(0), "hung" if hung else "died", ""
                    break
                outcome, words = json.loads(line)
                yield left.pop(0), outcome, words


def _line_of(child: subprocess.Popen[str]) -> tuple[str, bool]:
    """Its next line, without an end where none comes, and whether it was killed as too slow."""
    assert child.stdout is not None
    hung = Event()

    def end() -> None:
        hung.set()  # before the output ends, so that its end is not taken for the child's own
        child.kill()

    patience = Timer(SECONDS, end)  # what is buffered already is no reason to wait
    patience.start()
    line = child.stdout.readline()
    patience.cancel()
    return line, hung.is_set()


def measure(how: argparse.Namespace) -> list[Found]:
    """Make the files and use them."""
    counts = Counter[tuple[str, str]]()
    with tempfile.TemporaryDirectory() as folder:
        made = make(Path(folder), how.files, how.seed)
        for path, outcome, words in use_all(list(made), Path(folder, "cache")):
            counts[made[path], outcome] += 1
            if outcome in WRONG:
                print(path.name, made[path], outcome, words, file=sys.stderr)
                if how.keep:
                    how.keep.mkdir(parents=True, exist_ok=True)
                    shutil.copy(path, how.keep)
    return [Found(change, outcome, files) for (change, outcome), files in sorted(counts.items())]


def table(found: Sequence[Found]) -> list[str]:
    """A row for each kind of change."""
    counts = {(each.change, each.outcome): each.files for each in found}
    changes = sorted({each.change for each in found})
    rows = [
        [change, *(str(counts.get((change, outcome), 0)) for outcome in OUTCOMES)]
        for change in changes
    ]
    sums = [str(sum(each.files for each in found if each.outcome == o)) for o in OUTCOMES]
    return [
        "| changed | " + " | ".join(OUTCOMES) + " |",
        "|---|" + "--:|" * len(OUTCOMES),
        *("| " + " | ".join(row) + " |" for row in [*rows, ["all", *sums]]),
    ]


def main() -> None:
    """Use the files named, or make and count."""
    if sys.argv[1:2] == ["--use"]:
        for path in map(Path, sys.argv[2:]):
            print(json.dumps(use(path)), flush=True)
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path)
    measure_or_show(parser, Found, measure, table)


if __name__ == "__main__":
    main()
