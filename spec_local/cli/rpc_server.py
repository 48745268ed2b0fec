"""`spec-local rpc-server`: lends this machine's devices to a program on another one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spec_local.cli.output import say


def rpc_server(
    host: Annotated[
        str, typer.Option("--host", "-H", metavar="ADDR", help="Where to listen.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", "-p", metavar="N", min=1, max=65535)] = 50052,
    device: Annotated[
        list[str] | None,
        typer.Option(
            "--device",
            "-d",
            metavar="NAME",
            help="What to lend; repeatable.",
            show_default="all GPUs, else the processor",
        ),
    ] = None,
    threads: Annotated[
        int,
        typer.Option("--threads", "-t", metavar="N", help="CPU threads; 0: one per core.", min=0),
    ] = 0,
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache", metavar="FOLDER", help="Keep large tensors there.", show_default=False
        ),
    ] = None,
) -> None:
    """Lend this machine's devices to a program on another one, which names it with --rpc.

    One program at a time. Nothing is encrypted and nobody is asked for a password: whoever reaches
    the port can use it, and worse. Listen on networks you trust alone. Ctrl-C ends it.
    """
    from spec_local.llama.lend import devices_to_lend, lend
    from spec_local.llama.rpc import is_loopback

    devices = devices_to_lend(device or ())
    say(f"Lending {', '.join(map(str, devices))} at {host}:{port}")
    if not is_loopback(host):
        say(
            "note: whoever reaches this port can use it, and worse; only in networks you trust.",
            err=True,
        )
    lend(f"{host}:{port}", devices, threads, cache)
