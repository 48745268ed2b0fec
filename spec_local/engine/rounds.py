"""What a round was, and what many of them add up to: counts and seconds."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from spec_local.engine.logprobs import TokenLogprobs

FinishReason = Literal["stop", "length", "context", "cancelled"]
"""Why a generation ended: an end token or stop string, `max_tokens`, a full context, the caller."""


class Round(NamedTuple):
    """One target evaluation and what came of it; times are seconds."""

    tokens: tuple[int, ...]
    """Tokens emitted, in order: accepted drafted ones, then one of the target's own."""
    accepted: int
    drafted: int
    drafter: str
    """Drafter that proposed; empty if nothing was drafted."""
    evaluated: int
    """Tokens the target evaluated: the pending one (or the prompt's rest) and the draft."""
    draft_evaluated: int
    draft_seconds: float
    evaluate_seconds: float
    sample_seconds: float
    seconds: float
    """The whole round, from the drafter's call to the caches rolled back."""
    rechecked: bool = False
    """Whether a near tie was evaluated again, one token wide."""
    guard_seconds: float = 0.0
    """Spent on that, and on finding near ties."""
    plain_seconds: float = 0.0
    """What one token costs in plain decoding at present, as far as is known; else 0.0."""
    finish: FinishReason | None = None
    logprobs: tuple[TokenLogprobs, ...] = ()
    """For each token, if asked for."""


class Earned(NamedTuple):
    """What one drafter did in a generation."""

    rounds: int = 0
    """Rounds in which it drafted."""
    drafted: int = 0
    accepted: int = 0

    def plus(self, round_: Round) -> Earned:
        """The same with one more round of its own."""
        return Earned(
            self.rounds + 1, self.drafted + round_.drafted, self.accepted + round_.accepted
        )


NOTHING: Mapping[str, Earned] = MappingProxyType({})


class Stats(NamedTuple):
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
    rechecked: int = 0
    """Near ties that were evaluated again, one token wide."""
    prompt_seconds: float = 0.0
    """Time to first token."""
    seconds: float = 0.0
    draft_seconds: float = 0.0
    evaluate_seconds: float = 0.0
    sample_seconds: float = 0.0
    guard_seconds: float = 0.0
    plain_seconds: float = 0.0
    """What plain decoding would take, by the cost curve, for the tokens whose cost is known."""
    estimated_seconds: float = 0.0
    """What those tokens took."""
    by_drafter: Mapping[str, Earned] = NOTHING
    """Who drafted how much, and what of it was accepted; empty if nobody did."""

    def plus(self, round_: Round) -> Stats:
        """These stats with one more round; the first round's time is the prompt's."""
        first = self.rounds == 0
        estimated = round_.plain_seconds > 0 and not first
        plain = len(round_.tokens) * round_.plain_seconds + round_.sample_seconds
        earned = self.by_drafter
        if name := round_.drafter:
            earned = {**earned, name: earned.get(name, Earned()).plus(round_)}
        return Stats(
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens,
            tokens=self.tokens + len(round_.tokens),
            rounds=self.rounds + 1,
            drafted=self.drafted + round_.drafted,
            accepted=self.accepted + round_.accepted,
            target_evaluated=self.target_evaluated + round_.evaluated,
            draft_evaluated=self.draft_evaluated + round_.draft_evaluated,
            rechecked=self.rechecked + round_.rechecked,
            prompt_seconds=round_.seconds if first else self.prompt_seconds,
            seconds=self.seconds + round_.seconds,
            draft_seconds=self.draft_seconds + round_.draft_seconds,
            evaluate_seconds=self.evaluate_seconds + (0.0 if first else round_.evaluate_seconds),
            sample_seconds=self.sample_seconds + round_.sample_seconds,
            guard_seconds=self.guard_seconds + round_.guard_seconds,
            plain_seconds=self.plain_seconds + (plain if estimated else 0.0),
            estimated_seconds=self.estimated_seconds + (round_.seconds if estimated else 0.0),
            by_drafter=earned,
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

    @property
    def speedup(self) -> float:
        """Estimated: time of plain decoding / time taken; 0.0 if plain decoding's is not known."""
        return _ratio(self.plain_seconds, self.estimated_seconds)

    def as_dict(self) -> dict[str, Any]:
        """Every count, time and rate under its own name, ready for JSON."""
        rates = ["decode_seconds", "tokens_per_second", "acceptance_rate", "mean_accepted_length"]
        found = {name: getattr(self, name) for name in (*rates, "speedup")}
        earned = {name: each._asdict() for name, each in self.by_drafter.items()}
        return self._asdict() | found | {"by_drafter": earned}


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0
