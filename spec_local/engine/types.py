"""The words of the project as types: what a round, a draft, a verdict is, and who talks to whom.

Nothing here knows llama.cpp, a terminal or a file. The engine (`decode.py`) sees only these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from spec_local.engine.rounds import Round
from spec_local.sampling.distribution import Distribution
from spec_local.sampling.types import Logits, Sampler


class Draft(NamedTuple):
    """Tokens a drafter proposes to follow the committed ones."""

    tokens: tuple[int, ...] = ()
    drafter: str = ""
    """Name of the drafter the tokens come from."""
    confidences: tuple[float, ...] = ()
    """How sure the drafter is of each of `judged`, in [0, 1]; and of `refused`, if there is one."""
    refused: int | None = None
    """A token drafted after the others that was not found worth verifying."""
    steps: tuple[tuple[int, float], ...] = ()
    """Every evaluation of the draft model: its tokens, catch-up included, and its seconds."""
    distributions: tuple[Distribution, ...] | None = None
    """For each token, and `end`, what it was drawn from; None if the drafter does not draw."""
    end: int | None = None
    """An end-of-generation token drafted after the others: judged, but never evaluated."""

    @property
    def evaluated(self) -> int:
        """Tokens the draft model evaluated."""
        return sum(tokens for tokens, _seconds in self.steps)

    @property
    def judged(self) -> tuple[int, ...]:
        """The tokens a verification rule decides about."""
        return self.tokens if self.end is None else (*self.tokens, self.end)

    def distribution(self, index: int) -> Distribution:
        """What the token at that index was drawn from; without probabilities, a point mass."""
        if self.distributions is None:
            return Distribution.point(self.judged[index])
        return self.distributions[index]

    def first(self, count: int) -> Draft:
        """The first `count` tokens of a draft that was looked up, not drawn."""
        return Draft(self.tokens[:count], self.drafter, confidences=self.confidences[:count])

    def before_end(self, is_end: Callable[[int], bool]) -> Draft:
        """The draft up to its first end-of-generation token, which becomes `end`.

        Nothing follows an end token, and whether it is drawn shows in the row before it. It cannot
        simply be dropped: a draft cut short *because* of what was drawn next would be biased.
        """
        cut = next((i for i, token in enumerate(self.tokens) if is_end(token)), None)
        if cut is None:
            return self
        return self._replace(tokens=self.tokens[:cut], end=self.tokens[cut])


NO_DRAFT = Draft()


class Verdict(NamedTuple):
    """What verification decided: the first `accepted` drafted tokens, then `token`.

    `token` is the recovered token after a rejection, the bonus token after full acceptance.
    """

    accepted: int
    token: int
    rechecked: bool = False
    """Whether the position of `token` was evaluated again, one token wide (`exact/guard.py`)."""
    guard_seconds: float = 0.0
    """Spent on that, and on finding out whether it is needed."""


class EvaluationSession(Protocol):
    """A model with a cache of evaluated tokens (`llama/session.py`, or a table in the tests)."""

    @property
    def n_ctx(self) -> int:
        """Tokens the cache has room for."""

    @property
    def n_vocab(self) -> int:
        """Logits in a row."""

    @property
    def max_rows(self) -> int:
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
        """Forget everything after the first `length` tokens, or more if the cache cannot go back.

        To where it was before the last evaluation of several rows, or was marked, it always can.
        """

    def sync(self, tokens: Sequence[int]) -> int:
        """Keep of the common prefix with `tokens` what the cache can, and return its length."""


class Pace(Protocol):
    """Tells a drafter that drafts token by token how far to go."""

    def more(self) -> bool:
        """Whether to draft another token."""

    def take(self, confidence: float) -> bool:
        """Whether the token just drafted belongs to the draft; if not, the draft ends before it."""


class Drafter(Protocol):
    """Proposes tokens; knows neither the target nor how its proposals are judged."""

    name: str

    def begin(self, context: Sequence[int], sampler: Sampler) -> None:
        """A generation starts from these committed tokens, drawn by this sampler."""

    def behind(self, context: Sequence[int]) -> int:
        """Tokens its model must evaluate before the first drafted one; 0 if drafting is free."""

    def propose(self, context: Sequence[int], budget: int, pace: Pace | None = None) -> Draft:
        """At most `budget` tokens to follow `context`, all committed tokens so far.

        pace: asked before and after every token that costs an evaluation.
        """

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


class Speculator(Protocol):
    """What the loop asks for drafts: drafters and the decision between them (`speculate.py`)."""

    name: str

    def begin(self, context: Sequence[int], sampler: Sampler, max_tokens: int) -> None:
        """A generation of at most max_tokens starts from these committed tokens."""

    def propose(self, context: Sequence[int], room: int) -> Draft:
        """At most `room` tokens to follow `context`, all committed tokens so far; perhaps none."""

    def observe(self, context: Sequence[int], verdict: Verdict, row: Logits) -> None:
        """The target judged the last draft; `context` already holds what was emitted.

        row: the target's logits (n_vocab,) for the first token emitted; only a view.
        """

    def learn(self, round_: Round) -> None:
        """The round is over, this is what it cost."""

    def plain_seconds(self) -> float:
        """What one token costs in plain decoding at present; 0.0 if that is not known."""

    def end(self, context: Sequence[int]) -> None:
        """The generation is over, whichever way."""

    def close(self) -> None:
        """Free what the drafters own."""
