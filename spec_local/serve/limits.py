"""What a client may ask for at most, so that no single one can take the machine from the others."""

from __future__ import annotations

from dataclasses import dataclass

from spec_local.errors import require


@dataclass(frozen=True, slots=True)
class Limits:
    """Most of everything that a client chooses."""

    body_bytes: int = 4 << 20
    """Size of a request."""
    schema_bytes: int = 64 << 10
    """Size of a JSON schema or a grammar, and of all tools together."""
    prompt_tokens: int | None = None
    """Length of a prompt; None is the context's."""
    seconds: float = 600.0
    """Time of one request from its turn on; its answer then ends as if by its length."""
    waiting: int = 32
    """Requests that wait for their turn, of one model."""

    def __post_init__(self) -> None:
        for name in ("body_bytes", "schema_bytes", "seconds"):
            require(getattr(self, name) > 0, f"The limit of {name} must be more than 0.")
        require(self.waiting >= 0, "The limit of waiting must be 0 or more.")
        fits = self.prompt_tokens is None or self.prompt_tokens > 0
        require(fits, "The limit of prompt_tokens must be more than 0.")
