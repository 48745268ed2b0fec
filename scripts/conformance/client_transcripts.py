"""What clients that others wrote print when they speak to the server, tools and all.

    pip install '.[serve,llm,conformance]'
    python -m scripts.conformance.client_transcripts qwen2.5-coder-1.5b > clients.md

OpenAI's client and an agent of Pydantic AI get a server; `llm` loads the model itself.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from scripts.serve_load import serving

CLIENTS = Path(__file__).parent / "clients"
PROGRAMS = ("openai_client.py", "agent.py")
_TOOL = "def fahrenheit(celsius: float) -> float:\n    return celsius * 9 / 5 + 32"
_SCHEMA = "name, age int"


def llm_commands(name: str) -> list[list[str]]:
    """Of `llm`, on the model of that name."""
    start = ["llm", "-m", f"spec-local/{name}", "--no-stream", "-o", "temperature", "0"]
    short = [*start, "-o", "max_tokens", "60"]
    return [
        [*short, "Name three colours."],
        [*short, "--schema", _SCHEMA, "Invent a cat."],
        [*short, "--functions", _TOOL, "--td", "What is 21.5 °C in Fahrenheit? Use the tool."],
    ]


def printed(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """All that a program writes, and how it ends if that is not well."""
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    ended = f"\n(exit status {done.returncode})" if done.returncode else ""
    return done.stdout.rstrip() + ended


def section(title: str, source: str, language: str, output: str) -> str:
    """One client: what it is and what it printed."""
    return f"\n## {title}\n\n```{language}\n{source.rstrip()}\n```\n\n```\n{output}\n```"


def main() -> None:
    """Run them all and print the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="of a pair whose template knows tools")
    name = parser.parse_args().name
    print("# Clients\n\nWhat they print, with a server started by")
    print(f"`spec-local serve {name} --temperature 0`. Made by\n`scripts/conformance/", end="")
    print("client_transcripts.py`.")
    with serving(name, ["--temperature", "0"]) as (url, _process):
        told = {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "none"}
        for program in PROGRAMS:
            source = (CLIENTS / program).read_text(encoding="utf-8")
            output = printed([sys.executable, str(CLIENTS / program)], told)
            print(section(program, source, "py", output), flush=True)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    commands = llm_commands(name)
    output = "\n\n".join(
        f"$ {shlex.join(each)}\n{printed(each, {'PATH': path})}" for each in commands
    )
    print(f"\n## llm\n\n```\n{output}\n```")


if __name__ == "__main__":
    main()
