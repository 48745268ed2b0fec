"""Chat templates whose models write calls of tools in different ways."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import jinja2

_TOOLS = (
    "{% if tools %}{{ '<|im_start|>system\\n' }}{% for tool in tools %}{{ tool | tojson }}"
    "{% endfor %}{{ '<|im_end|>\\n' }}{% endif %}"
)
_END = (
    "{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_BEGIN = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{{ message['content'] or '' }}{% for call in message['tool_calls'] or [] %}"
)

HERMES = (
    _TOOLS
    + _BEGIN
    + "{{ '<tool_call>\\n' }}"
    + "{{ {'name': call.function.name, 'arguments': call.function.arguments} | tojson }}"
    + "{{ '\\n</tool_call>\\n' }}{% endfor %}"
    + _END
)
"""Qwen's and others': an object between two marks."""

JSON_ONLY = (
    _TOOLS
    + _BEGIN
    + '{{ \'{"name": "\' + call.function.name + \'", "parameters": \' }}'
    + "{{ call.function.arguments | tojson }}{{ '}' }}{% endfor %}"
    + _END
)
"""Llama 3's: an object and nothing else."""

PYTHONIC = (
    _TOOLS
    + _BEGIN
    + "{{ '[' + call.function.name + '(' }}"
    + "{% for key, value in call.function.arguments.items() %}"
    + "{{ key }}={{ value | tojson }}{% endfor %}{{ ')]' }}{% endfor %}"
    + _END
)
"""Llama 4's: no JSON."""

MISTRAL = (
    "{{ tools | tojson if tools }}{%% for message in messages %%}"
    "{%% if message.role == 'user' %%}[INST]{{ message.content }}[/INST]{%% else %%}"
    "{%% for each in message.tool_calls %%}{%% set call = each.function %%}%s{%% endfor %%}</s>"
    "{%% endif %%}{%% endfor %%}"
)
"""Mistral's templates, each with its own way of writing calls."""


class JinjaTemplate:
    """A template without a model."""

    stop: tuple[str, ...] = ()

    def __init__(self, source: str) -> None:
        self.source: str | None = source
        self._template = jinja2.Environment().from_string(source)

    def render(self, messages: Sequence[Any], tools: Sequence[Any] = ()) -> str:
        said = []
        for message in messages:
            calls = [
                {
                    **each,
                    "function": {
                        **each["function"],
                        "arguments": json.loads(each["function"]["arguments"]),
                    },
                }
                for each in message.get("tool_calls", ())
            ]
            said.append({**message, "tool_calls": calls})
        return self._template.render(messages=said, tools=tools, add_generation_prompt=True)
