"""Which facts and tables of a benchmark are shown; how they are drawn is not known here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from spec_local.bench.record.result import PLAIN, Cell, Contender, Divergence, Result
from spec_local.bench.record.summary import known_median
from spec_local.bench.report.tables import (
    ALL,
    MISSING,
    VERDICT_MARKS,
    Entry,
    Table,
    listing,
    number,
    percent,
    row,
    size,
    speedup,
    temperature_name,
)
from spec_local.drafters import AUTO


def main_temperature(result: Result) -> float:
    """The one for what is shown only once: greedy, where that was measured."""
    measured = [each.temperature for each in result.overall]
    return min(measured or result.settings.temperatures)


def facts(result: Result) -> list[tuple[str, str]]:
    """What was measured on what: names and values."""
    machine, settings = result.machine, result.settings
    drafts = [f"{draft.name} ({size(draft.bytes)})" for draft in result.drafts]
    hardware = [machine.cpu, f"{machine.cores} cores", size(machine.memory_bytes), machine.system]
    temperatures = listing(map(temperature_name, settings.temperatures))
    return [
        ("target", f"{result.target.name} ({size(result.target.bytes)})"),
        ("draft", ", ".join(drafts) or "none"),
        ("machine", ", ".join([*hardware, *machine.devices, f"{machine.threads} threads used"])),
        (
            "run",
            f"{listing(settings.workloads)}; prompts of each: {settings.per_workload}, "
            f"repeats: {settings.repeats}, at most {settings.tokens} tokens, {temperatures}, "
            f"seed {settings.seed}; {result.seconds / 60:.0f} min",
        ),
    ]


def provenance(result: Result) -> list[tuple[str, str]]:
    """What is needed to measure it again."""
    pairs = [
        ("command", f"`{result.command}`"),
        ("made", result.made),
        ("commit", result.commit),
        ("versions", ", ".join(f"{name} {version}" for name, version in result.versions.items())),
        ("options", ", ".join(f"{name}={value}" for name, value in result.settings.load.items())),
        ("build", result.machine.features),
    ]
    started = [(each.name, f"`{each.flags}`") for each in result.contenders if each.flags]
    return [(name, value) for name, value in pairs + started if value]


def failures(result: Result) -> list[str]:
    """A sentence for every peer that could not be measured."""
    return [f"{c.name} could not be measured: {c.error}" for c in result.contenders if c.error]


def tables(result: Result) -> list[Table]:
    """Everything with rows and columns; a table without rows is left out."""
    ours = [c for c in result.contenders if not c.is_peer and c.name != PLAIN]
    peers = [c for c in result.contenders if c.is_peer and c.error is None]
    shown = []
    for temperature in result.settings.temperatures:
        name = temperature_name(temperature)
        title = f"Speed-up over plain decoding, {name}"
        shown.append(_speedups(title, result, temperature, ours))
        title = f"Peers' speed-up over spec-local's plain decoding, {name}"
        shown.append(replace(_speedups(title, result, temperature, peers), note=_AGAINST))
    shown += [_details(result, "Speed", _SPEED), _details(result, "Where the time goes", _TIME)]
    shown += [_bounds(result, temperature) for temperature in result.settings.temperatures]
    shown += [_lossless(result), _divergences(result.divergences), _memory(result)]
    return [table for table in shown if table.rows]


_AGAINST = "After the slash: over the peer's own plain decoding."


def _speedups(
    title: str, result: Result, temperature: float, contenders: Sequence[Contender]
) -> Table:
    """Workload by contender, closed by the geometric mean and whether it is more than noise."""
    cells = {(c.workload, c.contender): c for c in result.cells if c.temperature == temperature}
    found = {o.contender: o for o in result.overall if o.temperature == temperature}
    means = [found[c.name] for c in contenders if c.name in found]
    rows = []
    for workload in result.settings.workloads:
        plain = cells.get((workload, PLAIN))
        rate = Entry(number(plain.tokens_per_second if plain else None, 1))
        entries = [_cell(cells.get((workload, mean.contender))) for mean in means]
        rows.append((Entry(workload), rate, *entries))
    over_all = [_with_own(speedup(mean.speedup, mean.error), mean.own_speedup) for mean in means]
    verdicts = [Entry(mean.verdict, VERDICT_MARKS.get(mean.verdict, "")) for mean in means]
    rows.append((*row(ALL, ""), *over_all))
    rows.append((*row("verdict", ""), *verdicts))
    return Table(
        title=title,
        columns=("workload", "plain tokens/s", *(mean.contender for mean in means)),
        rows=tuple(rows) if means else (),
        totals=2,
    )


def _cell(cell: Cell | None) -> Entry:
    if cell is None:
        return Entry(MISSING)
    return _with_own(speedup(cell.speedup.median, cell.speedup.error), cell.own_speedup)


def _with_own(entry: Entry, own: float | None) -> Entry:
    return entry if own is None else replace(entry, text=f"{entry.text} / {own:.2f}")


Figure = tuple[str, Callable[[Sequence[Cell]], str]]
"""A column's name, and its text for a contender's cells."""


def _share(part: str) -> Figure:
    return part, lambda cells: percent(known_median(c.shares.get(part) for c in cells))


_SPEED: tuple[Figure, ...] = (
    ("tokens/s", lambda cells: number(known_median(c.tokens_per_second for c in cells), 1)),
    ("against plain", lambda cells: number(known_median(c.speedup.median for c in cells))),
    ("first token s", lambda cells: number(known_median(c.first_token_seconds for c in cells))),
    (
        "its share of plain's",
        lambda cells: number(known_median(c.first_token_ratio for c in cells)),
    ),
    ("accepted", lambda cells: percent(known_median(c.acceptance_rate for c in cells))),
    ("mean length", lambda cells: number(known_median(c.mean_accepted_length for c in cells))),
    ("speed-up by formula", lambda cells: number(known_median(c.predicted for c in cells))),
    (
        "as measured",
        lambda cells: number(
            known_median(c.speedup.median for c in cells if c.predicted is not None)
        ),
    ),
)

_TIME: tuple[Figure, ...] = (
    _share("draft"),
    _share("verify"),
    _share("sampling"),
    _share("other"),
    ("overhead µs a round", lambda cells: number(known_median(c.overhead_us for c in cells), 0)),
    ("its median", lambda cells: number(known_median(c.usual_overhead_us for c in cells), 0)),
    ("J a token", lambda cells: number(known_median(c.joules_per_token for c in cells), 1)),
)


def _details(result: Result, title: str, figures: Sequence[Figure]) -> Table:
    """A row for each contender with anything to tell, a column for each figure that is known."""
    temperature = main_temperature(result)
    rows = []
    for contender in result.contenders:
        cells = result.cells_of(contender.name, temperature)
        texts = [text(cells) for _name, text in figures]
        if any(text != MISSING for text in texts):
            rows.append([contender.name, *texts])
    known = [i for i in range(len(figures) + 1) if any(r[i] != MISSING for r in rows)]
    names = ["contender", *(name for name, _text in figures)]
    return Table(
        title=f"{title}, {temperature_name(temperature)}, median over workloads",
        columns=tuple(names[i] for i in known),
        rows=tuple(row(*(r[i] for i in known)) for r in rows),
    )


def _bounds(result: Result, temperature: float) -> Table:
    measured = {
        c.workload: number(c.speedup.median)
        for c in result.cells
        if c.contender == AUTO and c.temperature == temperature
    }
    return Table(
        title=f"What could be reached, {temperature_name(temperature)}",
        columns=(
            "workload",
            "auto measured",
            "auto replayed",
            "best fixed choice",
            "clairvoyant",
            "oracle",
        ),
        rows=tuple(
            row(
                bound.workload,
                measured.get(bound.workload, MISSING),
                number(bound.auto),
                f"{bound.best_static_speedup:.2f} {bound.best_static}",
                number(bound.clairvoyant),
                number(bound.oracle),
            )
            for bound in result.bounds
            if bound.temperature == temperature
        ),
        note="Speed-ups, all but the first priced on the recorded texts. Best fixed choice: with "
        "its drafter and k; clairvoyant: knows every position's acceptance rate; oracle: every "
        "outcome.",
    )


def _lossless(result: Result) -> Table:
    found = {(e.contender, e.temperature): e for e in result.lossless}
    contenders = dict.fromkeys(e.contender for e in result.lossless)
    temperatures = dict.fromkeys(e.temperature for e in result.lossless)

    def entry(contender: str, temperature: float) -> Entry:
        match = found.get((contender, temperature))
        if match is None:
            return Entry(MISSING)
        same = match.identical == match.answers
        return Entry(f"{match.identical} of {match.answers}", "" if same else "bad")

    return Table(
        title="Answers identical to plain decoding's",
        columns=("contender", *map(temperature_name, temperatures)),
        rows=tuple((Entry(c), *(entry(c, t) for t in temperatures)) for c in contenders),
    )


def _divergences(divergences: Sequence[Divergence]) -> Table:
    """Where answers left those of plain decoding; repeats that left alike share a row."""
    times = Counter(replace(each, repeat=0) for each in divergences)
    return Table(
        title="Where they differ first",
        columns=("contender", "workload", "prompt", "temp.", "token", "width", "margin", "times"),
        rows=tuple(
            row(
                each.contender,
                each.workload,
                str(each.prompt),
                f"{each.temperature:g}",
                str(each.at),
                MISSING if each.width is None else str(each.width),
                "cut off" if each.margin is None else f"{each.margin:.4f}",
                str(count),
            )
            for each, count in times.items()
        ),
        labels=2,
        note="Margin: by how many logits plain decoding preferred its own token; cut off: its "
        "sampler could not draw the other one at all.",
    )


def _memory(result: Result) -> Table:
    peers = [row(c.name, size(c.peak_rss)) for c in result.contenders if c.peak_rss]
    return Table(
        title="Memory",
        columns=("process", "at most"),
        rows=(row("spec-local", size(result.peak_rss)), *peers),
        note="spec-local's process holds a context of every contender that runs side by side.",
    )
