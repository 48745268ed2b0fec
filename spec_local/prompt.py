"""From a prompt, however it is given, and what is expected of it, to the target's tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from spec_local.errors import require
from spec_local.llama.messages import Message, Tool
from spec_local.llama.quoting import tokenize_quoted
from spec_local.llama.template import ChatTemplate
from spec_local.llama.vocab import Vocabulary

Prompt = str | Sequence[Message] | Sequence[int]
"""A text to continue, messages to answer, or tokens to continue."""


def prompt_tokens(
    prompt: Prompt,
    vocab: Vocabulary,
    template: Callable[[], ChatTemplate],
    tools: Sequence[Tool] = (),
) -> list[int]:
    """Tokens of any prompt.

    template: asked for where there are messages. tools: for messages only.
    Raises ConfigError for token ids the model lacks.
    """
    if not isinstance(prompt, str) and not all(isinstance(item, int) for item in prompt):
        return rendered_tokens(template().render(prompt, tools), vocab)  # type: ignore[arg-type]
    require(not tools, "Tools need messages; a text is only continued.")
    if isinstance(prompt, str):
        return vocab.tokenize(prompt, add_special=True, parse_special=True)
    tokens: list[int] = list(prompt)  # type: ignore[arg-type]
    known = range(vocab.n_tokens)
    require(all(token in known for token in tokens), "The prompt has token ids the model lacks.")
    return tokens


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
