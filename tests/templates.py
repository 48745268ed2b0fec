"""Chat templates whose models write calls of tools in different ways."""

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
