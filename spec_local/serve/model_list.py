"""GET /v1/models: what can be asked for, and what of it is loaded."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel

from spec_local.serve.models import Models, unknown
from spec_local.serve.service import service_of

router = APIRouter()


class ModelCard(BaseModel):
    """One model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["spec-local"] = "spec-local"
    loaded: bool
    meta: dict[str, Any] | None
    """Once it is loaded: the context's size, who drafts, what should be known of it."""


class ModelList(BaseModel):
    """All of them."""

    object: Literal["list"] = "list"
    data: list[ModelCard]


def _card(models: Models, name: str) -> ModelCard:
    served = models.served(name)
    meta = None if served is None else dict(served.loaded.about)
    return ModelCard(id=name, created=models.created, loaded=served is not None, meta=meta)


@router.get("/v1/models")
@router.get("/models", include_in_schema=False)
async def models(request: Request) -> ModelList:
    """List the models."""
    found = service_of(request).models
    return ModelList(data=[_card(found, name) for name in found.names])


@router.get("/v1/models/{name:path}")
async def model(request: Request, name: str) -> ModelCard:
    """One of them."""
    found = service_of(request).models
    if name not in found.names:
        raise unknown(name, found.names)
    return _card(found, name)
