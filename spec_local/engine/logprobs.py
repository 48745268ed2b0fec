"""Log-probabilities of the target: what it thought of a token, and what else it considered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """The target's view of one emitted token, before any sampling setting: ln softmax(logits)."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]
    """The most probable tokens at this position and their log-probabilities, best first."""


def token_logprobs(
    rows: Iterable[NDArray[np.float32]], tokens: Sequence[int], n: int | None
) -> tuple[TokenLogprobs, ...]:
    """For each token, judged by its row of logits (n_vocab,), its log-probability and the top n.

    n = None asks for nothing at all.
    """
    if n is None:
        return ()
    return tuple(_of_row(row, token, n) for row, token in zip(rows, tokens, strict=True))


def _of_row(row: NDArray[np.float32], token: int, n: int) -> TokenLogprobs:
    best = float(row.max())
    total = best + float(np.log(np.exp(row - best, dtype=np.float64).sum()))
    n = min(n, len(row))
    top = np.argpartition(row, len(row) - n)[len(row) - n :] if n else np.empty(0, np.intp)
    order = np.lexsort((top, -row[top]))  # the lower id first among equals
    return TokenLogprobs(
        token,
        float(row[token]) - total,
        tuple((int(top[i]), float(row[top[i]]) - total) for i in order),
    )
