"""What Python costs a round: the engine with a target and a draft model that only take time.

    python -m scripts.bench_overhead
    python -m scripts.bench_overhead --target-ms 15 --draft-ms 2.5 --json overhead.json
    python -m scripts.bench_overhead --instructions --json docs/overhead.json

The stubs wait a fixed time for each evaluation and return logits over a real model's vocabulary;
everything between them is the project's own, down to the text: drafters, verification, llama.cpp's
samplers, the controller. Printed are, for each drafter and temperature,

- round_us: microseconds of processor time a round, outside evaluations;
- verify_us: of them verification, which is sampling from the target's logits;
- rest_us: of them what is neither that nor drafting: deciding, learning, text;
- drafted_us: microseconds a drafted token, on the draft model's side;
- speed: as a share of that of plain decoding which costs nothing but evaluations;
- tokens: emitted a round.

`--instructions` asks no clock. It counts the instructions of Python that the project's own files
execute a round, and the logits that numpy passes over, in rows. Both are the same on every machine
with the same Python 3.x; tests/test_overhead.py compares them with docs/overhead.json.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter, thread_time
from types import FrameType
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

import spec_local
from scripts.overhead_device import N_VOCAB, Clock, Device, StoppedClock, TimedVerifier

DRAFTERS = ("none", "model k=4", "auto")
CASES = [(drafter, temperature) for temperature in (0.0, 0.8) for drafter in DRAFTERS]
PYTHON = ".".join(platform.python_version_tuple()[:2])
PACKAGE = str(Path(spec_local.__file__).parent)
_COUNTED = (PACKAGE, "<string>")
"""How the names of files begin whose instructions count; `<string>`: what dataclasses generate."""


class Figures(NamedTuple):
    """What one answer cost."""

    round_us: float
    """Microseconds of processor time a round, outside evaluations."""
    verify_us: float
    """Of them verification."""
    rest_us: float
    """Of them neither verification nor drafting."""
    drafted_us: float
    """Microseconds a drafted token; 0.0 if none was."""
    speed: float
    """Against plain decoding that costs nothing but evaluations."""
    tokens: float
    """Emitted a round."""


class Counts(NamedTuple):
    """What one answer executed."""

    instructions: float
    """Python instructions a round."""
    rows: float
    """Rows of logits that numpy passed over, a round."""


def measure(how: argparse.Namespace, name: str, temperature: float) -> Figures:
    """Medians over some answers, of the rounds after the first, which reads the prompt."""
    device = Device(how, Clock())
    clock, (speculator, model) = device.clock, device.speculator(name)
    found: list[Figures] = []
    for _ in range(how.warm + how.repeats):
        verify = TimedVerifier()
        answer = device.answer(speculator, verify, temperature)
        next(answer)
        clock.waited, model.seconds, model.drafted = 0.0, 0.0, 0
        verify.seconds = 0.0
        began, worked = perf_counter(), thread_time()
        emitted = list(answer)
        worked, wall = thread_time() - worked - clock.waited, perf_counter() - began
        rounds = len(emitted)
        found.append(
            Figures(
                round_us=worked / rounds * 1e6,
                verify_us=verify.seconds / rounds * 1e6,
                rest_us=(worked - verify.seconds - model.seconds) / rounds * 1e6,
                drafted_us=model.seconds / max(1, model.drafted) * 1e6,
                speed=sum(emitted) * how.target_ms / 1e3 / wall,
                tokens=sum(emitted) / rounds,
            )
        )
    return Figures(*map(median, zip(*found[how.warm :], strict=True)))


class CountedLogits(np.ndarray[Any, np.dtype[np.float32]]):
    """Logits, and what is computed from them, that count how many elements numpy passes over."""

    passed = 0

    def __array_ufunc__(self, ufunc: Any, method: Any, *inputs: Any, **settings: Any) -> Any:
        return _counted(getattr(ufunc, method), inputs, settings)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return _counted(func, args, kwargs)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, np.ndarray):
            CountedLogits.passed += place.size
        return super().__getitem__(place)

    # Methods that are no universal function come past neither of the two above.

    def argmax(self, *args: Any, **kwargs: Any) -> Any:
        return _counted(np.argmax, (self, *args), kwargs)

    def copy(self, *args: Any, **kwargs: Any) -> Any:
        return _counted(np.copy, (self, *args), kwargs)


def _counted(function: Any, args: Sequence[Any], settings: dict[str, Any]) -> Any:
    """Call it with ordinary arrays, and count the elements of the largest one."""
    CountedLogits.passed += max(each.size for each in _arrays(args))
    found = function(*map(_plain, args), **{k: _plain(v) for k, v in settings.items()})
    return found.view(CountedLogits) if isinstance(found, np.ndarray) else found


def _arrays(given: Any) -> Iterator[NDArray[Any]]:
    """The arrays in an argument, which may be a sequence of them."""
    if isinstance(given, np.ndarray):
        yield given
    elif isinstance(given, (tuple, list)):
        for each in given:
            yield from _arrays(each)


def _plain(given: Any) -> Any:
    if isinstance(given, CountedLogits):
        return given.view(np.ndarray)
    return type(given)(map(_plain, given)) if isinstance(given, (tuple, list)) else given


class Instructions:
    """Counts the instructions of the project's own files, by Python's tracing."""

    def __init__(self) -> None:
        self.count = 0

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count what is called meanwhile."""
        before = sys.gettrace()
        sys.settrace(self._trace)
        try:
            yield
        finally:
            sys.settrace(before)

    def _trace(self, frame: FrameType, event: str, _argument: Any) -> Any:
        if event == "opcode":
            self.count += 1
        elif event == "call":
            if not frame.f_code.co_filename.startswith(_COUNTED):
                return None
            frame.f_trace_lines, frame.f_trace_opcodes = False, True
        return self._trace


def count(how: argparse.Namespace, name: str, temperature: float) -> Counts:
    """Of the rounds after the first of one answer."""
    clock = StoppedClock()
    with (
        patch("spec_local.engine.decode.perf_counter", clock.now),
        patch("spec_local.drafters.model.perf_counter", clock.now),
    ):
        device = Device(how, clock, CountedLogits)
        speculator, _model = device.speculator(name)
        for _ in range(how.warm):
            list(device.answer(speculator, TimedVerifier(), temperature))
        answer = device.answer(speculator, TimedVerifier(), temperature)
        next(answer)
        instructions, before = Instructions(), CountedLogits.passed
        with instructions.counted():
            rounds = len(list(answer))
    passed = (CountedLogits.passed - before) / N_VOCAB
    return Counts(round(instructions.count / rounds, 1), round(passed / rounds, 3))


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--target-ms", type=float, default=3.0, help="one token on the target")
    parser.add_argument("--row-ms", type=float, default=0.1, help="every further one with it")
    parser.add_argument("--draft-ms", type=float, default=0.8, help="one on the draft model")
    parser.add_argument("--acceptance", type=float, default=0.8, help="of the draft model's tokens")
    parser.add_argument("--tokens", type=int, default=300, help="of an answer")
    parser.add_argument("--warm", type=int, default=2, help="answers before the first that counts")
    parser.add_argument("--repeats", type=int, default=5, help="answers of which the median counts")
    parser.add_argument("--instructions", action="store_true", help="count instead of measuring")
    parser.add_argument("--json", type=Path, help="write the figures there")
    return parser.parse_args(arguments)


def main() -> None:
    """Measure or count, and print."""
    how = options()
    run: Callable[..., Figures | Counts] = count if how.instructions else measure
    fields = Counts._fields if how.instructions else Figures._fields
    print("| drafter | temperature |", " | ".join(fields), "|")
    found: dict[str, dict[str, float]] = {}
    for name, temperature in CASES:
        figures = run(how, name, temperature)
        found[f"{name}, {temperature:g}"] = figures._asdict()
        cells = " | ".join(f"{each:,.{0 if each >= 20 else 2}f}" for each in figures)
        print(f"| {name} | {temperature:g} | {cells} |", flush=True)
    if how.json:
        given = {key: value for key, value in vars(how).items() if key != "json"}
        record = {"python": PYTHON, "options": given, "found": found}
        how.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
