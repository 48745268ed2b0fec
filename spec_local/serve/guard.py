"""Who may ask, and how much at once: looked at before anything of a request is read."""

from __future__ import annotations

import hmac
from http import HTTPStatus

from fastapi.exceptions import HTTPException
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from spec_local.serve.failures import Refused, respond

_OPEN = frozenset({"/health", "/v1/health"})
"""What needs no key."""
_BEARER = "bearer "


class Guard:
    """Lets requests with the key through, and not more of each than it may be."""

    def __init__(self, app: ASGIApp, *, api_key: str | None, body_bytes: int) -> None:
        """api_key: None lets everybody through. body_bytes: most of a request."""
        self._app = app
        self._key = None if api_key is None else api_key.strip().encode()
        self._body_bytes = body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if not self._is_known(scope):
            refused = Refused(
                "The API key is missing or wrong; send it as `Authorization: Bearer KEY`.",
                status=HTTPStatus.UNAUTHORIZED,
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )
            await respond(refused)(scope, receive, send)
            return
        await self._app(scope, self._counted(receive), send)

    def _is_known(self, scope: Scope) -> bool:
        if self._key is None or scope["path"] in _OPEN:
            return True
        given = Headers(scope=scope).get("authorization", "")
        if given[: len(_BEARER)].lower() != _BEARER:
            return False
        # Takes as long wherever the first wrong character is.
        return hmac.compare_digest(given[len(_BEARER) :].strip().encode(), self._key)

    def _counted(self, receive: Receive) -> Receive:
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._body_bytes:
                raise HTTPException(
                    413,  # whose name differs between versions of Python
                    f"The request has more than {self._body_bytes:,} bytes; shorten it.",
                )
            return message

        return counted
