"""OpenAI's own client: a stream, a schema as a pydantic model, and a tool that is called."""

import json
from typing import Any

from openai import OpenAI
from pydantic import BaseModel

client = OpenAI()  # OPENAI_BASE_URL and OPENAI_API_KEY say where
model = client.models.list().data[0].id


class Cat(BaseModel):
    """What is asked for."""

    name: str
    age: int


with client.chat.completions.stream(
    model=model,
    messages=[{"role": "user", "content": "Name three colours."}],
    max_completion_tokens=30,
    stream_options={"include_usage": True},
) as stream:
    for event in stream:
        if event.type == "content.delta":
            print(event.delta, end="", flush=True)
    usage = stream.get_final_completion().usage
print(f"\n-> {usage and usage.completion_tokens} tokens")

parsed = client.chat.completions.parse(
    model=model,
    messages=[{"role": "user", "content": "Invent a cat."}],
    response_format=Cat,
    max_completion_tokens=60,
)
print("->", repr(parsed.choices[0].message.parsed))

messages: list[Any] = [{"role": "user", "content": "What is 21.5 °C in Fahrenheit? Use the tool."}]
tools: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": "fahrenheit",
            "description": "Convert a temperature from Celsius to Fahrenheit.",
            "parameters": {
                "type": "object",
                "properties": {"celsius": {"type": "number"}},
                "required": ["celsius"],
            },
        },
    }
]
asked = client.chat.completions.create(
    model=model, messages=messages, tools=tools, tool_choice="required", max_completion_tokens=60
)
calls: list[Any] = list(asked.choices[0].message.tool_calls or ())
call = calls[0]
print("->", call.function.name, call.function.arguments)
result = json.loads(call.function.arguments)["celsius"] * 9 / 5 + 32
messages += [
    asked.choices[0].message,
    {"role": "tool", "tool_call_id": call.id, "content": f"{result} °F"},
]
told = client.chat.completions.create(model=model, messages=messages, max_completion_tokens=60)
print(told.choices[0].message.content)
