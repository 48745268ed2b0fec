"""On a real model: an answer that lookup can know beforehand is drafted almost whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from pathlib import Path

import pytest

from spec_local import Completion, LoadOptions, Runner, Sampling

pytestmark = [pytest.mark.llama, pytest.mark.model("smollm2-135m")]

STORY = [{"role": "user", "content": "Tell a story about a lighthouse."}]
OPTIONS = LoadOptions(n_ctx=1024)
SAMPLINGS = [Sampling(temperature=0), Sampling(temperature=0.8, seed=1)]


PLANETS = [{"role": "user", "content": "What are the planets of the solar system?"}]
CHANGED = [{"role": "user", "content": "What are the planets in the solar system?"}]


@pytest.fixture
def runner(model_files: list[Path]) -> Iterator[Runner]:
    with Runner.load(target=model_files[0], drafter="lookup", k=8, options=OPTIONS) as runner:
        yield runner


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=lambda sampling: str(sampling.temperature))
def test_a_right_prediction_is_accepted_and_the_next_answer_has_none(
    runner: Runner, sampling: Sampling
) -> None:
    plain = runner.complete(STORY, max_tokens=100, sampling=sampling)
    done = runner.complete(STORY, max_tokens=100, sampling=sampling, prediction=plain.text)
    assert done.tokens == plain.tokens
    assert done.stats.acceptance_rate >= 0.9
    assert done.stats.rounds <= 15
    again = runner.complete(STORY, max_tokens=100, sampling=sampling)
    assert again.stats.rounds == plain.stats.rounds


def test_a_prediction_serves_after_what_it_did_not_foresee(runner: Runner) -> None:
    sampling = SAMPLINGS[0]
    plain = runner.complete(STORY, max_tokens=100, sampling=sampling)
    words = plain.text.split(" ")
    edited = " ".join([*words[:20], "quite", "another", *words[25:]])
    done = runner.complete(STORY, max_tokens=100, sampling=sampling, prediction=edited)
    assert done.tokens == plain.tokens
    assert done.stats.rounds < plain.stats.rounds / 2


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=lambda sampling: str(sampling.temperature))
@pytest.mark.parametrize("drafter", ["lookup", "auto"])
def test_a_remembered_answer_is_drafted_almost_whole_by_the_next_process(
    model_files: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    drafter: str,
    sampling: Sampling,
) -> None:
    monkeypatch.setenv("SPEC_LOCAL_CACHE", str(tmp_path / "cache"))

    def answer(remember: bool) -> Completion:
        with Runner.load(
            target=model_files[0], drafter=drafter, options=OPTIONS, remember=remember
        ) as runner:
            return runner.complete(STORY, max_tokens=100, sampling=sampling)

    plain, first, again = answer(False), answer(True), answer(True)
    assert plain.tokens == first.tokens == again.tokens
    if drafter == "lookup":
        assert first.stats.acceptance_rate < 0.9
        assert again.stats.acceptance_rate >= 0.9
        assert again.stats.accepted >= 0.7 * len(again.tokens)
    assert len(list((tmp_path / "cache").rglob("*.answers"))) == 1


def test_an_answer_to_a_slightly_changed_prompt_is_drafted_from_the_old_one(
    model_files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPEC_LOCAL_CACHE", str(tmp_path / "cache"))
    stats = {}
    for remember in (False, True):
        with Runner.load(
            target=model_files[0], drafter="lookup", k=8, options=OPTIONS, remember=remember
        ) as runner:
            old = runner.complete(PLANETS, max_tokens=100, sampling=SAMPLINGS[0])
            stats[remember] = runner.complete(CHANGED, max_tokens=100, sampling=SAMPLINGS[0])
    assert stats[True].tokens == stats[False].tokens
    assert stats[True].stats.rounds < 0.5 * stats[False].stats.rounds
    assert stats[True].stats.accepted >= 0.8 * known(old.tokens, stats[True].tokens)


def known(old: Sequence[int], new: Sequence[int]) -> int:
    """How many tokens of an answer can be looked up in an older one.

    Where the two part, two tokens have to agree before lookup goes on. How often they part is the
    processor's to say, whose kernels round in their own way.
    """
    blocks = SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks()
    return sum(size if at == 0 else max(0, size - 2) for _old, at, size in blocks)
