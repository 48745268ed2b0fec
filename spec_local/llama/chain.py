"""llama.cpp's sampler chain, applied to the few candidates that matter."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spec_local.llama.backend import lib
from spec_local.llama.vocab import Vocabulary
from spec_local.sampling.distribution import Ids
from spec_local.sampling.sampler import LogitsChain
from spec_local.sampling.settings import Sampling
from spec_local.sampling.types import Logits

CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
assert CANDIDATE.itemsize == ctypes.sizeof(lib.llama_token_data)

_KEEP = 0  # the samplers' min_keep, as in llama.cpp's common sampler
_ALWAYS = 1.0
_FEW = 128  # candidates that there is room for at first


class LlamaChain:
    """llama.cpp's samplers in the order of its common sampler (common/sampling.cpp); no draw.

    Samplers that would change nothing are left out. XTC stands apart, because whether it takes its
    chance is decided by keyed noise instead of its own generator.
    """

    def __init__(
        self, sampling: Sampling, *, n_vocab: int, n_ctx: int, vocab: Vocabulary | None = None
    ) -> None:
        """vocab: needed for DRY, and for the tokens that the model itself suppresses."""
        suppressed = vocab.suppressed if vocab is not None else ()
        bans = dict.fromkeys((*sampling.banned_tokens, *suppressed), -math.inf)
        bias = dict(sampling.logit_bias) | bans
        self.biased: Ids = np.array(sorted(bias), np.int32)
        self.banned: Ids = np.array(sorted(bans), np.int32)
        head = _bias(bias, n_vocab) + _penalties(sampling, n_vocab, n_ctx, vocab)
        if not sampling.greedy or sampling.reorders:
            head += _truncations(sampling)
        xtc, tail = [], []
        if sampling.excludes_top:
            xtc = [lib.llama_sampler_init_xtc(_ALWAYS, sampling.xtc_threshold, _KEEP, 0)]
        if not sampling.greedy:
            settings = (sampling.temperature, sampling.dynatemp_range, sampling.dynatemp_exponent)
            tail = [lib.llama_sampler_init_temp_ext(*settings)]
        if not xtc:
            head, tail = head + tail, []
        self._head, self._xtc, self._tail = map(_chained, (head, xtc, tail))
        self._candidates = _Candidates(_FEW)

    def apply(self, ids: Ids, logits: Logits, exclude_top: bool) -> tuple[Ids, Logits]:
        """Ids (n,) and logits (n,) of the candidates left, logits divided by the temperature.

        exclude_top: whether XTC takes its chance. Tokens at -inf may be left among the others.
        """
        if len(ids) > self._candidates.room:
            self._candidates = _Candidates(2 * len(ids))
        self._candidates.load(ids, logits)
        candidates = self._candidates.reference
        lib.llama_sampler_apply(self._head, candidates)
        if exclude_top:
            lib.llama_sampler_apply(self._xtc, candidates)
        if self._tail is not None:
            lib.llama_sampler_apply(self._tail, candidates)
        return self._candidates.left()

    def accept(self, token: int) -> None:
        """The token was emitted."""
        lib.llama_sampler_accept(self._head, token)

    def copy(self) -> LlamaChain:
        """An independent chain in the same state; the caller closes it."""
        twin = object.__new__(type(self))
        twin.biased, twin.banned = self.biased, self.banned
        twin._candidates = _Candidates(_FEW)
        parts = (self._head, self._xtc, self._tail)
        twin._head, twin._xtc, twin._tail = map(lib.llama_sampler_clone, parts)
        return twin

    def follow(self, other: LogitsChain) -> None:
        """Take over the state of a chain of which this one is a copy."""
        assert isinstance(other, LlamaChain)
        lib.llama_sampler_copy(other._head, self._head)

    def close(self) -> None:
        """Free the chain; twice is harmless."""
        parts = (self._head, self._xtc, self._tail)
        self._head = self._xtc = self._tail = None
        for part in parts:
            lib.llama_sampler_free(part)


class _Candidates:
    """Candidates in memory that is made once, with a view of it for llama.cpp and one for numpy.

    Every draw needs them, and making them takes longer than the samplers do: 22 µs of 35.
    """

    def __init__(self, room: int) -> None:
        """room: how many there may be."""
        self.room = room
        data = np.empty(room, CANDIDATE)
        self._ids, self._logits = data["id"], data["logit"]
        self._address = data.ctypes.data
        self._array = candidate_array(data)
        self.reference = lib.byref(self._array)
        """What llama.cpp's samplers take."""
        # The same memory as the array's first field, its pointer, but as a number.
        self._pointer = ctypes.c_size_t.from_buffer(self._array)

    def load(self, ids: Ids, logits: Logits) -> None:
        """Put these candidates (n,) in."""
        self._ids[: len(ids)] = ids
        self._logits[: len(ids)] = logits
        array = self._array
        self._pointer.value, array.size, array.selected = self._address, len(ids), -1
        array.sorted = False

    def left(self) -> tuple[Ids, Logits]:
        """Ids (n,) and logits (n,) of what the samplers have left."""
        # A sampler may shrink the array, reorder it, and let its pointer point to a part of it.
        first = (self._pointer.value - self._address) // CANDIDATE.itemsize
        last = first + self._array.size
        return self._ids[first:last].copy(), self._logits[first:last].copy()


def candidate_array(data: NDArray[np.void]) -> lib.llama_token_data_array:
    """llama.cpp's view of candidates (n,) of dtype CANDIDATE; valid as long as they are."""
    array = lib.llama_token_data_array()
    array.data = ctypes.cast(data.ctypes.data, lib.llama_token_data_p)
    array.size = len(data)
    array.selected = -1
    return array


Handles = list[lib.llama_sampler_p_ctypes]


def _chained(samplers: Handles) -> lib.llama_sampler_p_ctypes | None:
    """One sampler that applies these in order and owns them; None if there are none."""
    if not samplers:
        return None
    chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
    for sampler in samplers:
        lib.llama_sampler_chain_add(chain, sampler)
    return chain


def _bias(bias: dict[int, float], n_vocab: int) -> Handles:
    if not bias:
        return []
    pairs = [lib.llama_logit_bias(token, value) for token, value in bias.items()]
    array = (lib.llama_logit_bias * len(pairs))(*pairs)
    return [lib.llama_sampler_init_logit_bias(n_vocab, len(pairs), array)]


def _penalties(s: Sampling, n_vocab: int, n_ctx: int, vocab: Vocabulary | None) -> Handles:
    samplers = []
    if s.penalizes:
        window = _window(s.repeat_last_n, n_ctx)
        penalties = (s.repeat_penalty, s.frequency_penalty, s.presence_penalty)
        samplers.append(lib.llama_sampler_init_penalties(n_vocab, window, *penalties))
    if s.dries:
        assert vocab is not None
        window = _window(s.dry_penalty_last_n, n_ctx)
        breakers = _strings(s.dry_sequence_breakers)
        shape = (s.dry_multiplier, s.dry_base, s.dry_allowed_length, window)
        dry = lib.llama_sampler_init_dry(vocab.handle, *shape, breakers, len(breakers))
        samplers.append(dry)
    return samplers


def _window(last_n: int, n_ctx: int) -> int:
    """How many tokens a penalty looks back; -1 is the whole context, and there is no more."""
    return n_ctx if last_n < 0 else min(last_n, n_ctx)


def _strings(texts: Sequence[str]) -> ctypes.Array[ctypes.c_char_p]:
    return (ctypes.c_char_p * len(texts))(*(text.encode() for text in texts))


def _truncations(s: Sampling) -> Handles:
    samplers = []
    if s.top_n_sigma > 0:
        samplers.append(lib.llama_sampler_init_top_n_sigma(s.top_n_sigma))
    if s.top_k > 0:
        samplers.append(lib.llama_sampler_init_top_k(s.top_k))
    if s.typical_p < 1:
        samplers.append(lib.llama_sampler_init_typical(s.typical_p, _KEEP))
    if s.top_p < 1:
        samplers.append(lib.llama_sampler_init_top_p(s.top_p, _KEEP))
    if s.min_p > 0:
        samplers.append(lib.llama_sampler_init_min_p(s.min_p, _KEEP))
    return samplers
