"""A tabular model behind the session protocol, so that the engine is tested without weights."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import cast

import numpy as np

from spec_local.engine.decode import generate
from spec_local.engine.draft import NO_DRAFT, Draft, Outcome, Verdict
from spec_local.engine.rounds import Round
from spec_local.engine.speculate import FixedK
from spec_local.engine.types import Drafter, EvaluationSession, Pace, Speculator
from spec_local.engine.verify import VERIFIERS
from spec_local.sampling.sampler import TokenSampler
from spec_local.sampling.settings import Sampling
from spec_local.sampling.types import Logits, Sampler
from spec_local.util.tree import ROOT, leaves, path_to
from tests.table_chain import TableChain

N_VOCAB = 24
END = 23
"""The token that ends a generation."""


@cache
def _row(
    n_vocab: int, seed: int, sharpness: float, end_bias: float, last: tuple[int, ...]
) -> Logits:
    logits = np.random.default_rng((seed, *last)).normal(size=n_vocab) * sharpness
    logits[END] += end_bias
    return logits.astype(np.float32)


@dataclass
class TableSession:
    """Logits are a fixed pseudo-random function of the last two tokens."""

    seed: int = 0
    sharpness: float = 2.0
    sign: float = 1.0
    """-1 makes the least probable token the most probable one."""
    end_bias: float = -6.0
    n_ctx: int = 4096
    n_vocab: int = N_VOCAB
    max_rows: int = 33
    branches: int = 16
    tokens: list[int] = field(default_factory=list)
    node_tokens: list[int] = field(default_factory=list)
    node_parents: list[int] = field(default_factory=list)
    """Of a tree that is neither kept nor dropped yet."""
    calls: list[int] = field(default_factory=list)
    """Tokens evaluated by each call."""
    fail_at: int | None = None
    """Index of the call that evaluates its tokens and then raises, like a Ctrl-C."""

    def row(self, context: Sequence[int]) -> Logits:
        sharpness, last = self.sharpness * self.sign, tuple(context[-2:])
        return _row(self.n_vocab, self.seed, sharpness, self.end_bias, last)

    def evaluate(
        self, tokens: Sequence[int], rows: int = 1, parents: Sequence[int] | None = None
    ) -> Logits:
        nodes = 0 if parents is None else len(parents)
        assert 0 < rows <= min(len(tokens), self.max_rows)
        assert nodes <= rows
        if parents is None:
            self._drop_tree()
        assert len(self.tokens) + len(self.node_tokens) + len(tokens) <= self.n_ctx
        self.calls.append(len(tokens))
        chain = len(tokens) - nodes
        self.tokens.extend(tokens[:chain])
        self.node_tokens.extend(tokens[chain:])
        self.node_parents.extend(parents or ())
        assert len(leaves(self.node_parents)) <= self.branches
        if self.fail_at == len(self.calls) - 1:
            raise KeyboardInterrupt
        ends = range(len(self.tokens) - (rows - nodes) + 1, len(self.tokens) + 1)
        views = [self.tokens[:end] for end in ends]
        new = range(len(self.node_tokens) - nodes, len(self.node_tokens))
        paths = (path_to(self.node_parents, node) for node in new)
        views += [[*self.tokens, *self._along(path)] for path in paths]
        return np.array([self.row(view) for view in views])

    def keep(self, path: Sequence[int]) -> None:
        if not self.node_tokens:
            return
        assert all(
            self.node_parents[node] == before
            for before, node in zip((ROOT, *path), path, strict=False)
        )
        self.tokens.extend(self._along(path))
        self._drop_tree()

    def _along(self, path: Sequence[int]) -> list[int]:
        return [self.node_tokens[node] for node in path]

    def _drop_tree(self) -> None:
        self.node_tokens.clear()
        self.node_parents.clear()

    def mark(self, depth: int) -> None:
        pass

    def truncate(self, length: int) -> None:
        assert length >= 0
        self._drop_tree()
        del self.tokens[length:]

    def sync(self, tokens: Sequence[int]) -> int:
        common = 0
        while common < min(len(tokens), len(self.tokens)) and self.tokens[common] == tokens[common]:
            common += 1
        self.truncate(common)
        return common


class ScriptedDrafter:
    """Proposes what a function of (context, budget) says."""

    name = "scripted"

    def __init__(self, script: Callable[[Sequence[int], int], Sequence[int]]) -> None:
        self._script = script
        self.verdicts: list[Verdict] = []
        self.closed = False

    def begin(self, context: Sequence[int], sampler: Sampler) -> None:
        pass

    def behind(self, context: Sequence[int]) -> int:
        return 0

    def propose(self, context: Sequence[int], budget: int, pace: Pace | None = None) -> Draft:
        tokens = tuple(self._script(context, budget))
        return Draft(tokens, drafter=self.name) if tokens else NO_DRAFT

    def observe(self, context: Sequence[int], outcome: Outcome) -> None:
        self.verdicts.append(outcome.verdict)

    def end(self, context: Sequence[int]) -> None:
        pass

    def close(self) -> None:
        self.closed = True


PROMPT = (3, 1, 4, 1, 5, 9, 2, 6)


def sampler_for(sampling: Sampling, context: Sequence[int]) -> TokenSampler:
    """A sampler on the table chain for the position after the context."""
    return TokenSampler(sampling, TableChain(sampling), context)


def start(
    target: EvaluationSession,
    drafter: Drafter | Speculator,
    context: list[int],
    *,
    sampling: Sampling,
    max_tokens: int,
    k: int = 4,
    is_end: Callable[[int], bool] = lambda token: token == END,
) -> Generator[Round, None, None]:
    """A generation on the table, round by round; k is for a drafter that decides nothing."""
    speculator = drafter if hasattr(drafter, "learn") else FixedK(drafter, k)
    return generate(
        target,
        cast(Speculator, speculator),
        VERIFIERS[sampling.acceptance],
        sampler_for(sampling, context),
        context,
        max_tokens=max_tokens,
        is_end=is_end,
    )


def run(
    target: EvaluationSession,
    drafter: Drafter | Speculator,
    *,
    sampling: Sampling,
    k: int = 4,
    max_tokens: int = 80,
    context: list[int] | None = None,
) -> list[Round]:
    """All rounds of a generation on the table."""
    context = list(PROMPT) if context is None else context
    return list(start(target, drafter, context, sampling=sampling, k=k, max_tokens=max_tokens))


def tokens_of(rounds: Sequence[Round]) -> list[int]:
    """All tokens that the rounds emitted."""
    return [token for round_ in rounds for token in round_.tokens]
