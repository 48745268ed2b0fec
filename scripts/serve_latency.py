"""What the server adds to a runner: the same answers in this process and through a server, in turn.

    python -m scripts.serve_latency smollm2-135m --json docs/conformance/latency.json

Both decode plainly (`--drafter none`), so that neither learns anything meanwhile, and prompts are
new ones, so that nothing is cached. The server is asked twice: by a client that reads lines and
nothing more, and by OpenAI's, whose own work comes on top on the same cores. Printed are medians
over the triples, with quartiles of the differences from the answer in this process.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import Request, urlopen

import openai

from scripts.serve_load import serving
from spec_local.runner import Runner
from spec_local.sampling.settings import Sampling

TOKENS, PAIRS, WARM = 64, 40, 3
PAUSE = 0.3
"""Seconds before each answer, so that none meets threads that still spin after the one before."""
WAYS = ("in process", "through the server", "with OpenAI's client")


class Timed(NamedTuple):
    """One answer, in milliseconds."""

    first: float
    """To the first text."""
    token: float
    """Of every further token."""


def timed(texts: Iterable[str]) -> Timed:
    """How long the pieces of an answer take; one piece a token."""
    time.sleep(PAUSE)
    begun = time.perf_counter()
    times = [time.perf_counter() for text in texts if text]
    return Timed(1e3 * (times[0] - begun), 1e3 * (times[-1] - times[0]) / (len(times) - 1))


def in_process(runner: Runner, prompt: str) -> Iterable[str]:
    """By the runner."""
    sampling = Sampling(temperature=0)
    for chunk in runner.generate(prompt, max_tokens=TOKENS, sampling=sampling):
        yield chunk.text


def bare(url: str, prompt: str) -> Iterable[str]:
    """By the server, read line by line."""
    asked = {"prompt": prompt, "max_tokens": TOKENS, "temperature": 0, "stream": True}
    kind = {"Content-Type": "application/json"}
    with urlopen(Request(f"{url}/completions", json.dumps(asked).encode(), kind)) as lines:
        for line in lines:
            if line.startswith(b"data: {"):
                yield json.loads(line.removeprefix(b"data: "))["choices"][0]["text"]


def through(client: openai.OpenAI, model: str, prompt: str) -> Iterable[str]:
    """By the server and OpenAI's client."""
    with client.completions.create(
        model=model, prompt=prompt, max_tokens=TOKENS, temperature=0, stream=True
    ) as stream:
        for event in stream:
            yield event.choices[0].text


def measured(name: str) -> list[tuple[Timed, Timed, Timed]]:
    """In process, through a server, and with OpenAI's client, again and again."""
    found = list[tuple[Timed, Timed, Timed]]()
    with (
        serving(name, ["--drafter", "none"]) as (url, _process),
        Runner.load(name, drafter="none") as runner,
        openai.OpenAI(base_url=url, api_key="none") as client,
    ):
        model = client.models.list().data[0].id
        for number in range(WARM + PAIRS):
            # A prompt for each way, as long as the others: the server keeps what it has read.
            prompts = [f"{1000 + len(WAYS) * number + way} ships went out" for way in range(3)]
            texts = (
                in_process(runner, prompts[0]),
                bare(url, prompts[1]),
                through(client, model, prompts[2]),
            )
            own, served, official = map(timed, texts)
            if number >= WARM:
                found.append((own, served, official))
    return found


def summary(found: list[tuple[Timed, Timed, Timed]]) -> dict[str, dict[str, Any]]:
    """Medians of each time, and quartiles of what each way adds to the first one."""
    times: dict[str, dict[str, Any]] = {}
    for field in Timed._fields:
        by_way = [[getattr(each[way], field) for each in found] for way in range(len(WAYS))]
        own = by_way[0]
        times[field] = {}
        for way, values in zip(WAYS, by_way, strict=True):
            added = [value - mine for value, mine in zip(values, own, strict=True)]
            quartiles = [round(each, 3) for each in statistics.quantiles(added, n=4)]
            times[field][way] = {"median": round(statistics.median(values), 3), "added": quartiles}
    return times


def table(times: Mapping[str, Mapping[str, Any]]) -> str:
    """As Markdown."""
    lines = [
        "| milliseconds | | median | added | quartiles of what is added |",
        "|---|---|--:|--:|---|",
    ]
    for field, told in (("first", "to the first token"), ("token", "every further token")):
        for way in WAYS:
            median, (low, middle, high) = times[field][way].values()
            extra = ("", "") if way == WAYS[0] else (f"{middle:.2f}", f"{low:.2f} to {high:.2f}")
            lines.append(f"| {told} | {way} | {median:.2f} | {' | '.join(extra)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="a model")
    parser.add_argument("--json", type=Path, help="write the figures there")
    how = parser.parse_args()
    times = summary(measured(how.name))
    print(table(times))
    if how.json:
        kept = {"model": how.name, "pairs": PAIRS, "tokens": TOKENS, **times}
        how.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
