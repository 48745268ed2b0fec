"""Drafting by looking up: what followed the last time these tokens stood here?

Prompt lookup decoding as in llama.cpp and transformers, with two additions: the longest match wins
(as in suffix automata, arXiv 2411.10666), and among equally long ones every drafted token is put to
the vote, the most frequent continuation first and the most recent one on a tie (as in
SuffixDecoding, arXiv 2411.04975).
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence

from spec_local.drafters.library import Library
from spec_local.drafters.suffix_index import BREAK, DEPTH, SuffixIndex
from spec_local.engine.draft import NO_DRAFT, Draft, Outcome
from spec_local.engine.types import Pace
from spec_local.errors import require
from spec_local.sampling.types import Sampler


class LookupDrafter:
    """Drafts from the committed tokens and a library; costs microseconds and needs no model.

    Every token enters the index once. The index outlives a generation, so a continued chat is not
    indexed again.
    """

    name = "lookup"

    def __init__(self, min_match: int = 2, library: Library | None = None) -> None:
        """min_match: how many tokens must agree before a continuation is proposed.

        library: other texts that are searched; its owner may change them between generations.
        """
        require(min_match >= 1, "the shortest lookup match must be at least 1 token.")
        self._min_match = min_match
        self._sampler: Sampler | None = None
        self._text = SuffixIndex()
        self._library = library or Library()

    def begin(self, context: Sequence[int], sampler: Sampler) -> None:
        known = self._text.tokens
        if known != array("i", broken(context[: len(known)])):
            self._text = SuffixIndex()
        self._sampler = sampler

    def behind(self, context: Sequence[int]) -> int:
        return 0

    def propose(self, context: Sequence[int], budget: int, pace: Pace | None = None) -> Draft:
        draft = self.after(context, (), budget)
        if not draft.tokens:
            return NO_DRAFT
        assert self._sampler is not None
        return draft.first(self._sampler.possible(draft.tokens))

    def after(self, context: Sequence[int], ahead: Sequence[int], budget: int) -> Draft:
        """What could follow tokens `ahead` of the context, which may be dropped again: they are
        looked up, and not entered. Nothing is asked of grammar and bans.
        """
        self._text.extend(broken(context[len(self._text) :]))
        ending = [*context[-DEPTH:], *ahead]
        best, beyond = NO_DRAFT, self._min_match - 1
        for text in self._library.texts(self._text):
            length, ends = text.longest(ending, beyond)
            tokens, shares = vote(text.tokens, ends, budget, ahead)
            if tokens:
                best, beyond = self._draft(tokens, shares, length), length
        return best

    def _draft(self, tokens: Sequence[int], shares: Sequence[float], length: int) -> Draft:
        # A long match goes on more often than a short one, and if the first drafted token is right,
        # the match of the second is one longer. n / (n + 1) is the rule of succession.
        confidences = (share * (1 - 1 / (length + i)) for i, share in enumerate(shares, start=1))
        return Draft(tuple(tokens), drafter=self.name, confidences=tuple(confidences))

    def observe(self, context: Sequence[int], outcome: Outcome) -> None:
        """Emitted tokens are indexed when the next draft is asked for."""

    def end(self, context: Sequence[int]) -> None:
        """The index stays; it knows committed tokens only."""
        self._sampler = None

    def close(self) -> None:
        self._text = SuffixIndex()


def broken(context: Sequence[int]) -> Sequence[int]:
    """Images, whose tokens are below zero, are no text: matches and drafts end there."""
    if min(context, default=0) >= 0:  # as nearly always
        return context
    return [max(BREAK, token) for token in context]


def vote(
    text: array[int], ends: Sequence[int], budget: int, ahead: Sequence[int] = ()
) -> tuple[list[int], list[float]]:
    """Follow all matches at once; those that disagree with the majority drop out.

    ends: positions in the text that follow the matches, the latest last. ahead: tokens after the
    text that belong to what was matched. Returns at most `budget` tokens, and the share of the
    votes that each got.

    A match that reaches the end of the text goes on into what is ahead and the draft itself, so a
    repetition is continued however short its period.
    """
    known, first, most = len(text), len(ahead), len(ahead) + budget
    draft, shares = [*ahead], list[float]()
    if not ends:
        return [], shares
    while len(ends) > 1 and len(draft) < most:
        followers = [text[end] if end < known else draft[end - known] for end in ends]
        votes = Counter(followers)
        most_votes = max(votes.values())
        chosen = next(token for token in reversed(followers) if votes[token] == most_votes)
        if chosen == BREAK:
            return draft[first:], shares
        shares.append(most_votes / len(ends))
        draft.append(chosen)
        ends = [end + 1 for end, token in zip(ends, followers, strict=True) if token == chosen]
    end = ends[0]
    while len(draft) < most:
        left = most - len(draft)
        run = list(text[end : end + left]) if end < known else draft[end - known :][:left]
        if BREAK in run:
            draft += run[: run.index(BREAK)]
            break
        draft += run
        end += len(run)
    drafted = draft[first:]
    return drafted, shares + [1.0] * (len(drafted) - len(shares))
