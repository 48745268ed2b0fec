"""Drafts of heads beside llama-server's, on tiny models of the zoo.

    python -m scripts.heads_beside ./llama-server docs/decisions/data/heads.json

The same tokens are continued greedily with three drafted tokens a round, here and by llama-server:
with multi-token prediction layers (`--spec-type draft-mtp`), and with heads of other files
(`draft-eagle3`, `draft-dflash`, `draft-dspark`). Written down is how many tokens each drafted and
had accepted, and whether the texts are the same. The server must be of the release that
llama-cpp-python has.
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
from typing import Any, NamedTuple

import numpy as np

from spec_local import LoadOptions, Runner, Sampling
from tests.zoo.assistant import write_assistant
from tests.zoo.dflash import write_dflash
from tests.zoo.eagle import TARGETS, write_eagle
from tests.zoo.headed import RECIPES, write_headed

_PORT, _N_CTX, _TOKENS, _K = 18931, 1024, 100, 3
_SECONDS = 20.0
PROMPTS = (
    [1, *range(262, 284)],
    [1, *np.random.default_rng(1).integers(260, 292, 700).tolist()],
)
"""A short one, and one of several batches."""


Counted = tuple[tuple[int, ...], int, int]
"""What was written, how many tokens were drafted, how many accepted."""


class Heads(NamedTuple):
    """A model with what drafts for it."""

    drafter: str
    arch: str
    target: Path
    head: Path | None = None
    kind: str = ""
    """What llama-server calls the drafter, if that is not its name here."""

    @property
    def flags(self) -> list[str]:
        """What llama-server takes for it."""
        draft = [] if self.head is None else ["-md", str(self.head)]
        return [*draft, "--spec-type", f"draft-{self.kind or self.drafter}"]


def all_heads(folder: Path) -> Iterator[Heads]:
    """Everything there is, each in a file of its own."""
    for arch in sorted(RECIPES):
        yield Heads("mtp", arch, write_headed(arch, folder / f"{arch}.gguf"))
    for arch in ("mimo2", "step35"):
        model = write_headed(arch, folder / f"{arch}-3.gguf", several=3)
        yield Heads("mtp", f"{arch}, 3 layers", model)
    gemma, head = write_headed("gemma4", folder / "gemma4.gguf"), folder / "assistant.gguf"
    yield Heads("mtp", "gemma4, its assistant", gemma, write_assistant(head))
    head = write_eagle(folder / "eagle3.gguf", known=[*range(4), *range(260, 285)])
    for arch in TARGETS:
        yield Heads("eagle3", arch, write_headed(arch, folder / f"{arch}.gguf"), head)
    for arch in ("qwen35", "gemma4", "qwen3"):
        target = write_headed(arch, folder / f"{arch}.gguf")
        yield Heads("dflash", arch, target, write_dflash(folder / "dflash.gguf"))
        for first in (True, False):
            spark = write_dflash(folder / f"{first}.gguf", markov=True, from_pending=first)
            yield Heads("dflash", arch, target, spark, "dspark")


def here(heads: Heads, prompts: Sequence[list[int]]) -> list[Counted]:
    """For each prompt, by this library."""
    options, draft = LoadOptions(n_ctx=_N_CTX, n_threads=1, trial=False), heads.head or "none"
    with Runner.load(
        target=heads.target, draft=draft, drafter=heads.drafter, k=_K, options=options
    ) as runner:
        greedy = Sampling(temperature=0)
        answers = [runner.complete(each, max_tokens=_TOKENS, sampling=greedy) for each in prompts]
    return [(each.tokens, each.stats.drafted, each.stats.accepted) for each in answers]


@contextmanager
def served(server: str, heads: Heads) -> Iterator[str]:
    """The URL of a llama-server on the model."""
    command = [server, "-m", str(heads.target), "--port", str(_PORT), "-t", "1", "-c", str(_N_CTX)]
    command += ["-np", "1", "--no-warmup", *heads.flags]
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


def there(server: str, heads: Heads, prompts: Sequence[list[int]]) -> list[Counted]:
    """The same by llama-server; nothing where it fails."""
    asked = {"n_predict": _TOKENS, "temperature": 0, "cache_prompt": False, "return_tokens": True}
    found = list[Counted]()
    with served(server, heads) as url:
        for prompt in prompts:
            body = json.dumps({"prompt": prompt, **asked}).encode()
            kind = {"Content-Type": "application/json"}
            request = urllib.request.Request(f"{url}/completion", body, kind)
            try:
                answer = json.load(urllib.request.urlopen(request))
            except (urllib.error.URLError, ConnectionError):
                return []
            timings = answer["timings"]
            counts = timings.get("draft_n", 0), timings.get("draft_n_accepted", 0)
            found.append((tuple(answer["tokens"]), *counts))
    return found


def table(rows: Sequence[dict[str, Any]]) -> str:
    """As docs/decisions/heads.md has it."""
    lines = ["| drafter | target | here | llama-server | text |", "|---|---|---|---|---|"]
    for row in rows:
        mine, theirs = (
            ", ".join(f"{accepted} of {drafted}" for drafted, accepted in row[who]) or "fails"
            for who in ("here", "llama-server")
        )
        same = {True: "the same", False: "another", None: "-"}[row["same text"]]
        lines.append(f"| {row['drafter']} | {row['arch']} | {mine} | {theirs} | {same} |")
    return "\n".join(lines)


def main() -> None:
    """All of them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("server", help="llama-server")
    parser.add_argument("out", type=Path)
    how = parser.parse_args()
    rows = list[dict[str, Any]]()
    with tempfile.TemporaryDirectory() as folder:
        for heads in all_heads(Path(folder)):
            mine, theirs = here(heads, PROMPTS), there(how.server, heads, PROMPTS)
            same = [text for text, *_ in mine] == [text for text, *_ in theirs]
            rows.append(
                {
                    "drafter": heads.kind or heads.drafter,
                    "arch": heads.arch,
                    "here": [counts for _text, *counts in mine],
                    "llama-server": [counts for _text, *counts in theirs],
                    "same text": same if theirs else None,
                }
            )
            print(rows[-1], flush=True)
    lines = ",\n".join(map(json.dumps, rows))
    how.out.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
