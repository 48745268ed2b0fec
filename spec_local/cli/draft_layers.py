"""`spec-local draft layers`: a draft from the target's own layers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spec_local.cli.interrupt import end_early
from spec_local.cli.output import say
from spec_local.cli.progress import on_terminal
from spec_local.errors import require

if TYPE_CHECKING:
    from spec_local.models.layer_report import LayerReport
    from spec_local.models.layer_search import Earns, Tried
    from spec_local.models.layers import Cut, Layers
    from spec_local.util.progress import Progress


def layers(
    target: Annotated[str, typer.Argument(help="A model's name or a .gguf file.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")],
    keep: Annotated[
        str | None, typer.Option("--keep", metavar="LAYERS", help="Layers to keep, like 0-7,27.")
    ] = None,
    drop: Annotated[
        str | None, typer.Option("--drop", metavar="LAYERS", help="Layers to leave out.")
    ] = None,
    search: Annotated[
        bool, typer.Option("--search", help="Look for those that draft best, by measuring.")
    ] = False,
    minutes: Annotated[
        float, typer.Option("--minutes", help="How long --search tries subsets.", min=0.01)
    ] = 5.0,
    beside: Annotated[
        list[str] | None,
        typer.Option("--beside", help="Other draft for --search to compare with; repeatable."),
    ] = None,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write what --search has measured.")
    ] = None,
    file_type: Annotated[
        str | None,
        typer.Option(
            "--type", help="Quantize to F16, Q8_0, Q4_K_M or Q4_0.", show_default="as it is"
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write some of a target's layers as a draft for it; nothing is trained.

    --keep 0-7 is the model that ends after eight layers. With --search subsets are judged by how
    often they say what the target has written, and by what a token costs; Ctrl-C ends that, and the
    best so far is written.
    """
    from spec_local.cli.bench_output import check_file
    from spec_local.models.download import pulled
    from spec_local.models.layers import keep_layers, require_writable
    from spec_local.models.registry import load_registry

    given = sum((keep is not None, drop is not None, search))
    require(given == 1, "Give one of --keep, --drop and --search.")
    require(search or not (beside or json), "--beside and --json go with --search.")
    if json is not None:
        check_file(json)
    with on_terminal(time_left=search) as show:
        path = pulled(target, load_registry(), show)
        others = [pulled(name, load_registry(), show) for name in beside or ()]
        count = require_writable(path, out, file_type, force=force)
        if search:
            report = _search(path, out, 60 * minutes, others, file_type, show)
        else:
            kept = _chosen(count, keep, drop)
            cut = keep_layers(path, out, kept, file_type=file_type, force=force, progress=show)
    if search:
        _tell(report, out, json)
    else:
        say(_summary(out, cut))


def _chosen(count: int, keep: str | None, drop: str | None) -> Layers:
    """The layers that were asked for."""
    from spec_local.models.layers import parse_layers

    if keep is not None:
        return parse_layers(keep, count)
    return tuple(sorted({*range(count)} - {*parse_layers(drop or "", count)}))


def _search(
    target: Path,
    out: Path,
    seconds: float,
    others: Sequence[Path],
    file_type: str | None,
    show: Progress,
) -> LayerReport:
    """Try subsets and write the best, even if Ctrl-C ends that once something has been tried."""
    from spec_local.gguf.copying import appears_whole
    from spec_local.llama.quantize import quantize
    from spec_local.models.layer_report import LayerReport
    from spec_local.models.layer_search import LayerSearch
    from spec_local.models.layers import require_free_numbers

    with appears_whole(out) as unfinished:
        source, directory = target, unfinished.parent
        if file_type is not None:
            show("quantize", 0.0)
            source = directory / f"source-{target.name}"
            quantize(target, source, file_type)
        require_free_numbers(source, directory, show)
        with LayerSearch(target, source, show, others) as search:
            report = LayerReport(target.name, file_type, search)
            try:
                for tried in search.run(seconds):
                    report.tried.append(tried)
            except KeyboardInterrupt as reason:
                if not report.tried:
                    raise
                report.stopped = reason
            report.cut = _write_best(source, unfinished, report.ranked, show)
            if report.stopped is None:
                report.written = search.judge(unfinished)
                report.beside = {path.stem: search.judge(path) for path in others}
    return report


def _write_best(source: Path, out: Path, ranked: Sequence[Tried], show: Progress) -> Cut:
    """Write the first that can be; of a hybrid, llama.cpp loads no layers of one kind alone."""
    from spec_local.models.layers import InseparableLayers, keep_layers

    for tried in ranked[:-1]:
        with suppress(InseparableLayers):
            return keep_layers(source, out, tried.kept, progress=show)
    return keep_layers(source, out, ranked[-1].kept, progress=show)


def _tell(report: LayerReport, out: Path, json: Path | None) -> None:
    """Show what a search has found, and write it if that was asked for."""
    from spec_local.bench.run.environment import this_machine
    from spec_local.llama.options import LoadOptions
    from spec_local.machine.software import versions
    from spec_local.models.layers import spell_layers

    assert report.cut is not None
    _print_table("layers", [(spell_layers(each.kept), each.earns) for each in report.ranked])
    if report.written is not None:
        say("\nAs files, by answers that nothing was chosen by:")
        _print_table("draft", [("these layers", report.written), *report.beside.items()])
    if json is not None:
        machine = asdict(this_machine(LoadOptions()))
        report.save(json, {"machine": machine, "versions": versions()})
    say(f"\n{_summary(out, report.cut)}\n{_advice(report)}")
    if report.stopped is not None:
        end_early(report.stopped, "known")


def _summary(out: Path, cut: Cut) -> str:
    from spec_local.models.layers import spell_layers

    return (
        f"{out}: {cut.source_bytes / 1e6:,.1f} MB before, {cut.bytes / 1e6:,.1f} MB now\n"
        f"{len(cut.kept)} of {cut.source_layers} layers are kept: {spell_layers(cut.kept)}"
    )


def _print_table(first: str, rows: Sequence[tuple[str, Earns]]) -> None:
    from rich.table import Table

    from spec_local.cli.bench_output import stdout

    table = Table(first, "right", "ms", "right per ms", "k", "x plain", box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, earns in rows:
        table.add_row(
            name,
            f"{earns.agreement:.1%}",
            f"{earns.milliseconds:.1f}",
            f"{earns.per_millisecond:.2%}",
            str(earns.k),
            f"{earns.speedup:.2f}",
        )
    stdout().print(table)


def _advice(report: LayerReport) -> str:
    """Whether to use it, in a sentence."""
    earns = report.written or report.ranked[0].earns
    expected = f"{earns.speedup:.2f} times the speed of plain decoding is expected at best"
    return f"It may pay: {expected}." if earns.speedup > 1 else f"It does not pay: {expected}."
