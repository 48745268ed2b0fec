"""Write a model in another quantisation, to benchmark against.

python scripts/requantize.py qwen2.5-coder-1.5b Q8_0 q8_0.gguf
"""

import argparse
from pathlib import Path

from spec_local.llama.quantize import FILE_TYPES, quantize
from spec_local.models.download import pull
from spec_local.models.registry import load_registry


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="name in models.toml or path")
    parser.add_argument("type", choices=FILE_TYPES)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    quantize(pull(arguments.model, load_registry()), arguments.out, arguments.type)


if __name__ == "__main__":
    main()
