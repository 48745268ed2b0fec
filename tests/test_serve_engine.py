"""One engine for many: turns in order, no more waiting than allowed, and clients that leave."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Sequence

import pytest
from fastapi.testclient import TestClient

from spec_local.serve.app import make_app
from spec_local.serve.engine import Engine
from spec_local.serve.failures import Refused
from spec_local.serve.limits import Limits
from tests.fake import TableSession
from tests.live_server import live
from tests.stub_runner import StubRunner, stub_service, stub_slot

SECONDS = 20.0
"""Longest wait for what must happen."""
ASKED = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 4000}


def engine(*held: Sequence[int], waiting: int = 9) -> Engine:
    runners = [StubRunner(TableSession(tokens=list(tokens))) for tokens in held]
    return Engine([stub_slot(runner) for runner in runners], most_waiting=waiting)


def until(is_so: Callable[[], bool]) -> None:
    ends = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < ends
        time.sleep(0.001)


def test_first_come_first_served() -> None:
    async def main() -> None:
        shared, order = engine([]), list[int]()

        async def ask(number: int) -> None:
            async with shared.turn([]):
                order.append(number)
                assert shared.running == 1
                await asyncio.sleep(0)

        await asyncio.gather(*map(ask, range(6)))
        assert order == list(range(6))
        assert (shared.running, shared.waiting) == (0, 0)

    asyncio.run(main())


def test_too_many_are_refused_and_told_when() -> None:
    async def main() -> None:
        shared = engine([], waiting=1)
        async with shared.turn([]):
            waiting = asyncio.create_task(shared.turn([]).__aenter__())
            await asyncio.sleep(0)
            with pytest.raises(Refused) as refused:
                await shared.turn([]).__aenter__()
            assert refused.value.status == 429
            assert int(refused.value.headers["Retry-After"]) >= 1
        await waiting

    asyncio.run(main())


def test_who_stops_waiting_loses_nobodys_turn() -> None:
    async def main() -> None:
        shared = engine([])
        turns = [shared.turn([]) for _ in range(3)]  # kept, or they would be closed
        async with shared.turn([]):
            leaving, staying = (asyncio.create_task(turn.__aenter__()) for turn in turns[:2])
            await asyncio.sleep(0)
            leaving.cancel()
            await asyncio.sleep(0)
            assert shared.waiting == 1
        await staying
        late = asyncio.create_task(turns[2].__aenter__())
        await asyncio.sleep(0)
        assert shared.waiting == 1
        shared._give_back(shared.slots[0])
        late.cancel()  # in the moment in which its turn has come
        with pytest.raises(asyncio.CancelledError):
            await late
        async with shared.turn([]):
            assert shared.running == 1

    asyncio.run(main())


def test_the_context_that_knows_most_of_the_prompt_is_taken() -> None:
    async def main() -> None:
        shared = engine([1, 2], [1, 2, 3, 4], [1, 2, 3])
        async with shared.turn([1, 2, 3, 4, 5]) as best:
            assert list(best.tokens) == [1, 2, 3, 4]
            async with shared.turn([1, 2, 3, 4, 5]) as next_best:
                assert list(next_best.tokens) == [1, 2, 3]
        other = engine([1, 2, 3, 4, 5], [])
        async with other.turn([1, 7, 8]) as new:  # and nobody loses a conversation for it
            assert list(new.tokens) == []

    asyncio.run(main())


def pass_together(both: threading.Barrier) -> None:
    """Wait for the other; alone it would be for ever."""
    both.wait()


def test_two_contexts_answer_at_the_same_time() -> None:
    both = threading.Barrier(2, timeout=SECONDS)
    runners = [StubRunner(TableSession(), pause=lambda: pass_together(both)) for _ in range(2)]
    with TestClient(make_app(stub_service(*runners))) as client:
        texts = list[str]()

        def ask() -> None:
            answer = client.post("/v1/chat/completions", json=ASKED | {"max_tokens": 9})
            texts.append(answer.json()["choices"][0]["message"]["content"])

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    expected = StubRunner().generate("hello", max_tokens=9).complete().text
    assert texts == [expected] * 2


def ask_for_two_tokens(host: str, port: int) -> None:
    connection = http.client.HTTPConnection(host, port, timeout=SECONDS)
    body = json.dumps(ASKED | {"max_tokens": 2})
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    assert connection.getresponse().status == 200
    connection.close()


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_gives_its_turn_to_the_next(stream: bool) -> None:
    rounds, seen = threading.Semaphore(0), list[int]()

    def pause() -> None:
        seen.append(len(seen))
        assert rounds.acquire(timeout=SECONDS)

    runner = StubRunner(pause=pause)
    service = stub_service(runner)
    with live(make_app(service)) as url:
        host, port = url.removeprefix("http://").split(":")
        client = socket.create_connection((host, int(port)))
        body = json.dumps(ASKED | {"stream": stream})
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        client.sendall((head + body).encode())
        until(lambda: len(seen) == 1)  # in the middle of the first round
        client.close()
        served = service.models.served("letters")
        assert served is not None
        waiting = threading.Thread(target=ask_for_two_tokens, args=[host, int(port)])
        waiting.start()
        until(lambda: served.engine.waiting == 1)
        rounds.release()  # the round ends, and with it the generation
        until(lambda: len(runner.requests) == 2)
        assert len(seen) <= 2
        for _ in range(9):
            rounds.release()
        waiting.join()
        assert served.engine.running == 0
        assert len(runner.session.tokens) <= 8


def test_an_answer_ends_by_its_time() -> None:
    runner = StubRunner(pause=lambda: time.sleep(0.01))
    with TestClient(make_app(stub_service(runner, limits=Limits(seconds=0.05)))) as client:
        answer = client.post("/v1/chat/completions", json=ASKED | {"n": 2}).json()
        first, second = answer["choices"]
        assert first["finish_reason"] == second["finish_reason"] == "length"
        whole = StubRunner().generate("hello", max_tokens=4000).complete().text
        assert len(first["message"]["content"]) < len(whole)
        assert whole.startswith(first["message"]["content"])


def test_many_at_once_get_the_right_text() -> None:
    app = make_app(stub_service(StubRunner(), StubRunner(TableSession())))
    prompts = ["hello", "other", "words", "again"]
    texts: dict[int, str] = {}
    with TestClient(app) as client:

        def ask(number: int) -> None:
            asked = {"prompt": prompts[number % 4], "max_tokens": 40, "speculative": {"k": number}}
            answer = client.post("/v1/completions", json=asked)
            texts[number] = answer.json()["choices"][0]["text"]

        threads = [threading.Thread(target=ask, args=[number]) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    expected = [StubRunner().generate(p, max_tokens=40).complete().text for p in prompts]
    assert texts == {number: expected[number % 4] for number in range(16)}


def test_the_models_are_closed_at_the_end() -> None:
    runner = StubRunner()
    with TestClient(make_app(stub_service(runner))) as client:
        client.post("/v1/completions", json={"prompt": "hello"})
        assert not runner.closed
    assert runner.closed
