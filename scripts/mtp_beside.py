"""Drafts of multi-token prediction layers beside llama-server's, on the zoo's models that have one.

    python -m scripts.mtp_beside ./llama-server docs/decisions/data/mtp.json

The same tokens are continued greedily with three drafted tokens a round, here and by llama-server
with `--spec-type draft-mtp`. Written down is how many tokens each drafted and had accepted, and
whether the texts are the same. The server must be of the release that llama-cpp-python has.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from spec_local import LoadOptions, Runner, Sampling
from tests.zoo.headed import RECIPES, write_headed

_PORT, _N_CTX, _TOKENS, _K = 18931, 1024, 100, 3
_SECONDS = 20.0
PROMPTS = (
    [1, *range(262, 284)],
    [1, *np.random.default_rng(1).integers(260, 292, 700).tolist()],
)
"""A short one, and one of several batches."""


def here(model: Path, prompts: Sequence[list[int]]) -> Iterator[tuple[tuple[int, ...], int, int]]:
    """For each prompt what was written, how many tokens were drafted, how many accepted."""
    options = LoadOptions(n_ctx=_N_CTX, n_threads=1, trial=False)
    with Runner.load(target=model, draft="none", drafter="mtp", k=_K, options=options) as runner:
        for prompt in prompts:
            done = runner.complete(prompt, max_tokens=_TOKENS, sampling=Sampling(temperature=0))
            yield done.tokens, done.stats.drafted, done.stats.accepted


@contextmanager
def served(server: str, model: Path) -> Iterator[str]:
    """The URL of a llama-server on the model."""
    command = [server, "-m", str(model), "--port", str(_PORT), "-t", "1", "-c", str(_N_CTX)]
    command += ["-np", "1", "--no-warmup", "--spec-type", "draft-mtp"]
    command += ["--spec-draft-n-max", str(_K), "--spec-draft-n-min", "0", "--spec-draft-p-min", "0"]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **quiet) as process:
        try:
            url, ends = f"http://127.0.0.1:{_PORT}", time.monotonic() + _SECONDS
            while time.monotonic() < ends:
                try:
                    urllib.request.urlopen(f"{url}/health").read()
                    break
                except (urllib.error.URLError, ConnectionError):
                    time.sleep(0.1)
            yield url
        finally:
            process.terminate()


def there(
    server: str, model: Path, prompts: Sequence[list[int]]
) -> Iterator[tuple[tuple[int, ...], int, int]]:
    """The same by llama-server."""
    asked = {"n_predict": _TOKENS, "temperature": 0, "cache_prompt": False, "return_tokens": True}
    with served(server, model) as url:
        for prompt in prompts:
            body = json.dumps({"prompt": prompt, **asked}).encode()
            request = urllib.request.Request(
                f"{url}/completion", body, {"Content-Type": "application/json"}
            )
            found = json.load(urllib.request.urlopen(request))
            timings = found["timings"]
            drafted, accepted = timings.get("draft_n", 0), timings.get("draft_n_accepted", 0)
            yield tuple(found["tokens"]), drafted, accepted


def table(rows: Sequence[dict[str, Any]]) -> str:
    """As docs/decisions/heads.md has it."""
    lines = [
        "| architecture | short prompt | long prompt | llama-server | |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        mine, theirs = (
            [f"{accepted} of {drafted}" for drafted, accepted in row[who]]
            for who in ("here", "llama-server")
        )
        same = "the same" if row["same text"] else "another text"
        lines.append(f"| {row['arch']} | {mine[0]} | {mine[1]} | {', '.join(theirs)} | {same} |")
    return "\n".join(lines)


def main() -> None:
    """All of them, or those that are named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("server", help="llama-server")
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*", help="architectures; all without")
    how = parser.parse_args()
    rows = list[dict[str, Any]]()
    with tempfile.TemporaryDirectory() as folder:
        for arch in how.names or sorted(RECIPES):
            model = write_headed(arch, Path(folder) / f"{arch}.gguf")
            mine, theirs = list(here(model, PROMPTS)), list(there(how.server, model, PROMPTS))
            rows.append(
                {
                    "arch": arch,
                    "here": [counts for _text, *counts in mine],
                    "llama-server": [counts for _text, *counts in theirs],
                    "same text": [text for text, *_ in mine] == [text for text, *_ in theirs],
                }
            )
            print(rows[-1], flush=True)
    lines = ",\n".join(map(json.dumps, rows))
    how.out.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
