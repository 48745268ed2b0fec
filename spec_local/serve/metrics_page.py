"""GET /metrics: what was asked and answered so far, in Prometheus' text."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from spec_local.serve.service import service_of

router = APIRouter()


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """What was asked and answered so far."""
    service = service_of(request)
    text = service.metrics.text(service.models)
    return Response(text, media_type=CONTENT_TYPE_LATEST)
