"""What it costs to index a text for lookup, and to draft from it. Printed as JSON.

    python scripts/lookup_index.py TARGET --against OLD.py

Texts are 30,000 tokens: code, and the worst there can be. OLD.py is a `lookup.py` of an earlier
commit; a suffix automaton is measured beside, as far as indexing goes. Times are microseconds: the
least of three for indexing, a token; the median of the last 1,000 drafts, a draft.
"""

import argparse
import importlib.util
import json
import random
import tracemalloc
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from spec_local.bench.hindsight.looking import AnyToken, mean_accepted_length
from spec_local.drafters.lookup import LookupDrafter
from spec_local.llama.model import Model
from spec_local.models.corpus import corpus_tokens, default_corpus
from spec_local.models.download import pulled
from spec_local.models.registry import load_registry
from spec_local.util.prefix import common_prefix
from spec_local.util.progress import no_progress

SIZE, DRAFTED = 30_000, 1_000
"""Tokens of a text that is indexed, and how many of its last ones are drafted for one by one."""
BUDGETS = (4, 32)
OFTEN = 16
"""Occurrences beyond which the automaton does not count, so that it is amortised O(1)."""


def began(make: Callable[[], Any]) -> Any:
    """A drafter at the start of an empty text."""
    drafter = make()
    drafter.begin([], AnyToken())
    return drafter


def microseconds(work: Callable[[], object]) -> float:
    """How long that takes."""
    started = perf_counter()
    work()
    return 1e6 * (perf_counter() - started)


def index_figures(make: Callable[[], Any], tokens: list[int]) -> dict[str, float]:
    """Microseconds and bytes a token of indexing, microseconds a draft by its budget."""
    drafters = [began(make) for _ in range(3)]
    found = {"index": min(microseconds(partial(d.propose, tokens, 1)) for d in drafters) / SIZE}
    tracemalloc.start()
    drafter = began(make)
    drafter.propose(tokens, 1)
    found["bytes"] = tracemalloc.get_traced_memory()[0] / SIZE
    tracemalloc.stop()
    for budget in BUDGETS:
        drafter, context = began(make), tokens[:-DRAFTED]
        drafter.propose(context, 1)
        times, right = [], []
        for position in range(SIZE - DRAFTED, SIZE):
            started = perf_counter()
            draft = drafter.propose(context, budget)
            times.append(1e6 * (perf_counter() - started))
            right.append(common_prefix(draft.tokens, tokens[position:]))
            context.append(tokens[position])
        found[f"draft of {budget}"] = median(times)
        found[f"tokens a round of {budget}"] = mean_accepted_length(right, budget)
    return {name: round(figure, 2) for name, figure in found.items()}


def texts(target: Model) -> dict[str, list[int]]:
    """Code as it is, and the worst there can be."""
    code = list[int]()
    for tokens in corpus_tokens(target.vocab, reversed(default_corpus())):
        code += tokens
        if len(code) >= SIZE:
            break
    draw = random.Random(1)
    return {
        "code": code[:SIZE],
        "one token": [7] * SIZE,
        "two in turn": [7, 8] * (SIZE // 2),
        "random": [draw.randrange(target.vocab.n_tokens) for _ in range(SIZE)],
        "random of four": [draw.randrange(4) for _ in range(SIZE)],
    }


class SuffixAutomaton:
    """What the index could be instead (Blumer et al., Theoretical Computer Science 40, 1985)."""

    def __init__(self) -> None:
        self.edges: list[dict[int, int]] = [{}]
        self.links, self.lengths, self.counts, self.latest = [-1], [0], [0], [0]
        self.last = self.size = 0

    def _state(self, edges: dict[int, int], length: int, like: int) -> int:
        """A new state; with a state it is like, it was as often and as late."""
        self.edges.append(edges)
        self.links.append(self.links[like] if like else 0)
        self.lengths.append(length)
        self.counts.append(self.counts[like] if like else 0)
        self.latest.append(self.latest[like] if like else 0)
        return len(self.edges) - 1

    def append(self, token: int) -> None:
        """One more token."""
        edges, links, lengths = self.edges, self.links, self.lengths
        new = self._state({}, lengths[self.last] + 1, 0)
        state, self.last, self.size = self.last, new, self.size + 1
        while state != -1 and token not in edges[state]:
            edges[state][token] = new
            state = links[state]
        if state != -1:
            there = links[new] = edges[state][token]
            if lengths[state] + 1 != lengths[there]:
                own = self._state(dict(edges[there]), lengths[state] + 1, there)
                links[there] = links[new] = own
                while state != -1 and edges[state].get(token) == there:
                    edges[state][token] = own
                    state = links[state]
        while new > 0 and self.counts[new] < OFTEN:
            self.counts[new] += 1
            self.latest[new] = self.size
            new = links[new]


def append_all(automaton: SuffixAutomaton, tokens: Sequence[int]) -> None:
    """A text, token by token."""
    for token in tokens:
        automaton.append(token)


def automaton_figures(tokens: list[int]) -> dict[str, float]:
    """What indexing costs a suffix automaton, a token."""
    automaton = SuffixAutomaton()
    index = microseconds(partial(append_all, automaton, tokens)) / SIZE
    tracemalloc.start()
    automaton = SuffixAutomaton()
    append_all(automaton, tokens)
    size = tracemalloc.get_traced_memory()[0] / SIZE
    tracemalloc.stop()
    return {"index": round(index, 2), "bytes": round(size, 2)}


def index(target: Model, against: Path | None) -> dict[str, Any]:
    """The figures of every text, by drafter."""
    drafters: dict[str, Callable[[], Any]] = {"now": LookupDrafter}
    if against is not None:
        spec = importlib.util.spec_from_file_location("against", against)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        drafters["before"] = module.LookupDrafter
    return {
        name: {when: index_figures(make, tokens) for when, make in drafters.items()}
        | {"automaton": automaton_figures(tokens)}
        for name, tokens in texts(target).items()
    }


def main() -> None:
    """Measure all texts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", help="a model's name or a .gguf file")
    parser.add_argument("--against", type=Path, help="another lookup.py")
    arguments = parser.parse_args()
    path = pulled(arguments.target, load_registry(), no_progress)
    with Model(path, vocab_only=True) as target:
        print(json.dumps(index(target, arguments.against), indent=1))


if __name__ == "__main__":
    main()
