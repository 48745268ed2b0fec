"""A conversation that evaluates only what is new in every turn."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Protocol

from spec_local.generation import Chunk, Generation, GenerationOptions
from spec_local.llama.quoting import quoted, tokenize_quoted
from spec_local.llama.template import ChatTemplate
from spec_local.llama.vocab import Vocabulary
from spec_local.prompt import Prompt, rendered_tokens

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Answering(Protocol):
    """What a conversation needs of a runner."""

    @property
    def template(self) -> ChatTemplate:
        """The chat template of the target."""

    @property
    def vocab(self) -> Vocabulary:
        """The vocabulary of the target."""

    def generate(self, prompt: Prompt, **options: Unpack[GenerationOptions]) -> Generation:
        """Continue the prompt, see `Runner.generate`."""


class Chat:
    """Messages so far, and the tokens they were.

    An answer's own tokens are kept, because tokenizing its text again can give others, and then
    nothing after them could be reused from the cache.
    """

    def __init__(
        self, runner: Answering, system: str | None = None, **options: Unpack[GenerationOptions]
    ) -> None:
        """system: the system message, if any; options: for `Runner.generate`, every turn."""
        self._runner = runner
        self._options = options
        self._system = system
        self.generation: Generation | None = None
        """The latest turn's generation, for its statistics and for cancelling it."""
        self.reset()

    def reset(self) -> None:
        """Forget the conversation, but not the system message."""
        self.messages: list[dict[str, str]] = []
        if self._system:
            self.messages.append({"role": "system", "content": self._system})
        self._text = ""
        self._tokens: list[int] = []

    def send(self, content: str) -> Generator[Chunk, None, None]:
        """Say something; the chunks are the answer, evaluated as they are asked for.

        An answer that is cut short, by closing its chunks or by an exception, stays in the
        conversation as far as it came. Raises what `Runner.generate` raises, and then the
        conversation is as before.
        """
        messages = [*self.messages, {"role": "user", "content": content}]
        text = self._runner.template.render(messages)
        prompt = self._prompt_tokens(text)
        self.generation = self._runner.generate(prompt, **self._options)
        return self._turn(self.generation, messages, text, prompt)

    def _turn(
        self, generation: Generation, messages: list[dict[str, str]], text: str, prompt: list[int]
    ) -> Generator[Chunk, None, None]:
        answer, tokens = "", list[int]()
        try:
            for chunk in generation:
                answer += chunk.text
                tokens += chunk.tokens
                yield chunk
        finally:
            generation.close()
            if tokens:
                self.messages = [*messages, {"role": "assistant", "content": answer}]
                self._remember(text, prompt, answer, tokens)

    def _prompt_tokens(self, text: str) -> list[int]:
        # Plain lines have no special token where the answer ends, and sentencepiece would put a
        # space in front of what follows.
        known = self._text and not self._runner.template.is_plain
        if known and text.startswith(self._text):
            rest = text[len(self._text) :]
            return self._tokens + tokenize_quoted(rest, self._runner.vocab, add_special=False)
        return rendered_tokens(text, self._runner.vocab)

    def _remember(self, text: str, prompt: list[int], answer: str, tokens: Sequence[int]) -> None:
        """Keep the tokens of everything said, as far as they spell exactly its text."""
        vocab = self._runner.vocab
        if vocab.is_end(tokens[-1]):
            tokens = tokens[:-1]
        self._text, self._tokens = text, prompt
        if vocab.pieces(tokens).decode(errors="replace") == answer:
            self._text = text + quoted(answer, vocab)
            self._tokens = [*prompt, *tokens]
