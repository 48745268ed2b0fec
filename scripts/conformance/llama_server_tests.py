"""llama.cpp's own tests of its server, run against `spec-local serve`, and counted.

    git clone --depth 1 https://github.com/ggml-org/llama.cpp
    pip install aiohttp requests wget prometheus_client openai
    python -m scripts.conformance.llama_server_tests llama.cpp/tools/server/tests smollm2-135m \\
        --json docs/conformance/llama-server.json

The tests are llama.cpp's and stay there. They start a server by its path; here that is a program
which starts ours with the same options (`as_llama_server.py`). They are written for a model of
260,000 parameters that is downloaded: with another one all tests that quote its texts or count its
tokens fail. What a failure says is kept, so that the page can sort them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[2]
ELSEWHERE = {
    "compat_anthropic": "Anthropic's /v1/messages",
    "compat_gcp": "Google's prediction endpoint",
    "ctx_shift": "/completion, llama.cpp's own protocol",
    "embedding": "embeddings",
    "ignore_eos": "/completion, llama.cpp's own protocol",
    "infill": "filling in",
    "kv_keep_only_active": "caches of idle slots, moved to memory",
    "lora": "LoRA",
    "mcp_servers": "MCP servers behind the server",
    "proxy": "MCP servers behind the server",
    "rerank": "reranking",
    "router": "a server that starts servers",
    "sleep": "a server that sleeps",
    "slot_save": "caches kept in files",
    "speculative": "/completion, llama.cpp's own protocol",
    "stream": "streams that are taken up again",
    "tools_builtin": "tools that the server runs",
    "vision_api": "images",
}
"""Files of tests about what this server does not have, by the name after `test_`."""


def run(tests: Path, model: str, chosen: str | None) -> ElementTree.Element:
    """The tests' own report. chosen: an expression for pytest's -k."""
    with tempfile.TemporaryDirectory() as folder:
        program, report = Path(folder, "llama-server"), Path(folder, "report.xml")
        program.write_text(
            f'#!/bin/sh\nexec {sys.executable} -m scripts.conformance.as_llama_server "$@"\n'
        )
        program.chmod(0o755)
        paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
        environment = {
            **os.environ,
            "LLAMA_SERVER_BIN_PATH": str(program),
            "SPEC_LOCAL_CONFORMANCE_MODEL": model,
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        }
        files = sorted(
            str(path)
            for path in tests.glob("unit/test_*.py")
            if path.stem.removeprefix("test_") not in ELSEWHERE
        )
        options = ["-q", "--junitxml", str(report), *(["-k", chosen] if chosen else [])]
        command = [sys.executable, "-m", "pytest", *options, *files]
        subprocess.run(command, cwd=tests, env=environment, check=False)
        return ElementTree.parse(report).getroot()


def outcome(case: ElementTree.Element) -> tuple[str, str]:
    """passed, failed or skipped, and what is said of it."""
    for found, name in (("failure", "failed"), ("error", "failed"), ("skipped", "skipped")):
        if (part := case.find(found)) is not None:
            said = (part.get("message") or part.text or "").strip().splitlines()
            return name, said[0][:200] if said else ""
    return "passed", ""


def left_out(tests: Path) -> dict[str, int]:
    """Functions in files about what is not here, by what that is."""
    found: Counter[str] = Counter()
    for name, why in ELSEWHERE.items():
        path = tests / "unit" / f"test_{name}.py"
        if path.exists():
            found[why] += path.read_text(encoding="utf-8").count("\ndef test_")
    return dict(found)


def by_file(cases: Sequence[tuple[str, str, str]]) -> list[str]:
    """A row for every file of tests, and one for all."""
    counts = Counter((name.partition("::")[0], what) for name, what, _why in cases)
    files = sorted({file for file, _what in counts})
    rows = [
        (file.removeprefix("unit."), counts[file, "passed"], counts[file, "failed"])
        for file in files
    ]
    rows.append(("all", sum(row[1] for row in rows), sum(row[2] for row in rows)))
    return [
        "| tests | passed | failed |",
        "|---|---:|---:|",
        *(f"| {name} | {passed} | {failed} |" for name, passed, failed in rows),
    ]


def main() -> None:
    """Run, count, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tests", type=Path, help="llama.cpp's tools/server/tests")
    parser.add_argument("model", help="that is served for all of them")
    parser.add_argument("-k", dest="chosen", help="as for pytest")
    parser.add_argument("--json", type=Path, help="write the outcomes there")
    how = parser.parse_args()
    cases = [
        (f"{case.get('classname')}::{case.get('name')}", *outcome(case))
        for case in run(how.tests.resolve(), how.model, how.chosen).iter("testcase")
    ]
    print("\n".join(by_file(cases)))
    for why, number in left_out(how.tests).items():
        print(f"Functions that do not apply: {number}, {why}.")
    if how.json:
        found = {"model": how.model, "left out": left_out(how.tests), "cases": cases}
        how.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
