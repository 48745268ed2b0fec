"""Chat templates: messages to the text the model was trained on.

The template in the GGUF is Jinja; llama-cpp-python renders it in a sandbox, as transformers does.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial

import jinja2

from spec_local.errors import ConfigError, ModelFileError, require
from spec_local.llama.backend import JinjaFormatter
from spec_local.llama.messages import Message, Tool, check_message, check_tool, with_texts
from spec_local.llama.model import Model
from spec_local.llama.quoting import quoted
from spec_local.llama.template_forms import TemplateForms

_REMEMBERED = 256
"""Messages that are looked through once, though each turn of a conversation renders all before."""


class ChatTemplate:
    """Renders messages by the model's template, or plainly where the model has none."""

    def __init__(self, model: Model) -> None:
        """Raises ModelFileError when the model's template is not valid Jinja."""
        self.is_plain = model.chat_template is None
        """Whether messages are written as `role: content` lines for want of a template."""
        self._quoted = lru_cache(_REMEMBERED)(partial(quoted, vocab=model.vocab))
        self._forms = TemplateForms(self._written)
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

    def render(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> str:
        """The prompt for the assistant's next turn, with marks for `tokenize_quoted`.

        Raises ConfigError when the template refuses the messages, for example a system message,
        or would leave out tools or their calls.
        """
        for message in messages:
            check_message(message)
        for tool in tools:
            check_tool(tool)
        require(
            not tools or self._forms.takes_tools,
            "The model's chat template has no place for tools; describe them in a message.",
        )
        said = [self._forms.fitted(message) for message in messages]
        return self._written(
            with_texts(said, self._quoted), with_texts([*tools], self._quoted) or None
        )

    def _written(self, messages: Sequence[Message], tools: Sequence[Tool] | None) -> str:
        """What the template makes of them as they are."""
        if self._formatter is None:
            lines = [f"{message['role']}: {message['content']}" for message in messages]
            return "\n".join([*lines, "assistant:"])
        try:
            return self._formatter(messages=messages, tools=tools).prompt
        except (jinja2.TemplateError, LookupError, AttributeError, ValueError, TypeError) as error:
            raise ConfigError(
                f"The model's chat template refuses these messages: {error}."
            ) from None
