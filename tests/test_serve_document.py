"""The OpenAPI document keeps its word: schemathesis asks by it, rightly and wrongly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from spec_local.serve.app import make_app
from tests.live_server import live
from tests.stub_runner import StubRunner, stub_service


@pytest.fixture(scope="module")
def document() -> Iterator[Any]:
    with live(make_app(stub_service(StubRunner()))) as url:
        yield schemathesis.openapi.from_url(f"{url}/openapi.json")


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_every_endpoint_keeps_to_it(document: Any, mode: GenerationMode) -> None:
    asked = 0
    for each in document.get_all_operations():
        operation = each.ok()
        if mode is GenerationMode.NEGATIVE and not operation.body:
            continue

        # A document cannot say which models, tokens and schemas there are: a request that it allows
        # may be refused, but what it forbids must be, and every answer must be as it says.
        @settings(max_examples=20, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=mode))
        def keeps_to_it(case: Any) -> None:
            case.call_and_validate(excluded_checks=[positive_data_acceptance])

        keeps_to_it()
        asked += 1
    assert asked == (11 if mode is GenerationMode.POSITIVE else 6)
