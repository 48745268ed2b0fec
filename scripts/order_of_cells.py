"""How much the order of a cache's cells changes logits: a tree's path kept, against plain decoding.

    python -m scripts.order_of_cells MODEL… --json docs/drafters/cells.json
    python -m scripts.order_of_cells --show docs/drafters/cells.json

After a prompt a tree of six nodes is evaluated; a path of it is kept, and one token more is
evaluated. Its logits are compared with those after the same tokens, evaluated one by one: the
greatest difference of any, over all paths and three prompts. Paths that lie in a row are those that
plain decoding would have put where they are.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from spec_local import LoadOptions
from spec_local.llama.model import Model
from spec_local.llama.session import Session
from spec_local.util.tree import ROOT, path_to

PROMPTS = (
    "The capital of France is Paris, and the capital of Germany is",
    "def add(a, b):\n    return a + b\n\n\ndef subtract(a, b):\n",
    "Once upon a time there was a small house at the edge of the forest, and in it",
)
PARENTS = (ROOT, 0, 1, ROOT, 3, 0)
"""The chain 0 1 2; 3 and 4 beside it; 5 beside 1."""
IN_A_ROW, ELSEWHERE = ("after paths in a row", "after other paths")


def differences(model: Model, prompt: Sequence[int], nodes: Sequence[int]) -> dict[str, float]:
    """The greatest difference of a logit after the paths of each kind."""
    found = {IN_A_ROW: 0.0, ELSEWHERE: 0.0}
    more = nodes[-1]
    for node in range(ROOT, len(PARENTS)):
        path = path_to(PARENTS, node)
        with Session(model) as tree, Session(model) as plain:
            tree.evaluate(prompt[:-1])
            tree.evaluate([prompt[-1], *nodes], len(nodes) + 1, PARENTS)
            tree.keep(path)
            plain.evaluate(prompt[:-1])
            for token in (prompt[-1], *(nodes[each] for each in path)):
                plain.evaluate([token])
            row, wanted = tree.evaluate([more])[-1], plain.evaluate([more])[-1]
            kind = IN_A_ROW if list(path) == list(range(len(path))) else ELSEWHERE
            found[kind] = max(found[kind], float(np.abs(row - wanted).max()))
    return found


def measure(paths: Sequence[Path]) -> dict[str, dict[str, float]]:
    """By model."""
    data = {}
    for path in paths:
        with Model(path, LoadOptions(n_ctx=256)) as model:
            every = []
            for text in PROMPTS:
                prompt = model.vocab.tokenize(text, add_special=True, parse_special=False)
                nodes = prompt[1 : len(PARENTS) + 1]
                every.append(differences(model, prompt, nodes))
            data[path.name] = {kind: max(each[kind] for each in every) for kind in every[0]}
    return data


def table(data: dict[str, dict[str, float]]) -> str:
    """Markdown: a row for each model."""
    lines = [f"| model | {IN_A_ROW} | {ELSEWHERE} |", "|---|---|---|"]
    lines += [f"| {n} | {e[IN_A_ROW]:.3f} | {e[ELSEWHERE]:.3f} |" for n, e in data.items()]
    return "\n".join(lines)


def main() -> None:
    """Measure, or draw the table again from what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--show", type=Path)
    options = parser.parse_args()
    if options.show:
        print(table(json.loads(options.show.read_text())))
        return
    data = measure(options.models)
    options.json.write_text(json.dumps(data, indent=1) + "\n")
    print(table(data))


if __name__ == "__main__":
    main()
