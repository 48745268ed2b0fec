"""Which tokens a trimmed draft should keep: the standard library's, or those its target writes.

    python scripts/draft_corpus.py answers TARGET --out answers.json
    python scripts/draft_corpus.py agree TARGET DRAFT answers.json --out agree.json
    python scripts/draft_corpus.py costs DRAFT --out costs.json
    python scripts/draft_corpus.py price answers.json agree.json costs.json RESULT --out FILE

`answers` lets the target answer the benchmark's prompts. `agree` says, for each ranking and size,
which share of these answers can be written and what the draft would have drafted of them: it is led
along them once, whole, and for each set of tokens the others are left out of its logits, which is
what trimming does to them. Neglected is that a trimmed draft reads a token it lacks in pieces.
`costs` trims files to each size and compares them; `price` predicts what all that earns with the
costs of committed benchmarks, whose draft has the usual size.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import geometric_mean
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np

from spec_local.bench.hindsight import replay
from spec_local.bench.hindsight.replay import Pricing, Recording
from spec_local.bench.record.result import CURVE_CONTEXT, Result
from spec_local.control.costs import CostCurve
from spec_local.llama.model import Model
from spec_local.llama.quantize import quantize
from spec_local.llama.session import Session
from spec_local.llama.vocab import Vocabulary
from spec_local.models import trim
from spec_local.models.corpus import Counts, count_tokens, default_corpus
from spec_local.models.download import pulled
from spec_local.models.registry import PairSpec, load_registry
from spec_local.models.target_corpus import target_counts
from spec_local.pair import open_pair
from spec_local.runner import Runner
from spec_local.sampling.settings import Sampling
from spec_local.sampling.types import Logits
from spec_local.util.progress import no_progress
from spec_local.workloads.workloads import WorkloadPrompt, bundled, read_prompts

SAMPLING = Sampling(temperature=0.8, seed=1)
USUAL = 48_000
"""Tokens that `draft trim` keeps by default."""
SIZES = (8_000, 16_000, 32_000, USUAL)
WHOLE = "all tokens"
ZIPF_SHIFT = 1000
"""Tokens that are about equally frequent, at the beginning of a vocabulary."""


def answers(
    spec: PairSpec, prompts: Sequence[WorkloadPrompt], tokens: int
) -> Iterator[dict[str, Any]]:
    """The target's answer to the first turn of every prompt, and how lookup sees it."""
    with ExitStack() as stack:
        target = stack.enter_context(Session(stack.enter_context(open_pair(spec)).target))
        runner = stack.enter_context(Runner(target, "none"))
        for prompt in prompts:
            context = runner.tokenize([{"role": "user", "content": prompt.turns[0]}])
            said = list(runner.complete(context, max_tokens=tokens, sampling=SAMPLING).tokens)
            if len(said) < 2:
                continue
            seen = replay.record(target, SAMPLING, context, said)
            yield {
                "workload": prompt.workload,
                "context": context,
                "tokens": said,
                "certainty": [round(each, 4) for each in seen.certainty],
                "looked": [[right, [round(c, 4) for c in sure]] for right, sure in seen.looked],
            }
            print(prompt.workload, prompt.number, len(said), flush=True)


def mixed(counts: Counts, others: Counts, share: float) -> Counts:
    """Shares (n_vocab,) of tokens in two corpora, of which the other has that share."""
    shares: Counts = (1 - share) * counts / counts.sum() + share * others / others.sum()
    return shares


def rankings(target: Path, vocab: Vocabulary, n_tokens: int) -> dict[str, tuple[Counts, float]]:
    """The counts that tokens are ranked by, and the share below which they are chance.

    A vocabulary's order is that of how general its tokens are, and has counts by Zipf's law.
    """
    zipf = 1 / (np.arange(vocab.n_tokens) + ZIPF_SHIFT)
    library = count_tokens(vocab, default_corpus())
    written = target_counts(target, n_tokens, vocab, no_progress)
    return {
        "order of the vocabulary": (zipf, 0.0),
        "standard library": (library, trim.RARE),
        "standard library and order": (mixed(library, zipf, 0.5), 0.0),
        "target": (written, trim.RARE_EXPECTED),
        "target and standard library": (mixed(library, written, 0.8), trim.RARE_EXPECTED),
    }


def kept_tokens(target: Path, draft: Path, n_tokens: int) -> dict[str, dict[int, trim.TokenIds]]:
    """What each ranking keeps at each size; and everything, as a ranking of its own."""
    with Model(draft, vocab_only=True) as model:
        required = trim.required_tokens(model.vocab, model.header)
        kept = {
            name: {size: trim.choose_tokens(counts, required, size, rare) for size in SIZES}
            for name, (counts, rare) in rankings(target, model.vocab, n_tokens).items()
        }
        return {WHOLE: {model.vocab.n_tokens: np.arange(model.vocab.n_tokens)}, **kept}


def led_along(
    draft: Session, target: Session, answer: Mapping[str, Any], kept: Sequence[trim.TokenIds]
) -> list[list[tuple[bool, float]]]:
    """What a draft of each set of tokens would have drafted (`Recording.drawn`)."""
    left = np.full(target.n_vocab, -np.inf, np.float32)

    def only(tokens: trim.TokenIds, row: Logits) -> Logits:
        left.fill(-np.inf)
        left[tokens] = row[tokens]
        return left

    views = [partial(only, tokens) for tokens in kept]
    drawn = replay.led_along(draft, target, SAMPLING, answer["context"], answer["tokens"], views)
    return [[(right, round(confidence, 4)) for right, confidence in each] for each in drawn]


def agree(spec: PairSpec, said: list[dict[str, Any]], n_tokens: int) -> list[dict[str, Any]]:
    """For each ranking and size, the share that can be written, and what would be drafted."""
    with ExitStack() as stack:
        target, (draft, *_) = stack.enter_context(open_pair(spec, ["model"])).sessions(stack)
        kept = kept_tokens(target.model.path, draft.model.path, n_tokens)
        cells = [(name, size, each) for name, sizes in kept.items() for size, each in sizes.items()]
        drawn = []
        for number, answer in enumerate(said):
            drawn.append(led_along(draft, target, answer, [each for _, _, each in cells]))
            print(f"{number + 1} of {len(said)}", flush=True)
    written = np.concatenate([answer["tokens"] for answer in said])
    return [
        {
            "ranking": name,
            "size": size,
            "coverage": float(np.isin(written, each).mean()),
            "drawn": [text[i] for text in drawn],
        }
        for i, (name, size, each) in enumerate(cells)
    ]


def costs(draft: str, rounds: int) -> dict[str, float]:
    """Seconds of a drafted token by size, in Q4_0, against the size that trimming has by default.

    The sizes take turns, so that a busy machine is as slow for all; the median of the rounds.
    """
    source = pulled(draft, load_registry(), no_progress)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(TemporaryDirectory()))
        sessions = {}
        for size in (*SIZES, WHOLE):
            path = directory / f"{size}.gguf"
            if isinstance(size, str):
                quantize(source, path, "Q4_0")
            else:
                trim.trim(source, path, size, file_type="Q4_0")
            session = stack.enter_context(Session(stack.enter_context(Model(path))))
            session.evaluate(range(100, 100 + CURVE_CONTEXT))
            sessions[str(size)] = session
        seconds: dict[str, list[float]] = {size: [] for size in sessions}
        for _ in range(rounds):
            for size, session in sessions.items():
                start = perf_counter()
                session.evaluate([100])
                seconds[size].append(perf_counter() - start)
                session.truncate(CURVE_CONTEXT)
    return {
        size: round(float(np.median(np.divide(each, seconds[str(USUAL)]))), 3)
        for size, each in seconds.items()
    }


def curve(costs: Mapping[str, float], factor: float = 1.0) -> CostCurve:
    """A cost curve by the seconds of its widths, times a factor."""
    found = CostCurve()
    for width, seconds in costs.items():
        found.observe(int(width), CURVE_CONTEXT, factor * seconds)
    return found


def price(
    said: list[dict[str, Any]],
    agreed: list[dict[str, Any]],
    sizes: Mapping[str, float],
    benchmarks: Sequence[Path],
) -> Iterator[dict[str, Any]]:
    """What every ranking and size is expected to earn where a benchmark was run."""
    machines = {path.stem: Result.load(path).curves for path in benchmarks}
    for cell in agreed:
        size = WHOLE if cell["ranking"] == WHOLE else str(cell["size"])
        recordings = [
            Recording(
                len(answer["context"]),
                tuple(answer["certainty"]),
                tuple((right, tuple(sure)) for right, sure in answer["looked"]),
                tuple((bool(right), sure) for right, sure in drawn),
            )
            for answer, drawn in zip(said, cell["drawn"], strict=True)
        ]
        auto = {}
        for name, curves in machines.items():
            target, draft = curve(curves["target"]), curve(curves["draft"], sizes[size])
            pricing = Pricing(target, draft, recordings)
            auto[name] = round(geometric_mean(pricing.price(each).auto for each in recordings), 3)
        judged = [right for each in recordings for right, _ in each.drawn]
        yield {
            "ranking": cell["ranking"],
            "size": cell["size"],
            "coverage": round(cell["coverage"], 5),
            "agreement": round(sum(judged) / len(judged), 4),
            "cost": sizes[size],
            "auto": auto,
        }


def table(prices: Sequence[Mapping[str, Any]]) -> list[str]:
    """Per cent written, per cent drafted right, speed-ups of `auto`; one row for each ranking."""
    found: dict[str, dict[int, str]] = {}
    for each in prices:
        cell = f"{100 * each['coverage']:.1f} / {100 * each['agreement']:.1f}"
        cell += "".join(f" / {speedup:.2f}" for speedup in each["auto"].values())
        found.setdefault(each["ranking"], {})[each["size"]] = cell
    whole = found.pop(WHOLE)
    sizes = list(next(iter(found.values())))
    rows = [
        f"| ranked by | {' | '.join(f'{size:,}' for size in [*sizes, *whole])} |",
        "|---" * (len(sizes) + 2) + "|",
    ]
    for name, cells in found.items():
        rows.append(f"| {name} | {' | '.join([*cells.values(), *whole.values()])} |")
    return rows


def read(name: str) -> Any:
    """What an earlier step has written."""
    return json.loads(Path(name).read_text())


def main() -> None:
    """One step."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    steps = {name: commands.add_parser(name) for name in ("answers", "agree", "costs", "price")}
    steps["answers"].add_argument("--tokens", type=int, default=128, help="most of an answer")
    steps["answers"].add_argument("--prompts", type=Path, help="others than the benchmark's")
    steps["agree"].add_argument("--corpus-tokens", type=int, default=4000)
    steps["costs"].add_argument("--rounds", type=int, default=300)
    takes = {"answers": "target", "agree": "target draft said", "costs": "draft"}
    for name, arguments in (takes | {"price": "said agreed sizes"}).items():
        for each in arguments.split():
            steps[name].add_argument(each, type=str if each in ("target", "draft") else read)
    steps["price"].add_argument("benchmarks", type=Path, nargs="+", help="of spec-local bench")
    for step in steps.values():
        step.add_argument("--out", type=Path, required=True)
    how = parser.parse_args()
    found: Any
    if how.command == "answers":
        prompts = bundled() if how.prompts is None else read_prompts(how.prompts)
        found = list(answers(PairSpec(how.target), prompts, how.tokens))
    elif how.command == "agree":
        found = agree(PairSpec(how.target, how.draft), how.said, how.corpus_tokens)
    elif how.command == "costs":
        found = costs(how.draft, how.rounds)
    else:
        found = list(price(how.said, how.agreed, how.sizes, how.benchmarks))
        print(*table(found), sep="\n")
    how.out.write_text(json.dumps(found, indent=1 if how.command == "price" else None) + "\n")


if __name__ == "__main__":
    main()
