"""Chat templates: messages to the text the model was trained on.

The template in the GGUF is Jinja; llama-cpp-python renders it in a sandbox, as transformers does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial

import jinja2

from spec_local.errors import ConfigError, ModelFileError, require
from spec_local.llama.backend import JinjaFormatter
from spec_local.llama.model import Model
from spec_local.llama.quoting import quoted

_REMEMBERED = 256
"""Messages that are looked through once, though each turn of a conversation renders all before."""

Message = Mapping[str, str]
"""A message of a chat: its `role` (system, user, assistant) and its `content`."""


def check_message(message: object) -> None:
    """Raise ConfigError unless it is one, with a role and a text."""
    whole = isinstance(message, Mapping) and {"role", "content"} <= message.keys()
    require(whole, "Each message needs a role and a content.")
    require(isinstance(message["content"], str), "A message's content must be text.")  # type: ignore[index]


class ChatTemplate:
    """Renders messages by the model's template, or plainly where the model has none."""

    def __init__(self, model: Model) -> None:
        """Raises ModelFileError when the model's template is not valid Jinja."""
        self.is_plain = model.chat_template is None
        """Whether messages are written as `role: content` lines for want of a template."""
        self._quoted = lru_cache(_REMEMBERED)(partial(quoted, vocab=model.vocab))
        self._formatter: JinjaFormatter | None = None
        if model.chat_template is None:
            return
        specials = model.vocab.special_ids
        bos, eos = (
            model.vocab.text(specials[name]).decode(errors="replace") if name in specials else ""
            for name in ("bos", "eos")
        )
        try:
            self._formatter = JinjaFormatter(model.chat_template, eos, bos)
        except jinja2.TemplateError as error:
            raise ModelFileError(
                f"The chat template of {model.path.name} is broken ({error}); "
                "use --raw to complete plain text."
            ) from None

    @property
    def stop(self) -> tuple[str, ...]:
        """Stop strings the format needs; a real template ends turns with an end token."""
        return ("\nuser:", "\nUser:") if self.is_plain else ()

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt for the assistant's next turn, with marks for `tokenize_quoted`.

        Raises ConfigError when the template refuses the messages, for example a system message.
        """
        for message in messages:
            check_message(message)
        said = [{**each, "content": self._quoted(each["content"])} for each in messages]
        if self._formatter is None:
            lines = [f"{message['role']}: {message['content']}" for message in said]
            return "\n".join([*lines, "assistant:"])
        try:
            return self._formatter(messages=said).prompt
        except (jinja2.TemplateError, ValueError, TypeError) as error:
            raise ConfigError(
                f"The model's chat template refuses these messages: {error}."
            ) from None
