"""llama.cpp's sampler chain in numpy, so that the engine is tested without llama.cpp.

`test_parity.py` compares it with the real one. It knows no DRY, typical, top-n-sigma and dynamic
temperature, and refuses them.
"""

from __future__ import annotations

import math
from collections import Counter, deque

import numpy as np

from spec_local.sampling.distribution import Ids
from spec_local.sampling.sampler import LogitsChain
from spec_local.sampling.settings import Sampling
from spec_local.sampling.types import Logits


class TableChain:
    """Logit bias, penalties, top-k, top-p, min-p, XTC, temperature, in this order."""

    def __init__(self, sampling: Sampling) -> None:
        assert not sampling.dries
        assert sampling.typical_p == 1
        assert sampling.top_n_sigma <= 0
        assert sampling.dynatemp_range == 0
        self._sampling = sampling
        self._bias = dict(sampling.logit_bias) | dict.fromkeys(sampling.banned_tokens, -math.inf)
        self.biased: Ids = np.array(sorted(self._bias), np.int32)
        self.banned: Ids = np.array(sorted(sampling.banned_tokens), np.int32)
        self._recent: deque[int] = deque(maxlen=max(0, sampling.repeat_last_n))

    def apply(self, ids: Ids, logits: Logits, exclude_top: bool) -> tuple[Ids, Logits]:
        """Ids (n,) and logits (n,) of the candidates left, logits divided by the temperature."""
        s = self._sampling
        logits = logits + np.array([self._bias.get(int(i), 0.0) for i in ids], np.float32)
        if s.penalizes:
            logits = self._penalized(ids, logits)
        if s.greedy and not s.reorders:
            return ids, logits
        order = np.argsort(-logits, kind="stable")[: s.top_k or None]
        ids, logits = ids[order], logits[order]
        if s.top_p < 1:
            kept = int(np.searchsorted(np.cumsum(_softmax(logits)), s.top_p)) + 1
            ids, logits = ids[:kept], logits[:kept]
        if s.min_p > 0:
            kept = int((logits >= logits[0] + math.log(s.min_p)).sum())
            ids, logits = ids[:kept], logits[:kept]
        if exclude_top:
            top = int((_softmax(logits) >= s.xtc_threshold).sum())
            ids, logits = ids[max(0, top - 1) :], logits[max(0, top - 1) :]
        return ids, logits if s.greedy else logits / np.float32(s.temperature)

    def _penalized(self, ids: Ids, logits: Logits) -> Logits:
        s, counts, found = self._sampling, Counter(self._recent), logits.copy()
        for place, token in enumerate(ids.tolist()):
            if count := counts[token]:
                logit = float(found[place])
                logit = logit * s.repeat_penalty if logit <= 0 else logit / s.repeat_penalty
                found[place] = logit - count * s.frequency_penalty - s.presence_penalty
        return found

    def accept(self, token: int) -> None:
        """The token was emitted."""
        self._recent.append(token)

    def copy(self) -> TableChain:
        twin = TableChain(self._sampling)
        twin._recent = self._recent.copy()
        return twin

    def follow(self, other: LogitsChain) -> None:
        """Take over the state of a chain of which this one is a copy."""
        assert isinstance(other, TableChain)
        self._recent = other._recent.copy()

    def close(self) -> None:
        pass


def _softmax(logits: Logits) -> np.ndarray:
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()
