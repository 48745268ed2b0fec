"""From logits to a token: the sampler chain, the constraints, and keyed randomness.

A sampler stands at one position of the text. It tells the distribution there, draws from it, and
moves on by one token. Every random number is a hash of (seed, position), see `noise.py`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from spec_local.errors import NoTokenAllowed
from spec_local.sampling.alternatives import drawn_apart, drawn_with_noise, most_probable
from spec_local.sampling.certainty import MOST_RIVALS, cut_rivals, worst_cases
from spec_local.sampling.constraints import (
    Constraint,
    all_allow,
    all_allow_token,
    allowed_candidates,
)
from spec_local.sampling.distribution import Distribution, Ids, top_probability, top_token
from spec_local.sampling.noise import draft_seed, keyed_coin, keyed_gumbel, xtc_coin
from spec_local.sampling.prefilter import NO_IDS, candidates
from spec_local.sampling.settings import Sampling
from spec_local.sampling.top import require_possible, top_of
from spec_local.sampling.types import Logits, Proposal, Sampler


class LogitsChain(Protocol):
    """llama.cpp's chain of samplers (`llama/chain.py`)."""

    biased: Ids
    """Ids whose logits are always shifted, the banned ones among them."""
    banned: Ids
    """Ids that are never drawn."""

    def apply(self, ids: Ids, logits: Logits, exclude_top: bool) -> tuple[Ids, Logits]:
        """Ids (n,) and logits (n,) of the candidates left, logits divided by the temperature.

        exclude_top: whether XTC takes its chance. Tokens at -inf may be left among the others.
        """

    def accept(self, token: int) -> None:
        """The token was emitted."""

    def copy(self) -> LogitsChain: ...

    def follow(self, other: LogitsChain) -> None: ...

    def close(self) -> None: ...


class TokenSampler:
    """Draws one token per position: chain, constraints, then a Gumbel-max draw with keyed noise."""

    def __init__(
        self,
        sampling: Sampling,
        chain: LogitsChain,
        context: Sequence[int],
        constraints: Sequence[Constraint] = (),
    ) -> None:
        """`context`: the committed tokens; the first draw is for the position after them.

        The sampler closes the chain and the constraints, which stand at the generated text's start.
        """
        self._sampling = sampling
        self._chain = chain
        self._constraints = tuple(constraints)
        self._position = len(context)
        self._draw_seed = sampling.seed
        self._coins = 0
        window = sampling.look_back
        self._greedy = sampling.greedy
        self._takes_top = (
            self._greedy
            and not sampling.reorders
            and window == 0
            and not len(chain.biased)
            and not constraints
        )
        """Whether every draw is the most probable token of the row."""
        self._recent: deque[int] = deque(maxlen=window)
        self._counts: Counter[int] = Counter()  # of the tokens in `_recent`
        for token in context if window is None else context[max(0, len(context) - window) :]:
            if token >= 0:  # an image's say nothing of what was said
                self._remember(token)

    @property
    def kind(self) -> str:
        if self._greedy:
            return "greedy"
        return "drawn" if self._sampling.acceptance == "keyed" else "best"

    def distribution(self, row: Logits) -> Distribution:
        """What the token of the present position is drawn from, by its logits row (n_vocab,)."""
        free = self._unconstrained(row)
        return self._constrained(free, row) if self._constraints else free

    def draw(self, row: Logits) -> int:
        """Draw the token of the present position and move on.

        Constraints are asked about the drawn token first. With Gumbel-max that is no approximation:
        what wins among all tokens and is allowed also wins among the allowed ones.
        """
        token = top_of(row) if self._takes_top else self._best(row)[0]
        self.accept(token)
        return token

    def _best(self, row: Logits) -> tuple[int, Distribution]:
        """The token to be drawn, and what the chain alone leaves."""
        free = self._unconstrained(row)
        token = self._pick(free)
        if not all_allow_token(self._constraints, token):
            token = self._pick(self._constrained(free, row))
        return token, free

    def is_certain(self, row: Logits, difference: float) -> bool:
        token, kept = self._best(row)
        rivals = NO_IDS
        if not self._greedy:
            shifted, at = self._shifted(len(row)), self._position
            rivals = cut_rivals(row, token, kept, shifted, self._sampling, at, difference)
        cases = worst_cases(row, token, rivals, difference)
        return len(rivals) <= MOST_RIVALS and all(self._best(case)[0] == token for case in cases)

    def emit(self, distribution: Distribution) -> int:
        token = self._pick(distribution)
        self.accept(token)
        return token

    def propose(self, row: Logits) -> Proposal:
        if self._sampling.acceptance == "keyed":
            if self._takes_top:
                token, confidence = top_token(row)
                require_possible(row[token], row)
            else:
                token, free = self._best(row)
                confidence = top_probability(row) if self._greedy else free.probability(token)
            self.accept(token)
            return Proposal(token, confidence, None)
        distribution = self.distribution(row)
        top = float(distribution.probabilities.max())
        confidence = top_probability(row) if self._greedy else top
        return Proposal(self.emit(distribution), confidence, distribution)

    def alternatives(self, row: Logits, count: int) -> list[Proposal]:
        if self._greedy:
            first = top_of(row) if self._takes_top else self._best(row)[0]
            found = most_probable(row, first, self._chain.banned, count)
            return [each for each in found if all_allow_token(self._constraints, each.token)]
        drawn = self.distribution(row)
        noise = keyed_gumbel(self._draw_seed, self._position, drawn.ids)
        keyed = self._sampling.acceptance == "keyed"
        return (drawn_with_noise if keyed else drawn_apart)(drawn, noise, count)

    def chance(self, probability: float) -> bool:
        coin = keyed_coin(self._sampling.seed, self._position, self._coins)
        self._coins += 1
        return coin <= probability

    def accept(self, token: int) -> None:
        self._position += 1
        self._coins = 0
        if self._recent.maxlen != 0:
            self._remember(token)
        for constraint in self._constraints:
            constraint.accept(token)

    def possible(self, tokens: Sequence[int]) -> int:
        banned = set(self._chain.banned.tolist())
        copies = [constraint.copy() for constraint in self._constraints]
        try:
            for count, token in enumerate(tokens):
                if token in banned or not all_allow_token(copies, token):
                    return count
                for constraint in copies:
                    constraint.accept(token)
        except NoTokenAllowed:  # a dead end; the target may never get there
            return count
        else:
            return len(tokens)
        finally:
            for constraint in copies:
                constraint.close()

    def copy(self) -> TokenSampler:
        twin = object.__new__(type(self))
        twin._sampling, twin._chain = self._sampling, self._chain.copy()
        twin._greedy, twin._takes_top = self._greedy, self._takes_top
        twin._constraints = tuple(constraint.copy() for constraint in self._constraints)
        twin._position = self._position
        twin._recent, twin._counts = self._recent.copy(), self._counts.copy()
        twin._draw_seed, twin._coins = self._draw_seed, self._coins
        return twin

    def after(self, token: int) -> TokenSampler:
        twin = self.copy()
        if self._sampling.acceptance != "keyed":
            twin._draw_seed = draft_seed(self._draw_seed, token)
        try:
            twin.accept(token)
        except NoTokenAllowed:
            twin.close()
            raise
        return twin

    def follow(self, other: Sampler) -> None:
        assert isinstance(other, TokenSampler)
        self._position = other._position
        if self._sampling.acceptance != "keyed":
            self._draw_seed = draft_seed(self._sampling.seed, self._position)
        if self._recent.maxlen != 0:
            self._recent, self._counts = other._recent.copy(), other._counts.copy()
            self._chain.follow(other._chain)
        for mine, theirs in zip(self._constraints, other._constraints, strict=True):
            mine.follow(theirs)

    def close(self) -> None:
        self._chain.close()
        for constraint in self._constraints:
            constraint.close()

    def _remember(self, token: int) -> None:
        if len(self._recent) == self._recent.maxlen:
            gone = self._recent[0]
            self._counts[gone] -= 1
            if self._counts[gone] == 0:
                del self._counts[gone]
        self._recent.append(token)
        self._counts[token] += 1
        self._chain.accept(token)

    def _pick(self, distribution: Distribution) -> int:
        """Gumbel-max; of a point mass, its only token."""
        ids = distribution.ids
        if len(ids) == 1:
            return int(ids[0])
        noise = keyed_gumbel(self._draw_seed, self._position, ids)
        return int(ids[np.argmax(np.log(distribution.probabilities) + noise)])

    def _unconstrained(self, row: Logits) -> Distribution:
        """What the chain leaves of the logits."""
        sampling = self._sampling
        shifted = self._shifted(len(row))
        if self._greedy and not len(shifted) and not sampling.reorders:
            return Distribution.point(top_of(row))
        return self._through_chain(row, candidates(row, sampling, shifted))

    def _through_chain(self, row: Logits, ids: Ids) -> Distribution:
        """What the chain leaves of the tokens (n,)."""
        sampling = self._sampling
        logits, banned = row[ids], self._chain.banned
        possible = logits[~np.isin(ids, banned)] if len(banned) else logits
        require_possible(possible.max(initial=-np.inf), row)
        if len(ids) == 1:  # no sampler removes the last one
            return Distribution.point(int(ids[0]))
        exclude_top = sampling.excludes_top and (
            xtc_coin(sampling.seed, self._position) <= sampling.xtc_probability
        )
        ids, logits = self._chain.apply(ids, logits, exclude_top)
        if self._greedy:  # the lowest id of equal ones, as argmax has it
            return Distribution.point(int(ids[logits == logits.max()].min()))
        return Distribution.of_logits(ids, logits)

    def _shifted(self, n_vocab: int) -> Ids:
        """Ids (n,) below n_vocab whose logits the chain shifts."""
        biased = self._chain.biased
        if not self._counts and not len(biased):
            return NO_IDS
        recent = np.fromiter(self._counts, np.int32, len(self._counts))
        shifted = np.union1d(recent, biased)
        return shifted[shifted < n_vocab]

    def _constrained(self, free: Distribution, row: Logits) -> Distribution:
        """What the constraints leave of the chain's distribution, brought to the sum 1.

        Only if that is nothing, the chain runs again on what they allow of the whole vocabulary.
        """
        allowed = all_allow(self._constraints, free.ids)
        if allowed.any():
            return Distribution.of_weights(free.ids[allowed], free.probabilities[allowed])
        shifted = self._shifted(len(row))
        ids = allowed_candidates(row, self._sampling, self._constraints, shifted)
        return self._through_chain(row, ids)
