"""Drafting by looking up: what followed the last time these tokens stood here?

Prompt lookup decoding as in llama.cpp and transformers, with two additions: matches are compared
back to their full length, so the longest context wins (as in suffix automata, arXiv 2411.10666),
and among equally long ones every drafted token is put to the vote, the most frequent continuation
first and the most recent one on a tie (as in SuffixDecoding, arXiv 2411.04975).
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Sequence

from spec_local.engine.types import NO_DRAFT, Draft, Pace, Verdict
from spec_local.errors import require
from spec_local.sampling.types import Sampler

_OCCURRENCES = 16
"""How many of the latest occurrences of an n-gram are remembered; bounds the work of a draft."""

_LONGEST = 64
"""Matches are compared back this far; longer ones count as equal."""


class LookupDrafter:
    """Drafts from the committed tokens themselves; costs microseconds and needs no model.

    Every token enters the index once: amortised O(1) per token, O(budget) per draft. The index
    outlives a generation, so a continued chat is not indexed again.
    """

    name = "lookup"

    def __init__(self, min_match: int = 2) -> None:
        """min_match: how many tokens must agree before a continuation is proposed."""
        require(min_match >= 1, "the shortest lookup match must be at least 1 token.")
        self._min_match = min_match
        self._tokens: list[int] = []
        self._sampler: Sampler | None = None
        self._reset()

    def _reset(self) -> None:
        self._tokens.clear()
        # n-gram -> positions just after its latest occurrences
        self._after: defaultdict[tuple[int, ...], deque[int]] = defaultdict(
            lambda: deque(maxlen=_OCCURRENCES)
        )

    def begin(self, context: Sequence[int], sampler: Sampler) -> None:
        if self._tokens != list(context[: len(self._tokens)]):
            self._reset()
        self._sampler = sampler

    def behind(self, context: Sequence[int]) -> int:
        return 0

    def propose(self, context: Sequence[int], budget: int, pace: Pace | None = None) -> Draft:
        self._index(context)
        ends, length = self._longest_matches()
        if not ends:
            return NO_DRAFT
        tokens, shares = self._vote(ends, budget)
        assert self._sampler is not None
        possible = self._sampler.possible(tokens)
        # A long match goes on more often than a short one, and if the first drafted token is right,
        # the match of the second is one longer. n / (n + 1) is the rule of succession.
        confidences = (share * (1 - 1 / (length + i)) for i, share in enumerate(shares, start=1))
        draft = Draft(tuple(tokens), drafter=self.name, confidences=tuple(confidences))
        return draft.first(possible)

    def observe(self, context: Sequence[int], verdict: Verdict) -> None:
        """Emitted tokens are indexed when the next draft is asked for."""

    def end(self, context: Sequence[int]) -> None:
        """The index stays; it knows committed tokens only."""
        self._sampler = None

    def close(self) -> None:
        self._reset()

    def _index(self, context: Sequence[int]) -> None:
        """Enter the new tokens. An n-gram is entered together with the token after it."""
        tokens, size = self._tokens, self._min_match
        for token in context[len(tokens) :]:
            if len(tokens) >= size:
                self._after[tuple(tokens[-size:])].append(len(tokens))
            tokens.append(token)

    def _longest_matches(self) -> tuple[list[int], int]:
        """Positions that follow the longest earlier occurrences of the text's end; their length."""
        tokens, size = self._tokens, self._min_match
        ends = self._after.get(tuple(tokens[-size:]), ()) if len(tokens) >= size else ()
        lengths = {end: self._match_length(end) for end in ends}
        longest = max(lengths.values(), default=0)
        return [end for end, length in lengths.items() if length == longest], longest

    def _match_length(self, end: int) -> int:
        """How many tokens before `end` equal those at the end of the text, up to _LONGEST."""
        tokens, last = self._tokens, len(self._tokens)
        length = self._min_match
        while length < min(end, _LONGEST) and tokens[end - length - 1] == tokens[last - length - 1]:
            length += 1
        return length

    def _vote(self, ends: list[int], budget: int) -> tuple[list[int], list[float]]:
        """Follow all matches at once; those that disagree with the majority drop out.

        Returns the tokens, and the share of the votes that each got.

        A match that reaches the end of the text goes on into the draft itself, so a repetition is
        continued however short its period.
        """
        tokens, known = self._tokens, len(self._tokens)
        draft, shares = list[int](), list[float]()

        def at(position: int) -> int:
            return tokens[position] if position < known else draft[position - known]

        for _ in range(budget):
            votes = Counter(map(at, ends))
            most = max(votes.values())
            chosen = next(at(end) for end in reversed(ends) if votes[at(end)] == most)
            shares.append(most / len(ends))
            ends = [end + 1 for end in ends if at(end) == chosen]
            draft.append(chosen)
        return draft, shares
