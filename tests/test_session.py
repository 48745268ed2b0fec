"""Sessions on llama.cpp itself: whatever happened before, the memory holds the mirrored tokens."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from spec_local.errors import ContextOverflow, EngineError, Interrupted
from spec_local.llama import memory
from spec_local.llama.abort import Abort
from spec_local.llama.backend import lib
from spec_local.llama.model import Model
from spec_local.llama.options import LoadOptions
from spec_local.llama.session import Session
from spec_local.sampling.types import Logits
from tests.tiny_gguf import write_tiny

pytestmark = pytest.mark.llama

TOKENS = [1, *np.random.default_rng(0).integers(260, 290, 400).tolist()]
ROLLBACK = {"llama": "remove", "gemma3": "window", "mamba": "checkpoint"}


@pytest.fixture(scope="module", params=ROLLBACK)
def arch(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(arch: str, tiny_directory: Path) -> Iterator[Model]:
    path = write_tiny(tiny_directory / f"{arch}.gguf", arch)
    with Model(path, LoadOptions(n_ctx=512, n_batch=64, n_ubatch=64)) as model:
        yield model


@pytest.fixture
def session(model: Model) -> Iterator[Session]:
    with Session(model) as session:
        yield session


def fresh(model: Model, tokens: list[int]) -> Logits:
    """The last row of these tokens in a session that has seen nothing else."""
    with Session(model) as session:
        row: Logits = session.evaluate(tokens)[-1]
        return row.copy()


def close_to(row: Logits, expected: Logits) -> bool:
    """Equal up to the rounding of differently batched evaluation."""
    return bool(np.abs(row - expected).max() < 1e-2 * np.abs(expected).max())


def can_go_back(session: Session, length: int) -> bool:
    """Whether that memory can drop all but so many of 300 tokens, of which it marked the last 8."""
    return session.capabilities.rollback == "remove" or length == {"window": 290}.get(
        session.capabilities.rollback
    )


def test_capabilities_say_how_it_rolls_back(session: Session, arch: str) -> None:
    assert session.capabilities.rollback == ROLLBACK[arch]


def test_rows_are_the_last_tokens_and_match_one_by_one_evaluation(
    model: Model, session: Session
) -> None:
    session.evaluate(TOKENS[:20])
    rows = session.evaluate(TOKENS[20:25], rows=4).copy()
    assert rows.shape == (4, session.n_vocab)
    for i, row in enumerate(rows):
        assert close_to(row, fresh(model, TOKENS[: 22 + i]))


def test_a_long_evaluation_is_batched_and_reports_progress(model: Model, session: Session) -> None:
    seen: list[tuple[int, int]] = []
    session.on_progress = lambda done, total: seen.append((done, total))
    rows = session.evaluate(TOKENS[:200], rows=20).copy()
    assert seen == [(64, 200), (128, 200), (180, 200)]
    assert session.decode_calls == 4
    assert close_to(rows[-1], fresh(model, TOKENS[:200]))
    assert close_to(rows[0], fresh(model, TOKENS[:181]))


@pytest.mark.parametrize(
    ("length", "kept"), [(30, 29), (30, 22), (30, 1), (30, 0), (300, 290), (300, 100)]
)
def test_truncating_and_going_on_equals_never_having_been_there(
    model: Model, session: Session, length: int, kept: int
) -> None:
    session.evaluate(TOKENS[: length - 8])
    session.evaluate(TOKENS[length - 8 : length], rows=8)
    session.truncate(kept)
    held = len(session.tokens)
    assert held == kept or (held < kept - session.max_rows and not can_go_back(session, kept))
    assert session.tokens == TOKENS[:held]
    other = [TOKENS[0] if kept == 0 else 275, 261, 262]
    row = session.evaluate([*TOKENS[held:kept], *other])[-1]
    assert close_to(row, fresh(model, TOKENS[:kept] + other))


def test_rounds_of_drafting_and_rejection(model: Model, session: Session) -> None:
    """What decode.py does: evaluate pending + draft, keep a part, many times over the window."""
    session.evaluate(TOKENS[:40])
    for _ in range(60):
        start = len(session.tokens)
        session.evaluate([*TOKENS[start : start + 1], 270, 271, 272, 273], rows=5)
        session.truncate(start + 1)
    assert session.tokens == TOKENS[:100]
    assert close_to(session.evaluate(TOKENS[100:101])[-1], fresh(model, TOKENS[:101]))


def test_single_steps_can_be_taken_back_after_a_mark(model: Model, session: Session) -> None:
    """What a drafter does: one token after the other, then some of them are rejected."""
    session.evaluate(TOKENS[:50])
    session.mark(4)
    calls = session.decode_calls
    for token in TOKENS[50:54]:
        session.evaluate([token])
    session.truncate(52)
    replayed = session.decode_calls - calls - 4
    assert replayed == (1 if session.capabilities.rollback == "checkpoint" else 0)
    assert close_to(session.evaluate([265])[-1], fresh(model, [*TOKENS[:52], 265]))


def test_sync_keeps_the_common_prefix(session: Session) -> None:
    session.evaluate(TOKENS[:10])
    calls, kept = session.decode_calls, 0 if session.capabilities.rollback == "checkpoint" else 6
    assert session.sync([*TOKENS[:6], 299, 299]) == kept
    assert session.tokens == TOKENS[:kept]
    assert session.sync(TOKENS[:9]) == kept
    assert session.sync([]) == 0
    assert session.decode_calls == calls  # what is missing is for the next evaluation to tell of


def test_what_a_memory_cannot_go_back_to_is_evaluated_where_it_can_be_seen(
    model: Model, session: Session
) -> None:
    session.evaluate(TOKENS[:400])
    kept = session.sync([*TOKENS[:90], 275])
    assert kept == (90 if session.capabilities.rollback == "remove" else 0)
    seen: list[tuple[int, int]] = []
    session.on_progress = lambda done, total: seen.append((done, total))
    row = session.evaluate([*TOKENS[kept:90], 275])[-1].copy()
    assert seen == ([] if kept else [(64, 91)])
    assert close_to(row, fresh(model, [*TOKENS[:90], 275]))


@pytest.fixture
def freed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What llama.cpp has freed since, in order."""
    names = list[str]()

    def watch(name: str) -> None:
        free = getattr(lib, name)

        def watched(handle: object) -> None:
            names.append(name)
            free(handle)

        monkeypatch.setattr(lib, name, watched)

    for name in ("llama_free", "llama_model_free"):
        watch(name)
    return names


def test_a_session_that_is_dropped_is_freed_before_its_model(tiny: Path, freed: list[str]) -> None:
    both = ["llama_free", "llama_model_free"]
    session = Session(Model(tiny))
    del session
    assert freed == both
    circle: list[object] = [Session(Model(tiny))]
    circle.append(circle)
    del circle
    gc.collect()
    assert freed == both * 2
    session = Session(Model(tiny))
    session.close()
    assert freed == [*both * 2, "llama_free"]
    del session
    assert freed == both * 3


def test_a_session_that_cannot_be_made_frees_what_there_was(
    tiny: Path, freed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(lib, "llama_batch_init", refused)
    with Model(tiny) as model:
        with pytest.raises(MemoryError):
            Session(model)
        gc.collect()
        assert freed == ["llama_free"]


def test_an_exception_between_batches_leaves_a_valid_prefix(model: Model, session: Session) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    session.on_progress = stop
    with pytest.raises(KeyboardInterrupt):
        session.evaluate(TOKENS[:200])
    session.on_progress = None
    assert session.tokens == TOKENS[:64]
    assert close_to(session.evaluate(TOKENS[64:70])[-1], fresh(model, TOKENS[:70]))


def test_an_interruption_just_after_a_decode_is_repaired(
    model: Model, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C may strike when llama.cpp has evaluated tokens the mirror does not know of yet."""
    session.evaluate(TOKENS[:20])
    decode = lib.llama_decode

    def interrupted(context: lib.llama_context_p, batch: lib.llama_batch) -> int:
        decode(context, batch)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(lib, "llama_decode", interrupted)
        with pytest.raises(KeyboardInterrupt):
            session.evaluate(TOKENS[20:25])
    assert session.tokens == TOKENS[:20]
    assert close_to(session.evaluate([270, 271])[-1], fresh(model, [*TOKENS[:20], 270, 271]))


def test_a_refused_decode_is_an_error_and_the_session_goes_on(
    model: Model, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    session.evaluate(TOKENS[:5])
    with monkeypatch.context() as patch:
        for status, sentence in (
            (1, "status 1.: its memory has no room for them; ask for a larger context"),
            (2, "status 2.: it stopped though nobody asked for that"),
            (-2, "status -2.: there is not enough memory; ask for a smaller --ctx-size"),
            (-9, "status -9.: the computation failed"),
        ):
            patch.setattr(lib, "llama_decode", lambda *_, status=status: status)
            with pytest.raises(EngineError, match=sentence):
                session.evaluate(TOKENS[5:8])
            assert list(session.tokens) in (TOKENS[:5], [])
    held = len(session.tokens)
    row = session.evaluate(TOKENS[held:8])[-1].copy()
    assert session.tokens == TOKENS[:8]
    assert close_to(row, fresh(model, TOKENS[:8]))


def test_more_tokens_than_the_context_holds_are_refused(session: Session) -> None:
    with pytest.raises(ContextOverflow, match="--ctx-size"):
        session.evaluate([5] * (session.n_ctx + 1))
    assert session.tokens == []


@pytest.mark.parametrize("asked", [1, 10, 255, 256, 300])
def test_the_context_is_as_long_as_was_asked_for(asked: int, tiny: Path) -> None:
    """llama.cpp rounds up to a multiple of 256."""
    with Model(tiny, LoadOptions(n_ctx=asked)) as model, Session(model) as session:
        assert session.n_ctx == asked
        session.evaluate([5] * asked)
        with pytest.raises(ContextOverflow, match=f"context of {asked}"):
            session.evaluate([5])


def test_without_a_size_the_context_is_the_models(tmp_path: Path) -> None:
    tiny = write_tiny(tmp_path / "trained.gguf", n_ctx=600)
    with Model(tiny, LoadOptions(n_ctx=0)) as model, Session(model) as session:
        assert session.n_ctx == model.n_ctx_train == 600


@pytest.mark.parametrize(("tokens", "rows"), [(0, 1), (3, 0), (3, 4), (64, 34)])
def test_impossible_rows_are_refused(session: Session, tokens: int, rows: int) -> None:
    with pytest.raises(ValueError, match="rows"):
        session.evaluate([5] * tokens, rows=rows)


def test_closing_twice_is_harmless(model: Model) -> None:
    session = Session(model)
    session.synchronize()
    session.close()
    session.close()


def test_a_context_too_large_for_memory_is_refused_before_it_is_made(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Model(tiny) as model:
        assert memory.kv_cache_bytes(model, 100) == 100 * 2 * 2 * (16 + 16) * 2
        with pytest.raises(ContextOverflow, match="GB are free"):
            Session(model, n_ctx=2**31 - 1)


def test_llama_cpp_writes_nothing_unasked(tiny: Path) -> None:
    code = (
        "import sys; from spec_local.llama.model import Model\n"
        "from spec_local.llama.session import Session\n"
        "with Model(sys.argv[1]) as m, Session(m) as s: s.evaluate([1, 270, 271])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tiny)], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_an_evaluation_is_stopped_in_the_middle_and_taken_up_again(
    model: Model, session: Session
) -> None:
    session.on_progress = lambda _done, _total: session.interrupt()
    with pytest.raises(Interrupted):
        session.evaluate(TOKENS[:200])
    assert list(session.tokens) == TOKENS[:64]
    with pytest.raises(Interrupted):
        session.evaluate(TOKENS[64:70])
    session.truncate(50)
    session.on_progress = None
    session.interrupt(False)
    kept = len(session.tokens)  # of a recurrent state nothing may be left
    assert kept in (0, 50)
    row = session.evaluate(TOKENS[kept:200])[-1]
    assert close_to(row, fresh(model, TOKENS[:200]))
    assert list(session.tokens) == TOKENS[:200]


def test_only_the_work_under_way_is_stopped(session: Session) -> None:
    abort, first, second = Abort([session]), threading.Event(), threading.Event()
    with abort.work(first):
        second.set()
        abort(second)
        session.evaluate(TOKENS[:3])
        first.set()
        abort(first)
        with pytest.raises(Interrupted):
            session.evaluate(TOKENS[3:5])
    session.evaluate(TOKENS[3:5])
    with abort.work(second), pytest.raises(Interrupted):  # cancelled before it began
        session.evaluate(TOKENS[5:7])


def test_ctrl_c_while_a_model_loads_ends_the_loading(tiny: Path) -> None:
    shares = list[float]()

    def progress(_stage: str, share: float) -> None:
        shares.append(share)
        signal.raise_signal(signal.SIGINT)  # in the thread that loads; the main one is told
        time.sleep(0.3)

    with pytest.raises(KeyboardInterrupt):
        Model(tiny, progress=progress)
    assert len(shares) == 1
