"""The controller's fitted constants, fitted again: from answers recorded of a pair of models.

    python scripts/fit_constants.py record TARGET DRAFT --out docs/controller/answers.json
    python scripts/fit_constants.py fit docs/controller/answers.json [--draft DRAFT.gguf]

`record` writes an answer to every bundled prompt, greedily and at temperature 0.8, and looks at it
from the draft model and from lookup. `fit` prints each constant of `control/constants.py` that was
fitted, beside what these answers say; with the draft also `RARE` of `models/trim.py`.
"""

from __future__ import annotations

import argparse
import json
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import betabinom

from spec_local.bench.hindsight.replay import record, with_draft
from spec_local.control.constants import Tuning
from spec_local.llama.model import Model
from spec_local.models.corpus import count_tokens, default_corpus
from spec_local.models.registry import PairSpec
from spec_local.models.trim import choose_tokens, required_tokens
from spec_local.pair import open_pair
from spec_local.runner import Runner
from spec_local.sampling.settings import Sampling
from spec_local.workloads.workloads import bundled, choose

_TUNING = Tuning()
_EDGES = (0.0, *_TUNING.confidence_edges, 1.0)
_BUCKETS = len(_EDGES) - 1
_WEIGHTS = np.geomspace(1, 1000, 121)
_DISTANCES = np.geomspace(0.1, 10, 101)
_RARES = (0.0, 1e-7, 3e-7, 1e-6, 2e-6, 4e-6, 1e-5, 1e-4, 1.0)

Verdicts = list[tuple[float, bool]]
"""Confidence of each judged token of one text, and whether it was right."""


def record_answers(spec: PairSpec, per_workload: int, tokens: int) -> dict[str, Any]:
    """Answers of a target, as its draft model and lookup see them."""
    answers = []
    with ExitStack() as stack:
        pair = stack.enter_context(open_pair(spec))
        target, (draft, *_) = pair.sessions(stack)
        runner = stack.enter_context(Runner(target, "lookup", k=3))
        for prompt in choose(bundled(), [], per_workload):
            for temperature in (0.0, 0.8):
                sampling = Sampling(temperature=temperature, seed=1)
                context = runner.tokenize([{"role": "user", "content": prompt.turns[0]}])
                said = runner.complete(context, max_tokens=tokens, sampling=sampling).tokens
                if len(said) < 2:
                    continue
                seen = record(target, sampling, context, said)
                seen = with_draft(seen, draft, target, sampling, context, said)
                answers.append(
                    {
                        "workload": prompt.workload,
                        "temperature": temperature,
                        "tokens": list(said),
                        "certainty": [round(c, 4) for c in seen.certainty],
                        "drawn": [[int(right), round(c, 4)] for right, c in seen.drawn],
                        "looked": [
                            [right, [round(c, 4) for c in sure[: right + 1]]]
                            for right, sure in seen.looked
                        ],
                    }
                )
                print(prompt.workload, temperature, len(said))
    names = {"target": target.model.path.name, "draft": draft.model.path.name}
    return {**names, "answers": answers}


def drawn(answer: dict[str, Any]) -> Verdicts:
    """Every token that the draft model would have drawn."""
    return [(confidence, bool(right)) for right, confidence in answer["drawn"]]


def looked_up(answer: dict[str, Any]) -> Verdicts:
    """Every token of every draft that lookup would have made, as far as it is judged."""
    return [
        (confidence, index < right)
        for right, confidences in answer["looked"]
        for index, confidence in enumerate(confidences[: right + 1])
    ]


def bucket(confidence: float) -> int:
    """As in `control/acceptance.py`."""
    return bisect_right(_TUNING.confidence_edges, confidence)


def shares(answers: Sequence[dict[str, Any]]) -> NDArray[np.float64]:
    """`first_shares`: per cent of drafted tokens in each confidence bucket, shape (buckets,)."""
    counts = np.zeros(_BUCKETS)
    for answer in answers:
        for confidence, _right in drawn(answer):
            counts[bucket(confidence)] += 1
    found: NDArray[np.float64] = 100 * counts / counts.sum()
    return found


def distance(answers: Sequence[dict[str, Any]], guess: NDArray[np.float64]) -> float:
    """`first_distance` d by maximum likelihood.

    P(draft's bucket j | target's bucket b) ~ guess_j exp(-|j - b| / d).
    """
    pairs = np.zeros((_BUCKETS, _BUCKETS))
    for answer in answers:
        for certainty, (confidence, _right) in zip(
            answer["certainty"], drawn(answer), strict=False
        ):
            pairs[bucket(certainty), bucket(confidence)] += 1
    apart = np.abs(np.subtract.outer(np.arange(_BUCKETS), np.arange(_BUCKETS)))

    def likelihood(d: float) -> float:
        kernel = guess * np.exp(-apart / d)
        return float((pairs * np.log(kernel / kernel.sum(axis=1, keepdims=True))).sum())

    return float(max(_DISTANCES, key=likelihood))


def counted(texts: Iterable[Verdicts]) -> NDArray[np.float64]:
    """Accepted, judged and summed confidence, shape (texts, buckets, 3)."""
    found = []
    for verdicts in texts:
        counts = np.zeros((_BUCKETS, 3))
        for confidence, right in verdicts:
            counts[bucket(confidence)] += (right, 1, confidence)
        found.append(counts)
    return np.array(found)


def weights(counts: NDArray[np.float64]) -> tuple[float, float]:
    """`confidence_weight` and `pair_weight` by maximum likelihood, in judged tokens.

    Beta-binomial: buckets of the pair around their confidence, texts around their pair's bucket.
    """
    pair = counts.sum(axis=0)
    pair = pair[pair[:, 1] > 0]
    accepted, judged, confidence = pair.T
    by_confidence = _spread(accepted, judged, confidence / judged)
    everywhere = counts.sum(axis=0)
    mean = (everywhere[:, 0] + 0.5) / (everywhere[:, 1] + 1)
    seen = counts[:, :, 1] > 0
    by_text = _spread(
        counts[:, :, 0][seen], counts[:, :, 1][seen], np.broadcast_to(mean, seen.shape)[seen]
    )
    return by_confidence, by_text


def _spread(
    accepted: NDArray[np.float64], judged: NDArray[np.float64], mean: NDArray[np.float64]
) -> float:
    """The weight w of Beta(w mean, w (1 - mean)) under which these counts are likeliest."""
    mean = np.clip(mean, 1e-3, 1 - 1e-3)
    likelihood = [betabinom.logpmf(accepted, judged, w * mean, w * (1 - mean)) for w in _WEIGHTS]
    return float(_WEIGHTS[int(np.argmax(np.sum(likelihood, axis=1)))])


def unwritable(answers: Sequence[dict[str, Any]], draft: Path, n_vocab: int) -> dict[float, float]:
    """Per cent of the answers' tokens that a draft trimmed to n_vocab cannot write, by `RARE`."""
    with Model(draft, vocab_only=True) as model:
        counts = count_tokens(model.vocab, default_corpus())
        required = required_tokens(model.vocab, model.header)
    written = [token for answer in answers for token in answer["tokens"]]
    found = {}
    for rare in _RARES:
        kept = set(choose_tokens(counts, required, n_vocab, rare).tolist())
        found[rare] = 100 * sum(token not in kept for token in written) / len(written)
    return found


def fitted(answers: Sequence[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    """What stands in `control/constants.py`, and what these answers say, by constant."""
    by_shares = shares(answers)
    by_model = weights(counted(map(drawn, answers)))
    by_lookup = weights(counted(map(looked_up, answers)))
    trust, looked = _TUNING.drawn, _TUNING.looked_up
    found = distance(answers, by_shares)
    return {
        "first_shares": (
            " ".join(f"{share:g}" for share in _TUNING.first_shares),
            " ".join(f"{share:.0f}" for share in by_shares),
        ),
        "first_distance": (f"{_TUNING.first_distance:g}", f"{found:.2f}"),
        "drawn.confidence_weight": (f"{trust.confidence_weight:g}", f"{by_model[0]:.0f}"),
        "drawn.pair_weight": (f"{trust.pair_weight:g}", f"{by_model[1]:.0f}"),
        "looked_up.confidence_weight": (f"{looked.confidence_weight:g}", f"{by_lookup[0]:.0f}"),
        "looked_up.pair_weight": (f"{looked.pair_weight:g}", f"{by_lookup[1]:.0f}"),
    }


def main() -> None:
    """Record or fit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record")
    recording.add_argument("target")
    recording.add_argument("draft")
    recording.add_argument("--out", type=Path, required=True)
    recording.add_argument("--per-workload", type=int, default=2)
    recording.add_argument("--tokens", type=int, default=200)
    fitting = commands.add_parser("fit")
    fitting.add_argument("answers", type=Path)
    fitting.add_argument("--draft", type=Path, help="a .gguf file, to fit RARE as well")
    fitting.add_argument("--trim", type=int, default=32_000, help="tokens kept of it")
    how = parser.parse_args()
    if how.command == "record":
        found = record_answers(PairSpec(how.target, how.draft), how.per_workload, how.tokens)
        how.out.parent.mkdir(parents=True, exist_ok=True)
        how.out.write_text(json.dumps(found, separators=(",", ":")) + "\n")
        return
    answers = json.loads(how.answers.read_text())["answers"]
    for name, (chosen, said) in fitted(answers).items():
        print(f"{name:28} chosen {chosen:24} fitted {said}")
    if how.draft:
        for rare, missed in unwritable(answers, how.draft, how.trim).items():
            print(f"RARE {rare:<8g} cannot write {missed:.1f} % of the answers' tokens")


if __name__ == "__main__":
    main()
