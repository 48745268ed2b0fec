"""Past answers survive the process that gave them, and nothing else is harmed by keeping them."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spec_local.drafters import past_answers
from spec_local.drafters.library import Library
from spec_local.drafters.lookup import LookupDrafter
from spec_local.drafters.none import NoDrafter
from spec_local.drafters.past_answers import PastAnswers, all_kept
from spec_local.drafters.suffix_index import DEPTH, SuffixIndex
from spec_local.sampling.settings import Sampling
from tests.documents import ROOT
from tests.fake import PROMPT, TableSession, run, tokens_of

IDENTITY: dict[str, str | int] = {"model": "tiny.gguf", "bytes": 7, "hash": "abc"}


@pytest.fixture
def past(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PastAnswers]:
    monkeypatch.setenv("SPEC_LOCAL_CACHE", str(tmp_path))
    yield PastAnswers.of_user(IDENTITY)
    assert not list(tmp_path.rglob("*.partial"))


def kept(past: PastAnswers) -> list[list[int]]:
    return [answer.tolist() for answer in past.read()]


def test_what_is_added_is_read_again_the_oldest_first(past: PastAnswers) -> None:
    assert kept(past) == []
    past.add([1, 2, 3])
    past.add([4])
    assert kept(PastAnswers.of_user(IDENTITY)) == [[1, 2, 3], [4]]


def test_the_same_answer_is_kept_once_as_the_latest(past: PastAnswers) -> None:
    for answer in ([1, 2], [3], [1, 2]):
        past.add(answer)
    assert kept(past) == [[3], [1, 2]]


def test_the_content_of_a_model_counts_and_not_its_name(past: PastAnswers) -> None:
    past.add([1])
    assert kept(PastAnswers.of_user({**IDENTITY, "model": "renamed.gguf"})) == [[1]]
    assert kept(PastAnswers.of_user({**IDENTITY, "hash": "other"})) == []


def test_the_oldest_are_dropped_beyond_the_bound(
    past: PastAnswers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(past_answers, "MOST_TOKENS", 10)
    for number in range(6):
        past.add([number] * 3)
    assert kept(past) == [[3] * 3, [4] * 3, [5] * 3]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no file modes")
def test_only_the_owner_may_read_the_file(past: PastAnswers) -> None:
    old = os.umask(0)
    try:
        past.add([1])
        past.add([2])
    finally:
        os.umask(old)
    assert past.path.stat().st_mode & 0o777 == 0o600
    assert past.path.parent.stat().st_mode & 0o777 == 0o700


def cut(data: bytes) -> bytes:
    return data[:-1]


def changed(data: bytes) -> bytes:
    return data[:-5] + b"\x07" + data[-4:]


def of_another_version(data: bytes) -> bytes:
    head, _, body = data.partition(b"\n")
    return json.dumps({**json.loads(head), "version": 99}).encode() + b"\n" + body


@pytest.mark.parametrize(
    "damage",
    [cut, changed, of_another_version, lambda _data: b"", lambda _data: b"\xff[{" * 9],
    ids=["cut", "changed", "another version", "empty", "noise"],
)
def test_a_damaged_file_is_said_to_be_so_and_replaced(
    past: PastAnswers, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    past.add([1, 2, 3])
    past.path.write_bytes(damage(past.path.read_bytes()))
    with caplog.at_level(logging.WARNING):
        assert kept(past) == []
    assert "is damaged or of another version; it will be replaced." in caplog.text
    past.add([4, 5])
    assert kept(past) == [[4, 5]]


def test_a_directory_that_cannot_be_written_is_only_logged(
    past: PastAnswers, caplog: pytest.LogCaptureFixture
) -> None:
    past.path.parent.write_text("a file in its place")
    past.add([1])
    assert "could not be written" in caplog.text
    assert kept(past) == []


def test_processes_at_once_lose_nothing(past: PastAnswers) -> None:
    code = (
        "import sys; from spec_local.drafters.past_answers import PastAnswers\n"
        f"past = PastAnswers.of_user({IDENTITY!r})\n"
        "for number in range(20): past.add([int(sys.argv[1]), number])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(process)], env=environment)
        for process in range(3)
    ]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert sorted(kept(past)) == [[p, number] for p in range(3) for number in range(20)]


def test_all_kept_names_the_models(past: PastAnswers) -> None:
    assert list(all_kept()) == []
    past.add([1])
    PastAnswers.of_user({**IDENTITY, "model": "b.gguf", "hash": "b"}).add([2])
    past.path.with_name("0.answers").write_bytes(b"\xff")
    assert sorted(each.model for each in all_kept()) == ["0.answers", "b.gguf", "tiny.gguf"]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_an_answer_given_again_is_drafted_and_the_text_is_the_same(
    past: PastAnswers, temperature: float
) -> None:
    sampling = Sampling(temperature=temperature, top_k=0, min_p=0, seed=5)
    plain = tokens_of(run(TableSession(), NoDrafter(), sampling=sampling))
    for known in (False, True):  # the second library reads the file
        library = Library(past=past)
        for again in (False, True):
            rounds = run(TableSession(), LookupDrafter(library=library), sampling=sampling)
            assert tokens_of(rounds) == plain
            if known or again:
                assert all(round_.accepted == round_.drafted for round_ in rounds)
                assert len(rounds) <= len(plain) / 4
            library.remember(PROMPT, plain)


def test_a_library_holds_no_more_than_is_kept(
    past: PastAnswers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(past_answers, "MOST_TOKENS", 30)
    monkeypatch.setattr("spec_local.drafters.library._MOST_NEW", 40)
    library = Library(past=past)
    for number in range(0, 200, 10):
        library.remember([number], range(number + 1, number + 10))
        texts = library.texts(SuffixIndex())
        assert sum(map(len, texts)) <= 33 + 40 + 11
        assert any(text.longest([number, number + 1])[0] == 2 for text in texts)
    assert not any(text.longest([0, 1])[0] for text in texts)


def test_nothing_is_remembered_without_a_place_for_it(past: PastAnswers) -> None:
    Library().remember(PROMPT, [1, 2, 3])
    Library(past=past).remember(PROMPT, [])
    assert kept(past) == []
    Library(past=past).remember(range(1000), [1, 2])
    assert kept(past) == [[*range(1000 - DEPTH, 1000), 1, 2]]
