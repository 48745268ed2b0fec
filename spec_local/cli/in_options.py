"""Sentences about fields of the library, said of the options that set them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from spec_local.errors import ConfigError


@contextmanager
def in_options(options: Mapping[str, str]) -> Iterator[None]:
    """Errors that begin with a field's name begin with its option instead, --top-p for top_p.

    options: those that are not named as their field is.
    """
    try:
        yield
    except ConfigError as error:
        field, space, rest = str(error).partition(" ")
        if not field.islower():  # a sentence of its own
            raise
        option = options.get(field, f"--{field.replace('_', '-')}")
        raise ConfigError(f"{option}{space}{rest}") from None
