"""A conversation that evaluates only what is new in every turn."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, Protocol

from spec_local.errors import ConfigError, EngineError, require
from spec_local.generation import Chunk, Generation, GenerationOptions
from spec_local.llama.messages import Message, check_message
from spec_local.llama.quoting import quoted, tokenize_quoted
from spec_local.llama.template import ChatTemplate
from spec_local.llama.vocab import Vocabulary
from spec_local.prompt import Prompt, rendered_tokens
from spec_local.sampling.settings import Sampling
from spec_local.text import as_stops
from spec_local.thoughts import closed, opened, without_thoughts

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

    @property
    def sampling(self) -> Sampling:
        """How answers are drawn where an option does not say it."""

    def generate(self, prompt: Prompt, **options: Unpack[GenerationOptions]) -> Generation:
        """Continue the prompt, see `Runner.generate`."""


class _Spoken(NamedTuple):
    """A part of the conversation up to the end of an answer, as it follows on the part before."""

    text: str
    """As the template writes it."""
    tokens: list[int]


class Chat:
    """Messages so far, and the tokens they were.

    An answer's own tokens are kept, because tokenizing its text again can give others, and then
    nothing after them could be reused from the cache. What a model thought before an answer stays
    in the messages, but is not sent again: it is read once, when it is written.
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
        self.begins_thinking = ""
        """The mark by which the template has opened a thought, inside which the latest answer
        begins; empty if it has not."""
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
        self._forget_tokens()

    def _forget_tokens(self) -> None:
        self._spoken: list[_Spoken] = []
        self.tokens = 0
        """Tokens of the conversation, as far as they have been evaluated."""

    def _beginning(self) -> list[dict[str, str]]:
        return [{"role": "system", "content": self._system}] if self._system else []

    def use(self, runner: Answering) -> None:
        """Go on with another runner; its model, if it is another, reads the conversation anew."""
        if runner.vocab is not self._runner.vocab:
            self._forget_tokens()
        self._runner = runner

    def take_up(self, messages: Sequence[Message]) -> None:
        """Go on with messages of another conversation instead of these.

        Raises ConfigError if they are not turns of user and assistant, perhaps after a system
        message, which then replaces the present one.
        """
        said = checked_messages([*messages])
        if said[:1] and said[0]["role"] == "system":
            self._system = said.pop(0)["content"]
        self.reset()
        self.messages += said

    def undo(self) -> str | None:
        """Take back the last turn; what was said in it, None if there is none."""
        if not self.messages or self.messages[-1]["role"] != "assistant":
            return None
        *self.messages, said, _answer = self.messages
        return said["content"]

    def retry(self) -> Generation:
        """Say the same as in the last turn again; raises ConfigError if there was none."""
        ends = self.messages[-1:]
        require(bool(ends) and ends[0]["role"] == "assistant", "There is no turn to repeat.")
        *before, said, _answer = self.messages
        return self._send(before, said["content"])

    def send(self, content: str) -> Generation:
        """Say something; the chunks are the answer, evaluated as they are asked for.

        Where the context is full, the oldest turns are forgotten. An answer that is cut short, by
        closing or cancelling it or by an exception, stays in the conversation as far as it came.
        Raises what `Runner.generate` raises, and then the conversation is as before.
        """
        return self._send(self.messages, content)

    def _send(self, before: Sequence[dict[str, str]], content: str) -> Generation:
        """Say something after those messages; they and the answer then are the conversation."""
        messages = [*before, {"role": "user", "content": _whole(content)}]
        forgotten, text, prompt = self._fitted(messages)
        now = self.messages
        stop = as_stops(self._options.get("stop", ())) + self._runner.template.stop
        options: GenerationOptions = {**self._options, "stop": stop}
        self.generation = self._runner.generate(prompt, **options)
        self.forgotten, self.begins_thinking = forgotten, opened(text)
        return self.generation.passed_on(
            lambda generation: self._turn(generation, now, messages, text, prompt)
        )

    def _fitted(self, messages: list[dict[str, str]]) -> tuple[int, str, list[int]]:
        """Drop the oldest turns of the messages as far as need be: how many messages that were.

        And what is left, as the template writes it, and its tokens.
        """
        n_ctx, begin = self._runner.n_ctx, len(self._beginning())
        answer = min(self._options.get("max_tokens") or n_ctx, n_ctx // _ANSWER_SHARE)
        most, forgotten = n_ctx - answer, 0
        sampling = self._options.get("sampling") or self._runner.sampling
        while True:
            text = self._runner.template.render([*map(_as_sent, messages)], self._tools)
            text = text if sampling.json_schema is None else closed(text)
            prompt = self._prompt_tokens(text)
            if len(prompt) <= most or len(messages) <= begin + 1:
                return forgotten, text, prompt
            del messages[begin : begin + 2]
            forgotten += 2
            most = n_ctx // _KEPT_SHARE

    def _turn(
        self,
        generation: Generation,
        now: list[dict[str, str]],
        messages: list[dict[str, str]],
        text: str,
        prompt: list[int],
    ) -> Generator[Chunk, None, None]:
        """now: the conversation as it is; if it is another one at the end, that one is kept."""
        answer, tokens = "", list[int]()
        try:
            for chunk in generation:
                answer += chunk.text
                tokens += chunk.tokens
                yield chunk
        finally:
            if tokens and self.messages is now:
                mark = opened(text)
                said = f"{mark}\n{answer}" if mark else answer
                self.messages = [*messages, {"role": "assistant", "content": said}]
                with suppress(EngineError):  # the runner may have been closed meanwhile
                    self._remember(text, prompt, said, tokens)
            generation.close()

    def _prompt_tokens(self, text: str) -> list[int]:
        known, rest = self._known(text)
        if not known:
            return rendered_tokens(text, self._runner.vocab)
        kept = [token for spoken in known for token in spoken.tokens]
        return kept + tokenize_quoted(rest, self._runner.vocab, add_special=False)

    def _known(self, text: str) -> tuple[list[_Spoken], str]:
        """The parts that a rendered conversation begins with, and the rest of it."""
        known, rest = list[_Spoken](), text
        # Plain lines have no special token where the answer ends, and sentencepiece would put a
        # space in front of what follows.
        if self._runner.template.is_plain:
            return known, rest
        for spoken in self._spoken:
            if not rest.startswith(spoken.text):
                break
            known.append(spoken)
            rest = rest.removeprefix(spoken.text)
        return known, rest

    def _remember(self, text: str, prompt: list[int], said: str, tokens: Sequence[int]) -> None:
        """Keep the tokens of everything said, as far as they spell exactly what is sent again."""
        vocab = self._runner.vocab
        if vocab.is_end(tokens[-1]):
            tokens = tokens[:-1]
        self.tokens = len(prompt) + len(tokens)
        self._spoken, rest = self._known(text)
        sent = without_thoughts(said)
        if vocab.pieces(tokens).decode(errors="replace") == sent:
            before = sum(len(spoken.tokens) for spoken in self._spoken)
            whole = [*prompt[before:], *tokens]
            self._spoken.append(_Spoken(rest + quoted(sent, vocab), whole))


def _as_sent(message: dict[str, str]) -> dict[str, str]:
    """The message without the thoughts of an answer."""
    if message["role"] != "assistant":
        return message
    return {**message, "content": without_thoughts(message["content"])}


def _whole(text: str) -> str:
    """Without halves of characters, which a wrong locale or a JSON file may bring."""
    return text.encode(errors="replace").decode()


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
        require("tool_calls" not in entry, "A conversation has no calls of tools.")
        messages.append({"role": entry["role"], "content": _whole(entry["content"])})
    roles = [message["role"] for message in messages]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    require(
        turns == ["user", "assistant"] * (len(turns) // 2),
        "A conversation is turns of user and assistant, perhaps after a system message.",
    )
    return messages
