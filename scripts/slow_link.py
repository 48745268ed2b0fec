"""A TCP relay on this machine that is as slow to answer as a network is."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import partial

_CHUNK = 1 << 20


async def _pass_on(
    source: asyncio.StreamReader, sink: asyncio.StreamWriter, seconds: float
) -> None:
    """Everything that comes goes on so much later, in its order."""
    loop, late = asyncio.get_running_loop(), asyncio.Queue[tuple[float, bytes]]()

    async def read() -> None:
        with suppress(ConnectionError):
            while data := await source.read(_CHUNK):
                late.put_nowait((loop.time() + seconds, data))
        late.put_nowait((loop.time() + seconds, b""))

    reading = asyncio.create_task(read())
    try:
        with suppress(ConnectionError):
            while True:
                at, data = await late.get()
                await asyncio.sleep(max(0.0, at - loop.time()))
                if not data:
                    break
                sink.write(data)
                await sink.drain()
    finally:
        reading.cancel()
        sink.close()


async def _serve(to: int, seconds: float, told: Future[tuple[int, Callable[[], object]]]) -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await asyncio.open_connection("127.0.0.1", to)
        except OSError:
            writer.close()
            return
        both = (_pass_on(reader, there[1], seconds), _pass_on(there[0], writer, seconds))
        await asyncio.gather(*both)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = int(server.sockets[0].getsockname()[1])
    told.set_result((port, partial(loop.call_soon_threadsafe, ended.set)))
    async with server:
        await ended.wait()


@contextmanager
def slow_link(to: int, round_trip_ms: float) -> Iterator[int]:
    """A port of this machine that leads to another one of it, half a round trip each way."""
    told: Future[tuple[int, Callable[[], object]]] = Future()
    work = partial(_serve, to, round_trip_ms / 2e3, told)
    thread = threading.Thread(target=lambda: asyncio.run(work()), daemon=True)
    thread.start()
    port, end = told.result()
    try:
        yield port
    finally:
        end()
        thread.join()
