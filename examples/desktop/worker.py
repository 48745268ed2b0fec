"""What is slow, in a thread of its own: looking for models, loading one, writing answers.

The window calls methods, which return at once, and hears of what happens by signals. Qt delivers a
signal of another thread in the window's own, so there are no locks here.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from PySide6.QtCore import QObject, Signal

from spec_local import Chat, Runner, SpecLocalError
from spec_local.models.download import resolve
from spec_local.models.registry import Registry, load_registry
from spec_local.models.scan import scanned


class Choice(NamedTuple):
    """A model or a pair to choose."""

    name: str
    """What `Runner.load` takes."""
    label: str


class Stopped(Exception):
    """Loading was given up because the user wanted it."""


class Worker(QObject):
    """Does one thing after the other; a context manager that ends what still runs."""

    found = Signal(list)
    """All choices."""
    progressed = Signal(str, float)
    """What is being done, such as "load NAME", and how much of it is done, 0 to 1."""
    loaded = Signal(str)
    """The name of the model that answers from now on."""
    wrote = Signal(object)
    """The next Chunk of the answer."""
    failed = Signal(str)
    """A sentence for the user."""
    finished = Signal()
    """One of the things asked for has ended, well or not."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self._stop = threading.Event()
        self._runner: Runner | None = None
        self._chat: Chat | None = None

    def scan(self) -> None:
        """Look for models."""
        self._begin(lambda: self.found.emit(choices()))

    def load(self, name: str) -> None:
        """Load a model or a pair, in place of the one that is there."""
        self._begin(lambda: self._load(name))

    def ask(self, text: str) -> None:
        """Say something to the model that is loaded."""
        self._begin(lambda: self._ask(text))

    def stop(self) -> None:
        """End at once what is being done."""
        self._stop.set()
        if (chat := self._chat) is not None and chat.generation is not None:
            chat.generation.cancel()

    def close(self) -> None:
        """End what is being done, wait for that, and free the model."""
        self.stop()
        self._thread.shutdown(cancel_futures=True)
        self._free()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begin(self, work: Callable[[], None]) -> None:
        self._stop.clear()
        self._thread.submit(self._do, work)

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Stopped:
            pass
        except SpecLocalError as error:
            self.failed.emit(str(error))
        except Exception as error:  # the window must not wait for ever
            traceback.print_exc()
            self.failed.emit(f"This program has a fault: {error!r}.")
        finally:
            self.finished.emit()

    def _load(self, name: str) -> None:
        self._free()  # two models may need more memory than there is
        self._runner = Runner.load(target=name, draft="auto", progress=self._progress)
        self._chat = self._runner.chat(progress=self._progress)
        self.loaded.emit(name)

    def _ask(self, text: str) -> None:
        assert self._chat is not None
        answer = self._chat.send(text)
        if self._stop.is_set():  # before there was a generation to cancel
            self.stop()
        for chunk in answer:
            self.wrote.emit(chunk)

    def _progress(self, stage: str, share: float) -> None:
        """Told by the library, from its own threads too; what is raised here ends the loading."""
        if self._stop.is_set() and not stage.endswith(
            "prompt"
        ):  # a generation is cancelled instead
            raise Stopped
        self.progressed.emit(stage, share)

    def _free(self) -> None:
        runner, self._runner, self._chat = self._runner, None, None
        if runner is not None:
            runner.close()


def choices() -> list[Choice]:
    """Models of models.toml that are here, those of other programs, then those to download."""
    registry = load_registry()
    targets = {pair.target for pair in registry.pairs.values()}
    parts = {name: pair.models for name, pair in registry.pairs.items()}
    parts |= {name: [name] for name in registry.models if name not in targets}
    here = [name for name, models in parts.items() if are_here(models, registry)]
    return [
        *(Choice(name, name) for name in here),
        *(
            Choice(each.name, f"{each.name} ({each.store}, {each.bytes / 1e9:.1f} GB)")
            for each in scanned()
            if not each.damage
        ),
        *(Choice(name, f"{name} (to download)") for name in parts if name not in here),
    ]


def are_here(models: Iterable[str], registry: Registry) -> bool:
    """Whether none of the models has to be downloaded."""
    try:
        return all(resolve(name, registry) is not None for name in models)
    except SpecLocalError:
        return False
