"""What a drafted token costs: alone, between evaluations of the target, and in use.

    python -m scripts.draft_in_use TARGET.gguf DRAFT.gguf --json docs/controller/draft-in-use.json
    python -m scripts.draft_in_use --show docs/controller/draft-in-use.json

`tune` measures a draft model alone, one evaluation after the other; in use the target evaluates in
between, whose weights displace everything else from the caches. Milliseconds are medians of
evaluations one token wide, with quartiles; the ways are gone through in turn, `PASSES` times. In
use also with what drawing adds: the draft's distribution, its confidence, Python.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from scripts.kept import measure_or_show
from spec_local.llama.session import Session
from spec_local.machine.profile import ProfileStore
from spec_local.runner import Runner
from spec_local.sampling.settings import Sampling
from spec_local.workloads.workloads import bundled

PASSES, DRAFTS, K, TOKENS = 5, 30, 3, 64
WORKLOADS = ("code generation", "chat", "translation")


class Found(NamedTuple):
    """One way, in milliseconds a drafted token."""

    way: str
    median: float
    low: float
    high: float


def one(session: Session, token: int) -> float:
    """Seconds of one token."""
    begun = perf_counter()
    session.evaluate([token])
    return perf_counter() - begun


def alone(draft: Session, tokens: Sequence[int]) -> Iterator[float]:
    """One after the other, going back after K as in use."""
    at = len(draft.tokens)
    for number in range(DRAFTS):
        yield one(draft, tokens[number % K])
        if number % K == K - 1:
            draft.truncate(at)


def between(target: Session, draft: Session, tokens: Sequence[int]) -> Iterator[float]:
    """K of them after every evaluation of the target, which is K + 1 wide."""
    there, at = len(target.tokens), len(draft.tokens)
    for _ in range(DRAFTS // K):
        target.evaluate(tokens[: K + 1], rows=K + 1)
        target.truncate(there)
        yield from (one(draft, token) for token in tokens[:K])
        draft.truncate(at)


def in_use(runner: Runner, messages: list[dict[str, str]]) -> Iterator[tuple[float, float]]:
    """Of rounds that evaluate the draft one token wide: evaluating, and with drawing."""
    draft = runner.draft
    assert draft is not None
    calls, seconds, before = draft.decode_calls, draft.decode_seconds, None
    for chunk in runner.generate(messages, max_tokens=TOKENS, sampling=Sampling(temperature=0)):
        drafted = draft.decode_calls - calls
        if before is not None and drafted == chunk.stats.draft_evaluated - before.draft_evaluated:
            spent = draft.decode_seconds - seconds, chunk.stats.draft_seconds - before.draft_seconds
            if drafted:
                yield spent[0] / drafted, spent[1] / drafted
        calls, seconds, before = draft.decode_calls, draft.decode_seconds, chunk.stats


def measure(how: argparse.Namespace) -> list[Found]:
    """All ways, on one pair of sessions."""
    ways = dict[str, list[float]]()

    def add(way: str, seconds: Iterable[float]) -> None:
        ways.setdefault(way, []).extend(seconds)

    with (
        tempfile.TemporaryDirectory() as directory,
        Runner.load(
            target=how.target,
            draft=how.draft,
            drafter="model",
            k=K,
            profiles=ProfileStore(Path(directory)),
        ) as runner,
    ):
        assert runner.draft is not None
        prompts = [
            each.turns[0] for each in bundled() if each.workload in WORKLOADS and not each.number
        ]
        for turn in range(PASSES + 1):
            for said in prompts:
                found = list(in_use(runner, [{"role": "user", "content": said}]))
                if turn > 0:  # the first of everything is slow
                    add(f"in use, {K} after {K + 1} of the target", (each[0] for each in found))
                    add("the same, with drawing", (each[1] for each in found))
            tokens = runner.tokenize(prompts[0])
            for session in (runner.target, runner.draft):
                session.truncate(0)
                session.evaluate(tokens)
                session.mark(K + 1)
            passes = alone(runner.draft, tokens), between(runner.target, runner.draft, tokens)
            for way, seconds in zip(
                ("alone", f"{K} after {K + 1} of the target"), passes, strict=True
            ):
                measured = list(seconds)
                if turn > 0:
                    add(way, measured)
    return [of(way, seconds) for way, seconds in ways.items()]


def of(way: str, seconds: Sequence[float]) -> Found:
    """Median and quartiles."""
    low, median, high = (1e3 * each for each in statistics.quantiles(seconds, n=4))
    return Found(way, median, low, high)


def table(found: Sequence[Found]) -> list[str]:
    """Each against alone."""
    base = next(each.median for each in found if each.way == "alone")
    return [
        "| a drafted token | ms | quartiles | against alone |",
        "|---|---|---|---|",
        *(
            f"| {each.way} | {each.median:.1f} | {each.low:.1f} to {each.high:.1f} "
            f"| {each.median / base:.2f} |"
            for each in sorted(found, key=lambda each: each.way != "alone")
        ),
    ]


def main() -> None:
    """Measure or show."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("target", nargs="?")
    parser.add_argument("draft", nargs="?")
    measure_or_show(parser, Found, measure, table)


if __name__ == "__main__":
    main()
