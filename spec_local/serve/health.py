"""GET /health: whether the server answers."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

router = APIRouter()


class Health(BaseModel):
    """It does."""

    status: Literal["ok"] = "ok"


@router.get("/health")
@router.get("/v1/health", include_in_schema=False)
async def health() -> Health:
    """Whether the server answers; needs no key."""
    return Health()
