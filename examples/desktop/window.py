"""The window: a picker of models, the conversation, a box to write in, and Stop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import (
    QColor,
    QKeyEvent,
    QPalette,
    QTextBlockFormat,
    QTextCharFormat,
    QTextCursor,
)
from PySide6.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QMainWindow,
    QPlainTextEdit,
    QProgressBar,
    QPushButton,
    QTextEdit,
    QVBoxLayout,
    QWidget,
)

from examples.desktop.worker import Choice, Worker
from spec_local import Chunk

# Half transparent, so that they suit the system's light palette and its dark one.
DRAFTED = QColor(0, 170, 90, 70)
SAID = QColor(128, 128, 128, 45)
FAILED = QColor(220, 50, 50, 70)

OPEN = "Open a file…"
DOING = {"pull": "Downloading", "try": "Trying", "load": "Loading", "prompt": "Reading"}


class Window(QMainWindow):
    """Shows what the worker does and never waits for it."""

    def __init__(self, worker: Worker) -> None:
        super().__init__()
        self.setWindowTitle("spec-local")
        self.resize(760, 640)
        self._worker = worker
        self._running = 0
        """Things asked of the worker that have not ended."""
        self._name = ""
        """What was chosen last."""
        self._can_answer = False

        self.models = QComboBox()
        self.models.activated.connect(self._choose)
        self.conversation = Conversation()
        self.error = shaded_label(FAILED)
        self.input = Input()
        self.input.entered.connect(self._send)
        self.send_button = QPushButton("Send")
        self.send_button.clicked.connect(self._send)
        self.stop_button = QPushButton("Stop")
        self.stop_button.setShortcut("Esc")
        self.stop_button.clicked.connect(worker.stop)
        self.status = QLabel()
        self.progress = QProgressBar()
        self._lay_out()

        # Methods of the window, not lambdas: only then Qt calls them in the window's thread.
        worker.found.connect(self._offer)
        worker.progressed.connect(self._show_progress)
        worker.loaded.connect(self._begin_conversation)
        worker.wrote.connect(self._write)
        worker.failed.connect(self._fail)
        worker.finished.connect(self._finish)
        self._ask_for(worker.scan)

    def load(self, name: str) -> None:
        """Load a model or a pair, by its name or as a .gguf file."""
        self._name, self._can_answer = name, False
        self._show_name()
        self._ask_for(lambda: self._worker.load(name))

    def _lay_out(self) -> None:
        buttons = QVBoxLayout()
        buttons.addWidget(self.send_button)
        buttons.addWidget(self.stop_button)
        buttons.addStretch()
        below = QHBoxLayout()
        below.addWidget(self.input)
        below.addLayout(buttons)
        column = QVBoxLayout()
        column.addWidget(self.models)
        column.addWidget(self.conversation, 1)
        column.addWidget(self.error)
        column.addLayout(below)
        body = QWidget()
        body.setLayout(column)
        self.setCentralWidget(body)
        legend = shaded_label(DRAFTED)
        legend.setText("drafted")
        self.status.setMargin(6)
        self.statusBar().addWidget(self.status, 1)
        self.statusBar().addPermanentWidget(self.progress)
        self.statusBar().addPermanentWidget(legend)

    def _ask_for(self, work: Callable[[], None]) -> None:
        """Have the worker do something; until it has, Stop is all that can be asked for."""
        self.error.hide()
        self._running += 1
        work()
        self._enable()

    def _enable(self) -> None:
        busy = self._running > 0
        self.models.setEnabled(not busy)
        self.send_button.setEnabled(self._can_answer and not busy)
        self.stop_button.setEnabled(busy)
        self.progress.hide()

    def _send(self) -> None:
        text = self.input.toPlainText().strip()
        if text and self.send_button.isEnabled():
            self.input.clear()
            self.conversation.say(text)
            self._ask_for(lambda: self._worker.ask(text))

    def _choose(self, index: int) -> None:
        name = self.models.itemData(index)
        if name is None:
            name, _filter = QFileDialog.getOpenFileName(self, OPEN, "", "Models (*.gguf)")
        if name:
            self.load(name)
        else:
            self._show_name()

    def _show_name(self) -> None:
        """Show in the picker what was chosen, which is not in its list if it is a file."""
        self.models.setPlaceholderText(Path(self._name).name or "Choose a model")
        self.models.setCurrentIndex(self.models.findData(self._name) if self._name else -1)

    def _offer(self, choices: list[Choice]) -> None:
        self.models.clear()
        for name, label in choices:
            self.models.addItem(label, name)
        self.models.addItem(OPEN)
        self._show_name()

    def _show_progress(self, stage: str, share: float) -> None:
        doing, _, name = stage.partition(" ")
        self.status.setText(f"{DOING.get(doing, doing)} {name}")
        self.progress.setValue(round(100 * share))
        self.progress.show()

    def _begin_conversation(self, name: str) -> None:
        self._can_answer = True
        self.conversation.clear()
        self.status.setText(f"{Path(name).name} is ready.")
        self.input.setFocus()

    def _write(self, chunk: Chunk) -> None:
        self.conversation.write(chunk.drafted_text, DRAFTED)
        self.conversation.write(chunk.own_text)
        self.status.setText(figures(chunk))
        self.progress.hide()

    def _fail(self, sentence: str) -> None:
        self.error.setText(sentence)
        self.error.show()

    def _finish(self) -> None:
        self._running -= 1
        self._enable()
        if not self._can_answer:
            self.status.setText("Choose a model.")


class Conversation(QTextEdit):
    """What was said. All of it is inserted as text: nothing a model writes becomes HTML."""

    def __init__(self) -> None:
        super().__init__()
        self.setReadOnly(True)
        self.document().setDocumentMargin(10)

    def say(self, text: str) -> None:
        """Show a message of the user's; the answer comes below it."""
        message = QTextBlockFormat()
        message.setBackground(SAID)
        message.setTopMargin(12)
        message.setBottomMargin(6)
        cursor = self._end()
        if self.document().isEmpty():
            cursor.setBlockFormat(message)
        else:
            cursor.insertBlock(message)
        one_block = text.replace("\n", "\N{LINE SEPARATOR}")
        cursor.insertText(one_block, QTextCharFormat())
        cursor.insertBlock(QTextBlockFormat())
        self.verticalScrollBar().setValue(self.verticalScrollBar().maximum())

    def write(self, text: str, background: QColor | None = None) -> None:
        """Go on with the answer, and stay at its end, unless the user has scrolled away from it."""
        look = QTextCharFormat()
        if background is not None:
            look.setBackground(background)
        bar = self.verticalScrollBar()
        follows = bar.value() > bar.maximum() - bar.singleStep()
        self._end().insertText(text, look)
        if follows:
            bar.setValue(bar.maximum())

    def _end(self) -> QTextCursor:
        cursor = QTextCursor(self.document())
        cursor.movePosition(QTextCursor.MoveOperation.End)
        return cursor


class Input(QPlainTextEdit):
    """Where messages are written: Enter sends, Shift+Enter begins a new line."""

    entered = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setPlaceholderText("Enter sends, Shift+Enter begins a new line")
        self.setMaximumHeight(80)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        shift = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and not shift:
            self.entered.emit()
        else:
            super().keyPressEvent(event)


def shaded_label(shade: QColor) -> QLabel:
    """A label whose text has the palette's colour, on a shade over the palette's background."""
    label = QLabel()
    palette = QPalette()
    palette.setColor(QPalette.ColorRole.Window, shade)
    label.setPalette(palette)
    label.setAutoFillBackground(True)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setWordWrap(True)
    label.setMargin(6)
    return label


def figures(chunk: Chunk) -> str:
    """How fast the answer is written, what drafting gains, and why it ended early, if it did."""
    stats = chunk.stats
    line = f"{stats.tokens:,} tokens, {stats.tokens_per_second:.1f} per second"
    if stats.drafted and stats.speedup:
        line += f", {stats.speedup:.2f}x plain decoding"
    ends = {"cancelled": ", stopped", "context": ", the context is full"}
    return line + ends.get(chunk.finish_reason or "", "")
