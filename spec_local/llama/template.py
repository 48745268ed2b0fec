"""Chat templates: messages to the text the model was trained on.

The template in the GGUF is Jinja; it is rendered in a sandbox, as transformers does, and bounded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from functools import cached_property, lru_cache, partial

from spec_local.errors import ConfigError, ModelFileError, require
from spec_local.llama.messages import (
    Message,
    Tool,
    check_message,
    check_tool,
    one_text,
    with_texts,
)
from spec_local.llama.model import Model
from spec_local.llama.quoting import quoted
from spec_local.llama.template_forms import TemplateForms
from spec_local.llama.template_limits import (
    LimitedTemplate,
    TemplateTooCostly,
    TemplateWithoutEnd,
)
from spec_local.llama.template_variables import THINKING, check_variables, variables_read

_REMEMBERED = 256
"""Messages that are looked through once, though each turn of a conversation renders all before …"""
_LONGEST_REMEMBERED = 1 << 14
"""… but for longer ones, which would take memory for ever."""

_PROBE = "lighthouse keeper"
"""A text that no template writes by itself."""

_LONGEST_REASON = 300


class ChatTemplate:
    """Renders messages by the model's template, or plainly where the model has none.

    A system message that the template refuses or leaves out goes before the first message of the
    user.
    """

    def __init__(
        self,
        model: Model,
        source: str | None = None,
        variables: Mapping[str, object] | None = None,
    ) -> None:
        """source: a Jinja template to use instead of the model's; None uses the model's.

        variables: what the template reads besides the messages, such as `enable_thinking`.
        Raises ModelFileError when the model's template is not valid Jinja, ConfigError when the one
        given is not, or for variables that every template is given anyway.
        """
        self.variables: dict[str, object] = dict(variables or {})
        """Given to the template at every rendering; may be changed between two."""
        check_variables(self.variables)
        self.source = model.chat_template if source is None else source
        """Jinja; None where messages are written plainly."""
        self.is_plain = self.source is None
        """Whether messages are written as `role: content` lines for want of a template."""
        self._quote = partial(quoted, vocab=model.vocab)
        self._remembered = lru_cache(_REMEMBERED)(self._quote)
        self._forms = TemplateForms(self._written)
        self._template: LimitedTemplate | None = None
        if self.source is None:
            return
        specials = model.vocab.special_ids
        bos, eos = (
            model.vocab.text(specials[name]).decode(errors="replace") if name in specials else ""
            for name in ("bos", "eos")
        )
        try:
            special = {"bos_token": bos, "eos_token": eos}
            self._template = LimitedTemplate(self.source, special)
        except Exception as error:  # Jinja makes Python of it, and Python has limits of its own
            reason = _reason(error)
            if source is not None:
                raise ConfigError(f"The chat template given is broken: {reason}.") from None
            raise ModelFileError(
                f"The chat template of {model.path.name} is broken ({reason}); "
                "use --raw to complete plain text."
            ) from None

    @property
    def stop(self) -> tuple[str, ...]:
        """Stop strings the format needs; a real template ends turns with an end token."""
        return ("\nuser:", "\nUser:") if self.is_plain else ()

    @cached_property
    def reads(self) -> frozenset[str]:
        """Names that the template looks up, those of messages and tokens among them."""
        return frozenset() if self.source is None else variables_read(self.source)

    @cached_property
    def takes_system(self) -> bool:
        """Whether the template writes a system message, which is tried once."""
        tried = [{"role": "system", "content": _PROBE}, {"role": "user", "content": "?"}]
        try:
            return _PROBE in self._written([self._forms.fitted(each) for each in tried])
        except ConfigError:
            return False

    def varied(self, variables: Mapping[str, object] | None) -> ChatTemplate:
        """The same template with these variables besides its own; None: itself."""
        if not variables:
            return self
        other = copy(self)
        other.variables = {**self.variables, **variables}
        return other

    def think(self, on: bool) -> bool:
        """Let the model think before it answers, or not; False if its template has no switch."""
        switches = self.reads & THINKING
        self.variables.update(dict.fromkeys(switches, on))
        return bool(switches)

    def render(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> str:
        """The prompt for the assistant's next turn, with marks for `tokenize_quoted`.

        Raises ConfigError when the template refuses the messages, for example two of one role in a
        row, or would leave out tools or their calls, and for variables that every template is given
        anyway.
        """
        check_variables(self.variables)
        for message in messages:
            check_message(message)
        for tool in tools:
            check_tool(tool)
        require(
            not tools or self._forms.takes_tools,
            "The model's chat template has no place for tools; describe them in a message.",
        )
        if messages and messages[0]["role"] == "system" and not self.takes_system:
            messages = folded(messages)
        said = [self._forms.fitted(message) for message in messages]
        return self._written(
            with_texts(said, self._quoted), with_texts([*tools], self._quoted) or None
        )

    def _quoted(self, text: str) -> str:
        return (self._remembered if len(text) <= _LONGEST_REMEMBERED else self._quote)(text)

    def _written(self, messages: Sequence[Message], tools: Sequence[Tool] | None = None) -> str:
        """What the template makes of them as they are."""
        if self._template is None:
            lines = [f"{message['role']}: {message['content']}" for message in messages]
            return "\n".join([*lines, "assistant:"])
        given = {"messages": messages, "tools": tools, "add_generation_prompt": True}
        nothing = dict.fromkeys(("functions", "function_call", "tool_choice"))
        try:
            return self._template.render({**given, **nothing, **self.variables})
        except TemplateWithoutEnd as error:
            raise type(error)(
                f"The model's chat template has no end: {error}; use another one with "
                "--chat-template, or --raw."
            ) from None
        except MemoryError:
            raise TemplateTooCostly(
                "The model's chat template takes all memory; use another one with "
                "--chat-template, or --raw."
            ) from None
        except Exception as error:  # it is a program of somebody else's
            raise ConfigError(
                f"The model's chat template refuses these messages: {_reason(error)}."
            ) from None


def _reason(error: Exception) -> str:
    """What an exception says, in one line that no terminal obeys."""
    said = " ".join(str(error).split()) or type(error).__name__
    return "".join(char for char in said if char.isprintable())[:_LONGEST_REASON].rstrip(".")


def folded(messages: Sequence[Message]) -> list[Message]:
    """Without the system message they begin with: its text goes before the user's first one."""
    system, *said = messages
    if said and said[0]["role"] == "user":
        texts = one_text(system.get("content")), one_text(said[0].get("content"))
        return [{**said[0], "content": "\n\n".join(filter(str.strip, texts))}, *said[1:]]
    return [{**system, "role": "user"}, *said]
