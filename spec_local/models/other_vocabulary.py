"""A draft with another vocabulary than its target's: whether it can draft, and what to expect."""

from __future__ import annotations

import numpy as np

from spec_local.llama.shared_vocabulary import SharedVocabulary, Tokens
from spec_local.workloads.workloads import bundled

ENOUGH_TEXT = 0.95
"""Of the target's text, in tokens: a draft that has so much draws among the common tokens; another
one writes its own, and is told in the target's. docs/drafts.md has what was measured."""

REPORTED = ((0.696, 0.15), (0.798, 0.25), (0.998, 0.61))
"""Of the draft's tokens, how many are the target's; and how many drafted tokens were accepted, by
token-level intersection with Qwen2.5-7B as the target. From an author of arXiv 2502.05202 in vLLM's
pull request 38174 (March 2026); the first two by an implementation that was mended since."""


def shared_vocabulary(target: Tokens, draft: Tokens) -> SharedVocabulary | None:
    """What the two have in common; None if no text can be drafted with that."""
    sample = "\n".join(turn for prompt in bundled() for turn in prompt.turns)
    shared = SharedVocabulary(target, draft, sample)
    return shared if shared.written else None


def facts(shared: SharedVocabulary) -> list[str]:
    """What to know of a pair that has so much in common, a line each."""
    way = "draws among them" if draws_shared(shared) else "writes its own, told in the target's"
    accepted = reported_acceptance(shared.share_of_draft)
    return [
        f"common tokens: {len(shared.to_target):,}, which are {shared.share_of_draft:.0%} of the "
        f"draft's and {shared.share_of_target:.0%} of the target's",
        f"of a text of the target's, such as the benchmark's prompts, {shared.share_of_text:.0%} "
        f"are common tokens; the draft {way}",
        f"expect about {accepted:.0%} of drafted tokens to be accepted, by what was reported of "
        "drafts with as many common tokens (docs/drafts.md)",
    ]


def draws_shared(shared: SharedVocabulary) -> bool:
    """Whether a draft draws among the common tokens; else it writes its own."""
    return shared.share_of_text >= ENOUGH_TEXT


def reported_acceptance(share_of_draft: float) -> float:
    """What `REPORTED` says of such a share, in [0, 1]; between its lines, in proportion."""
    shares, accepted = np.array(REPORTED).T
    return float(np.interp(share_of_draft, shares, accepted))
