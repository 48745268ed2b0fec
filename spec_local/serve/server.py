"""The application on a socket, until a signal ends it."""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import uvicorn

from spec_local.errors import ConfigError, require
from spec_local.serve.app import make_app
from spec_local.serve.service import Service

_LOCAL = ("localhost", "127.0.0.1", "[::1]")
"""Names that a server on this machine is called by. Others may be a web page's that has made its
own name lead here."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server listens, and who may ask."""

    host: str = "127.0.0.1"
    port: int = 8080
    api_key: str | None = None
    without_key: bool = False
    """Whether other machines may ask without a key."""
    origins: Sequence[str] = ()
    """Of web pages that may ask."""

    def __post_init__(self) -> None:
        require(0 <= self.port < 1 << 16, "--port must be from 0 to 65535.")
        if self.api_key is not None and not (self.api_key.strip() and self.api_key.isascii()):
            raise ConfigError("The API key must be ASCII and not empty.")
        if not self.is_local and self.api_key is None and not self.without_key:
            raise ConfigError(
                f"{self.host} can be reached from other machines; give --api-key, "
                "or --no-api-key if everybody there may ask."
            )

    @property
    def is_local(self) -> bool:
        """Whether only programs on this machine reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def listening(address: Address) -> socket.socket:
    """A socket there; raises ConfigError where there cannot be one."""
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        family, _, _, _, place = found[0]
        return socket.create_server(place[:2], family=family)
    except OSError as error:
        raise ConfigError(
            f"Nothing can listen at {address.host}, port {address.port} "
            f"({error.strerror}); choose others with --host and --port."
        ) from None


def run(
    service: Service,
    address: Address,
    listener: socket.socket,
    ready: Callable[[str], None],
    *,
    shutdown_seconds: float,
) -> None:
    """Answer until SIGINT or SIGTERM, then finish what runs by the deadline.

    ready: told the base URL for clients. The service's models are closed at the end.
    """
    # Whoever has the key may ask by any name, as through a proxy; without one a web page could make
    # its own name lead here.
    guarded = address.is_local and address.api_key is None
    hosts = (*_LOCAL, address.host) if guarded else ("*",)
    app = make_app(service, api_key=address.api_key, hosts=hosts, origins=address.origins)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=max(1, round(shutdown_seconds)),
        )
    )
    host, port = listener.getsockname()[:2]
    ready(f"http://{f'[{host}]' if ':' in host else host}:{port}/v1")
    with suppress(KeyboardInterrupt):  # uvicorn raises it again, when all is done
        server.run(sockets=[listener])
    if service.models.is_loading:
        # Nothing ends a thread that is inside llama.cpp, and Python's own end would meet it there.
        sys.stderr.flush()
        os._exit(0)
