"""The plugin for `llm` (https://llm.datasette.io): `llm -m spec-local/NAME`, in its own process."""

from __future__ import annotations

import asyncio
import gc
import json
import secrets
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, closing
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import llm
from pydantic import Field

from spec_local.errors import ConfigError, SpecLocalError, require
from spec_local.generation import Chunk, Generation
from spec_local.models.registry import load_registry
from spec_local.serve.said import Telling
from spec_local.serve.tool_template import tool_format
from spec_local.util.awaiting import in_thread

if TYPE_CHECKING:
    from spec_local.runner import Runner


_PATIENCE = 0.05
"""Seconds between two looks at who has the turn."""
_MAKING = ThreadPoolExecutor(1, "spec-local-llm")
"""Loads models and begins answers beside the event loop."""


@llm.hookimpl
def register_models(register: Callable[..., None]) -> None:
    """Every pair and model that has a name; one that is not there yet is pulled on first use."""
    try:
        registry = load_registry()
    except SpecLocalError:  # of the user's models.toml: spec-local says it, and llm goes on
        return
    for name in dict.fromkeys([*registry.pairs, *registry.models]):
        register(SpecLocal(name), AsyncSpecLocal(name))


class _Reader(NamedTuple):
    """Where an answer is read, or waited for."""

    thread: int
    task: asyncio.Task[Any] | None
    """None outside event loops, or where the whole loop waits."""

    @classmethod
    def here(cls, task: asyncio.Task[Any] | None = None) -> _Reader:
        """In this thread."""
        return cls(threading.get_ident(), task)

    def is_kept_by(self, other: _Reader) -> bool:
        """Whether nothing is read here while the other waits."""
        if self.thread != other.thread:
            return False
        if self.task is None or other.task is None:
            return True
        return self.task is other.task or self.task.done()


class _Turn:
    """One answer at a time on a model; the next one waits, in any thread or event loop."""

    def __init__(self) -> None:
        self._taken = threading.Lock()
        self._reader: _Reader | None = None
        self._read_at = 0.0
        self._collected_for: _Reader | None = None

    def take(self) -> None:
        """Wait for the turn; raises ConfigError where that would be for ever."""
        here = _Reader.here()
        while not self._taken.acquire(timeout=_PATIENCE):
            self._require_progress(here)
        self.read(here)

    async def awaited(self) -> None:
        """The same; the event loop is free while it waits."""
        here = _Reader.here(asyncio.current_task())
        while not self._taken.acquire(blocking=False):
            self._require_progress(here)
            await asyncio.sleep(_PATIENCE)
        self.read(here)

    def read(self, reader: _Reader) -> None:
        """The answer goes on, and there."""
        self._reader, self._read_at = reader, time.monotonic()

    def give(self) -> None:
        """The answer has ended."""
        self._reader = None
        self._taken.release()

    def _require_progress(self, waiting: _Reader) -> None:
        """An answer that is half read goes on only where it is read, not while that place waits."""
        reader = self._reader
        if reader is None or time.monotonic() - self._read_at < _STALLED:
            return
        if not reader.is_kept_by(waiting):
            return
        require(self._collected_for is not reader, _HALF_READ)
        self._collected_for = reader
        gc.collect()  # it may have been left, and only not be cleared away yet


_STALLED = 1.0
"""Seconds after which an answer that nobody reads on is taken for one that is left half read."""
_HALF_READ = "Another answer of this model is half read here; read it to its end first."


@cache
def _turn(_name: str) -> _Turn:
    return _Turn()


@cache
def _runner(name: str) -> Runner:
    """Loaded once in a process, by whoever has the turn, and freed at its end."""
    from spec_local.runner import Runner

    return Runner.load(name)


class _Options(llm.Options):
    max_tokens: int | None = Field(None, ge=1, description="Most tokens of the answer")
    temperature: float | None = Field(None, description="0 takes the most probable token")
    top_k: int | None = Field(None, description="Keep the k most probable tokens; 0: all")
    top_p: float | None = Field(None, description="Keep this much probability; 1: all")
    min_p: float | None = Field(None, description="Relative to the most probable token; 0: all")
    seed: int | None = Field(None, ge=0, description="The same seed gives the same text")
    prediction: str | None = Field(None, description="A text that much of the answer will be")


class _Answer:
    """What `llm` asks for, on its way through a runner."""

    def __init__(self, name: str, prompt: llm.Prompt) -> None:
        """Load what is not loaded yet; raises SpecLocalError."""
        runner = _runner(name)
        given = prompt.options.model_dump(exclude_none=True)
        most, prediction = given.pop("max_tokens", None), given.pop("prediction", None)
        if prompt.schema is not None:
            given["json_schema"] = json.dumps(prompt.schema)
        given.setdefault("seed", secrets.randbelow(1 << 32))
        tools = [_tool(tool) for tool in prompt.tools]
        form = tool_format(runner.template) if tools else None
        names = [tool["function"]["name"] for tool in tools]
        self._telling = Telling(None if form is None else form.reader(names), None)
        self.generation: Generation = runner.generate(
            _messages(prompt),
            max_tokens=most,
            sampling=replace(runner.sampling, **given),
            prediction=prediction,
            tools=tools,
        )

    def text(self, chunk: Chunk, response: Any) -> str:
        """The chunk's text; calls of tools are given to the response, and at the end the usage."""
        said = self._telling.feed(chunk)
        for call in said.calls:
            response.add_tool_call(llm.ToolCall(call.name, json.loads(call.arguments)))
        if chunk.finish_reason is not None:
            stats = chunk.stats
            counted = {"cached": stats.cached_tokens, "drafted": stats.drafted}
            details = counted | {"accepted": stats.accepted}
            response.set_usage(input=stats.prompt_tokens, output=stats.tokens, details=details)
        return said.text


class SpecLocal(llm.Model):
    """A pair or a model."""

    can_stream = True
    supports_schema = True
    supports_tools = True
    Options = _Options

    def __init__(self, name: str) -> None:
        """name: as spec-local has it."""
        self.model_id, self._name = f"spec-local/{name}", name

    def execute(
        self, prompt: llm.Prompt, stream: bool, response: Any, conversation: Any
    ) -> Iterator[str]:
        """The answer, as it is written."""
        turn = _turn(self._name)
        try:
            turn.take()
            try:
                answer = _Answer(self._name, prompt)
                with closing(answer.generation) as chunks:
                    for chunk in chunks:
                        turn.read(_Reader.here())
                        yield answer.text(chunk, response)
            finally:
                turn.give()
        except SpecLocalError as error:
            raise llm.ModelError(str(error)) from None


class AsyncSpecLocal(llm.AsyncModel):
    """The same, awaited."""

    can_stream = True
    supports_schema = True
    supports_tools = True
    Options = _Options

    def __init__(self, name: str) -> None:
        """name: as spec-local has it."""
        self.model_id, self._name = f"spec-local/{name}", name

    async def execute(
        self, prompt: llm.Prompt, stream: bool, response: Any, conversation: Any
    ) -> AsyncGenerator[str, None]:
        """The answer, as it is written."""
        turn = _turn(self._name)
        try:
            await turn.awaited()
            try:
                # Waited for in any case: what is loaded half would be loaded twice.
                answer = await in_thread(_MAKING, lambda: _Answer(self._name, prompt), lambda: None)
                async with aclosing(answer.generation) as chunks:
                    async for chunk in chunks:
                        turn.read(_Reader.here(asyncio.current_task()))
                        yield answer.text(chunk, response)
            finally:
                turn.give()
        except SpecLocalError as error:
            raise llm.ModelError(str(error)) from None


def _tool(tool: Any) -> dict[str, Any]:
    if not isinstance(tool, llm.Tool):
        raise ConfigError("Tools that a service runs are not there; take functions.")
    function = {
        "name": tool.name,
        "description": tool.description or "",
        "parameters": tool.input_schema,
    }
    return {"type": "function", "function": function}


def _messages(prompt: llm.Prompt) -> list[dict[str, Any]]:
    """The conversation, as chat templates take it."""
    messages = list[dict[str, Any]]()
    for message in prompt.messages:
        parts = [part.to_dict() for part in message.parts]
        if any(part["type"] == "attachment" for part in parts):
            raise ConfigError("Models read text only here; leave out the attachment.")
        text = "".join(part["text"] for part in parts if part["type"] == "text")
        calls = [_call(part) for part in parts if part["type"] == "tool_call"]
        results = [part for part in parts if part["type"] == "tool_result"]
        for part in results:
            said = {"role": "tool", "name": part["name"], "content": part["output"]}
            messages.append(said | {"tool_call_id": part.get("tool_call_id")})
        if calls:
            messages.append({"role": message.role, "content": text or None, "tool_calls": calls})
        elif text or not results:
            messages.append({"role": message.role, "content": text})
    return messages


def _call(part: Any) -> dict[str, Any]:
    function = {"name": part["name"], "arguments": part["arguments"]}
    return {"id": part.get("tool_call_id"), "type": "function", "function": function}
