"""Tables of what `spec-local draft layers --search --json` has found, in Markdown.

python scripts/layer_drafts.py docs/drafts/layers-*.json
"""

import argparse
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

HEAD = (
    "| draft | right | ms a token | right per ms | expected speed-up |",
    "|---|---|---|---|---|",
)


def sizes_table(found: Mapping[str, Any]) -> list[str]:
    """Of each number of layers the subset that is right most often on the search's answers."""
    best: dict[int, Mapping[str, Any]] = {}
    for tried in found["tried"]:
        count = n_layers(tried["kept"])
        if count not in best or tried["agreement"] > best[count]["agreement"]:
            best[count] = tried
    return [*HEAD, *(row(named(best[n]["kept"]), best[n]) for n in sorted(best, reverse=True))]


def files_table(found: Mapping[str, Any]) -> list[str]:
    """The file that was written and others, by answers that nothing was chosen by."""
    ours = row(named(found["kept"]), found["written"])
    return [*HEAD, ours, *(row(name, each) for name, each in found["beside"].items())]


def affordable(found: Mapping[str, Any]) -> float:
    """What a draft that is always right may cost at most, in tokens of plain decoding.

    With w - 1 drafted tokens a round gives w for V(w) + (w - 1) c.
    """
    verify = {int(width): float(cost) for width, cost in found["verify_milliseconds"].items()}
    shares = {width: cost / verify[1] for width, cost in verify.items() if width > 1}
    return max((width - share) / (width - 1) for width, share in shares.items())


def n_layers(words: str) -> int:
    """How many layers words such as 0-7,27 name."""
    spans = (part.partition("-") for part in words.split(","))
    return sum(int(last or first) - int(first) + 1 for first, _dash, last in spans)


def named(words: str) -> str:
    """What a draft of these layers is called."""
    count = n_layers(words)
    return f"{count} layer{'s' * (count > 1)}: {words}"


def row(name: str, earns: Mapping[str, float]) -> str:
    """One line of a table."""
    return (
        f"| {name} | {earns['agreement']:.1%} | {earns['milliseconds']:.1f} "
        f"| {earns['per_millisecond']:.2%} | {earns['speedup']:.2f} |"
    )


def main() -> None:
    """Print both tables of each file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("found", type=Path, nargs="+", help="what --json has written")
    for path in parser.parse_args().found:
        found = json.loads(path.read_text(encoding="utf-8"))
        print_tables(found["target"], sizes_table(found), files_table(found))
        print(f"A draft that is always right may cost {affordable(found):.2f} of a token.\n")


def print_tables(title: str, *tables: Iterable[str]) -> None:
    """Under a title."""
    for table in tables:
        print(f"{title}\n", *table, "", sep="\n")


if __name__ == "__main__":
    main()
