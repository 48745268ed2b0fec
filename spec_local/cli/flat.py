"""Option groups for Typer: a command takes a dataclass, the user sees its fields as options."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints


def flat(command: Callable[..., None]) -> Callable[..., None]:
    """Replace each parameter whose type is a dataclass by that dataclass's fields.

    The command is then called with the dataclass, made from what was given.
    """
    # Not get_type_hints: of a default that is None, Python 3.10 makes an Optional around Annotated.
    signature = inspect.signature(command, eval_str=True).parameters.values()
    groups: dict[str, Any] = {p.name: p.annotation for p in signature if is_dataclass(p.annotation)}
    parameters: list[inspect.Parameter] = []
    for parameter in signature:
        if parameter.name not in groups:
            parameters.append(parameter)
            continue
        group = groups[parameter.name]
        group_hints = get_type_hints(group, include_extras=True)
        parameters += [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=field.default,
                annotation=group_hints[field.name],
            )
            for field in fields(group)
        ]

    @functools.wraps(command)
    def run(**given: Any) -> None:
        made = {
            name: group(**{field.name: given.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        command(**given, **made)

    positional = [p for p in parameters if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    rest = [p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
    run.__signature__ = inspect.Signature([*positional, *rest])  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    return run
