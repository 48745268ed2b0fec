"""A conversation that evaluates only what is new in every turn."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Protocol

from spec_local.errors import ConfigError, require
from spec_local.generation import Chunk, Generation, GenerationOptions
from spec_local.llama.messages import check_message
from spec_local.llama.quoting import quoted, tokenize_quoted
from spec_local.llama.template import ChatTemplate
from spec_local.llama.vocab import Vocabulary
from spec_local.prompt import Prompt, rendered_tokens

if TYPE_CHECKING:
    from typing_extensions import Unpack

_ANSWER_SHARE = 4
"""An answer shall have one of so many parts of the context, if it may be that long."""
_KEPT_SHARE = 2
"""Where turns have to be forgotten, so many that what is left fills one of so many parts: to forget
one in every turn would be to read all others anew in every turn."""


class Answering(Protocol):
    """What a conversation needs of a runner."""

    @property
    def template(self) -> ChatTemplate:
        """The chat template of the target."""

    @property
    def vocab(self) -> Vocabulary:
        """The vocabulary of the target."""

    @property
    def n_ctx(self) -> int:
        """Most tokens of a prompt and its answer together."""

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
        self._tools = options.pop("tools", ())
        self._options = options
        self._system = system
        self.messages: list[dict[str, str]]
        self.generation: Generation | None = None
        """The latest turn's generation, for its statistics and for cancelling it."""
        self.forgotten = 0
        """Messages that the latest turn had to drop, the oldest first, as the context was full."""
        self.reset()

    @property
    def system(self) -> str | None:
        """The system message; setting it changes what was said at the beginning."""
        return self._system

    @system.setter
    def system(self, content: str | None) -> None:
        said = [message for message in self.messages if message["role"] != "system"]
        self._system = content
        self.messages = [*self._beginning(), *said]

    def reset(self) -> None:
        """Forget the conversation, but not the system message."""
        self.messages = self._beginning()
        self._text = ""
        self._tokens: list[int] = []

    def _beginning(self) -> list[dict[str, str]]:
        return [{"role": "system", "content": self._system}] if self._system else []

    @property
    def tokens(self) -> int:
        """Tokens of the conversation, as far as they have been evaluated."""
        return len(self._tokens)

    def undo(self) -> str | None:
        """Take back the last turn; what was said in it, None if there is none."""
        if not self.messages or self.messages[-1]["role"] != "assistant":
            return None
        *self.messages, said, _answer = self.messages
        return said["content"]

    def retry(self) -> Generation:
        """Say the same as in the last turn again; raises ConfigError if there was none."""
        before = [*self.messages]
        said = self.undo()
        require(said is not None, "There is no turn to repeat.")
        assert said is not None
        try:
            return self.send(said)
        except BaseException:
            self.messages = before
            raise

    def send(self, content: str) -> Generation:
        """Say something; the chunks are the answer, evaluated as they are asked for.

        Where the context is full, the oldest turns are forgotten. An answer that is cut short, by
        closing or cancelling it or by an exception, stays in the conversation as far as it came.
        Raises what `Runner.generate` raises, and then the conversation is as before.
        """
        messages = [*self.messages, {"role": "user", "content": content}]
        forgotten, text, prompt = self._fitted(messages)
        self.generation = self._runner.generate(prompt, **self._options)
        self.forgotten = forgotten
        return self.generation.passed_on(
            lambda generation: self._turn(generation, messages, text, prompt)
        )

    def _fitted(self, messages: list[dict[str, str]]) -> tuple[int, str, list[int]]:
        """Drop the oldest turns of the messages as far as need be: how many messages that were.

        And what is left, as the template writes it, and its tokens.
        """
        n_ctx, begin = self._runner.n_ctx, len(self._beginning())
        answer = min(self._options.get("max_tokens") or n_ctx, n_ctx // _ANSWER_SHARE)
        most, forgotten = n_ctx - answer, 0
        while True:
            text = self._runner.template.render(messages, self._tools)
            prompt = self._prompt_tokens(text)
            if len(prompt) <= most or len(messages) <= begin + 1:
                return forgotten, text, prompt
            del messages[begin : begin + 2]
            forgotten += 2
            most = n_ctx // _KEPT_SHARE

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


def checked_messages(found: object) -> list[dict[str, str]]:
    """Messages as they were kept somewhere; raises ConfigError if they are no conversation.

    Turns of user and assistant, one after the other, perhaps after a system message.
    """
    if not isinstance(found, list):
        raise ConfigError("A conversation is a list of messages.")
    messages: list[dict[str, str]] = []
    for entry in found:
        check_message(entry)
        require(isinstance(entry.get("content"), str), "A message's content must be text.")
        messages.append({"role": entry["role"], "content": entry["content"]})
    roles = [message["role"] for message in messages]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    require(
        turns == ["user", "assistant"] * (len(turns) // 2),
        "A conversation is turns of user and assistant, perhaps after a system message.",
    )
    return messages
