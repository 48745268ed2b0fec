"""What a draft model has drawn, before it is a draft."""

from __future__ import annotations

from dataclasses import dataclass, field

from spec_local.engine.draft import Draft
from spec_local.sampling.distribution import Distribution


@dataclass(slots=True)
class Drawn:
    """Tokens in their order, and what is known of each."""

    tokens: list[int] = field(default_factory=list)
    confidences: list[float] = field(default_factory=list)
    """That of `refused`, if there is one, comes last."""
    distributions: list[Distribution] = field(default_factory=list)
    """What each was drawn from, where the verification rule needs it; else empty."""
    steps: list[tuple[int, float]] = field(default_factory=list)
    """Every evaluation of the model: its tokens, and its seconds."""
    refused: int | None = None
    """A token drawn after the others that was not found worth verifying."""

    def draft(self, drafter: str) -> Draft:
        """All of it, as that drafter's."""
        return Draft(
            tuple(self.tokens),
            drafter,
            distributions=tuple(self.distributions) or None,
            confidences=tuple(self.confidences),
            refused=self.refused,
            steps=tuple(self.steps),
        )
