"""What the server adds to a runner: the same answers in this process and through a server, in turn.

    python -m scripts.serve_latency smollm2-135m --json docs/conformance/latency.json

Both decode plainly (`--drafter none`), so that neither learns anything meanwhile, and prompts are
new ones, so that nothing is cached. Printed are medians over the pairs, with quartiles of
the differences.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import openai

from scripts.serve_load import serving
from spec_local.runner import Runner
from spec_local.sampling.settings import Sampling

TOKENS, PAIRS, WARM = 64, 40, 3


class Timed(NamedTuple):
    """One answer, in milliseconds."""

    first: float
    """To the first text."""
    token: float
    """Of every further token."""


def timed(texts: Iterable[str]) -> Timed:
    """How long the pieces of an answer take; one piece a token."""
    begun = time.perf_counter()
    times = [time.perf_counter() for text in texts if text]
    return Timed(1e3 * (times[0] - begun), 1e3 * (times[-1] - times[0]) / (len(times) - 1))


def in_process(runner: Runner, prompt: str) -> Iterable[str]:
    """By the runner."""
    sampling = Sampling(temperature=0)
    for chunk in runner.generate(prompt, max_tokens=TOKENS, sampling=sampling):
        yield chunk.text


def through(client: openai.OpenAI, model: str, prompt: str) -> Iterable[str]:
    """By the server."""
    with client.completions.create(
        model=model, prompt=prompt, max_tokens=TOKENS, temperature=0, stream=True
    ) as stream:
        for event in stream:
            yield event.choices[0].text


def differences(name: str) -> list[tuple[Timed, Timed]]:
    """In process and through a server, again and again."""
    found = list[tuple[Timed, Timed]]()
    with (
        serving(name, ["--drafter", "none"]) as (url, _process),
        Runner.load(name, drafter="none") as runner,
        openai.OpenAI(base_url=url, api_key="none") as client,
    ):
        model = client.models.list().data[0].id
        for number in range(WARM + PAIRS):
            prompt = f"{number} ships went out to sea, and"
            ways = [timed(in_process(runner, prompt)), timed(through(client, model, prompt))]
            if number >= WARM:
                found.append((ways[0], ways[1]))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="a model")
    parser.add_argument("--json", type=Path, help="write the figures there")
    how = parser.parse_args()
    found = differences(how.name)
    print("| milliseconds | in process | through the server | added | quartiles of what is added |")
    print("|---|---:|---:|---:|---|")
    summary: dict[str, object] = {"model": how.name, "pairs": PAIRS, "tokens": TOKENS}
    for field in Timed._fields:
        own, served = ([getattr(each[way], field) for each in found] for way in (0, 1))
        added = [theirs - mine for mine, theirs in zip(own, served, strict=True)]
        low, middle, high = statistics.quantiles(added, n=4)
        ours, other = statistics.median(own), statistics.median(served)
        print(f"| {field} | {ours:.2f} | {other:.2f} | {middle:.2f} | {low:.2f} to {high:.2f} |")
        summary[field] = {
            "in process": round(ours, 3),
            "through the server": round(other, 3),
            "added": [round(each, 3) for each in (low, middle, high)],
        }
    if how.json:
        how.json.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
