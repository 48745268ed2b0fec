"""Speed on a machine that becomes busy and idle again: ways to wait, in turn.

    python -m scripts.busy_machine --competitors 1,2,4 --rounds 3 --json docs/threads/busy.json
    python -m scripts.busy_machine --show docs/threads/busy.json

What is measured is added to what the file of --json holds, so a long table can be made in parts.

Every measurement is a process of its own that writes one answer after the other, 60 tokens each.
After some idle seconds so many others compute, then they stop. Printed are tokens per second while
the machine is idle, in the first second in which it is busy, in those after that, and when it is
idle again, and the seconds to the first token of an answer on the busy machine: medians over the
rounds and, where it says so, least and greatest. A token belongs to the phase in which it came.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from spec_local.bench.run.environment import this_machine
from spec_local.llama.backend import default_threads
from spec_local.llama.options import LoadOptions

_OURS = """
import json, sys, time
from spec_local import Runner, Sampling
prompt = [{"role": "user", "content": "Why is the sky blue?"}]
found = []
with Runner.load(target=sys.argv[1], drafter="none", options=options) as runner:
    print("ready", flush=True)
    until = time.time() + float(sys.argv[2])
    while time.time() < until:
        runner.target.truncate(0)
        times = [time.time()]
        for _text in runner.generate(prompt, max_tokens=60, sampling=Sampling(temperature=0)):
            times.append(time.time())
            if times[-1] > until:
                break
        found.append(times)
print(json.dumps(found))
"""
_PYTHON = """
import json, sys, time
import llama_cpp
model = llama_cpp.Llama(sys.argv[3], n_ctx=2048, verbose=False)
prompt = [{"role": "user", "content": "Why is the sky blue?"}]
found = []
print("ready", flush=True)
until = time.time() + float(sys.argv[2])
while time.time() < until:
    model.reset()
    times = [time.time()]
    for chunk in model.create_chat_completion(prompt, max_tokens=60, temperature=0, stream=True):
        if "content" in chunk["choices"][0]["delta"]:
            times.append(time.time())
        if times[-1] > until:
            break
    found.append(times)
print(json.dumps(found))
"""
_SERVER = """
import json, socket, subprocess, sys, time
from urllib.request import ProxyHandler, Request, build_opener
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    port = probe.getsockname()[1]
where = ["--host", "127.0.0.1", "--port", str(port), "--offline", "--no-webui"]
how = ["-m", sys.argv[3], "-c", "2048", "-t", sys.argv[5], "--parallel", "1", "--cache-ram", "0"]
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
server = subprocess.Popen([sys.argv[4], *where, *how], **quiet)
ask = build_opener(ProxyHandler({})).open
url = f"http://127.0.0.1:{port}"
found = []
try:
    while True:
        try:
            ask(url + "/health").close()
            break
        except OSError:  # it is still loading
            assert server.poll() is None
            time.sleep(0.05)
    question = {
        "messages": [{"role": "user", "content": "Why is the sky blue?"}],
        "max_tokens": 60, "temperature": 0, "stream": True, "cache_prompt": False,
    }
    body, kind = json.dumps(question).encode(), {"Content-Type": "application/json"}
    print("ready", flush=True)
    until = time.time() + float(sys.argv[2])
    while time.time() < until:
        times = [time.time()]
        with ask(Request(url + "/v1/chat/completions", body, kind)) as lines:
            for line in lines:
                if b'"content":"' in line:
                    times.append(time.time())
                if times[-1] > until:
                    break
        found.append(times)
finally:
    server.kill()
    server.wait()
print(json.dumps(found))
"""


class Setting(NamedTuple):
    """A way to wait."""

    program: str
    """Python source of the process that writes."""
    variables: dict[str, str] = {}  # noqa: RUF012 (nobody writes to it)
    needs: str = ""
    """An option of this script, without which it is left out."""


def _with(options: str) -> str:
    return f"from spec_local import LoadOptions\noptions = {options}\n{_OURS}"


SETTINGS = {
    "by the load (ours)": Setting(_with("None")),
    "one thread": Setting(_with("LoadOptions(n_threads=1)")),
    "passive": Setting(_with("None"), {"OMP_WAIT_POLICY": "passive"}),
    "libgomp's default": Setting(_with("None"), {"GOMP_SPINCOUNT": "300000"}),
    "long spinning": Setting(_with("None"), {"GOMP_SPINCOUNT": "10000000"}),
    "llama-cpp-python": Setting(_PYTHON, needs="file"),
    "llama-server": Setting(_SERVER, needs="llama_server"),
}
SECONDS = (3.0, 6.0, 4.0)
"""Idle, busy, and idle again."""
PHASES = ("idle", "first busy second", "busy", "idle again")


class Measured(NamedTuple):
    """One process. Tokens per second by phase; None where no token came in it."""

    setting: str
    competitors: int
    speeds: dict[str, float | None]
    first_token_seconds: float | None
    """Of the answers that began on the busy machine, the median; None if none got so far."""


def measure(how: argparse.Namespace, name: str, competitors: int) -> Measured:
    """Let one process write while the machine becomes busy and idle again."""
    setting, (idle, busy, after) = SETTINGS[name], how.seconds
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    given = (how.model, idle + busy + after, how.file, how.llama_server, default_threads())
    arguments = [sys.executable, "-c", setting.program, *map(str, given)]
    writer = subprocess.Popen(
        arguments, env=clean | setting.variables, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    time.sleep(idle)
    started = time.time()
    loop = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(loop) for _ in range(competitors)]
    time.sleep(busy)
    ended = time.time()
    for other in others:
        other.kill()
        other.wait()
    answers: list[list[float]] = json.loads(writer.stdout.readline())
    writer.wait()
    return Measured(name, competitors, *_phases(answers, started, ended))


def _phases(
    answers: Sequence[Sequence[float]], started: float, ended: float
) -> tuple[dict[str, float | None], float | None]:
    """Speeds by phase, and seconds to the first token while busy."""
    bounds = dict(
        zip(PHASES, pairwise((0, started, started + 1, ended, float("inf"))), strict=True)
    )
    speeds: dict[str, float | None] = {}
    for phase, (begin, end) in bounds.items():
        # An answer's first time is its start, its second one the first token.
        gaps = [b - a for times in answers for a, b in pairwise(times[1:]) if begin <= b < end]
        speeds[phase] = round(len(gaps) / sum(gaps), 2) if gaps else None
    firsts = [t[1] - t[0] for t in answers if len(t) > 1 and started <= t[0] and t[1] < ended]
    return speeds, round(median(firsts), 3) if firsts else None


def table(found: Sequence[Measured]) -> list[str]:
    """A row for each number of competitors and way to wait."""
    rows = [
        f"| competitors | way to wait | {' | '.join(PHASES)} | first token |",
        f"|---|---|{'---|' * (len(PHASES) + 1)}",
    ]
    names = list(SETTINGS)
    kinds = {(each.competitors, each.setting) for each in found}
    for count, setting in sorted(kinds, key=lambda kind: (kind[0], names.index(kind[1]))):
        here = [e for e in found if (e.competitors, e.setting) == (count, setting)]
        cells = [_cell([each.speeds[phase] for each in here]) for phase in PHASES]
        firsts = [each.first_token_seconds for each in here]
        known = [first for first in firsts if first is not None]
        cells.append(f"{median(known):.2f} s" if known else "none")
        rows.append(f"| {count} | {setting} | {' | '.join(cells)} |")
    return rows


def _cell(speeds: Sequence[float | None]) -> str:
    known = [speed or 0.0 for speed in speeds]
    return f"{median(known):.0f} ({min(known):.0f} to {max(known):.0f})"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--file", help="its file, for other programs; they are left out without")
    parser.add_argument("--llama-server", help="llama.cpp's server; left out without")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument(
        "--seconds", type=float, nargs=3, default=SECONDS, help="idle, busy, idle again"
    )
    parser.add_argument("--competitors", default="1,2,4")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--show", type=Path)
    how = parser.parse_args()
    if how.llama_server and not how.file:
        parser.error("--llama-server needs --file.")
    if how.show:
        kept = json.loads(how.show.read_text())
        print("\n".join(table([Measured(**each) for each in kept["found"]])))
        return
    settings = [name for name in how.settings if getattr(how, SETTINGS[name].needs or "model")]
    found: list[Measured] = []
    if how.json and how.json.exists():
        found = [Measured(**each) for each in json.loads(how.json.read_text())["found"]]
    for count in map(int, how.competitors.split(",")):
        for turn in range(how.rounds):
            for setting in settings if turn % 2 == 0 else settings[::-1]:
                found.append(measure(how, setting, count))
                print(*found[-1], flush=True)
    print("\n".join(table(found)))
    if how.json:
        machine = this_machine(LoadOptions())
        facts: dict[str, Any] = {"cpu": machine.cpu, "cores": machine.cores, "model": how.model}
        entries = [each._asdict() for each in found]
        how.json.write_text(json.dumps({**facts, "found": entries}, indent=1) + "\n")


if __name__ == "__main__":
    main()
