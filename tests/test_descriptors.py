"""Redirecting a file descriptor of the whole process, and putting it back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from spec_local.util.descriptors import redirected


@pytest.fixture
def descriptors(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """Of the files `source` and `target`."""
    with (tmp_path / "source").open("wb") as source, (tmp_path / "target").open("wb") as target:
        yield source.fileno(), target.fileno()


def lowest_free() -> int:
    free = os.dup(0)
    os.close(free)
    return free


def test_what_is_written_meanwhile_goes_elsewhere(
    tmp_path: Path, descriptors: tuple[int, int]
) -> None:
    source, target = descriptors
    free = lowest_free()
    os.write(source, b"before ")
    with redirected(source, target):
        os.write(source, b"meanwhile")
    os.write(source, b"after")
    assert (tmp_path / "source").read_text() == "before after"
    assert (tmp_path / "target").read_text() == "meanwhile"
    assert lowest_free() == free


def test_an_error_puts_it_back(tmp_path: Path, descriptors: tuple[int, int]) -> None:
    source, target = descriptors
    free = lowest_free()
    with pytest.raises(KeyError), redirected(source, target):
        raise KeyError
    os.write(source, b"after")
    assert (tmp_path / "source").read_text() == "after"
    assert lowest_free() == free


def test_one_that_is_not_open_stays_so(descriptors: tuple[int, int]) -> None:
    closed, ran = lowest_free(), False
    with redirected(closed, descriptors[1]):
        ran = True
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(closed)
    assert ran
    assert lowest_free() == closed
