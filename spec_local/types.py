"""The words of the project as types: what a round, a draft, a verdict is, and who talks to whom.

Nothing here knows llama.cpp, a terminal or a file. The engine (`decode.py`) sees only these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from spec_local.distribution import Distribution
from spec_local.logprobs import TokenLogprobs

Logits = NDArray[np.float32]
"""Logits, shape (rows, n_vocab) or (n_vocab,); often a view valid until the next evaluation."""

FinishReason = Literal["stop", "length", "context", "cancelled"]
"""Why a generation ended: an end token or stop string, `max_tokens`, a full context, the caller."""


@dataclass(frozen=True, slots=True)
class Draft:
    """Tokens a drafter proposes to follow the committed ones."""

    tokens: tuple[int, ...] = ()
    source: str = ""
    """Name of the drafter the tokens come from."""
    evaluated: int = 0
    """Tokens the draft model evaluated for this draft, catch-up included."""
    distributions: tuple[Distribution, ...] | None = None
    """For each token, and `end`, what it was drawn from; None if the drafter does not draw."""
    end: int | None = None
    """An end-of-generation token drafted after the others: judged, but never evaluated."""

    @property
    def judged(self) -> tuple[int, ...]:
        """The tokens a verification rule decides about."""
        return self.tokens if self.end is None else (*self.tokens, self.end)

    def distribution(self, index: int) -> Distribution:
        """What the token at that index was drawn from; without probabilities, a point mass."""
        if self.distributions is None:
            return Distribution.point(self.judged[index])
        return self.distributions[index]

    def before_end(self, is_end: Callable[[int], bool]) -> Draft:
        """The draft up to its first end-of-generation token, which becomes `end`.

        Nothing follows an end token, and whether it is drawn shows in the row before it. It cannot
        simply be dropped: a draft cut short *because* of what was drawn next would be biased.
        """
        cut = next((i for i, token in enumerate(self.tokens) if is_end(token)), None)
        if cut is None:
            return self
        return replace(self, tokens=self.tokens[:cut], end=self.tokens[cut])


NO_DRAFT = Draft()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What verification decided: the first `accepted` drafted tokens, then `token`.

    `token` is the recovered token after a rejection, the bonus token after full acceptance.
    """

    accepted: int
    token: int


@dataclass(frozen=True, slots=True)
class Round:
    """One target evaluation and what came of it; times are seconds."""

    tokens: tuple[int, ...]
    """Tokens emitted, in order: accepted drafted ones, then one of the target's own."""
    accepted: int
    drafted: int
    source: str
    """Drafter that proposed; empty if nothing was drafted."""
    evaluated: int
    """Tokens the target evaluated: the pending one (or the prompt's rest) and the draft."""
    draft_evaluated: int
    draft_seconds: float
    evaluate_seconds: float
    sample_seconds: float
    seconds: float
    """The whole round, from the drafter's call to the caches rolled back."""
    finish: FinishReason | None = None
    logprobs: tuple[TokenLogprobs, ...] = ()
    """For each token, if asked for."""


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts and times of one generation (or of many, added up); times are seconds.

    The first round evaluates the prompt, so the rates below leave it out.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    """Prompt tokens found in the target's cache and not evaluated again."""
    tokens: int = 0
    rounds: int = 0
    drafted: int = 0
    accepted: int = 0
    target_evaluated: int = 0
    draft_evaluated: int = 0
    prompt_seconds: float = 0.0
    """Time to first token."""
    seconds: float = 0.0
    draft_seconds: float = 0.0
    evaluate_seconds: float = 0.0
    sample_seconds: float = 0.0

    def plus(self, round_: Round) -> Stats:
        """These stats with one more round; the first round's time is the prompt's."""
        first = self.rounds == 0
        return replace(
            self,
            tokens=self.tokens + len(round_.tokens),
            rounds=self.rounds + 1,
            drafted=self.drafted + round_.drafted,
            accepted=self.accepted + round_.accepted,
            target_evaluated=self.target_evaluated + round_.evaluated,
            draft_evaluated=self.draft_evaluated + round_.draft_evaluated,
            prompt_seconds=round_.seconds if first else self.prompt_seconds,
            seconds=self.seconds + round_.seconds,
            draft_seconds=self.draft_seconds + round_.draft_seconds,
            evaluate_seconds=self.evaluate_seconds + (0.0 if first else round_.evaluate_seconds),
            sample_seconds=self.sample_seconds + round_.sample_seconds,
        )

    @property
    def decode_seconds(self) -> float:
        """Time of the rounds after the first."""
        return self.seconds - self.prompt_seconds

    @property
    def tokens_per_second(self) -> float:
        """Generated tokens after the first, per second spent on them."""
        return _ratio(self.tokens - 1, self.decode_seconds) if self.rounds > 1 else 0.0

    @property
    def acceptance_rate(self) -> float:
        """Accepted / drafted."""
        return _ratio(self.accepted, self.drafted)

    @property
    def mean_accepted_length(self) -> float:
        """Tokens emitted per target evaluation, the prompt's left out."""
        return _ratio(self.tokens - 1, self.rounds - 1)

    def as_dict(self) -> dict[str, Any]:
        """Every count, time and rate under its own name, ready for JSON."""
        names = (*self.__dataclass_fields__, "decode_seconds", "tokens_per_second")
        names += ("acceptance_rate", "mean_accepted_length")
        return {name: getattr(self, name) for name in names}


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0


class Sampler(Protocol):
    """Knows the distribution at the present position, and all randomness (see `sampling.py`)."""

    def distribution(self, row: Logits) -> Distribution:
        """What is drawn from at the present position, by its logits row (n_vocab,)."""

    def draw(self, row: Logits) -> int:
        """Draw the token of the present position from its logits row (n_vocab,) and move on.

        Raises NoTokenAllowed where nothing can be drawn; so do `distribution` and `propose`.
        """

    def emit(self, distribution: Distribution) -> int:
        """Draw the token of the present position from a distribution and move on."""

    def propose(self, row: Logits) -> tuple[int, Distribution | None]:
        """Draw for a draft and move on; also what from, where the verification rule needs it."""

    def chance(self, probability: float) -> bool:
        """Whether something of that probability happens; independent of all draws."""

    def accept(self, token: int) -> None:
        """Move on to the next position; the token stands at this one."""

    def possible(self, tokens: Sequence[int]) -> int:
        """How many of these tokens, from the first, grammar and bans let through."""

    def copy(self) -> Sampler:
        """An independent sampler in the same state; the caller closes it."""

    def follow(self, other: Sampler) -> None:
        """Take over the state of `other`, of which this one is a copy, to draft after it."""

    def close(self) -> None: ...


class EvaluationSession(Protocol):
    """A model with a cache of evaluated tokens (`llama/session.py`, or a table in the tests)."""

    n_ctx: int
    n_vocab: int
    max_rows: int
    """Most logits rows one evaluation can return."""

    @property
    def tokens(self) -> Sequence[int]:
        """The tokens the cache holds."""

    def evaluate(self, tokens: Sequence[int], rows: int = 1) -> Logits:
        """Evaluate tokens after those held; logits of the last `rows` of them, (rows, n_vocab).

        The result is a view, valid until the next evaluation.
        """

    def mark(self, depth: int) -> None:
        """Prepare for dropping up to `depth` tokens that are evaluated one by one from here on."""

    def truncate(self, length: int) -> None:
        """Forget everything after the first `length` tokens."""

    def sync(self, tokens: Sequence[int]) -> int:
        """Keep only the common prefix with `tokens` and return its length."""


DRAFTER_NAMES = ("none", "lookup", "model", "lookup-then-model")
"""What a drafter can be called; `drafters/__init__.py` knows how each is made."""


class Drafter(Protocol):
    """Proposes tokens; knows neither the target nor how its proposals are judged."""

    name: str

    def begin(self, context: Sequence[int], sampler: Sampler) -> None:
        """A generation starts from these committed tokens, drawn by this sampler."""

    def propose(self, context: Sequence[int], budget: int) -> Draft:
        """At most `budget` tokens to follow `context`, all committed tokens so far."""

    def observe(self, context: Sequence[int], verdict: Verdict) -> None:
        """The target judged the last draft; `context` already holds what was emitted."""

    def end(self, context: Sequence[int]) -> None:
        """The generation is over, whichever way; drop what is not committed.

        This also follows a draft that was interrupted before it was judged.
        """

    def close(self) -> None:
        """Free what the drafter owns."""


class Verifier(Protocol):
    """Judges a draft by the target's logits rows (len(draft.tokens) + 1, n_vocab)."""

    def __call__(self, rows: Logits, draft: Draft, sampler: Sampler) -> Verdict: ...


class Policy(Protocol):
    """Decides how much to draft (see `control.py`)."""

    def budget(self, context: Sequence[int]) -> int:
        """How many tokens to draft in the round that follows these committed tokens."""

    def observe(self, round_: Round) -> None:
        """A round is over."""
