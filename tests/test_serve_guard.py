"""Who may ask: keys, names of the host, web pages, addresses."""

from __future__ import annotations

import subprocess
import sys

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from spec_local.cli.app import app
from spec_local.errors import ConfigError
from spec_local.serve.app import make_app
from spec_local.serve.limits import Limits
from spec_local.serve.server import Address, listening
from tests.documents import ROOT
from tests.stub_runner import StubRunner, stub_service


def test_a_key_is_asked_for() -> None:
    with TestClient(make_app(stub_service(StubRunner()), api_key="sesame")) as client:
        assert client.get("/health").status_code == 200
        wrong = ("", "sesame", "Bearer", "Bearer sesam", "Bearer sesame2", "Basic sesame")
        for given in wrong:
            answer = client.get("/v1/models", headers={"Authorization": given})
            assert answer.status_code == 401, given
            assert answer.json()["error"]["code"] == "invalid_api_key"
            assert answer.headers["www-authenticate"] == "Bearer"
        for given in ("Bearer sesame", "bearer  sesame "):
            answer = client.get("/v1/models", headers={"Authorization": given})
            assert answer.status_code == 200


def test_other_names_of_the_host_are_refused() -> None:
    application = make_app(stub_service(StubRunner()), hosts=["localhost", "127.0.0.1"])
    with TestClient(application, base_url="http://localhost:8080") as client:
        assert client.get("/v1/models").status_code == 200
        assert client.get("/v1/models", headers={"Host": "evil.example"}).status_code == 400


def test_web_pages_may_not_ask_unless_they_are_named() -> None:
    page = {"Origin": "https://page.example"}
    asked = page | {"Access-Control-Request-Method": "POST"}
    with TestClient(make_app(stub_service(StubRunner()))) as client:
        assert client.options("/v1/chat/completions", headers=asked).status_code == 405
        assert "access-control-allow-origin" not in client.get("/v1/models", headers=page).headers
    application = make_app(
        stub_service(StubRunner()), api_key="sesame", origins=["https://page.example"]
    )
    with TestClient(application) as client:
        allowed = client.options("/v1/chat/completions", headers=asked)
        assert allowed.headers["access-control-allow-origin"] == "https://page.example"
        other = client.options("/v1/models", headers={**asked, "Origin": "https://other.example"})
        assert other.status_code == 400


def test_a_form_of_a_web_page_is_no_request() -> None:
    with TestClient(make_app(stub_service(StubRunner()))) as client:
        content = b'{"prompt": "hello"}'
        answer = client.post(
            "/v1/completions", content=content, headers={"content-type": "text/plain"}
        )
        assert answer.status_code == 400


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.2", "::", "example.com"])
def test_other_machines_need_a_key(host: str) -> None:
    with pytest.raises(ConfigError, match="give --api-key"):
        Address(host)
    assert not Address(host, api_key="sesame").is_local
    assert not Address(host, without_key=True).is_local


def test_this_machine_needs_none() -> None:
    assert all(Address(host).is_local for host in ("127.0.0.1", "localhost", "::1"))
    for key in ("", "  ", "schlüssel"):
        with pytest.raises(ConfigError, match="must be ASCII"):
            Address(api_key=key)


def test_a_port_that_is_taken() -> None:
    with listening(Address(port=0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match="--port"):
            listening(Address(port=port))


@pytest.mark.parametrize("name", ["fastapi", "uvicorn", "prometheus_client"])
def test_a_missing_extra_is_a_sentence(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=r"pip install 'spec-local\[serve\]'"):
        CliRunner().invoke(app, ["serve"], catch_exceptions=False)


def test_nothing_else_loads_the_web_framework() -> None:
    code = "import sys, spec_local.cli.app; print('fastapi' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "False\n"


def test_the_document_names_every_endpoint() -> None:
    with TestClient(make_app(stub_service(StubRunner()))) as client:
        paths = client.get("/openapi.json").json()["paths"]
    page = (ROOT / "docs" / "serve.md").read_text()
    assert len(paths) == 11
    for path, methods in paths.items():
        assert path.split("{")[0] in page
        for method in methods.values():
            assert {"4XX", "5XX"} <= set(method["responses"])
            assert "422" not in method["responses"]


@pytest.mark.parametrize("name", ["body_bytes", "schema_bytes", "seconds", "prompt_tokens"])
def test_limits_are_checked(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        Limits(**{name: 0})
