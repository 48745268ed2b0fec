"""Mixtures of experts: how much of a model is read for one token, and for several at once.

Of a dense model all weights are read once, however many tokens are evaluated together. In a mixture
each token has experts of its own, so several tokens read more of the model than one. How much more
is a formula here, which serves where nothing was measured; docs/moe.md has both side by side.
"""

from __future__ import annotations

from dataclasses import dataclass

from spec_local.gguf.header import GGUFHeader


@dataclass(frozen=True, slots=True)
class Experts:
    """What a model's experts are to its weights."""

    count: int
    """Of a layer: n."""
    used: int
    """By each token: m."""
    bytes: int
    """Of all weights that one token is computed with."""
    share: float
    """How much of these bytes are its experts'."""

    def touched(self, tokens: int) -> float:
        """Different experts of a layer that so many tokens ask for: E(w) = n (1 - (1 - m/n)^w).

        So it is if every token chooses for itself, and no expert is liked better than another.
        Tokens of real text choose alike to some extent, and touch fewer.
        """
        return self.count * (1.0 - (1.0 - self.used / self.count) ** tokens)

    def weights_read(self, tokens: int) -> float:
        """Bytes of weights that are read for so many tokens at once, those of one token being 1."""
        return 1.0 + self.share * (self.touched(tokens) / self.used - 1.0)


def experts_of(header: GGUFHeader) -> Experts | None:
    """Those of a model; None if it is dense, or uses all of them for every token."""
    count, used = map(header.hyperparameter, ("expert_count", "expert_used_count"))
    experts = sum(header.tensors.expert_bytes.values())
    if not (0 < used < count and experts):
        return None
    own = experts * used // count
    others = sum(header.tensors.layer_bytes.values()) + header.tensors.output_bytes - experts
    return Experts(count, used, others + own, own / (others + own))
