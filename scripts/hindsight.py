"""How close is the controller to the best static choice, and to what could be known at all?

    python scripts/hindsight.py --target TARGET --draft DRAFT --recording FILE --json FILE
    python scripts/hindsight.py --recording FILE

The second form prices again what the first has recorded, and needs no model.

Writes an answer to every prompt once, then looks at it from every drafter: which tokens would have
been right, with which confidence, at every position. With that and the cost curves that `spec-local
tune` has measured, every schedule can be priced without running it and without the machine's noise
(`spec_local/simulation.py`): plain decoding, every static drafter and k, the controller, and the
clairvoyant plan, which knows every position's calibrated acceptance in advance. The oracle also
knows which tokens are right: no schedule that drafts with these drafters can be faster. Reading the
prompt with the draft model counts for all of them.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from spec_local import Runner, Sampling
from spec_local.acceptance import Acceptance
from spec_local.control import Controller
from spec_local.costs import MAX_WIDTH, CostCurve
from spec_local.distribution import top_probability
from spec_local.drafters.lookup import LookupDrafter
from spec_local.llama.identity import identity
from spec_local.llama.samplers import Samplers
from spec_local.llama.session import Session
from spec_local.loading import in_target_tokens
from spec_local.profile import ProfileStore
from spec_local.simulation import Looked, Machine, Text, Track, clairvoyant, run, static
from spec_local.source import Source
from spec_local.tuning import Tuning

PROMPTS = Path(__file__).with_name("prompts.jsonl")
CATEGORIES = ("code edit", "code generation", "chat", "json", "summary")
KS = (1, 2, 3, 4, 6, 8, 12, 16)
_MOST = MAX_WIDTH - 1


def main() -> None:
    arguments = parse()
    if arguments.target:
        kept = record_all(arguments)
        if arguments.recording:
            arguments.recording.write_text(json.dumps(kept))
    else:
        kept = json.loads(arguments.recording.read_text())
    curves = [CostCurve.from_dict(curve) for curve in kept["curves"]]
    recorded = kept["answers"]
    calibration = {name: calibrate([r[3][name] for r in recorded]) for name in ("model", "lookup")}
    results = []
    warm = {"model": Acceptance(drawn=True), "lookup": Acceptance()}
    for _pass in range(2):  # the second one knows the pair, as after some use
        results = [price(*each, curves, calibration, warm) for each in recorded]
    cells = summary(results)
    print(json.dumps(cells, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps({"cells": cells, "prompts": results}, indent=1) + "\n")


def record_all(arguments: argparse.Namespace) -> dict[str, list[Any]]:
    """An answer to every prompt seen from every drafter, and what evaluations cost here."""
    lines = [json.loads(line) for line in PROMPTS.read_text().splitlines()]
    sampling = Sampling(temperature=arguments.temperature, seed=1)
    with Runner.load(target=arguments.target, draft=arguments.draft) as runner:
        assert runner.draft is not None
        target, draft = (
            identity(session.model.path, session.model.options)
            for session in (runner.target, runner.draft)
        )
        store = ProfileStore.of_user()
        if not (store.tuned_at(target) and store.tuned_at(draft)):
            sys.exit("Nothing is known of these models here; run spec-local tune on them first.")
        curve = store.curve(target)
        curves = [curve.as_dict(), store.draft_curve(draft, target, curve).as_dict()]
        answers = []
        for category in CATEGORIES:
            prompts = [line["prompt"] for line in lines if line["category"] == category]
            answers += [
                (category, *record(runner, prompt, sampling, arguments.tokens))
                for prompt in prompts[: arguments.prompts]
            ]
    return {"curves": curves, "answers": answers}


Recording = dict[str, list[tuple[float, ...]]]
"""By position, what each drafter would have drafted, and how sure the target was. model: (right or
not, confidence); lookup: (accepted tokens, *confidences); target: (certainty,)."""


def record(
    runner: Runner, prompt: str, sampling: Sampling, tokens: int
) -> tuple[int, int, Recording]:
    """Prompt tokens, tokens after the first one, and what drafters would have done."""
    messages = [{"role": "user", "content": prompt}]
    context = runner.tokenize(messages)
    answer = list(runner.complete(messages, max_tokens=tokens, sampling=sampling).tokens)
    draft = runner.draft
    assert draft is not None
    draft.truncate(0)
    n_vocab, session = runner.target.n_vocab, in_target_tokens(draft, runner.target)
    samplers = Samplers(runner.target)
    sampler = samplers.open(sampling, context)
    sampler.accept(answer[0])  # the first token is the target's own
    own, lookup = sampler.copy(), LookupDrafter()
    session.evaluate([*context, answer[0]][:-1])
    model, looked = list[tuple[float, ...]](), list[tuple[float, ...]]()
    lookup.begin(context, sampler)
    for position in range(1, len(answer)):
        row = session.evaluate([answer[position - 1]])[-1]
        own.follow(sampler)
        proposal = own.propose(row[:n_vocab])
        model.append((float(proposal.token == answer[position]), proposal.confidence))
        found = lookup.propose([*context, *answer[:position]], _MOST)
        pairs = zip(found.tokens, answer[position:], strict=False)
        right = next((i for i, (a, b) in enumerate(pairs) if a != b), None)
        most = min(len(found.tokens), len(answer) - position)
        looked.append((float(most if right is None else right), *found.confidences))
        sampler.accept(answer[position])
    own.close()
    sampler.close()
    samplers.close()
    target = [(certainty,) for certainty in certainties(runner.target, context, answer)]
    return len(context), len(answer) - 1, {"model": model, "lookup": looked, "target": target}


def certainties(target: Session, context: list[int], answer: list[int]) -> list[float]:
    """How probable the target finds its best token, for every token of the answer but the first."""
    target.truncate(0)
    target.evaluate(context)
    found: list[float] = []
    for start in range(0, len(answer) - 1, MAX_WIDTH):
        part = answer[start : min(start + MAX_WIDTH, len(answer) - 1)]
        found += [top_probability(row) for row in target.evaluate(part, rows=len(part))]
    return found


def calibrate(recordings: Sequence[list[tuple[float, ...]]]) -> Callable[[float], float]:
    """From confidence to acceptance, over everything recorded of a drafter."""
    acceptance = Acceptance(Tuning(pair_memory=1e9))  # every position counts alike
    for recording in recordings:
        for first, *confidences in recording:
            right = int(first)
            judged = len(confidences)
            acceptance.observe(confidences, min(right, judged), right < judged)
    acceptance.begin()
    return acceptance.rate


def price(
    category: str,
    prompt_tokens: int,
    length: int,
    recording: Recording,
    curves: Sequence[CostCurve],
    calibration: dict[str, Callable[[float], float]],
    warm: dict[str, Acceptance],
) -> dict[str, object]:
    """Speed-ups over plain decoding of one answer under every schedule."""
    target, draft = curves
    row = target.row(256)
    step = draft.seconds(1, 256)
    catch_up = (draft.seconds(512, 256) - step) / 511
    machine = Machine(row, step, catch_up, prompt_tokens)
    hits = [bool(first) for first, _confidence in recording["model"]]
    confidences = [confidence for _first, confidence in recording["model"]]
    text: Text = {
        "model": Track([calibration["model"](c) for c in confidences], hits, confidences),
        "lookup": Looked(
            [tuple(drafted) for _right, *drafted in recording["lookup"]],
            [int(right) for right, *_drafted in recording["lookup"]],
            calibration["lookup"],
        ),
    }
    schedules = {
        f"{drafter} {k}": static(drafter, k, machine, text, length).speedup
        for drafter in ("lookup", "model")
        for k in KS
    } | {"plain": 1.0}
    sources = {
        "lookup": Source(known={"": warm["lookup"]}),
        "model": Source(CostCurve.from_dict(draft.as_dict()), known={"": warm["model"]}),
    }
    controller = Controller(CostCurve.from_dict(target.as_dict()), sources)
    best = max(schedules, key=lambda name: schedules[name])
    certainty = [certainty for (certainty,) in recording["target"]]
    return {
        "category": category,
        "tokens": length,
        "controller": round(run(controller, machine, text, length, certainty).speedup, 3),
        "static": {name: round(speedup, 3) for name, speedup in schedules.items()},
        "best static": best,
        "clairvoyant": round(clairvoyant(machine, text, length).speedup, 3),
        "oracle": round(oracle(machine, recording, length), 3),
    }


def oracle(machine: Machine, recording: Recording, length: int) -> float:
    """Plain time / the least time of a schedule that knows which tokens are right.

    Reading the prompt counts, if the draft model is used at all.
    """
    looked = [int(right) for right, *_confidences in recording["lookup"]]
    modelled = [0] * (length + 1)  # right tokens in a row, by position
    for position in range(length - 1, -1, -1):
        modelled[position] = (modelled[position + 1] + 1) * int(recording["model"][position][0])
    free, drawn = (looked, 0.0), (modelled, machine.draft)
    reading = machine.prompt * machine.catch_up
    seconds = min(_least(machine, length, free), reading + _least(machine, length, free, drawn))
    return length * machine.verify[1] / seconds


def _least(machine: Machine, length: int, *drafters: tuple[Sequence[int], float]) -> float:
    """The least seconds, given how many tokens are right by position and what one costs."""
    rest = [0.0] * (length + 1)
    for position in range(length - 1, -1, -1):
        rest[position] = machine.verify[1] + rest[position + 1]
        for right, step in drafters:
            for k in range(1, min(right[position], _MOST, length - 1 - position) + 1):
                seconds = machine.verify[k + 1] + k * step + rest[position + k + 1]
                rest[position] = min(rest[position], seconds)
    return rest[0]


def summary(results: Sequence[dict[str, object]]) -> dict[str, object]:
    """By category: medians; the best static schedule is chosen once for each category."""
    cells: dict[str, dict[str, object]] = {}
    for category in CATEGORIES:
        here = [result for result in results if result["category"] == category]
        if not here:
            continue
        tables = [result["static"] for result in here]
        static_medians = {
            name: median(table[name] for table in tables)  # type: ignore[index]
            for name in tables[0]  # type: ignore[attr-defined]
        }
        best = max(static_medians, key=lambda name: static_medians[name])
        cells[category] = {
            name: round(median(float(str(result[name])) for result in here), 3)
            for name in ("controller", "clairvoyant", "oracle")
        } | {"best static": best, "its speed-up": round(static_medians[best], 3)}
    gains = [
        float(str(cell["controller"])) / float(str(cell["its speed-up"])) for cell in cells.values()
    ]
    mean = math.exp(sum(map(math.log, gains)) / len(gains))
    return {**cells, "controller / best static, geometric mean": round(mean, 3)}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", help="name or .gguf file")
    parser.add_argument("--draft", help="name or .gguf file")
    parser.add_argument("--recording", type=Path, help="written with a target, else read")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--prompts", type=int, default=3, help="of each category")
    parser.add_argument("--json", type=Path, default=None)
    arguments = parser.parse_args()
    if not arguments.recording and not (arguments.target and arguments.draft):
        parser.error("give --target and --draft, or --recording with a file written before")
    return arguments


if __name__ == "__main__":
    main()
