"""The desktop example by clicking and typing, on a stub of a runner, and once on SmolLM2."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

try:
    from PySide6.QtCore import Qt, QTimer
    from PySide6.QtTest import QTest
    from PySide6.QtWidgets import QApplication
except ImportError as error:
    pytest.skip(f"PySide6 is not usable, see the extra desktop: {error}", allow_module_level=True)

from tests.qt import trouble

if reason := trouble():
    pytest.skip(f"Qt opens no window here: {reason}", allow_module_level=True)

from examples.desktop import worker as module
from examples.desktop.window import DRAFTED, OPEN, Conversation, Window
from examples.desktop.worker import Choice, Worker, choices
from spec_local import Chunk, ContextOverflow, Generation, Stats
from spec_local.engine.rounds import FinishReason
from spec_local.models.registry import HuggingFaceFile, ModelSpec, PairSpec, Registry
from spec_local.models.scan import ScannedModel
from tests.documents import ROOT

pytestmark = pytest.mark.llama

LONG = 5_000
"""Rounds of an answer, or reports of a load, that must be stopped; else half a minute."""


class StubRunner:
    """A runner and its chat: three rounds of two words for an answer, or LONG ones."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.generation: Generation | None = None
        self.may_send = threading.Event()
        self.may_send.set()
        self.closed = False
        self._worker = ThreadPoolExecutor(max_workers=1)

    def chat(self, progress: object) -> StubRunner:
        return self

    def send(self, text: str) -> Iterator[Chunk]:
        assert self.may_send.wait(20)
        if text == "too long":
            raise ContextOverflow("The prompt does not fit; shorten it.")
        if text == "fault":
            raise ZeroDivisionError("by zero")
        self.said.append(text)
        rounds = LONG if text == "go on" else 3
        self.generation = Generation(
            lambda cancel: chunks(rounds, cancel), lambda _cancel: None, self._worker
        )
        return iter(self.generation)

    def close(self) -> None:
        self.closed = True


def chunks(rounds: int, cancel: threading.Event) -> Generator[Chunk, None, None]:
    for done in range(1, rounds + 1):
        stopped = cancel.wait(0.002)
        finish: FinishReason | None = "cancelled" if stopped else "stop" if done == rounds else None
        stats = Stats(
            tokens=2 * done,
            rounds=done,
            drafted=done,
            seconds=2 * done - 1,
            plain_seconds=3.0,
            estimated_seconds=2.0,
        )
        yield Chunk("drafted own ", (0, 1), (True, False), stats, finish, drafted_characters=8)
        if stopped:
            return


@pytest.fixture(scope="module")
def application() -> QApplication:
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    return QApplication.instance() or QApplication([])


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> StubRunner:
    """What is loaded, whatever is chosen."""
    runner = StubRunner()
    load_with(monkeypatch, lambda target, draft, progress: runner)
    return runner


def load_with(monkeypatch: pytest.MonkeyPatch, load: Callable[..., StubRunner]) -> None:
    monkeypatch.setattr(module, "Runner", SimpleNamespace(load=load))


@pytest.fixture
def worker() -> Iterator[Worker]:
    with Worker() as worker:
        yield worker


@pytest.fixture
def window(
    application: QApplication, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Window]:
    """A window that offers two models."""
    monkeypatch.setattr(module, "choices", lambda: [Choice("a", "One"), Choice("b", "Two")])
    window = Window(worker)
    window.show()
    until(window.models.isEnabled)
    yield window
    window.close()


@pytest.fixture
def ready(stub: StubRunner, window: Window) -> Window:
    """A window whose model is loaded."""
    window.load("a")
    until(window.send_button.isEnabled)
    return window


def until(condition: Callable[[], bool]) -> None:
    """Let the window live until the condition holds."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        QTest.qWait(2)


def say(window: Window, text: str) -> None:
    QTest.keyClicks(window.input, text)
    QTest.keyClick(window.input, Qt.Key.Key_Return)


def stop(window: Window) -> None:
    QTest.mouseClick(window.stop_button, Qt.MouseButton.LeftButton)


def shown(window: Window) -> str:
    return str(window.conversation.toPlainText())


def tinted(conversation: Conversation) -> str:
    """All text that stands on the tint."""
    block, found = conversation.document().begin(), ""
    while block.isValid():
        fragments = [each.fragment() for each in block]
        for fragment in fragments:
            if fragment.charFormat().background().color() == DRAFTED:
                found += fragment.text()
        block = block.next()
    return found


def model_threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.startswith("model")]


def test_what_is_chosen_is_loaded(stub: StubRunner, window: Window) -> None:
    offered = [window.models.itemText(index) for index in range(window.models.count())]
    assert offered == ["One", "Two", OPEN]
    assert window.status.text() == "Choose a model."
    assert not window.send_button.isEnabled()
    for name in ("a", "b"):
        QTest.keyClick(window.models, Qt.Key.Key_Down)
        assert not window.models.isEnabled()
        until(window.send_button.isEnabled)
        assert window.status.text() == f"{name} is ready."
    assert stub.closed  # the first one, before the second was loaded


def test_enter_sends_and_shift_enter_begins_a_line(ready: Window, stub: StubRunner) -> None:
    QTest.keyClicks(ready.input, "two")
    QTest.keyClick(ready.input, Qt.Key.Key_Return, Qt.KeyboardModifier.ShiftModifier)
    say(ready, "lines")
    until(ready.send_button.isEnabled)
    assert stub.said == ["two\nlines"]
    assert ready.input.toPlainText() == ""
    say(ready, "  ")
    QTest.keyClicks(ready.input, "more")
    QTest.mouseClick(ready.send_button, Qt.MouseButton.LeftButton)
    until(ready.send_button.isEnabled)
    assert stub.said == ["two\nlines", "more"]


def test_what_was_drafted_is_tinted_and_the_figures_are_shown(ready: Window) -> None:
    say(ready, "hello")
    until(ready.send_button.isEnabled)
    assert shown(ready) == "hello\n" + 3 * "drafted own "
    assert tinted(ready.conversation) == 3 * "drafted "
    assert ready.status.text() == "6 tokens, 1.0 per second, 1.50x plain decoding"


def test_stop_ends_an_answer_and_the_next_one_is_written(ready: Window, stub: StubRunner) -> None:
    say(ready, "go on")
    until(lambda: "own" in shown(ready))
    say(ready, "next")  # nothing can be sent now, but it can be written
    assert ready.input.toPlainText() == "next"
    stop(ready)
    until(ready.send_button.isEnabled)
    assert stub.generation is not None
    assert stub.generation.finish_reason == "cancelled"
    assert ready.status.text().endswith(", stopped")
    say(ready, " one")
    until(ready.send_button.isEnabled)
    assert stub.said == ["go on", "next one"]
    assert shown(ready).endswith("own \nnext one\n" + 3 * "drafted own ")


def test_stop_is_obeyed_before_there_is_a_generation(ready: Window, stub: StubRunner) -> None:
    stub.may_send.clear()
    say(ready, "go on")
    stop(ready)
    stub.may_send.set()
    until(ready.send_button.isEnabled)
    assert shown(ready) == "go on\ndrafted own "


def test_the_view_follows_the_answer_unless_it_was_scrolled(ready: Window) -> None:
    bar = ready.conversation.verticalScrollBar()
    for _turn in range(2):
        ready.conversation.say("hello")
        for _line in range(100):
            ready.conversation.write("line\n")
        assert bar.value() == bar.maximum() > 0
    bar.setValue(0)
    ready.conversation.write("line\n" * 200)
    assert bar.value() == 0


def test_nothing_a_model_writes_is_taken_for_html(application: QApplication) -> None:
    conversation = Conversation()
    conversation.say("<i>a</i>")
    conversation.write("<b>b</b>", DRAFTED)
    assert conversation.toPlainText() == "<i>a</i>\n<b>b</b>"


def test_closing_the_window_in_the_middle_of_an_answer_ends_everything(
    application: QApplication, ready: Window, worker: Worker, stub: StubRunner
) -> None:
    say(ready, "go on")
    until(lambda: "own" in shown(ready))
    QTimer.singleShot(0, ready.close)
    application.exec()  # ends with the last window
    worker.close()
    assert stub.generation is not None
    assert stub.generation.finish_reason == "cancelled"
    assert stub.closed
    assert model_threads() == []


def load_slowly(target: str, draft: str, progress: Callable[[str, float], None]) -> StubRunner:
    for _report in range(LONG):
        progress(f"load {target}", 0.5)
        time.sleep(0.002)
    return StubRunner()


def test_stop_gives_up_loading(window: Window, monkeypatch: pytest.MonkeyPatch) -> None:
    load_with(monkeypatch, load_slowly)
    window.load("a")
    until(window.progress.isVisible)
    assert window.status.text() == "Loading a"
    assert window.progress.value() == 50
    stop(window)
    until(window.models.isEnabled)
    assert window.status.text() == "Choose a model."
    assert not window.error.isVisible()
    assert not window.send_button.isEnabled()


def test_closing_the_window_while_a_model_is_loaded_ends_everything(
    window: Window, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_with(monkeypatch, load_slowly)
    window.load("a")
    until(window.progress.isVisible)
    window.close()
    worker.close()
    assert model_threads() == []


def test_a_bad_file_is_a_sentence_in_the_window(
    window: Window, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"not a model")
    dialog = SimpleNamespace(getOpenFileName=lambda *_: (str(bad), ""))
    monkeypatch.setattr("examples.desktop.window.QFileDialog", dialog)
    window.models.setCurrentIndex(1)
    QTest.keyClick(window.models, Qt.Key.Key_Down)
    until(window.models.isEnabled)
    assert window.error.isVisible()
    assert "bad.gguf" in window.error.text()
    assert window.error.text().endswith(".")
    assert window.models.placeholderText() == "bad.gguf"
    assert window.models.currentIndex() == -1
    assert not window.send_button.isEnabled()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("too long", "The prompt does not fit; shorten it."),
        ("fault", "This program has a fault: ZeroDivisionError('by zero')."),
    ],
)
def test_after_an_error_the_chat_goes_on(ready: Window, text: str, sentence: str) -> None:
    say(ready, text)
    until(ready.send_button.isEnabled)
    assert ready.error.isVisible()
    assert ready.error.text() == sentence
    say(ready, "hello")
    assert not ready.error.isVisible()
    until(ready.send_button.isEnabled)
    assert shown(ready).endswith("hello\n" + 3 * "drafted own ")


def test_models_that_are_here_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here.gguf").touch()
    here = ModelSpec(path=str(tmp_path / "here.gguf"))
    far = ModelSpec(hf=HuggingFaceFile("an-owner/a-repository", "far.gguf"))
    lost = ModelSpec(path=str(tmp_path / "lost.gguf"))
    pairs = {"far pair": PairSpec("here", "far"), "pair": PairSpec("here")}
    registry = Registry({"here": here, "far": far, "lost": lost}, pairs)
    found = [
        ScannedModel("theirs", "LM Studio", "theirs.gguf", bytes=1_230_000_000),
        ScannedModel("broken", "Ollama", "broken.gguf", damage="It is cut off."),
    ]
    monkeypatch.setattr(module, "load_registry", lambda: registry)
    monkeypatch.setattr(module, "scanned", lambda: found)
    monkeypatch.setattr("spec_local.models.hub.in_cache", lambda _file: None)
    monkeypatch.setenv("SPEC_LOCAL_CACHE", str(tmp_path / "cache"))
    assert choices() == [
        Choice("pair", "pair"),
        Choice("theirs", "theirs (LM Studio, 1.2 GB)"),
        Choice("far pair", "far pair (to download)"),
        Choice("far", "far (to download)"),
        Choice("lost", "lost (to download)"),
    ]


PROGRAM = """
import runpy, sys, time
from PySide6 import QtWidgets
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

def until(condition):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        QTest.qWait(5)

def ask(window, question):
    before = len(window.conversation.toPlainText()) + len(question)
    QTest.keyClicks(window.input, question)
    QTest.keyClick(window.input, Qt.Key.Key_Return)
    until(lambda: len(window.conversation.toPlainText()) > before + 30)

class Driven(QtWidgets.QApplication):
    def exec(self):
        windows = self.topLevelWidgets()
        (window,) = (each for each in windows if isinstance(each, QtWidgets.QMainWindow))
        until(window.send_button.isEnabled)
        ask(window, "Tell me a long story about a lighthouse.")
        QTest.mouseClick(window.stop_button, Qt.MouseButton.LeftButton)
        until(window.send_button.isEnabled)
        print(window.status.text())
        ask(window, "Tell me another one.")
        window.close()

QtWidgets.QApplication = Driven
runpy.run_module("examples.desktop", run_name="__main__")
print("ended")
"""


def test_a_machine_on_which_qt_opens_no_window_is_found_out() -> None:
    assert trouble() == ""
    assert "no Qt platform plugin" in trouble(QT_QPA_PLATFORM="nowhere")


@pytest.mark.model("smollm2-135m")
def test_the_program_on_a_real_model(model_files: list[Path], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, model_files[0]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        env={
            **os.environ,
            "QT_QPA_PLATFORM": "offscreen",
            "SPEC_LOCAL_CACHE": str(tmp_path),
        },
    )
    assert done.returncode == 0, done.stderr
    figures, end = done.stdout.splitlines()
    assert " per second" in figures
    assert figures.endswith(", stopped")
    assert end == "ended"
