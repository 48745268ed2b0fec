"""What people see: the main flows typed into a real terminal (tmux), at several widths.

python scripts/transcripts.py docs/transcripts [--columns N]…

Every flow has a shell of its own, in a home that is empty but for the models that have been pulled.
What the terminal holds at its end, with all that has scrolled away, is written down as it is.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from spec_local.bench.run.environment import this_machine
from spec_local.llama.options import LoadOptions
from spec_local.models.download import store

COLUMNS = (40, 100, 200)
ROWS = 40
_CTRL_C, _CTRL_D = "C-c", "C-d"
_PROMPT = "$ "
_TMUX = ("tmux", "-u", "-f", os.devnull, "-L", f"spec-local-{os.getpid()}")
_QUIET = 1.5
"""Seconds without a change after which a screen is finished."""
_PATIENCE = 120.0
"""Seconds that a step may take."""


class Step(NamedTuple):
    """What is typed, a key or a line, and how to know that it is done."""

    typed: str
    until: str = ""
    """A pattern that is found once more than before; empty if the shell's prompt comes back."""
    rests: bool = True
    """Whether the screen is finished then, or still being written to."""


class Flow(NamedTuple):
    """What is typed between an empty screen and the shell's last prompt."""

    title: str
    steps: Sequence[Step]


_ANSWERED = r"at [\d.,]+/s"
"""In the line below an answer, and in /stats."""
_ASK = "'What is a cache?'"

FLOWS = (
    Flow("Help", [Step("spec-local --help"), Step("spec-local chat --help")]),
    Flow("A race", [Step("spec-local race smollm2 -n 120")]),
    Flow(
        "A chat",
        [
            Step("spec-local chat smollm2 --seed 1", "context 0%"),
            Step("Name three colours.", _ANSWERED),
            Step("/stats", _ANSWERED),
            Step("/help", "quotes"),
            Step("/drafter none", "drafter none"),
            Step("/model smolm2", "mean"),
            Step("Write a story of a thousand words about a lighthouse.", "(?i)once|there", False),
            Step(_CTRL_C, "cancelled"),
            Step(_CTRL_D),
        ],
    ),
    Flow("Models", [Step("spec-local models list")]),
    Flow("One answer", [Step(f"spec-local generate -m smollm2 --seed 1 -n 60 {_ASK}")]),
    Flow(
        "Ctrl-C",
        [
            Step(
                "spec-local generate -m smollm2 --seed 1 'Tell me a long story.'",
                "(?i)once|there",
                False,
            ),
            Step(_CTRL_C),
        ],
    ),
    Flow(
        "What goes wrong",
        [
            Step("spec-local chat smolm2"),
            Step(f"spec-local generate -m prompt.txt {_ASK}"),
            Step(f"spec-local generate -m smollm2 -c 10 {_ASK}"),
            Step(f"spec-local generate -m smollm2 --top-p 2 {_ASK}"),
            Step(f"spec-local generate -m smollm2 --colour {_ASK}"),
        ],
    ),
)


class Terminal:
    """A shell in a terminal of its own; a context manager that ends it."""

    def __init__(self, columns: int, home: Path) -> None:
        self._environment = {
            **os.environ,
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "SPEC_LOCAL_CACHE": str(home / ".cache" / "spec-local"),
        }
        for name in ("TMUX", "COLUMNS", "LINES", "NO_COLOR"):
            self._environment.pop(name, None)
        size = ("-x", str(columns), "-y", str(ROWS), "-c", str(home))
        shell = f"env 'PS1={_PROMPT}' HISTFILE= bash --noprofile --norc"
        self._tmux("new-session", "-d", *size, shell)

    def _tmux(self, *arguments: str) -> str:
        done = subprocess.run(
            [*_TMUX, *arguments], env=self._environment, capture_output=True, check=True
        )
        return done.stdout.decode()

    def text(self) -> str:
        """All it has shown, row by row."""
        rows = self._tmux("capture-pane", "-p", "-S", "-").splitlines()
        return "\n".join(map(str.rstrip, rows)).rstrip()

    def do(self, step: Step) -> None:
        """Type it, and wait until it is done."""
        before = len(re.findall(step.until, self.text())) if step.until else 0
        if step.typed in (_CTRL_C, _CTRL_D):
            self._tmux("send-keys", step.typed)
        else:
            self._tmux("send-keys", "-l", step.typed)
            time.sleep(0.3)
            self._tmux("send-keys", "Enter")
        time.sleep(0.3)
        before += len(re.findall(step.until, step.typed)) if step.until else 0
        self._wait(step, before)

    def _wait(self, step: Step, before: int) -> None:
        begun = changed = time.monotonic()
        last = ""
        while True:
            now, text = time.monotonic(), self.text()
            if text != last:
                last, changed = text, now
            done = len(re.findall(step.until, text)) > before if step.until else _is_back(text)
            if done and (now - changed >= _QUIET or not step.rests):
                return
            if now - begun > _PATIENCE:
                raise TimeoutError(f"{step} was not done:\n{text}")
            time.sleep(0.2)

    def __enter__(self) -> Terminal:
        try:
            self._wait(Step(""), 0)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._tmux("kill-server")


def _is_back(text: str) -> bool:
    """Whether the shell waits for a command."""
    return text.splitlines()[-1:] == [_PROMPT.strip()]


@contextmanager
def filled(home: Path) -> Iterator[Path]:
    """The folder, made with nothing but the models that have been pulled, and a file that is none.

    It is seen in what is written down, and removed at the end.
    """
    cache = home / ".cache" / "spec-local"
    cache.mkdir(parents=True)
    try:
        (cache / "models").symlink_to(store())
        (home / "prompt.txt").write_text("What is a cache?\n")
        yield home
    finally:
        shutil.rmtree(home)


def transcript(columns: int, home: Path, flows: Sequence[Flow] = FLOWS) -> Iterator[str]:
    """A page of all flows, piece by piece; home: a folder that is not there yet."""
    machine = this_machine(LoadOptions())
    yield (
        f"# A terminal of {columns} columns\n\n"
        "Typed into a real terminal by [`scripts/transcripts.py`](../../scripts/transcripts.py) "
        f"and written down as it was, on {machine.cpu}, {machine.cores} cores.\n"
    )
    for flow in flows:
        with filled(home), Terminal(columns, home) as terminal:
            for step in flow.steps:
                print(f"{columns}: {step.typed}", file=sys.stderr)
                terminal.do(step)
            shown = terminal.text().removesuffix(_PROMPT.strip()).rstrip()
        yield f"\n## {flow.title}\n\n```text\n{shown}\n```\n"


def main() -> None:
    """Write a page for every width."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path, help="folder of the pages")
    parser.add_argument("--columns", type=int, action="append")
    arguments = parser.parse_args()
    arguments.out.mkdir(exist_ok=True)
    for columns in arguments.columns or COLUMNS:
        page = "".join(transcript(columns, Path(tempfile.gettempdir()) / "you"))
        (arguments.out / f"{columns}.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
