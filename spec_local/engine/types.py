"""The words of the project as types: who talks to whom, about drafts (`draft.py`) and rounds.

Nothing here knows llama.cpp, a terminal or a file. The engine (`decode.py`) sees only these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from spec_local.engine.draft import Draft, Outcome, Verdict
from spec_local.engine.rounds import Round
from spec_local.sampling.types import Logits, Sampler


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

    @property
    def branches(self) -> int:
        """Most leaves of a tree; 1 if the memory cannot branch."""

    def evaluate(
        self, tokens: Sequence[int], rows: int = 1, parents: Sequence[int] | None = None
    ) -> Logits:
        """Evaluate tokens after those held; logits of the last `rows` of them, (rows, n_vocab).

        parents: of the last so many tokens, which are nodes of a tree that begins after those held.
        More may be added to it, as long as it is neither kept nor dropped; they are numbered in the
        order of their evaluation. None: every token is held from here on.
        The result is a view, valid until the next evaluation.
        """

    def keep(self, path: Sequence[int]) -> None:
        """Hold these nodes of the tree, in their order, and drop all others.

        Where there is no tree it does nothing.
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
    """Tells a drafter whose tokens cost evaluations how far to go, one by one or level by level."""

    def more(self) -> bool:
        """Whether to draft another token."""

    def take(self, confidence: float) -> bool:
        """Whether the token just drafted belongs to the draft; if not, the draft ends before it."""

    def level(self, tokens: Sequence[float]) -> int:
        """How many nodes of a tree to evaluate next, all at once, for their children; 0: none.

        tokens: of each node so many more may be accepted then, the likeliest node first.
        """

    def nodes(self, confidences: Sequence[float], parents: Sequence[int], chain: int) -> int:
        """How many nodes of a tree are to be verified, the likeliest ones.

        chain: so many, at the beginning, are what would have been drafted without branches.
        """


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

    def observe(self, context: Sequence[int], outcome: Outcome) -> None:
        """The target judged a draft, this drafter's or another's; `context` already holds what was
        emitted."""

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

    def observe(self, context: Sequence[int], outcome: Outcome) -> None:
        """The target judged the last draft; `context` already holds what was emitted."""

    def learn(self, round_: Round) -> None:
        """The round is over, this is what it cost."""

    def plain_seconds(self) -> float:
        """What one token costs in plain decoding at present; 0.0 if that is not known."""

    def end(self, context: Sequence[int]) -> None:
        """The generation is over, whichever way."""

    def close(self) -> None:
        """Free what the drafters own."""
