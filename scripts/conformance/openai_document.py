"""Requests made by OpenAI's own OpenAPI document, and answers compared with it, by schemathesis.

    git clone --depth 1 https://github.com/openai/openai-openapi
    python -m scripts.conformance.openai_document openai-openapi/openapi.json
    python -m scripts.conformance.openai_document openai-openapi/openapi.json --json FILE

The document is in no package, so this is run by hand. It starts `spec-local serve` with a tiny
random model that knows tools and asks it at every endpoint that both have. The model's name and a
bound on the tokens of an answer are put into each request; all else is schemathesis's, within what
the document allows. A request that is refused is asked again without what was refused, until it is
answered: so it is found out what of the document is refused, and that everything else is not.

Every answer has to be as the document says, every event of a stream and every refusal too.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2 as httpx
import jsonschema_rs
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy

from scripts.serve_load import serving
from tests.templates import HERMES
from tests.tiny_gguf import write_tiny

ENDPOINTS = {
    "POST /chat/completions": (
        "CreateChatCompletionResponse",
        "CreateChatCompletionStreamResponse",
    ),
    "POST /completions": ("CreateCompletionResponse", ""),
    "POST /responses": ("Response", "ResponseStreamEvent"),
    "GET /models": ("ListModelsResponse", ""),
    "GET /models/{model}": ("Model", ""),
}
"""Those of the document that the server has; what they answer with, at once and in a stream, which
the document does not describe where it is empty."""
PLAIN: Mapping[str, dict[str, Any]] = {
    "POST /chat/completions": {"messages": [{"role": "user", "content": "hello"}]},
    "POST /completions": {"prompt": "hello"},
    "POST /responses": {"input": "hello"},
}
"""What is asked instead where the thing itself was refused, and cannot be left out."""
TOKENS = {
    "POST /chat/completions": "max_completion_tokens",
    "POST /completions": "max_tokens",
    "POST /responses": "max_output_tokens",
}
MOST_TOKENS, MOST_CHOICES = 16, 2


@dataclass
class Outcome:
    """What became of the requests at one endpoint."""

    asked: int = 0
    answered: int = 0
    """As the document says, perhaps without what was refused."""
    at_once: int = 0
    """Of these, without anything refused."""
    refused: Counter[str] = field(default_factory=Counter)
    """Requests by the parameter that was refused."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Why it was, the first time."""
    never: Counter[str] = field(default_factory=Counter)
    """Requests that were refused whatever was left out, by the reason."""
    wrong: Counter[str] = field(default_factory=Counter)
    """Answers that are not as the document says, by what is wrong."""


class Asking:
    """Asks at one endpoint."""

    def __init__(self, client: httpx.Client, document: Mapping[str, Any], endpoint: str) -> None:
        """client: at the server's base URL."""
        self.outcome = Outcome()
        self._client, self._endpoint = client, endpoint
        self._method, self._path = endpoint.split()
        self._model = client.get("/models").json()["data"][0]["id"]

        def checking(name: str) -> jsonschema_rs.Validator:
            schemas = {"components": document["components"]}
            return jsonschema_rs.validator_for({"$ref": f"#/components/schemas/{name}", **schemas})

        whole, event = ENDPOINTS[endpoint]
        self._whole, self._refusal = checking(whole), checking("ErrorResponse")
        self._event = checking(event) if event else None
        request = document["paths"][self._path][self._method.lower()].get("requestBody")
        self._known = (
            _properties(document, request["content"]["application/json"]["schema"])
            if request
            else set()
        )

    def ask(self, body: Any) -> None:
        """One request, and again without what is refused."""
        self.outcome.asked += 1
        body, first = self._bounded(body), True
        while True:
            answer = self._answer(body)
            if answer.status_code != httpx.codes.BAD_REQUEST:
                break
            if wrong := _first_error(self._refusal, answer.json()):
                self.outcome.wrong[f"a refusal: {wrong}"] += 1
                return
            message = answer.json()["error"]["message"]
            name, body = self._without(body, answer.json()["error"])
            if name is None:
                self.outcome.never[_reason(message)] += 1
                return
            self.outcome.refused[name] += 1
            self.outcome.reasons.setdefault(name, _reason(message))
            first = False
        wrong = f"status {answer.status_code}" if answer.is_error else self._wrong(answer)
        if wrong:
            self.outcome.wrong[wrong] += 1
        else:
            self.outcome.answered += 1
            self.outcome.at_once += first

    def _answer(self, body: Any) -> httpx.Response:
        return self._client.request(
            self._method, self._path.replace("{model}", self._model), json=body
        )

    def _bounded(self, body: Any) -> dict[str, Any] | None:
        """The request without names of no meaning, which the document does not forbid."""
        if not isinstance(body, dict):
            return None
        known = {name: value for name, value in body.items() if name in self._known}
        for name in ("n", "best_of"):
            if isinstance(known.get(name), int):
                known[name] = min(known[name], MOST_CHOICES)
        known.pop("max_tokens", None)
        return known | {"model": self._model, TOKENS[self._endpoint]: MOST_TOKENS}

    def _without(self, body: Any, error: Mapping[str, Any]) -> tuple[str | None, Any]:
        """The name of what was refused, and the request without it, or with a plain one.

        None if there is no such thing. Where an error names no parameter it is looked for.
        """
        plain = PLAIN[self._endpoint]
        named = (error["param"] or "").partition(".")[0].partition("[")[0]
        if named in body or named in plain:
            names = [named]
        else:
            names = [name for name in body if name not in ("model", TOKENS[self._endpoint])]
        for name in names:
            if name in plain and body.get(name) == plain[name]:
                continue
            rest = {key: value for key, value in body.items() if key != name}
            rest |= {name: plain[name]} if name in plain else {}
            if len(names) == 1 or self._answer(rest).text != self._answer(body).text:
                return name, rest
        return None, body

    def _wrong(self, answer: httpx.Response) -> str:
        """What of an answer is not as the document says; nothing where all is."""
        if "text/event-stream" not in answer.headers["Content-Type"]:
            return _first_error(self._whole, answer.json())
        for event in _events(answer.text):
            if self._event is not None and (wrong := _first_error(self._event, event)):
                return f"an event: {wrong}"
        return ""


def amended(part: Any) -> Any:
    """The document where it contradicts itself, or what the service that it describes does.

    `nullable` is of an older version of OpenAPI, but meant. `usage` is null while a response is
    written, in 21 of its own examples too. The first token of an echoed prompt has no
    log-probabilities.
    """
    if isinstance(part, list):
        return [amended(each) for each in part]
    if not isinstance(part, dict):
        return part
    changed = {name: amended(each) for name, each in part.items()}
    for name in ("usage", "token_logprobs", "top_logprobs"):
        if isinstance(found := changed.get(name), dict) and found.get("type") != "array":
            changed[name] = {"anyOf": [found, {"type": "null"}]}
        elif isinstance(found, dict):
            changed[name] = {**found, "items": {"anyOf": [found["items"], {"type": "null"}]}}
    return {"anyOf": [changed, {"type": "null"}]} if part.get("nullable") is True else changed


def _reason(message: str) -> str:
    return " ".join(message.split()[:12])


def _properties(document: Mapping[str, Any], schema: Mapping[str, Any]) -> set[str]:
    """The names that an object of that schema has a meaning for."""
    if reference := schema.get("$ref"):
        schema = document["components"]["schemas"][reference.rpartition("/")[2]]
    found = set(schema.get("properties", ()))
    return found.union(*(_properties(document, part) for part in schema.get("allOf", ())))


def _events(text: str) -> Iterator[Any]:
    for line in text.splitlines():
        if line.startswith("data: ") and line != "data: [DONE]":
            yield json.loads(line.removeprefix("data: "))


def _first_error(validator: jsonschema_rs.Validator, value: Any) -> str:
    error = next(validator.iter_errors(value), None)
    if error is None:
        return ""
    place = "/".join(map(str, error.instance_path))
    return f"{place or 'all of it'}: {error.message[:200]}"


def measured(
    document: dict[str, Any], url: str, examples: int, tell: Callable[[str], None]
) -> dict[str, Outcome]:
    """What became of so many requests at each endpoint."""
    wanted = {tuple(endpoint.lower().split()) for endpoint in ENDPOINTS}
    paths = {
        path: {method: each for method, each in methods.items() if (method, path) in wanted}
        for path, methods in document["paths"].items()
        if any((method, path) in wanted for method in methods)
    }
    outcomes, read_by = dict[str, Outcome](), amended(document)
    with httpx.Client(base_url=url, timeout=120) as client:
        shared: Any = schemathesis.openapi.from_dict({**document, "paths": paths})
        for found in shared.get_all_operations():
            operation = found.ok()
            endpoint = f"{operation.method.upper()} {operation.path}"
            asking = Asking(client, read_by, endpoint)
            _ask_many(operation.as_strategy(), asking, examples)
            outcomes[endpoint] = asking.outcome
            tell(f"{endpoint}: {asking.outcome}")
    return outcomes


def _ask_many(cases: SearchStrategy[Any], asking: Asking, examples: int) -> None:
    """The same ones in every run."""

    @seed(0)
    @settings(
        max_examples=examples,
        phases=[Phase.generate],
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def ask(case: Any) -> None:
        asking.ask(case.body)

    ask()


def table(kept: Mapping[str, Mapping[str, Any]]) -> str:
    """How many requests were answered, as Markdown."""
    lines = [
        "| endpoint | requests | answered at once | without what was refused | refused | wrong |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for endpoint, each in kept.items():
        later = each["answered"] - each["at_once"]
        never, wrong = sum(each["never"].values()), sum(each["wrong"].values())
        cells = (f"`{endpoint}`", each["asked"], each["at_once"], later, never, wrong)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def refused(kept: Mapping[str, Mapping[str, Any]]) -> str:
    """What was refused how often, as Markdown."""
    lines = []
    for endpoint, each in kept.items():
        by_count = sorted(each["refused"].items(), key=lambda named: (-named[1], named[0]))
        names = ", ".join(f"`{name}` {count}" for name, count in by_count)
        lines += [f"- `{endpoint}`: {names}"] if names else []
    return "\n".join(lines)


def main() -> None:
    """Ask, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("document", type=Path, help="OpenAI's openapi.json")
    parser.add_argument("--examples", type=int, default=200, help="requests at each endpoint")
    parser.add_argument("--json", type=Path, help="write the figures there")
    how = parser.parse_args()
    document = json.loads(how.document.read_text("utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        model = write_tiny(Path(folder) / "tiny.gguf", template=HERMES)
        with serving(str(model), ["--drafter", "none", "--ctx-size", "4096"]) as (url, _process):
            outcomes = measured(document, url, how.examples, lambda line: print(line, flush=True))
    kept = {endpoint: vars(outcome) for endpoint, outcome in outcomes.items()}
    print(table(kept), refused(kept), sep="\n\n")
    if how.json:
        how.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
