"""What a chat template reads besides the messages: variables that an application may set."""

from __future__ import annotations

from collections.abc import Iterable

import jinja2
from jinja2 import meta
from jinja2.ext import Extension, LoopControlExtension

from spec_local.errors import require
from spec_local.llama.backend import JinjaFormatter

THINKING = frozenset(("enable_thinking", "thinking"))
"""Names by which templates let a model think before it answers, or not."""
_TAKEN = frozenset(
    (
        "messages",
        "tools",
        "tool_choice",
        "functions",
        "function_call",
        "add_generation_prompt",
        "bos_token",
        "eos_token",
        "raise_exception",
        "strftime_now",
    )
)
"""Names that every template is given anyway."""


def check_variables(names: Iterable[str]) -> None:
    """Raise ConfigError if one of the names is not for applications to set."""
    taken = ", ".join(sorted(_TAKEN & {*names}))
    require(not taken, f"A chat template gets {taken} from spec-local; choose another variable.")


def variables_read(source: str) -> frozenset[str]:
    """Names that a template looks up in what it is given.

    Raises jinja2.TemplateError when it is not valid Jinja.
    """
    tags: list[str | type[Extension]] = [JinjaFormatter.IgnoreGenerationTags, LoopControlExtension]
    parsed = jinja2.Environment(extensions=tags).parse(source)
    return frozenset(meta.find_undeclared_variables(parsed))
