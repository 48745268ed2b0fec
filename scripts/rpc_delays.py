"""A target on two other machines: plain decoding and drafting, by how far away they are.

   python -m scripts.rpc_delays TARGET DRAFT --json docs/machines/delays.json
   python -m scripts.rpc_delays --show docs/machines/delays.json

Two servers (`spec-local rpc-server`) on this machine lend its processor, each behind a relay that
is as late as a network of that round-trip time (`slow_link.py`). The draft stays here. Every answer
is written with and without the draft, in turn, --repeats times; told are medians. Predicted is the
speed-up from the figures without delay alone: each round takes t trips more, plain or not, where t
is what plain decoding takes more per delay,

    (P + t d) m / (S + t d)

with P and S the seconds of a round, plain and speculative, m the mean accepted length and d the
delay. llama.cpp must have RPC (`scripts/build_rpc.py`).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from socket import create_connection, create_server
from statistics import median
from time import sleep
from typing import Any

from scripts.slow_link import slow_link

PROMPT = "List the months of the year, one on each line, with the number of days of each."
DELAYS = (0.0, 5.0, 20.0, 80.0)
COMMAND = [sys.executable, "-m", "spec_local"]
_PATIENCE = 30.0


@contextmanager
def server(
    *options: str, env: Mapping[str, str] | None = None
) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """A server of this machine's processor, with one thread; its port, and the process.

    env: its environment; None: as here.
    """
    with create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    command = [*COMMAND, "rpc-server", "--port", str(port), "-t", "1", *options]
    with subprocess.Popen(
        command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            for _ in range(int(_PATIENCE * 10)):
                try:
                    create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    sleep(0.1)
            yield port, process
        finally:
            process.kill()


def answer(target: str, draft: str | None, k: int, ports: Sequence[int], tokens: int) -> Any:
    """The statistics of one answer."""
    servers = ",".join(f"127.0.0.1:{port}" for port in ports)
    drafting = ["--drafter", "none"]
    if draft:  # in turn: here the draft shares cores with the servers
        drafting = ["-d", draft, "--drafter", "model", "-k", str(k), "--draft-ahead", "off"]
    command = [*COMMAND, "generate", "-m", target, *drafting, "--rpc", servers, "--json"]
    command += ["--temperature", "0", "--max-tokens", str(tokens), "-c", "1024", PROMPT]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def measure(target: str, draft: str, k: int, tokens: int, repeats: int) -> dict[str, Any]:
    """All delays."""
    rows = list[dict[str, float]]()
    with server() as (first, _), server() as (second, _):
        for delay in DELAYS:
            found: dict[str, list[Any]] = {"plain": [], "drafted": []}
            with slow_link(first, delay) as near, slow_link(second, delay) as far:
                for _ in range(repeats):
                    for name, with_draft in (("plain", None), ("drafted", draft)):
                        found[name].append(answer(target, with_draft, k, (near, far), tokens))
            assert {each["text"] for name in found for each in found[name]} == {
                found["plain"][0]["text"]
            }
            rows.append({"delay_ms": delay, **_seconds(found)})
            print(json.dumps(rows[-1]), flush=True)
    return {"target": Path(target).name, "draft": Path(draft).name, "k": k, "rows": rows}


def _seconds(found: Mapping[str, Sequence[Any]]) -> dict[str, float]:
    def of(name: str, field: str) -> float:
        values: list[float] = [each["stats"][field] for each in found[name]]
        return round(median(values), 4)

    def round_of(name: str) -> float:
        each = (one["stats"] for one in found[name])
        values: list[float] = [s["decode_seconds"] / (s["rounds"] - 1) for s in each]
        return round(median(values), 5)

    return {
        "plain_round": round_of("plain"),
        "drafted_round": round_of("drafted"),
        "length": of("drafted", "mean_accepted_length"),
        "plain_speed": of("plain", "tokens_per_second"),
        "drafted_speed": of("drafted", "tokens_per_second"),
    }


def table(data: Mapping[str, Any]) -> str:
    """Markdown: a line for each delay."""
    rows = data["rows"]
    lines = [
        "| round trip, ms | plain, tokens/s | drafted, tokens/s | speed-up | predicted |",
        "|--:|--:|--:|--:|--:|",
    ]
    still, last = rows[0], rows[-1]
    trips = (last["plain_round"] - still["plain_round"]) / (last["delay_ms"] / 1e3)
    for row in rows:
        later = trips * row["delay_ms"] / 1e3
        predicted = (
            (still["plain_round"] + later) * still["length"] / (still["drafted_round"] + later)
        )
        lines.append(
            f"| {row['delay_ms']:g} | {row['plain_speed']:.2f} | {row['drafted_speed']:.2f} "
            f"| {row['drafted_speed'] / row['plain_speed']:.2f} | {predicted:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, or draw the table again from what was measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", nargs="?", default="qwen2.5-coder-1.5b")
    parser.add_argument("draft", nargs="?", default="qwen2.5-coder-0.5b")
    parser.add_argument("-k", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--show", type=Path, help="a file that was written with --json")
    options = parser.parse_args()
    if options.show is not None:
        data = json.loads(options.show.read_text())
    else:
        data = measure(options.target, options.draft, options.k, options.tokens, options.repeats)
    if options.json is not None:
        options.json.write_text(json.dumps(data, indent=1) + "\n")
    print(table(data))


if __name__ == "__main__":
    main()
