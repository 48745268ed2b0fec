"""What every policy answers; like the controller, policies know numbers and no tokens."""

from __future__ import annotations

from collections.abc import Sequence


class Policy:
    """Decides draft by draft how far a drafter goes, and learns what was accepted.

    It is the `Pace` (`engine/types.py`) of each of its drafts, and outlives them. Each policy names
    one of its parameters first, the one that is worth trying other values of.
    """

    def begin(self) -> None:
        """A generation starts."""

    def start(self) -> int:
        """A draft starts: the most tokens it may have; 0: this round drafts nothing."""
        raise NotImplementedError

    def more(self) -> bool:
        """Whether to draft another token; asked before each, the first one too."""
        return True

    def take(self, confidence: float) -> bool:
        """Whether the token just drafted belongs to the draft; if not, the draft ends before it.

        confidence: that of `Proposal`, which may be acted on under every acceptance rule.
        """
        return True

    def level(self, tokens: Sequence[float]) -> int:
        """The policies are of chains; a tree is drafted as if there were none."""
        return len(tokens)

    def nodes(self, confidences: Sequence[float], parents: Sequence[int], chain: int) -> int:
        """All of them, as above."""
        return len(parents)

    def judged(self, confidences: tuple[float, ...], right: int) -> None:
        """The target judged a draft of one token or more and accepted the first `right` of them."""
