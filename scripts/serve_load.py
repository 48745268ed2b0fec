"""A server under load: clients that ask, stop listening in the middle, or ask nonsense.

    python -m scripts.serve_load smollm2 --clients 1 4 16 --seconds 300
    python -m scripts.serve_load smollm2 --clients 1 4 --seconds 60 --beside ./llama-server \\
        --leaving 0 --nonsense 0

Starts `spec-local serve` on this machine and compares every whole answer with what the runner
writes by itself: with `--exact`, as near ties could else tell the texts apart. Other options, such
as `--parallel 2`, are the server's. `--beside` puts llama-server under the same load, on the same
file with as many contexts; its texts are not compared. It answers nonsense, at length, so that
speeds are to be compared without any.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

import openai
import psutil

from spec_local.models.download import pull
from spec_local.models.registry import load_registry
from spec_local.runner import Runner
from spec_local.sampling.settings import Sampling
from spec_local.workloads.workloads import bundled

TOKENS = 40
"""Of an answer."""
PROMPTS = 6
"""The shortest of the bundled ones: what is tried is the server, not how prompts are read."""
LEAVING, NONSENSE = 0.1, 0.1
"""Shares of the requests, if nothing else is asked for."""
SETTLED = 100
"""Requests after which memory should stay as it is."""


@contextmanager
def beside(program: str, path: Path, parallel: str) -> Iterator[tuple[str, psutil.Process]]:
    """The base URL of a llama-server, and its process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [program, "-m", str(path), "--port", str(port), "--parallel", parallel]
    command += ["-c", str(4096 * int(parallel)), "--no-webui"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as running:
        try:
            url = f"http://127.0.0.1:{port}"
            while not _is_healthy(url):
                time.sleep(0.1)
            yield f"{url}/v1", psutil.Process(running.pid)
        finally:
            running.terminate()


def _is_healthy(url: str) -> bool:
    with suppress(OSError), urlopen(f"{url}/health") as answer:
        return bool(answer.status == 200)
    return False


@contextmanager
def serving(name: str, options: Sequence[str]) -> Iterator[tuple[str, psutil.Process]]:
    """The base URL of a server, and its process."""
    command = [sys.executable, "-m", "spec_local", "serve", name, "--port", "0", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as program:
        try:
            assert program.stderr is not None
            ready = next(line for line in program.stderr if " at http://" in line)
            yield ready.split(" at ")[1].split()[0], psutil.Process(program.pid)
        finally:
            program.terminate()


class Load:
    """What clients met."""

    def __init__(
        self,
        url: str,
        expected: dict[str, str],
        seconds: float,
        shares: tuple[float, float],
        compared: bool = True,
    ) -> None:
        """expected: the answer to each prompt, if it is compared. shares: of LEAVING, NONSENSE."""
        self.url, self.expected, self._compared = url, expected, compared
        self._leaving, self._nonsense = shares
        self.ends = time.monotonic() + seconds
        self.met: Counter[str] = Counter()
        self.first: list[float] = []

    def run(self, number: int) -> None:
        """One client, until time is up."""
        rng = random.Random(number)
        with openai.OpenAI(base_url=self.url, api_key="none", max_retries=0) as client:
            model = client.models.list().data[0].id
            while time.monotonic() < self.ends:
                self.met[self._outcome(client, model, rng)] += 1

    def _outcome(self, client: openai.OpenAI, model: str, rng: random.Random) -> str:
        try:
            return self._ask(client, model, rng)
        except openai.OpenAIError as error:
            return f"lost: {type(error).__name__}"

    def _ask(self, client: openai.OpenAI, model: str, rng: random.Random) -> str:
        prompt, chance = rng.choice(list(self.expected)), rng.random()
        if chance < self._nonsense:
            try:
                client.completions.create(model=model, prompt=prompt, temperature=-1)
            except openai.BadRequestError:
                return "refused"
            return "lost: nonsense was answered"
        started, said = time.perf_counter(), ""
        leaves = TOKENS // 2 if chance < self._nonsense + self._leaving else None
        with client.completions.create(
            model=model, prompt=prompt, max_tokens=TOKENS, temperature=0, stream=True
        ) as stream:
            for number, event in enumerate(stream):
                if number == 0:
                    self.first.append(time.perf_counter() - started)
                said += event.choices[0].text
                if number == leaves:
                    return "left"
        right = said == self.expected[prompt] or not self._compared
        return "right" if right else "wrong"


def measured(process: psutil.Process, clients: int, load: Load) -> dict[str, object]:
    """What so many clients at once met, and the memory before, settled and at the end, in MB."""

    def megabytes() -> float:
        return round(process.memory_info().rss / 1e6, 1)

    before, settled, started = megabytes(), None, time.monotonic()
    threads = [threading.Thread(target=load.run, args=[number]) for number in range(clients)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        time.sleep(0.1)
        if settled is None and load.met.total() >= SETTLED:
            settled = megabytes()
    seconds = time.monotonic() - started
    return {
        "clients": clients,
        "seconds": round(seconds, 1),
        "requests": dict(load.met),
        "whole answers per second": round(load.met["right"] / seconds, 2),
        "median milliseconds to the first token": round(1e3 * statistics.median(load.first), 1),
        "memory": [before, settled, megabytes()],
    }


def main() -> None:
    """Measure, and print one line of JSON for each number of clients."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="a pair, a model or a file")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--seconds", type=float, default=300.0, help="for each number of clients")
    parser.add_argument("--exact", action="store_true", help="in the mode certified")
    parser.add_argument("--leaving", type=float, default=LEAVING, help="share of the requests")
    parser.add_argument("--nonsense", type=float, default=NONSENSE, help="share of the requests")
    parser.add_argument("--beside", metavar="PROGRAM", help="llama-server, under the same load")
    given, options = parser.parse_known_args()
    shares = (given.leaving, given.nonsense)
    prompts = sorted((prompt.turns[0] for prompt in bundled()), key=len)[:PROMPTS]
    with Runner.load(given.name, exact=given.exact) as runner:
        greedy = Sampling(temperature=0)
        expected = {
            prompt: runner.complete(prompt, max_tokens=TOKENS, sampling=greedy).text
            for prompt in prompts
        }
    if given.exact:
        options.append("--exact=certified")
    with serving(given.name, options) as (url, process):
        for clients in given.clients:
            load = Load(url, expected, given.seconds, shares)
            print(json.dumps(measured(process, clients, load)), flush=True)
    if given.beside:
        parallel = options[options.index("--parallel") + 1] if "--parallel" in options else "1"
        path = pull(given.name, load_registry())
        with beside(given.beside, path, parallel) as (url, process):
            for clients in given.clients:
                load = Load(url, expected, given.seconds, shares, compared=False)
                row = {"beside": "llama-server", **measured(process, clients, load)}
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
