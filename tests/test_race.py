"""`spec-local race`: what it shows, what it says, and that both sides really write."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from spec_local.bench.run.duel import Outcome
from spec_local.cli import race_view
from spec_local.cli.race_view import RaceView
from spec_local.cli.race_words import sentence, together
from spec_local.cli.tint import DRAFTED, tinted
from spec_local.engine.rounds import Stats
from spec_local.generation import Chunk
from spec_local.util.terminal import visible
from tests.test_cli import fails_with, spec_local

pytestmark = pytest.mark.llama


def outcome(**changes: Any) -> Outcome:
    how: dict[str, Any] = {
        "tokens": 214,
        "plain_per_second": 10.0,
        "per_second": 19.0,
        "drafted": 200,
        "accepted": 142,
    }
    return Outcome(**(how | changes))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {},
            "1.90 times as fast as plain decoding: the same 214 tokens, "
            "71% of the 200 drafted ones accepted.",
        ),
        (
            {"per_second": 9.0, "accepted": 10},
            "0.90 times as fast as plain decoding (slower): the same 214 tokens, "
            "5% of the 200 drafted ones accepted.",
        ),
        (
            {"per_second": 10.0, "drafted": 0, "accepted": 0},
            "As fast as plain decoding (1.00x): the same 214 tokens, "
            "nothing worth drafting in this text.",
        ),
        (
            {"differs_at": 88, "margin": 0.0213},
            "1.90 times as fast as plain decoding: the same 88 tokens, then a near tie of 0.021 "
            "was rounded otherwise (--exact prevents that), "
            "71% of the 200 drafted ones accepted.",
        ),
    ],
)
def test_the_sentence_says_what_was_measured(changes: dict[str, Any], said: str) -> None:
    assert sentence(outcome(**changes)) == said


def test_several_count_by_the_time_they_took() -> None:
    """101 tokens at 10 and 20 per second, 11 at 10 and 5: 11 s of plain decoding, 7 s of ours."""
    both = [outcome(tokens=101, per_second=20.0), outcome(tokens=11, per_second=5.0)]
    assert together(both) == "Together: 1.57 times as fast as plain decoding."


def chunk(text: str, drafted: int = 0) -> Chunk:
    return Chunk(text, (0,), (False,), Stats(), drafted_characters=drafted)


@pytest.mark.parametrize(
    ("text", "drafted", "coloured"),
    [("abc", 2, "ab"), ("c", 0, ""), ("ab", 2, "ab"), ("\x1b[31mc", 5, "␛[31m")],
)
def test_drafted_text_is_coloured_and_the_targets_own_is_not(
    text: str, drafted: int, coloured: str
) -> None:
    shown = tinted(chunk(text, drafted))
    spans = [shown.plain[span.start : span.end] for span in shown.spans if span.style == DRAFTED]
    assert "".join(spans) == coloured
    assert shown.plain == visible(text)


def frames(width: int) -> str:
    """What is on the screen after 3 and 1 tokens in the same second, then at the end."""
    screen = io.StringIO()
    console = Console(file=screen, width=width, height=24, force_terminal=True, color_system=None)
    with RaceView(console, {"plain": "plain decoding", "auto": "drafter auto"}) as view:
        for name, seconds, tokens in (("plain", 0.0, 1), ("auto", 0.0, 1), ("plain", 1.0, 2)):
            side: Any = SimpleNamespace(
                name=name,
                answer=SimpleNamespace(seconds=seconds, tokens=[0] * tokens),
            )
            view.watch(side, chunk("a"))
        side = SimpleNamespace(
            name="auto",
            answer=SimpleNamespace(seconds=0.5, tokens=[0] * 2),
        )
        view.watch(side, chunk("b"))
        view.play_out()
    return screen.getvalue()


@pytest.mark.parametrize("width", [40, 100])
def test_both_sides_are_shown_with_their_speeds(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(race_view, "_FRAME_SECONDS", 0.0)
    monkeypatch.setattr(race_view, "_PLAYED_FASTER", 0.0)
    monkeypatch.setattr(race_view, "sleep", lambda _seconds: None)
    monkeypatch.setattr(RaceView, "play_out", lambda self: self._draw(1.0))
    shown = frames(width)
    assert "reading the prompt" in shown
    assert "1.0 tokens/s" in shown
    assert "2.0 tokens/s  2.00x" in shown
    last = shown[shown.rindex("plain decoding") :].splitlines()
    assert max(map(len, last)) <= width
    side_by_side = any(line.count("│") == 4 for line in last)
    assert side_by_side == (width > 72)


def test_through_a_pipe_the_sentence_stands_alone(tiny: Path, tiny_draft: Path) -> None:
    done = spec_local("race", "-m", tiny, "-d", tiny_draft, "-n", 12, "-c", 128, "aaa bbb aaa bbb")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    assert "plain decoding" in done.stdout
    assert "the same" in done.stdout


def test_json_has_a_record_for_every_prompt(tiny: Path) -> None:
    done = spec_local("race", tiny, "aaa bbb", "ccc", "-n", 12, "-c", 128, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) == 2
    for each in found:
        assert 2 <= each["tokens"] <= 12
        assert each["ratio"] == pytest.approx(each["per_second"] / each["plain_per_second"])
        assert each["differs_at"] is None


def test_wrong_inputs_are_one_sentence_each(tiny: Path) -> None:
    assert fails_with(spec_local("race", tiny, " "), "A prompt is empty")
    assert fails_with(spec_local("race", tiny, "a", "--all"), "Give prompts or --all, not both.")
