"""What the server needs of a runner; `Runner` has it all, and tests have one without weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from spec_local.generation import Generation, GenerationOptions
from spec_local.sampling.settings import Sampling

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from spec_local.llama.messages import Message, Tool
    from spec_local.prompt import Prompt, Templating


class Vocabulary(Protocol):
    """Tokens and their texts."""

    @property
    def n_tokens(self) -> int:
        """How many there are."""

    @property
    def special_ids(self) -> Mapping[str, int]:
        """Ids of the special tokens there are, by name."""

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """Token ids of the text."""

    def piece(self, token: int) -> bytes:
        """The bytes the token writes; nothing for control tokens."""

    def text(self, token: int) -> bytes:
        """The token as the vocabulary spells it."""


class Template(Protocol):
    """A chat template."""

    @property
    def source(self) -> str | None:
        """Jinja; None where messages are written plainly."""

    @property
    def stop(self) -> tuple[str, ...]:
        """Stop strings the format needs."""

    def render(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> str:
        """The prompt for the assistant's next turn."""


class Serving(Protocol):
    """A runner."""

    sampling: Sampling

    @property
    def vocab(self) -> Vocabulary:
        """The vocabulary of the target."""

    @property
    def template(self) -> Template:
        """The chat template of the target."""

    @property
    def n_ctx(self) -> int:
        """Most tokens of a prompt and its answer together."""

    def tokenize(self, prompt: Prompt, **given: Unpack[Templating]) -> list[int]:
        """Tokens of a text or of messages."""

    def generate(self, prompt: Prompt, **options: Unpack[GenerationOptions]) -> Generation:
        """Continue the prompt, see `Runner.generate`."""

    def close(self) -> None:
        """End what runs and free everything."""
