"""A chat in a window of its own, on PySide6 (`pip install -e '.[desktop]'`).

    python -m examples.desktop [MODEL]

`worker.py` is the part to copy: it shows how a model is loaded, asked and stopped beside a user
interface. `window.py` shows what comes of it. MODEL is a name from `spec-local models list` or
`spec-local models scan`, or a .gguf file; without one, choose it in the window.
"""

from __future__ import annotations

import argparse
import sys

from PySide6.QtWidgets import QApplication

from examples.desktop.window import Window
from examples.desktop.worker import Worker


def main() -> None:
    parser = argparse.ArgumentParser(description="Chat in a window.")
    parser.add_argument("model", nargs="?")
    arguments = parser.parse_args()

    application = QApplication(sys.argv[:1])
    with Worker() as worker:  # at its end, after the window has gone, it stops and frees the model
        window = Window(worker)
        window.show()
        if arguments.model:
            window.load(arguments.model)
        application.exec()


if __name__ == "__main__":
    main()
