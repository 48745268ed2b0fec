"""Peak memory against what llama.cpp says it needs: weights, KV cache, compute and output buffers.

python scripts/memory.py --target qwen2.5-coder-1.5b --draft qwen2.5-coder-0.5b
"""

import argparse
import json
import logging
import re
import resource
import sys

import psutil

from spec_local import Runner, Sampling

_BUFFER = re.compile(r"^(\w+):\s+(\S+) (model|KV|compute|output|RS) buffer size =\s+([\d.]+) MiB")


class Buffers(logging.Handler):
    """Adds up the buffers llama.cpp reports, in MiB, by kind and place."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.sizes: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Take in one line of llama.cpp's log."""
        if match := _BUFFER.match(record.getMessage()):
            name = f"{match[3]} {match[2]}"
            self.sizes[name] = self.sizes.get(name, 0.0) + float(match[4])


def main() -> None:
    """Run once and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", default="qwen2.5-coder-1.5b")
    parser.add_argument("--draft", default="qwen2.5-coder-0.5b")
    parser.add_argument("--drafter", default="model")
    arguments = parser.parse_args()
    buffers = Buffers()
    logger = logging.getLogger("spec_local.llama")
    logger.addHandler(buffers)
    logger.setLevel(logging.DEBUG)
    python = psutil.Process().memory_info().rss / 2**20
    draft = None if arguments.drafter in ("none", "lookup") else arguments.draft
    with Runner.load(target=arguments.target, draft=draft, drafter=arguments.drafter) as runner:
        prompt = "Write a long essay about the history of computing. " * 60
        runner.complete(prompt, max_tokens=64, sampling=Sampling(temperature=0.8))
    # Linux gives kilobytes, macOS bytes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak_mib = peak / 2**20 if sys.platform == "darwin" else peak / 2**10
    accounted = sum(buffers.sizes.values())
    print(
        json.dumps(
            {
                "buffers_mib": {name: round(size, 1) for name, size in buffers.sizes.items()},
                "accounted_mib": round(accounted, 1),
                "python_and_libraries_mib": round(python, 1),
                "peak_mib": round(peak_mib, 1),
                "peak_minus_accounted_mib": round(peak_mib - accounted, 1),
            }
        )
    )


if __name__ == "__main__":
    main()
