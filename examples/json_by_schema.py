"""Structured output: an answer that is JSON of the form you need, whatever the model would say.

    python examples/json_by_schema.py [MODEL]

The schema becomes a grammar that the answer cannot leave. What it cannot do is make the answer
true; a larger MODEL helps with that.
"""

from __future__ import annotations

import argparse
import json

from spec_local import Runner, Sampling

TEXT = "Ada Lovelace, born in London in 1815, wrote the first program for a machine."

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 40},
        "born": {"type": "integer", "minimum": 1000, "maximum": 2100},
        "field": {"enum": ["art", "computing", "medicine"]},
    },
    "required": ["name", "born", "field"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Ask for JSON by a schema.")
    parser.add_argument("model", nargs="?", default="smollm2-135m")
    arguments = parser.parse_args()

    sampling = Sampling(temperature=0, json_schema=json.dumps(SCHEMA))
    question = f"Who is this about? Answer in JSON with name, born and field.\n\n{TEXT}"
    with Runner.load(target=arguments.model) as runner:
        messages = [{"role": "user", "content": question}]
        done = runner.complete(messages, max_tokens=200, sampling=sampling)
    if done.finish_reason != "stop":
        raise SystemExit("The answer was cut off, so it is not complete JSON; raise max_tokens.")
    person = json.loads(done.text)
    print(json.dumps(person, indent=2))


if __name__ == "__main__":
    main()
