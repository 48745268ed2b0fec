"""What stands in the project's pages as code: blocks, command lines, Python snippets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
HISTORY = {ROOT / "docs" / "never-slower.md"}
"""Pages about what an earlier commit did; its commands are that commit's."""


def pages() -> list[Path]:
    """README, CONTRIBUTING and every page under docs and examples that is about the present."""
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")]
    return sorted(page for page in found if page not in HISTORY and page.name != "CHANGELOG.md")


def blocks(page: Path, language: str) -> Iterator[str]:
    """Contents of the fenced blocks of one language."""
    inside: str | None = None
    lines: list[str] = []
    for line in page.read_text(encoding="utf-8").splitlines():
        if not line.startswith("```"):
            lines.append(line)
        elif inside is None:
            inside, lines = line.removeprefix("```").strip(), []
        else:
            if inside == language:
                yield "\n".join(lines) + "\n"
            inside = None


def command_lines(page: Path) -> Iterator[str]:
    """Calls of spec-local and of scripts: in shell blocks, in transcripts, and in running text."""
    shell = "".join(blocks(page, "sh")) + "".join(
        line.removeprefix("$ ") + "\n"
        for block in blocks(page, "")
        for line in block.replace("\\\n", " ").splitlines()
        if line.startswith("$ ")
    )
    prose = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.M)
    program = r"(?:spec-local|python scripts/\S+|python -m scripts\.\w+)"
    spans = re.findall(rf"`({program} [^`]+)`", prose)
    call = rf"{program}(?=\s|$).*"
    for line in _whole_lines(shell.replace("\\\n", " ")):
        if found := re.search(call, line):
            yield " ".join(found[0].split())
    yield from (" ".join(span.split()) for span in spans)


def _whole_lines(shell: str) -> Iterator[str]:
    """Lines of a shell script without comments; one that ends inside quotes goes on in the next."""
    begun = ""
    for whole in shell.splitlines():
        line = whole if begun else re.sub(r"\s#\s.*", "", whole)
        begun = f"{begun} {line}" if begun else line
        if begun.count("'") % 2 == 0 and begun.count('"') % 2 == 0:
            yield begun
            begun = ""
