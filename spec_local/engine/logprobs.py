"""Log-probabilities of the target: what it thought of a token, and what else it considered."""

from __future__ import annotations

from collections.abc import Sequence
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
    rows: NDArray[np.float32], path: Sequence[int], tokens: Sequence[int], n: int | None
) -> tuple[TokenLogprobs, ...]:
    """For each token, judged by its row of logits, its log-probability and the top n.

    rows: (n, n_vocab); the first token's is the first, and each other's is the one after that of
    the path's node before it.
    n = None asks for nothing at all.
    """
    if n is None:
        return ()
    judged = [rows[0], *(rows[node + 1] for node in path)]
    return tuple(_of_row(row, token, n) for row, token in zip(judged, tokens, strict=True))


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
