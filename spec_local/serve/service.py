"""What the endpoints share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from fastapi import Request

from spec_local.serve.limits import Limits
from spec_local.serve.metrics import Metrics
from spec_local.serve.models import Models


@dataclass(frozen=True, slots=True)
class Service:
    """The models and the limits."""

    models: Models
    limits: Limits
    metrics: Metrics = field(default_factory=Metrics)


def service_of(request: Request) -> Service:
    """That of the application which got the request."""
    return cast(Service, request.app.state.service)
