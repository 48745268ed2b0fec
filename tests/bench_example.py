"""A made-up benchmark, the same every time, for tests of what is made from results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import geometric_mean

from spec_local.bench.record.result import (
    SCHEMA,
    Bound,
    Cell,
    Contender,
    Divergence,
    Lossless,
    MachineFacts,
    ModelFile,
    Overall,
    Result,
    Run,
    Settings,
    Spread,
)

PEER = "llama-server plain"

SPEEDUPS: dict[str, dict[str, float]] = {
    "edit": {"none": 1.0, "lookup": 1.79, "model k=3": 0.93, "auto": 1.81, PEER: 1.02},
    "chat": {"none": 1.0, "lookup": 1.01, "model k=3": 0.81, "auto": 1.02, PEER: 1.03},
}

CONTENDERS = (
    Contender("none", "none"),
    Contender("lookup", "lookup"),
    Contender("model k=3", "model", k=3),
    Contender("auto", "auto"),
    Contender(PEER, "llama-server", flags="-c 4096", peak_rss=1_500_000_000, version="b9014"),
    Contender("llama-server -md", "llama-server", error="it ended with status 1 [no such file]."),
)


def example(
    speedups: Mapping[str, Mapping[str, float]] = SPEEDUPS,
    contenders: Sequence[Contender] = CONTENDERS,
    temperatures: Sequence[float] = (0.0,),
    error: float | None = 0.03,
) -> Result:
    """A result with these speed-ups by workload and contender."""
    names = [c.name for c in contenders if c.error is None]
    own = [c.name for c in contenders if c.drafter in ("none", "lookup", "model", "auto")]
    places = [(w, t, c) for w in speedups for t in temperatures for c in names]
    return Result(
        schema=SCHEMA,
        made="2026-01-31T12:00:00Z",
        seconds=630.0,
        command="spec-local bench --json out.json",
        commit="0123abc",
        versions={"spec-local": "0.1.0", "llama-cpp-python": "0.3.36"},
        machine=MachineFacts("A processor", 2, 8_000_000_000, "Linux 6.1", (), 2, "AVX2 = 1"),
        target=ModelFile("target-1.5b-q4_k_m", 1_117_320_768, "a" * 64),
        draft=ModelFile("draft-0.5b-q4_0", 352_000_000, "b" * 64),
        settings=Settings(128, 3, 2, tuple(speedups), tuple(temperatures), 0, {"n_ctx": 4096}),
        curves={
            "target": {str(w): 0.046 * (0.4 + 0.6 * w) for w in (1, 2, 3, 4, 6, 8, 16)},
            "draft": {str(w): 0.02 * (0.7 + 0.3 * w) for w in (1, 2, 4, 8, 16)},
        },
        contenders=tuple(contenders),
        runs=tuple(_run(*place, speedups[place[0]][place[2]], place[2] in own) for place in places),
        cells=tuple(
            _cell(*place, speedups[place[0]][place[2]], error, place[2] in own) for place in places
        ),
        overall=tuple(_overall(speedups, t, name, error) for t in temperatures for name in names),
        bounds=tuple(_bound(w, t, speedups[w]) for w in speedups for t in temperatures),
        lossless=tuple(
            Lossless(name, t, 11 if name == "auto" else 12, 12)
            for t in temperatures
            for name in own[1:]
        ),
        divergences=(Divergence("auto", "chat", 1, temperatures[0], 2, 57, 4, 0.0213),),
        peak_rss=2_100_000_000,
    )


def _drafts(contender: str) -> bool:
    return contender not in ("none", PEER)


def _run(workload: str, temperature: float, contender: str, speedup: float, own: bool) -> Run:
    drafts = own and _drafts(contender)
    return Run(
        contender=contender,
        workload=workload,
        prompt=0,
        temperature=temperature,
        repeat=0,
        heat=0,
        prompt_tokens=400,
        prompt_seconds=1.5,
        tokens=127,
        seconds=127 / (21 * speedup),
        rounds=60 if own else 0,
        drafted=180 if drafts else 0,
        accepted=110 if drafts else 0,
        offered_at=(60, 58, 50, 12) if drafts else (),
        accepted_at=(51, 40, 29, 5) if drafts else (),
    )


def _cell(
    workload: str, temperature: float, name: str, speedup: float, error: float | None, own: bool
) -> Cell:
    drafts = own and _drafts(name)
    return Cell(
        workload=workload,
        temperature=temperature,
        contender=name,
        speedup=Spread(speedup, speedup * 0.95, speedup * 1.04, 6, error),
        tokens_per_second=21 * speedup,
        first_token_ratio=1.01,
        first_token_seconds=1.5,
        acceptance_rate=0.61 if drafts else None,
        mean_accepted_length=2.1 if drafts else 1.0 if own else None,
        shares={"draft": 0.3, "verify": 0.66, "sampling": 0.01, "other": 0.03} if drafts else {},
        overhead_us=310.0 if own else None,
        usual_overhead_us=240.0 if own else None,
        predicted=speedup * 1.05 if name == "model k=3" else None,
        own_speedup=0.97 if name.startswith("llama-server -") else None,
    )


def _overall(
    speedups: Mapping[str, Mapping[str, float]], temperature: float, name: str, error: float | None
) -> Overall:
    by_workload = {workload: row[name] for workload, row in speedups.items()}
    mean = geometric_mean(by_workload.values())
    worst = min(by_workload, key=by_workload.__getitem__)
    verdict = "same" if abs(mean - 1) < 0.05 else "faster" if mean > 1 else "slower"
    return Overall(temperature, name, mean, by_workload[worst], worst, error, verdict)


def _bound(workload: str, temperature: float, measured: Mapping[str, float]) -> Bound:
    auto = measured["auto"]
    statics = {"plain": 1.0}
    statics |= {f"model {k}": measured["model k=3"] * (1.15 - 0.05 * k) for k in range(1, 9)}
    statics |= {f"lookup {k}": measured["lookup"] * (0.9 + 0.02 * k) for k in range(1, 9)}
    best = max(statics, key=statics.__getitem__)
    return Bound(
        workload=workload,
        temperature=temperature,
        best_static=best,
        best_static_speedup=statics[best],
        auto=auto,
        clairvoyant=auto * 1.1,
        oracle=auto * 1.3,
        statics=statics,
    )
