"""Jinja with limits: a template comes with a model's file, and may be made to run without end.

The sandbox keeps it from everything but its messages; here its time and what it writes are bounded.
What a single operation makes is bounded where it can multiply: numbers as factors, powers and
widths. Memory as such is not; a template that takes it all as soon as it is rendered ends the child
that opens a new file (`trial.py`).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from functools import wraps
from time import monotonic
from typing import Any, NoReturn

from jinja2 import Template, nodes
from jinja2.ext import LoopControlExtension
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from spec_local.errors import ModelFileError
from spec_local.llama.backend import JinjaFormatter

SECONDS = 10.0
"""Most time of one rendering; real templates take milliseconds."""
CHARACTERS = 1 << 24
"""Most characters that are written, more than any context holds; and of a value made on the way."""
_LARGEST_NUMBER = 10**6
"""Of a width or a count."""
_SIZED = {
    *("center", "indent", "wordwrap", "truncate", "batch", "slice", "round", "tojson"),
    *("ljust", "rjust", "zfill", "expandtabs"),
}
"""Filters and methods that take one, and make something as large."""


class TemplateWithoutEnd(ModelFileError):
    """A chat template takes more time, or writes more, than any conversation needs.

    No ConfigError, which would mean that other messages might do.
    """


class TemplateTooCostly(TemplateWithoutEnd):
    """It ran out of time or memory: another time, or on another machine, it may come to its end."""


class _Rendering(threading.local):
    """What one rendering, in this thread, has used."""

    until = float("inf")
    written = 0


class LimitedTemplate:
    """A compiled template; raises any exception of Jinja's and Python's, and TemplateWithoutEnd."""

    def __init__(self, source: str, special: Mapping[str, str]) -> None:
        """special: what it may read besides what it is given, such as `bos_token`."""
        self._environment = _LimitedEnvironment()
        self._template: Template = self._environment.from_string(source, {**special})

    def render(self, given: Mapping[str, object]) -> str:
        """The text; given: what the template reads."""
        used = self._environment.used
        used.until, used.written = monotonic() + SECONDS, 0
        try:
            return self._template.render(given)
        finally:
            used.until = float("inf")


class _LimitedEnvironment(ImmutableSandboxedEnvironment):
    """The environment of transformers' chat templates, watched."""

    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self) -> None:
        self.used = _Rendering()
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[JinjaFormatter.IgnoreGenerationTags, LoopControlExtension],
            finalize=self._written,
        )
        del self.globals["lipsum"]
        self.globals |= {"raise_exception": _refuse, "strftime_now": _now}
        self.filters = {name: self._limited(name, made) for name, made in self.filters.items()}
        self.filters |= {
            "tojson": self._limited("tojson", _json),
            "watched": self._each,
            "bounded": _bounded,
        }

    def _generate(self, source: nodes.Template, *arguments: Any, **more: Any) -> str:
        return super()._generate(_Watching().visit(source), *arguments, **more)

    # Named arguments of any name are the template's: those of this method have none.
    def call(self, context: Context, called: Any, /, *given: Any, **named: Any) -> Any:
        """Every call of a function, a method or a macro."""
        self._require_time()
        if getattr(called, "__name__", "") in _SIZED:
            _require_small(*given, *named.values())
        return _bounded(super().call(context, called, *given, **named))

    def _limited(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same filter; the sizes it is given and what it makes are bounded."""

        @wraps(function)  # Jinja marks functions that want more than their arguments
        def limited(*given: Any, **named: Any) -> Any:
            self._require_time()
            if name in _SIZED:
                _require_small(*given[1:], *named.values())  # not what is filtered
            return _bounded(function(*given, **named))

        return limited

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Those that can make large things of small ones."""
        if operator in ("*", "**") and _product(operator, left, right) > CHARACTERS:
            raise TemplateWithoutEnd(f"it makes too much by {operator}")
        if operator == "%" and isinstance(left, str) and _has_width(left):
            raise TemplateWithoutEnd("it writes too wide")
        return _bounded(super().call_binop(context, operator, left, right))

    def _each(self, values: Iterable[Any]) -> Iterator[Any]:
        for value in values:
            self._require_time()
            yield value

    def _written(self, value: Any) -> Any:
        if isinstance(value, str):
            self.used.written += len(value)
            if self.used.written > CHARACTERS:
                raise TemplateWithoutEnd("it writes too much")
        return value

    def _require_time(self) -> None:
        if monotonic() > self.used.until:
            raise TemplateTooCostly("it takes too long")


class _Watching(NodeTransformer):
    """Puts watches into loops and where texts are joined by `~`."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - Jinja's name
        self.generic_visit(node)
        node.iter = _filtered(node.iter, "watched")
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 - Jinja's name
        self.generic_visit(node)
        return _filtered(node, "bounded")


def _require_small(*sizes: Any) -> None:
    if any(isinstance(size, int) and abs(size) > _LARGEST_NUMBER for size in sizes):
        raise TemplateWithoutEnd("it uses a number that is too large")


def _filtered(node: nodes.Node, name: str) -> nodes.Expr:
    place = {"lineno": node.lineno, "environment": node.environment}
    return nodes.Filter(node, name, [], [], None, None, **place)


def _product(operator: str, left: Any, right: Any) -> float:
    """How large the result is, about: of numbers in bits, else in characters or items."""
    if isinstance(left, int) and isinstance(right, int):
        if operator == "**":
            return left.bit_length() * right
        return left.bit_length() + right.bit_length()
    times = [value for value in (left, right) if isinstance(value, int)]
    texts = [len(value) for value in (left, right) if isinstance(value, str | list | tuple)]
    return times[0] * texts[0] if times and texts else 0


def _has_width(form: str) -> bool:
    """Whether the form for `%` has a width beyond anything useful, or takes one as an argument."""
    digits = "".join(char if char.isdecimal() else " " for char in form).split()
    return "*" in form or any(len(number) > len(str(_LARGEST_NUMBER)) for number in digits)


def _bounded(value: Any) -> Any:
    if isinstance(value, str) and len(value) > CHARACTERS:
        raise TemplateWithoutEnd("it makes too long a text")
    return value


def _refuse(message: str) -> NoReturn:
    raise ValueError(message)


def _now(form: str) -> str:
    return datetime.now().strftime(form)


def _json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """As transformers has it: nothing is escaped for HTML."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )
