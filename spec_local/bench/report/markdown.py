"""A benchmark as GitHub Markdown, to be put beside its JSON."""

from __future__ import annotations

from collections.abc import Sequence

from spec_local.bench.record.result import Result
from spec_local.bench.report.headline import conclusion
from spec_local.bench.report.in_short import in_short
from spec_local.bench.report.plots import TITLES
from spec_local.bench.report.sections import facts, failures, provenance, tables
from spec_local.bench.report.tables import Entry, Table

_AROUND = {"": "", "good": "**", "bad": "*"}

_LEGEND = "**Bold**: faster beyond noise; *italic*: slower beyond noise."


def markdown(result: Result, plots: Sequence[str] = ()) -> str:
    """The whole document.

    plots: files to show, as paths relative to the document; of a pair "x-light.svg" and
    "x-dark.svg" the one is shown that suits the reader's screen.
    """
    blocks = [f"# Benchmark of {_escaped(result.target.name)}", _escaped(conclusion(result))]
    blocks.append("\n".join(f"- {name}: {_escaped(value)}" for name, value in facts(result)))
    blocks += [_picture(name, plots) for name in plots if not _has_light(name, plots)]
    blocks.append(_LEGEND)
    for table in (*in_short(result), *tables(result)):
        blocks += [f"## {_escaped(table.title)}", _grid(table)]
        if table.note:
            blocks.append(table.note)
    if failed := failures(result):
        blocks += ["## Not measured", "\n".join(f"- {_escaped(line)}" for line in failed)]
    blocks.append("## How it was measured")
    blocks.append("\n".join(f"- {name}: {value}" for name, value in provenance(result)))
    return "\n\n".join(blocks) + "\n"


def _grid(table: Table) -> str:
    rules = [":--" if i < table.labels else "--:" for i in range(len(table.columns))]
    lines = [[_escaped(name) for name in table.columns], rules]
    lines += [[_marked(entry) for entry in entries] for entries in table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _marked(entry: Entry) -> str:
    around = _AROUND[entry.mark]
    return f"{around}{_escaped(entry.text)}{around}"


def _escaped(text: str) -> str:
    """Text that Markdown leaves as it is."""
    for sign in "\\|*_<`[":
        text = text.replace(sign, "\\" + sign)
    return " ".join(text.split())


def _has_light(name: str, plots: Sequence[str]) -> bool:
    return "-dark." in name and name.replace("-dark.", "-light.") in plots


def _picture(name: str, plots: Sequence[str]) -> str:
    subject = name.rsplit("/", 1)[-1].split(".")[0].removesuffix("-light").removesuffix("-dark")
    title = TITLES.get(subject, subject)
    dark = name.replace("-light.", "-dark.")
    if dark == name or dark not in plots:
        return f"![{title}]({name})"
    return (
        f'<picture>\n  <source media="(prefers-color-scheme: dark)" srcset="{dark}">\n'
        f'  <img alt="{title}" src="{name}">\n</picture>'
    )
