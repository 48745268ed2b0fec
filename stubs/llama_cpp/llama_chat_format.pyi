from collections.abc import Mapping, Sequence
from typing import Any

from jinja2.ext import Extension

class ChatFormatterResponse:
    prompt: str

class Jinja2ChatFormatter:
    IgnoreGenerationTags: type[Extension]
    def __init__(self, template: str, eos_token: str, bos_token: str) -> None: ...
    def __call__(
        self,
        *,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        **variables: object,
    ) -> ChatFormatterResponse: ...
