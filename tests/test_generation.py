"""From rounds to chunks: who wrote which part of the text."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from spec_local.engine.rounds import FinishReason, Round
from spec_local.generation import Chunk, to_chunks


def round_of(*tokens: bytes, finish: FinishReason | None = None) -> Round:
    """All tokens but the last were drafted; a token is its bytes."""
    ids = tuple(int.from_bytes(b"\1" + token, "big") for token in tokens)
    return Round(ids, len(ids) - 1, len(ids) - 1, "model", 1, 0, 0, 0, 0, 0, finish=finish)


def pieces(tokens: Sequence[int]) -> bytes:
    return b"".join(token.to_bytes(9, "big").lstrip(b"\0")[1:] for token in tokens)


def chunks(*rounds: Round, stop: Sequence[str] = ()) -> list[Chunk]:
    return list(to_chunks(iter(rounds), pieces, stop, threading.Event(), 1))


@pytest.mark.parametrize(
    ("rounds", "stop", "by_writer"),
    [
        ([round_of(b"own ")], (), [("", "own ")]),
        ([round_of(b"draf", b"ted ", b"own ")], (), [("drafted ", "own ")]),
        ([round_of(b"drafted", b"", finish="stop")], (), [("drafted", "")]),
        ([round_of(b"drafted", b"</s>", finish="stop")], (), [("drafted", "")]),
        ([round_of(b"a", b"\xc3"), round_of(b"\xa4", b"b")], (), [("a", ""), ("ä", "b")]),
        ([round_of(b"a STO", b"P", b" b")], ("STOP",), [("a ", "")]),
        ([round_of(b"same", b"same")], (), [("same", "same")]),
    ],
)
def test_the_text_of_a_chunk_by_its_writer(
    rounds: list[Round], stop: Sequence[str], by_writer: list[tuple[str, str]]
) -> None:
    found = chunks(*rounds, stop=stop)
    assert [(chunk.drafted_text, chunk.own_text) for chunk in found] == by_writer
    assert all(chunk.drafted_text + chunk.own_text == chunk.text for chunk in found)


def test_what_a_stop_string_holds_back_is_not_lost() -> None:
    found = chunks(round_of(b"a ST", b"A"), round_of(b"RT", b" b", finish="length"), stop=["STOP"])
    assert "".join(chunk.text for chunk in found) == "a STA" + "RT b"
