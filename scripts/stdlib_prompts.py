"""Write prompts about functions of Python's standard library, as JSONL for `--prompts`.

    python scripts/stdlib_prompts.py 100 prompts.jsonl

The same for the same version of Python. Five kinds of request go round: code that repeats its
prompt, code that does not, and prose.
"""

from __future__ import annotations

import argparse
import inspect
import json
from collections.abc import Iterator
from importlib import import_module
from itertools import cycle, islice
from pathlib import Path

_MODULES = ("textwrap", "shlex", "heapq", "bisect", "statistics", "fnmatch", "calendar", "difflib")
_REQUESTS = (
    "Add type hints to this function and give back all of it.",
    "Explain step by step, in plain words, what this function does.",
    "Write unit tests with pytest for this function.",
    "Name the risks of this function in a list, then write a safer version.",
    "Write the same function in Rust, with comments.",
)


def functions() -> Iterator[str]:
    """Sources of public functions that are neither trivial nor long."""
    for name in _MODULES:
        module = import_module(name)
        for _name, function in sorted(inspect.getmembers(module, inspect.isfunction)):
            source = inspect.getsource(function)
            if function.__module__ == name and 6 <= source.count("\n") <= 40:
                yield source


def main() -> None:
    """Write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("count", type=int)
    parser.add_argument("out", type=Path)
    how = parser.parse_args()
    sources = list(functions())
    with how.out.open("w", encoding="utf-8") as file:
        requests = islice(cycle(_REQUESTS), how.count)
        for request, source in zip(requests, cycle(sources), strict=False):
            turn = f"{request}\n\n```python\n{source}```"
            file.write(json.dumps({"category": "standard library", "turns": [turn]}) + "\n")


if __name__ == "__main__":
    main()
