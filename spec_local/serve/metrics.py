"""What was asked and answered so far, for Prometheus."""

from __future__ import annotations

from collections import Counter as Sums
from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from spec_local.engine.rounds import Stats
from spec_local.serve.models import Models

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_COUNTED = {
    "prompt_tokens": "Tokens of prompts",
    "cached_tokens": "Tokens of prompts that were not evaluated again",
    "tokens": "Tokens generated",
    "rounds": "Evaluations of the target",
    "drafted": "Tokens drafted",
    "accepted": "Drafted tokens accepted",
}
"""Fields of `Stats`."""
_RATES = {
    "acceptance_rate": "Accepted / drafted",
    "mean_accepted_length": "Tokens per evaluation of the target, prompts left out",
    "speedup": "Over plain decoding, estimated; 0 if that is not known",
}
_PARTS = {
    "acceptance_rate": ("accepted", "drafted"),
    "mean_accepted_length": ("later tokens", "later rounds"),
    "speedup": ("plain seconds", "seconds"),
}
"""Rates since the start, as one sum over another."""


class Metrics:
    """Counters of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own: Any = {"namespace": "spec_local", "registry": self.registry}
        self._requests = Counter("requests", "HTTP requests", ["path", "status"], **own)
        self._counted = {
            name: Counter(name, says, ["model"], **own) for name, says in _COUNTED.items()
        }
        self._first = Histogram(
            "first_token_seconds",
            "From the turn to the first token",
            ["model"],
            buckets=_SECONDS,
            **own,
        )
        self._rates = {name: Gauge(name, says, ["model"], **own) for name, says in _RATES.items()}
        self._running = Gauge("running", "Requests being answered", ["model"], **own)
        self._waiting = Gauge("waiting", "Requests that wait for their turn", ["model"], **own)
        self._sums: dict[str, Sums[str]] = {}

    def count_request(self, path: str, status: int) -> None:
        """A request was answered."""
        self._requests.labels(path, status).inc()

    def count_answer(self, model: str, stats: Iterable[Stats]) -> None:
        """All choices of an answer have ended."""
        for each in stats:
            for name, counter in self._counted.items():
                counter.labels(model).inc(getattr(each, name))
            if each.tokens:
                self._first.labels(model).observe(each.prompt_seconds)
            self._sums.setdefault(model, Sums()).update(_summed(each))

    def text(self, models: Models) -> bytes:
        """All of it."""
        for model, sums in self._sums.items():
            for name, (part, whole) in _PARTS.items():
                self._rates[name].labels(model).set(sums[part] / (sums[whole] or 1))
        for model in models.names:
            served = models.served(model)
            self._running.labels(model).set(0 if served is None else served.engine.running)
            self._waiting.labels(model).set(0 if served is None else served.engine.waiting)
        return generate_latest(self.registry)


def _summed(stats: Stats) -> dict[str, float]:
    """What rates are made of; the evaluation of the prompt and its token are left out."""
    return {
        "drafted": stats.drafted,
        "accepted": stats.accepted,
        "later tokens": max(0, stats.tokens - 1),
        "later rounds": max(0, stats.rounds - 1),
        "plain seconds": stats.plain_seconds,
        "seconds": stats.estimated_seconds,
    }


class CountRequests:
    """Counts the requests that an application answers."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                # The endpoint's own path, as any client can make up others.
                path = getattr(scope.get("route"), "path", "other")
                self._metrics.count_request(path, message["status"])
            await send(message)

        await self._app(scope, receive, counted)
