"""From a prompt, however it is given, and what is expected of it, to the target's tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import index
from typing import Any, TypedDict

from spec_local.errors import ConfigError, require
from spec_local.llama.image_tokens import are_whole
from spec_local.llama.messages import Message, Tool
from spec_local.llama.model import Model
from spec_local.llama.pictures import shown
from spec_local.llama.quoting import tokenize_quoted
from spec_local.llama.template import ChatTemplate
from spec_local.llama.vocab import Vocabulary
from spec_local.thoughts import closed

Prompt = str | Sequence[Message] | Sequence[int]
"""A text to continue, messages to answer, or tokens to continue."""

_NO_TOOLS = "Tools need messages; a text is only continued."


class Templating(TypedDict, total=False):
    """What the chat template is given besides the messages."""

    tools: Sequence[Tool]
    """What the model may call; none by default."""
    variables: Mapping[str, object]
    """For this once, besides the template's own."""
    thinks: bool
    """False ends a thought that the template opens, so that the answer begins; else True."""


def is_conversation(prompt: Prompt) -> bool:
    """Whether it is messages, and neither a text nor tokens, which are continued as they are."""
    return not isinstance(prompt, str) and not all(hasattr(item, "__index__") for item in prompt)


def prompt_tokens(
    prompt: Prompt,
    model: Model,
    template: Callable[[], ChatTemplate],
    *,
    tools: Sequence[Tool] = (),
    variables: Mapping[str, object] | None = None,
    thinks: bool = True,
) -> list[int]:
    """Tokens of any prompt.

    template: asked for where there are messages. tools, variables, thinks: see `Templating`; for
    messages.
    Raises ConfigError for what is no prompt, and for token ids the model lacks.
    """
    vocab = model.vocab
    if isinstance(prompt, str):
        require(not tools, _NO_TOOLS)
        return vocab.tokenize(prompt, add_special=True, parse_special=True)
    items = _items(prompt)
    if is_conversation(items):
        text = template().varied(variables).render(shown(items, model.show), tools)
        return rendered_tokens(text if thinks else closed(text), vocab)
    require(not tools, _NO_TOOLS)
    try:
        tokens = [index(item) for item in items]
    except TypeError:
        raise ConfigError("The prompt has rows of tokens; give one row.") from None
    require(all(map(model.has, tokens)), "The prompt has token ids the model lacks.")
    if model.eyes is not None and min(tokens, default=0) < 0:
        whole = are_whole(tokens, model.eyes.positions)
        require(whole, "The prompt has an image in part; give it whole, with a text after it.")
    return tokens


def _items(prompt: object) -> list[Any]:
    """Messages or tokens, however they are held."""
    if isinstance(prompt, bytes | bytearray | memoryview):
        raise ConfigError("The prompt is bytes; decode them to a text first.")
    if isinstance(prompt, Mapping):
        raise ConfigError("The prompt is a single message; put it into a list.")
    if not isinstance(prompt, Iterable):
        kind = type(prompt).__name__
        raise ConfigError(f"The prompt must be a text, messages or tokens, not of type {kind}.")
    return list(prompt)


def rendered_tokens(text: str, vocab: Vocabulary) -> list[int]:
    """Tokens of what the chat template rendered.

    The beginning-of-sequence token is added where the model wants one and the template has not
    written it already, as llama.cpp does.
    """
    bos = vocab.special_ids.get("bos")
    written = bos is not None and text.startswith(vocab.text(bos).decode(errors="replace"))
    return tokenize_quoted(text, vocab, add_special=not written)


def predicted_tokens(prediction: str | None, vocab: Vocabulary) -> list[int]:
    """Tokens of what an answer is expected to be; none without an expectation.

    Raises ConfigError for an empty one.
    """
    if prediction is None:
        return []
    tokens = vocab.tokenize(prediction, add_special=False, parse_special=False)
    require(bool(tokens), "The prediction is empty; leave it out or say what is expected.")
    return tokens
