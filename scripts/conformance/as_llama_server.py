"""`spec-local serve` under llama-server's options, for tests that start a llama-server.

Options that mean the same here are passed on. All others are left out, so that what depends on them
fails where it is asked for, and not at the start: that is what shall be counted. Whatever model is
asked for, the one named in SPEC_LOCAL_CONFORMANCE_MODEL is served.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile

ALIKE = {
    "--port": "--port",
    "--host": "--host",
    "--temp": "--temperature",
    "--seed": "--seed",
    "--ctx-size": "--ctx-size",
    "--threads": "--threads",
    "--parallel": "--parallel",
    "--api-key": "--api-key",
    "--cors-origins": "--cors-origin",
    "--chat-template-file": "--chat-template",
    "--batch-size": "--batch",
}


def translated(given: list[str]) -> list[str]:
    """The arguments for `spec-local serve`."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for option in (*ALIKE, "--chat-template"):
        parser.add_argument(option)
    known = vars(parser.parse_known_args(given)[0])
    found = [os.environ["SPEC_LOCAL_CONFORMANCE_MODEL"], "--no-draft"]
    for option, ours in ALIKE.items():
        value = known[option.removeprefix("--").replace("-", "_")]
        found += [ours, value] if value is not None else []
    if template := known["chat_template"]:
        with tempfile.NamedTemporaryFile("w", suffix=".jinja", delete=False) as file:
            file.write(template)
        found += ["--chat-template", file.name]
    return found


if __name__ == "__main__":
    os.execv(
        sys.executable, [sys.executable, "-m", "spec_local", "serve", *translated(sys.argv[1:])]
    )
