"""Which tools a chat may call, or must."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from spec_local.errors import ConfigError, require
from spec_local.llama.messages import check_tool
from spec_local.serve.failures import Refused
from spec_local.serve.parameters import Wire
from spec_local.serve.serving import Template
from spec_local.serve.tool_calls import CallReader
from spec_local.serve.tool_format import Demand, ToolFormat
from spec_local.serve.tool_template import tool_format


class NamedFunction(Wire):
    """A function by its name."""

    name: str


class NamedTool(Wire):
    """The tool that must be called."""

    type: Literal["function"]
    function: NamedFunction


_NAME = re.compile(r"[\w.-]{1,64}", re.ASCII)
"""OpenAI's rule for names of functions, and the dot that many clients write. A name stands in the
prompt of a demanded call as it is, so it must not spell a control token."""

ToolChoice = Literal["none", "auto", "required"] | NamedTool


@dataclass(frozen=True, slots=True)
class Calling:
    """How an answer may call tools."""

    tools: Sequence[Mapping[str, Any]]
    """What the template is told of."""
    form: ToolFormat | None
    """None where calls stay text: the model does not write them as JSON."""
    demand: Demand | None = None
    """That one must be called; None where nothing must be."""

    def reader(self, *, thinks: bool = False) -> CallReader | None:
        """Tells the calls of an answer; None where there cannot be any.

        thinks: whether thoughts are told apart.
        """
        if self.form is None:
            return None
        names = [tool["function"]["name"] for tool in self.tools]
        begun = None if self.demand is None else self.demand.begun
        return self.form.reader(names, begun, thinks=thinks)

    def schema(self, wanted: dict[str, Any] | None, parameter: str) -> dict[str, Any] | None:
        """What the answer is bound to: the demanded call, else what that parameter wants of it."""
        if self.demand is None:
            return wanted
        require(wanted is None, f"An answer that must call a tool has no {parameter}.")
        return self.demand.schema


NO_TOOLS = Calling((), None)


def calling(
    tools: Sequence[Mapping[str, Any]] | None,
    choice: ToolChoice | None,
    template: Template,
    most_bytes: int,
) -> Calling:
    """What a request says of tools; raises ConfigError or Refused.

    most_bytes: of all tools together.
    """
    if not tools or choice == "none":
        require(choice in (None, "none", "auto"), "tool_choice needs tools.")
        return NO_TOOLS
    if len(json.dumps(tools)) > most_bytes:
        raise Refused(f"The tools have more than {most_bytes:,} characters; shorten them.")
    for tool in tools:
        check_tool(tool)
        _check_name(tool["function"]["name"])
    form = tool_format(template)
    if choice in (None, "auto"):
        return Calling(tools, form)
    if form is None:
        raise ConfigError(
            "This model does not write calls of tools as JSON, so that none can be demanded; "
            "leave out tool_choice."
        )
    if not isinstance(choice, NamedTool):
        return Calling(tools, form, form.demand(tools))
    named = [tool for tool in tools if tool["function"]["name"] == choice.function.name]
    require(bool(named), f"tool_choice names {choice.function.name!r}, which is not in tools.")
    return Calling(tools, form, form.demand(named[:1]))


def _check_name(name: str) -> None:
    require(
        _NAME.fullmatch(name) is not None,
        f"{name[:80]!r} cannot be the name of a tool; use 1 to 64 letters, digits, '_', '-', '.'.",
    )
