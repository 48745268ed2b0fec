"""A tabular model behind the session protocol, so that the engine is tested without weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from spec_local.engine.decode import generate
from spec_local.engine.rounds import Round
from spec_local.engine.speculate import FixedK
from spec_local.engine.types import NO_DRAFT, Draft, Drafter, Pace, Speculator, Verdict
from spec_local.engine.verify import VERIFIERS
from spec_local.sampling.sampler import TokenSampler
from spec_local.sampling.settings import Sampling
from spec_local.sampling.types import Logits, Sampler
from tests.table_chain import TableChain

N_VOCAB = 24
END = 23
"""The token that ends a generation."""


@cache
def _normal(size: int, *key: int) -> np.ndarray:
    return np.random.default_rng(key).normal(size=size)


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
    tokens: list[int] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    """Tokens evaluated by each call."""
    fail_at: int | None = None
    """Index of the call that evaluates its tokens and then raises, like a Ctrl-C."""

    def row(self, context: Sequence[int]) -> Logits:
        logits = _normal(self.n_vocab, self.seed, *context[-2:]) * self.sharpness * self.sign
        logits[END] += self.end_bias
        return logits.astype(np.float32)

    def evaluate(self, tokens: Sequence[int], rows: int = 1) -> Logits:
        assert 0 < rows <= min(len(tokens), self.max_rows)
        assert len(self.tokens) + len(tokens) <= self.n_ctx
        self.calls.append(len(tokens))
        start = len(self.tokens) + len(tokens) - rows
        self.tokens.extend(tokens)
        if self.fail_at == len(self.calls) - 1:
            raise KeyboardInterrupt
        return np.stack([self.row(self.tokens[: start + i + 1]) for i in range(rows)])

    def mark(self, depth: int) -> None:
        pass

    def truncate(self, length: int) -> None:
        assert length >= 0
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

    def begin(self, context: Sequence[int], sampler: Sampler) -> None:
        pass

    def behind(self, context: Sequence[int]) -> int:
        return 0

    def propose(self, context: Sequence[int], budget: int, pace: Pace | None = None) -> Draft:
        tokens = tuple(self._script(context, budget))
        return Draft(tokens, drafter=self.name) if tokens else NO_DRAFT

    def observe(self, context: Sequence[int], verdict: Verdict) -> None:
        self.verdicts.append(verdict)

    def end(self, context: Sequence[int]) -> None:
        pass

    def close(self) -> None:
        pass


PROMPT = (3, 1, 4, 1, 5, 9, 2, 6)


def sampler_for(sampling: Sampling, context: Sequence[int]) -> TokenSampler:
    """A sampler on the table chain for the position after the context."""
    return TokenSampler(sampling, TableChain(sampling), context)


def start(
    target: TableSession,
    drafter: Drafter | Speculator,
    context: list[int],
    *,
    sampling: Sampling,
    max_tokens: int,
    k: int = 4,
    is_end: Callable[[int], bool] = lambda token: token == END,
) -> Iterator[Round]:
    """A generation on the table, round by round; k is for a drafter that decides nothing."""
    return generate(
        target,
        drafter if hasattr(drafter, "learn") else FixedK(drafter, k),
        VERIFIERS[sampling.acceptance],
        sampler_for(sampling, context),
        context,
        max_tokens=max_tokens,
        is_end=is_end,
    )


def run(
    target: TableSession,
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
