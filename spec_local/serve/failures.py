"""Everything that can go wrong, in the shape that OpenAI's clients read."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from spec_local.errors import ConfigError, ContextOverflow, NoTokenAllowed, SpecLocalError

_log = logging.getLogger(__name__)

INVALID = "invalid_request_error"
_SERVER = "server_error"
_UNSAID = "The server could not answer; its log says why."


class ErrorDetail(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class Failure(BaseModel):
    """How every error is answered."""

    error: ErrorDetail


class Refused(Exception):
    """A request that is answered by an error."""

    def __init__(
        self,
        message: str,
        *,
        status: int = HTTPStatus.BAD_REQUEST,
        kind: str = INVALID,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """message: a sentence that says what to do. param: what of the request is wrong.

        kind and code: OpenAI's words for it. headers: of the answer.
        """
        super().__init__(message)
        self.status, self.headers = int(status), dict(headers or {})
        detail = ErrorDetail(message=message, type=kind, param=param, code=code)
        self.body = Failure(error=detail).model_dump()


_NO_JSON = Refused("The body of the request is not JSON.", code="invalid_json")


def refusal(error: Exception) -> Refused:
    """The error as a client may see it; what may name files of the server is only logged."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, ContextOverflow):
        return Refused(str(error), code="context_length_exceeded")
    if isinstance(error, ConfigError | NoTokenAllowed):
        return Refused(str(error))
    if isinstance(error, RecursionError):
        return Refused("The request is nested too deeply.")
    if isinstance(error, SpecLocalError):
        _log.error("%s", error)
    else:
        _log.error("An answer failed.", exc_info=error)
    return Refused(_UNSAID, status=HTTPStatus.INTERNAL_SERVER_ERROR, kind=_SERVER)


def ending() -> Refused:
    """That nothing is answered any more."""
    return Refused(
        "The server is being shut down; ask again when it is back.",
        status=HTTPStatus.SERVICE_UNAVAILABLE,
        kind=_SERVER,
    )


def respond(error: Exception) -> JSONResponse:
    """The error as an answer."""
    refused = refusal(error)
    return JSONResponse(refused.body, refused.status, refused.headers)


def _place(found: Sequence[int | str], body: Any, kind: str) -> Iterator[str]:
    """Where in the body something is wrong, as the client wrote it.

    pydantic's places also have the names of the shapes that it tried for a value.
    """
    at: Any = body
    for number, part in enumerate(found, start=1):
        try:
            inside: Any = at if isinstance(at, dict | list) else {}
            at = inside[part]
        except (KeyError, IndexError, TypeError):  # no such place, or the name of a shape
            if kind != "missing" or number < len(found):
                continue
        yield str(part)


def _invalid(found: RequestValidationError) -> Refused:
    """What is wrong with the fields of a request: the first of it."""
    first: Mapping[str, Any] = found.errors()[0]
    param = ".".join(_place(first["loc"][1:], found.body, first["type"])) or None
    if first["type"] == "extra_forbidden":
        message = f"Unknown parameter: {param}; leave it out."
        return Refused(message, param=param, code="unknown_parameter")
    if first["type"] == "none_required":
        message = f"{param} is not supported here; leave it out."
        return Refused(message, param=param, code="unsupported_parameter")
    if first["type"] == "json_invalid":
        return _NO_JSON
    if first["type"] == "missing":
        what = "the body of the request" if param is None else f"the parameter {param}"
        message = f"Missing: {what}."
        return Refused(message, param=param, code="missing_required_parameter")
    says = f"{first['msg']}".rstrip(".").removeprefix("Value error, ")
    message = f"Invalid {param or 'body'}: {says[:1].lower()}{says[1:]}."
    return Refused(message, param=param, code="invalid_value")


def handle_failures(app: FastAPI) -> None:
    """Let every failure of the application be answered in that shape."""

    async def on_invalid(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return respond(_invalid(error))

    async def on_http(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        if error.status_code == HTTPStatus.BAD_REQUEST:  # FastAPI's own, for bytes that are no text
            return respond(_NO_JSON)
        said = error.detail
        if said == HTTPStatus(error.status_code).phrase:  # there is no such address or method
            said = f"{said}; /openapi.json has what this server answers."
        refused = Refused(said, status=error.status_code, headers=error.headers)
        return respond(refused)

    async def on_any(_request: Request, error: Exception) -> JSONResponse:
        return respond(error)

    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, on_http)
    for kind in (Refused, SpecLocalError, RecursionError, Exception):
        app.add_exception_handler(kind, on_any)
