"""Two ways from a JSON schema to a constraint: the project's own grammar, and llguidance.

    pip install llguidance                                   # used by this script alone
    python -m scripts.schema_engines --json F
    python -m scripts.schema_engines --show F                # the tables of a file written before

`features.jsonl` has a keyword a line, with answers that are valid and answers that are not;
`schemas.jsonl` has ten schemas with prompts. Texts come from random walks through each constraint
and from a model; jsonschema judges them. All are timed on the same questions: those that a sampler
asked of all at once while the model wrote, asked again of each in turn, newly compiled every time.
"""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack, closing
from dataclasses import asdict
from importlib.metadata import distribution
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from scripts.schema_engines.engines import Start, engines
from scripts.schema_engines.table import keywords, table
from scripts.schema_engines.times import Both, times, write
from scripts.schema_engines.walks import Walker, coverage, judged, validates
from spec_local.bench.run.environment import this_machine, versions
from spec_local.llama.options import LoadOptions
from spec_local.llama.session import Session
from spec_local.llama.template import ChatTemplate
from spec_local.models.loading import load_models, no_progress
from spec_local.models.registry import load_registry
from spec_local.sampling.settings import Sampling

SCHEMAS = Path(__file__).parents[1] / "schemas.jsonl"
_FEW = 3
"""Walks of a schema that are asked about byte by byte, which takes long."""
OWN = Path(__file__).parents[2] / "spec_local" / "sampling" / "structure"


def main() -> None:
    """Measure and print."""
    how = parse()
    if how.show:
        shown = json.loads(how.show.read_text())
        print(table(shown), keywords(shown), sep="\n")
        return
    options = LoadOptions(n_ctx=1024, n_threads=1)  # other work may share the machine
    with ExitStack() as stack:
        [model] = load_models([how.model], load_registry(), options, no_progress, stack)
        session = stack.enter_context(Session(model))
        starts, once = engines(model.vocab)
        walker = Walker(model.vocab)
        data = {
            "model": how.model,
            "machine": asdict(this_machine(options)),
            "versions": versions() | {"llguidance": distribution("llguidance").version},
            "facts": facts(),
            "once per vocabulary": once,
            "features": coverage(starts, walker, how.walks),
            "walks": [], "exchanged": [], "answers": [], "times": [],
        }  # fmt: skip
        for case in map(json.loads, SCHEMAS.read_text().splitlines()):
            print(case["prompt"])
            measure(case, how, session, starts, walker, data)
    print(table(data), keywords(data), sep="\n")
    if how.json:
        how.json.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")


def measure(
    case: dict[str, Any],
    how: argparse.Namespace,
    session: Session,
    starts: dict[str, Start],
    walker: Walker,
    data: dict[str, Any],
) -> None:
    """Walks, answers and times of one schema, added to the data."""
    vocab, schema = session.model.vocab, case["schema"]
    text = ChatTemplate(session.model).render([{"role": "user", "content": case["prompt"]}])
    prompt = vocab.tokenize(text, add_special=False, parse_special=True)
    with ExitStack() as stack:
        made = {name: stack.enter_context(closing(start(schema))) for name, start in starts.items()}
        walks = {
            name: [walker.walk(each, np.random.default_rng(i)) for i in range(how.walks)]
            for name, each in made.items()
        }
        for name, constraint in made.items():
            answers = []
            for seed in range(how.seeds):
                sampling = Sampling(temperature=0.8 if seed else 0.0, seed=seed)
                answer = write(session, prompt, constraint.copy(), sampling, how.tokens)
                written = vocab.pieces(answer.tokens).decode(errors="replace")
                answers.append(written if answer.ended else None)
            own = [text for text in walks[name] if text is not None]
            others = [t for other in made if other != name for t in walks[other] if t is not None]
            valid = [text for text in others if validates(text, schema)]
            through = sum(walker.allows(constraint, text) for text in valid)
            unlike = sum(walker.disagreements(constraint, text) for text in own[:_FEW])
            data["walks"].append({"engine": name, "unlike": unlike, **judged(walks[name], schema)})
            data["answers"].append({"engine": name, **judged(answers, schema)})
            data["exchanged"].append({"engine": name, "asked": len(valid), "allowed": through})
        both = Both([constraint.copy() for constraint in made.values()])
        answer = write(session, prompt, both, Sampling(temperature=0.8, seed=1), how.tokens)
    every = np.arange(session.n_vocab, dtype=np.int32)
    data["times"].append(
        {
            "tokens": len(answer.tokens),
            "questions": sum(not isinstance(each, int) for each in both.asked),
            "evaluation": 1e6 * median(answer.seconds),
            "microseconds": times(starts, schema, both.asked, every, how.repeats),
        }
    )


def facts() -> dict[str, Any]:
    """What each costs the project: lines of code here, a package there."""
    package = distribution("llguidance")
    sizes = [Path(str(package.locate_file(file))).stat().st_size for file in package.files or ()]
    lines = {
        file.name: len(file.read_text().splitlines())
        for file in sorted(OWN.glob("*.py"))
        if file.name not in ("__init__.py", "gbnf.py")  # a user's own grammar needs these as well
    }
    return {
        "own lines": lines,
        "licence": package.metadata["License-Expression"],
        "requires": package.requires or [],
        "requires python": package.metadata["Requires-Python"],
        "bytes installed": sum(sizes),
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="JSON schemas: the own grammar beside llguidance.")
    parser.add_argument("--model", default="smollm2-135m", help="name or .gguf file")
    parser.add_argument("--walks", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=200, help="most tokens of an answer")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--show", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
