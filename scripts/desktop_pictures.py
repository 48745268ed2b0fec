"""Pictures of the desktop example, light and dark, after a short talk with a real model.

    python -m scripts.desktop_pictures [MODEL] [--out docs]

Nothing is shown on a screen. Needs the extra desktop.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from PySide6.QtCore import QEventLoop
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QApplication

from examples.desktop.window import Window
from examples.desktop.worker import Worker

QUESTIONS = (
    "Write a Python function that merges two sorted lists. Only the code.",
    "Rename it to merge_sorted and add type hints. Only the code.",
)


def dark() -> QPalette:
    """Such as dark systems have; without a screen there is no system that could give one."""
    palette = QPalette(QColor("#3a3a3a"), QColor("#2b2b2b"))  # buttons, windows; the rest follows
    palette.setColor(QPalette.ColorRole.Base, QColor("#1e1e1e"))
    palette.setColor(QPalette.ColorRole.PlaceholderText, QColor("#909090"))
    return palette


def wait(application: QApplication, window: Window) -> None:
    """Until the worker has nothing to do; SystemExit with what went wrong, if anything did."""
    while not window.models.isEnabled():
        application.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents)
    if window.error.isVisible():
        raise SystemExit(window.error.text())


def main() -> None:
    """Talk, and draw the window in both palettes."""
    parser = argparse.ArgumentParser(description="Draw the desktop example.")
    parser.add_argument("model", nargs="?", default="qwen2.5-coder-1.5b")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder of the pictures")
    arguments = parser.parse_args()

    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    os.environ["QT_SCALE_FACTOR"] = "2"
    application = QApplication([])
    application.setStyle("Fusion")  # the same on every system
    with Worker() as worker:
        window = Window(worker)
        window.show()
        wait(application, window)
        window.load(arguments.model)
        wait(application, window)
        for question in QUESTIONS:
            window.input.setPlainText(question)
            window.send_button.click()
            wait(application, window)
        for name, palette in {"light": application.palette(), "dark": dark()}.items():
            application.setPalette(palette)
            application.processEvents()
            path = arguments.out / f"embed-desktop-{name}.png"
            window.grab().save(str(path))
            print(path)


if __name__ == "__main__":
    main()
