"""A TCP relay on this machine that is as slow to answer as a network is."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_CHUNK = 1 << 20


async def _pass_on(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, seconds: float
) -> None:
    """Everything that comes goes on so much later, in its order."""
    loop, late = asyncio.get_running_loop(), asyncio.Queue[tuple[float, bytes]]()

    async def write() -> None:
        while True:
            at, data = await late.get()
            await asyncio.sleep(max(0.0, at - loop.time()))
            if not data:
                break
            sink.write(data)
            await sink.drain()

    writing = asyncio.ensure_future(write())
    with suppress(ConnectionError):
        while data := await source.read(_CHUNK):
            late.put_nowait((loop.time() + seconds, data))
    late.put_nowait((loop.time(), b""))
    with suppress(ConnectionError):
        await writing
    sink.close()


async def _serve(to: int, seconds: float, ready: threading.Event, ports: list[int]) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await asyncio.open_connection("127.0.0.1", to)
        except OSError:
            writer.close()
            return
        await asyncio.gather(
            _pass_on(reader, there[1], seconds), _pass_on(there[0], writer, seconds)
        )

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    ports.append(server.sockets[0].getsockname()[1])
    ready.set()
    async with server:
        await server.serve_forever()


@contextmanager
def slow_link(to: int, round_trip_ms: float) -> Iterator[int]:
    """A port of this machine that leads to another one of it, half a round trip each way."""
    loop, ready, ports = asyncio.new_event_loop(), threading.Event(), list[int]()
    work = loop.create_task(_serve(to, round_trip_ms / 2e3, ready, ports))

    def run() -> None:
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(work)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    ready.wait()
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(work.cancel)
        thread.join(5)
