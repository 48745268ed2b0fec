"""What constraints cost, asked the questions that a sampler asks while a model writes."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from scripts.schema_engines.engines import Schema, Start
from spec_local.llama.chain import LlamaChain
from spec_local.llama.session import Session
from spec_local.sampling.constraints import Constraint
from spec_local.sampling.distribution import Ids
from spec_local.sampling.sampler import TokenSampler
from spec_local.sampling.settings import Sampling

_FEW = 16
"""Every so many tokens the whole vocabulary is asked about, which takes long."""


class Both:
    """Allows what all constraints allow, and keeps what it was asked: ids, or a token accepted."""

    def __init__(self, constraints: list[Constraint]) -> None:
        self._constraints = constraints
        self.asked: list[Ids | int] = []

    def allows(self, ids: Ids) -> NDArray[np.bool_]:
        self.asked.append(ids)
        answers = [each.allows(ids) for each in self._constraints]
        allowed: NDArray[np.bool_] = np.all(answers, axis=0)
        return allowed

    def accept(self, token: int) -> None:
        self.asked.append(token)
        for each in self._constraints:
            each.accept(token)

    def copy(self) -> Both:
        return Both([each.copy() for each in self._constraints])

    def follow(self, other: Constraint) -> None:
        assert isinstance(other, Both)
        for mine, theirs in zip(self._constraints, other._constraints, strict=True):
            mine.follow(theirs)

    def close(self) -> None:
        for each in self._constraints:
            each.close()


@dataclass
class Answer:
    """What a model wrote under a constraint."""

    tokens: list[int] = field(default_factory=list)
    ended: bool = False
    seconds: list[float] = field(default_factory=list)
    """Of each token's evaluation."""


def write(
    session: Session, prompt: Sequence[int], constraint: Constraint, sampling: Sampling, most: int
) -> Answer:
    """Plain decoding of at most so many tokens; closes the constraint."""
    vocab, answer = session.model.vocab, Answer()
    chain = LlamaChain(sampling, n_vocab=session.n_vocab, n_ctx=session.n_ctx, vocab=vocab)
    session.truncate(0)
    with closing(TokenSampler(sampling, chain, prompt, [constraint])) as sampler:
        row = session.evaluate(prompt)[0]
        while len(answer.tokens) < most:
            token = sampler.draw(row)
            if vocab.is_end(token):
                answer.ended = True
                break
            answer.tokens.append(token)
            started = perf_counter()
            row = session.evaluate([token])[0]
            answer.seconds.append(perf_counter() - started)
    return answer


def times(
    starts: dict[str, Start], schema: Schema, asked: Sequence[Ids | int], every: Ids, repeats: int
) -> dict[str, dict[str, float]]:
    """Median microseconds of each engine, by what is done; the engines take turns.

    asked: what a sampler asked, and the tokens it accepted. every: all ids of the vocabulary.
    """
    found: dict[str, list[dict[str, float]]] = {name: [] for name in starts}
    for turn in range(repeats):
        for name in list(starts) if turn % 2 == 0 else reversed(starts):
            began = perf_counter()
            constraint = starts[name](schema)
            compiled = perf_counter() - began
            with closing(constraint), closing(constraint.copy()) as other:
                asking = _asking(constraint, asked)
                found[name].append(
                    {"compile": compiled, "token": asking, **_rest(other, asked, every)}
                )
    return {
        name: {what: 1e6 * median(run[what] for run in runs) for what in runs[0]}
        for name, runs in found.items()
    }


def _asking(constraint: Constraint, asked: Sequence[Ids | int]) -> float:
    """Seconds per accepted token of all questions."""
    began = perf_counter()
    for question in asked:
        if isinstance(question, int):
            constraint.accept(question)
        else:
            constraint.allows(question)
    return (perf_counter() - began) / sum(isinstance(each, int) for each in asked)


def _rest(constraint: Constraint, asked: Sequence[Ids | int], every: Ids) -> dict[str, float]:
    """Median seconds of a copy, of following and of asking about every token, along an answer."""
    spent: dict[str, list[float]] = {"copy": [], "follow": [], "vocabulary": []}
    for count, token in enumerate(each for each in asked if isinstance(each, int)):
        marks = [perf_counter()]
        twin = constraint.copy()
        marks.append(perf_counter())
        twin.follow(constraint)
        marks.append(perf_counter())
        if count % _FEW == 0:
            twin.allows(every)
            spent["vocabulary"].append(perf_counter() - marks[-1])
        twin.close()
        spent["copy"].append(marks[1] - marks[0])
        spent["follow"].append(marks[2] - marks[1])
        constraint.accept(token)
    return {what: median(seconds) for what, seconds in spent.items()}
