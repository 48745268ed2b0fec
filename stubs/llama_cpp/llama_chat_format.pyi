from collections.abc import Mapping, Sequence

from jinja2.ext import Extension

class ChatFormatterResponse:
    prompt: str

class Jinja2ChatFormatter:
    IgnoreGenerationTags: type[Extension]
    def __init__(self, template: str, eos_token: str, bos_token: str) -> None: ...
    def __call__(
        self, *, messages: Sequence[Mapping[str, str]], **variables: object
    ) -> ChatFormatterResponse: ...
