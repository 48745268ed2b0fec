"""Work in another thread is waited for, and an interruption never leaves it behind."""

from __future__ import annotations

import threading
import time

import pytest

from spec_local.util.apart import Apart


def unexpected(error: BaseException) -> None:
    raise AssertionError from error


def test_the_result_comes_back_and_so_does_an_error() -> None:
    work = Apart(lambda: threading.current_thread().name, "other", unexpected)
    work.start()
    assert work.result() == "other"

    def fail() -> None:
        raise KeyError("inside")

    failing = Apart(fail, "other", unexpected)
    failing.start()
    with pytest.raises(KeyError, match="inside"):
        failing.result()


def test_what_has_begun_when_it_is_interrupted_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done, told = list[str](), list[BaseException]()
    begun = threading.Event()

    def work() -> str:
        begun.set()
        time.sleep(0.2)
        done.append("done")
        return "result"

    apart = Apart(work, "other", told.append)
    with monkeypatch.context() as patch:
        start = threading.Thread.start

        def interrupted(thread: threading.Thread) -> None:
            start(thread)
            assert begun.wait(20)
            raise KeyboardInterrupt

        patch.setattr(threading.Thread, "start", interrupted)
        apart.start()
    assert apart.result() == "result"
    assert done == ["done"]
    assert [type(each) for each in told] == [KeyboardInterrupt]


def test_what_has_not_begun_is_never_done(monkeypatch: pytest.MonkeyPatch) -> None:
    done, told = list[str](), list[BaseException]()

    def work() -> None:
        done.append("done")

    apart = Apart(work, "other", told.append)

    def interrupted(_thread: threading.Thread) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(KeyboardInterrupt):
            apart.start()
    apart._thread.start()  # as if the system had been slow
    apart._thread.join()
    assert (done, told) == ([], [])


def test_no_room_for_a_thread_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    with pytest.raises(RuntimeError, match="new thread"):
        Apart(lambda: None, "other", unexpected).start()
