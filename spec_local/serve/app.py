"""The application: its endpoints, and what stands before them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.trustedhost import TrustedHostMiddleware

from spec_local import __version__
from spec_local.serve import (
    chat_completions,
    completions,
    health,
    metrics_page,
    model_list,
    responses,
    tokenizer_info,
    tokens,
)
from spec_local.serve.deadline import EndInTime
from spec_local.serve.failures import Failure, handle_failures
from spec_local.serve.guard import Guard
from spec_local.serve.metrics import CountRequests
from spec_local.serve.service import Service

_ENDPOINTS = (
    health,
    model_list,
    chat_completions,
    completions,
    responses,
    tokens,
    tokenizer_info,
    metrics_page,
)


def make_app(
    service: Service,
    *,
    api_key: str | None = None,
    hosts: Sequence[str] = ("*",),
    origins: Sequence[str] = (),
) -> FastAPI:
    """An ASGI application that closes the models when it ends.

    api_key: asked of every client; None asks nobody. hosts: names that clients may call it by.
    origins: of web pages that may use it; none by default.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        dropping = asyncio.create_task(service.models.keep_dropping_idle())
        try:
            yield
        finally:
            dropping.cancel()
            await asyncio.to_thread(service.models.close)

    app = FastAPI(
        title="spec-local",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # these pages would load scripts from elsewhere
        redoc_url=None,
        responses={"4XX": {"model": Failure}, "5XX": {"model": Failure}},
    )
    app.state.service = service
    for endpoint in _ENDPOINTS:
        app.include_router(endpoint.router)
    handle_failures(app)
    app.add_middleware(Guard, api_key=api_key, body_bytes=service.limits.body_bytes)
    app.add_middleware(CountRequests, metrics=service.metrics)
    app.add_middleware(EndInTime)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(origins),
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
        )
    return app
