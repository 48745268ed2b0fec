"""From a prompt, however it is given, and what is expected of it, to the target's tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from spec_local.errors import require
from spec_local.llama.quoting import tokenize_quoted
from spec_local.llama.template import Message
from spec_local.llama.vocab import Vocabulary

Prompt = str | Sequence[Message] | Sequence[int]
"""A text to continue, messages to answer, or tokens to continue."""


Render = Callable[[Sequence[Message]], str]
"""Writes messages as the model's chat template wants them."""


def prompt_tokens(prompt: Prompt, vocab: Vocabulary, render: Render) -> list[int]:
    """Tokens of any prompt; raises ConfigError for token ids the model lacks."""
    if isinstance(prompt, str):
        return vocab.tokenize(prompt, add_special=True, parse_special=True)
    if not all(isinstance(item, int) for item in prompt):
        return rendered_tokens(render(prompt), vocab)  # type: ignore[arg-type]
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
