"""The end of the server while something is not ready: by the deadline, and in good order."""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import pytest

from spec_local.serve.failures import Refused
from spec_local.serve.models import Loaded, Models
from tests.documents import ROOT
from tests.stub_runner import StubRunner, stub_slot

SECONDS = 60.0
"""Longest wait for what must happen."""
PROGRAM = """
import sys, time
from spec_local.serve.limits import Limits
from spec_local.serve.models import Loaded, Models
from spec_local.serve.server import Address, listening, run
from spec_local.serve.service import Service
from tests.stub_runner import StubRunner, stub_slot

def say(what):
    print(what, flush=True)

def load():
    if sys.argv[1] == "loading":
        say("busy")
        time.sleep(600)
    slot = stub_slot(StubRunner(pause=answer))
    return Loaded("letters", [slot], {}, slot.close)

def answer():
    say("busy")
    time.sleep(0.05)

service = Service(Models({"letters": load}, most_waiting=3), Limits())
address = Address(port=0)
with listening(address) as listener:
    run(service, address, listener, say, shutdown_seconds=1)
"""


@contextmanager
def busy(what: str, stream: bool) -> Iterator[tuple[subprocess.Popen[str], list[bytes]]]:
    """A server that is at work, and what it has answered when the block has ended."""
    command = [sys.executable, "-c", PROGRAM, what]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=ROOT) as program:
        try:
            assert program.stdout is not None
            host = program.stdout.readline().split("/")[2]
            answers = list[bytes]()

            def ask() -> None:
                asked = {"prompt": "hello", "max_tokens": 4000, "stream": stream}
                head = {"Content-Type": "application/json"}
                with (
                    closing(http.client.HTTPConnection(host, timeout=SECONDS)) as connection,
                    suppress(http.client.HTTPException, OSError),  # it may be gone before
                ):
                    connection.request("POST", "/v1/completions", json.dumps(asked), head)
                    answer = connection.getresponse()
                    answers.append(b"%d " % answer.status + answer.read())

            asking = threading.Thread(target=ask)
            asking.start()
            assert program.stdout.readline() == "busy\n"
            yield program, answers
            asking.join()
        finally:
            program.kill()


@pytest.mark.parametrize("what", ["loading", "answering"])
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_not_ready_is_refused_and_the_server_ends(what: str, stream: bool) -> None:
    with busy(what, stream) as (program, answers):
        program.send_signal(signal.SIGINT)
        _out, err = program.communicate(timeout=SECONDS)
        assert program.returncode == 0
        assert "Traceback" not in err
        assert err.count("\n") == 1  # uvicorn's, which says what is cut short
    (answer,) = answers
    begun = stream and what == "answering"
    assert answer.startswith(b"200 " if begun else b"503 ")
    last = answer.rstrip().split(b"data: ")[-1] if begun else answer[4:]
    error = json.loads(last)["error"]
    assert error["message"] == "The server is being shut down; ask again when it is back."
    assert error["type"] == "server_error"


def test_a_signal_that_ends_it_is_what_it_ends_by() -> None:
    with busy("loading", False) as (program, _answers):
        program.terminate()
        _out, err = program.communicate(timeout=SECONDS)
        assert program.returncode == -signal.SIGTERM
        assert "Traceback" not in err


def test_a_model_that_is_loaded_too_late_is_freed() -> None:
    may_end, runner = threading.Event(), StubRunner()

    def load() -> Loaded:
        assert may_end.wait(SECONDS)
        slot = stub_slot(runner)
        return Loaded("letters", [slot], {}, slot.close)

    async def main() -> None:
        models = Models({"letters": load}, most_waiting=1)
        using = models.using("letters")
        entering = asyncio.create_task(using.__aenter__())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert models.is_loading
        models.close()
        may_end.set()
        with pytest.raises(Refused, match="shut down"):
            await entering
        assert not models.is_loading
        assert models.served("letters") is None

    asyncio.run(main())
    assert runner.closed
