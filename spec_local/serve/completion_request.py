"""What is asked of /v1/completions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from spec_local.errors import require
from spec_local.serve.chat_request import MOST_TOP_LOGPROBS
from spec_local.serve.parameters import Parameters, TokenId, Unsupported

if TYPE_CHECKING:
    from spec_local.prompt import Prompt

_DEFAULT_TOKENS = 16
"""As OpenAI has it."""
_MOST_CHOICES = 128
"""Of a request, all prompts together."""


class CompletionRequest(Parameters):
    """Prompts, and how they are continued."""

    prompt: str | list[str] | list[TokenId] | list[list[TokenId]] = Field(
        description="Texts, or tokens, which are continued as they are."
    )
    max_tokens: int | None = Field(None, ge=0)
    logprobs: int | None = Field(None, ge=0, le=MOST_TOP_LOGPROBS)
    echo: bool | None = Field(
        None, description="Write the prompt first; with logprobs also what the model thinks of it."
    )
    best_of: int | None = Field(None, ge=1, description="As many as n: nothing is chosen from.")
    suffix: Unsupported = None

    def prompts(self) -> list[Prompt]:
        """One or several; raises ConfigError for none."""
        given: Any = self.prompt
        one = isinstance(given, str) or (bool(given) and isinstance(given[0], int))
        prompts: list[Prompt] = [given] if one else given
        require(bool(prompts) and all(map(_is_there, prompts)), "The prompt is empty.")
        chosen_from = self.best_of or self.n or 1
        require(chosen_from == (self.n or 1), "best_of must be n, or left out: none is chosen.")
        choices = len(prompts) * (self.n or 1)
        require(choices <= _MOST_CHOICES, f"At most {_MOST_CHOICES} prompts times n in a request.")
        return prompts

    @property
    def most_tokens(self) -> int:
        """Of each choice; 0 with echo alone."""
        most = _DEFAULT_TOKENS if self.max_tokens is None else self.max_tokens
        require(most > 0 or bool(self.echo), "max_tokens must be at least 1, but with echo.")
        return most

    @property
    def scored(self) -> int | None:
        """How many of the best at every position of the prompt; None does not score it."""
        return self.logprobs if self.echo else None


def _is_there(prompt: Sequence[object]) -> bool:
    return len(prompt) > 0
