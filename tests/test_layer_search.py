"""Looking for the layers that draft best: formula, order, answers, and what the command leaves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from spec_local.cli.app import app
from spec_local.errors import VocabularyMismatch
from spec_local.gguf.header import check_model_file
from spec_local.llama.model import Model
from spec_local.models import layer_search
from spec_local.models.layer_search import LayerSearch, Tried, expected_speedup
from spec_local.models.own_answers import Answer, agreement, short_prompts, write_answers
from spec_local.util.progress import no_progress, no_share
from tests.fake import END, TableSession
from tests.tiny_gguf import write_tiny
from tests.zoo.recipes import deepened, recipes, write

pytestmark = pytest.mark.llama

N_LAYERS = 6


@pytest.fixture(scope="module")
def target(tiny_directory: Path) -> Path:
    return write(deepened(recipes()["llama"], N_LAYERS), tiny_directory / "deep.gguf")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_search, "_PROMPTS", 2)
    monkeypatch.setattr(layer_search, "_TOKENS", 16)
    monkeypatch.setattr(layer_search, "_PASSES", 2)


@pytest.fixture
def search(target: Path) -> Iterator[LayerSearch]:
    with LayerSearch(target, target, no_progress) as opened:
        yield opened


def test_the_speedup_is_that_of_the_best_number_of_drafted_tokens() -> None:
    verify = {1: 10.0, 2: 12.0, 3: 15.0, 5: 20.0}
    a, c = 0.8, 2.0
    by_k = {k: (1 - a ** (k + 1)) / (1 - a) * 10 / (verify[k + 1] + k * c) for k in (1, 2, 4)}
    best = max(by_k, key=lambda k: by_k[k])
    cases = {(a, c): (by_k[best], best), (1.0, 0.0): (2.5, 4), (0.0, 5.0): (10 / 17, 1)}
    for given, (speedup, k) in cases.items():
        found = expected_speedup(*given, verify)
        assert found[0] == pytest.approx(speedup)
        assert found[1] == k


def test_a_moment_in_which_the_machine_was_slow_changes_no_width() -> None:
    usual = {1: 10.0, 2: 15.0, 4: 30.0}
    slow = {1: 30.0, 2: 45.0, 4: 90.0}
    disturbed = {1: 10.0, 2: 15.0, 4: 300.0}
    assert layer_search._joined([usual, slow, disturbed]) == usual


def test_agreement_is_the_share_of_tokens_a_model_would_have_written() -> None:
    prompts = [[1, 2], [3, 4, 5]]
    answers = write_answers(TableSession(), prompts, 12, lambda token: token == END, no_share)
    assert [answer.context for answer in answers] == prompts
    for answer in answers:
        assert len(answer.tokens) == 12 or answer.tokens[-1] == END
        assert END not in answer.tokens[:-1]
    n_vocab = TableSession().n_vocab
    assert agreement(TableSession(), answers, n_vocab) == 1
    wrong = [Answer(answer.context, [answer.tokens[0], *answer.tokens[:0]]) for answer in answers]
    other = [(answer.tokens[0] + 1) % n_vocab for answer in answers]
    mixed = [Answer(wrong[0].context, [other[0]]), wrong[1]]
    assert agreement(TableSession(), mixed, n_vocab) == 0.5


def test_prompts_are_messages_where_there_is_a_template(target: Path, tmp_path: Path) -> None:
    bare = write_tiny(tmp_path / "bare.gguf", template=None)
    with Model(target, vocab_only=True) as chat, Model(bare, vocab_only=True) as plain:
        with_template, without = short_prompts(chat, 3), short_prompts(plain, 3)
    assert len(with_template) == len(without) == 3
    assert all(len(a) > len(b) for a, b in zip(with_template, without, strict=True))


def test_each_subset_is_tried_once_and_sizes_come_first(search: LayerSearch) -> None:
    found = list(search.run(1e9))
    kept = [each.kept for each in found]
    assert len(set(kept)) == len(kept)
    assert all(0 < len(each) < N_LAYERS for each in kept)
    assert {1, N_LAYERS - 1} <= {len(each) for each in kept[:10]}
    assert (0,) in kept
    assert all(each[0] == 0 for each in kept)
    assert tuple(range(N_LAYERS - 1)) in kept
    # Nothing that is one step from the best is left untried.
    best = max(found, key=lambda each: each.earns.speedup).kept
    steps = {tuple(i for i in best if i != layer) for layer in best[1:]}
    steps |= {tuple(sorted({*best, layer})) for layer in range(N_LAYERS)}
    assert {each for each in steps if 0 < len(each) < N_LAYERS} <= set(kept)


def test_it_ends_in_time_but_not_before_something_is_tried(search: LayerSearch) -> None:
    assert len(list(search.run(0.0))) == 1


def test_a_layer_costs_and_turns_something(search: LayerSearch) -> None:
    assert len(search.influence) == N_LAYERS
    assert all(0 < each < 2 for each in search.influence)
    alone, most = (
        next(tried for tried in search.run(1e9) if len(tried.kept) == size)
        for size in (1, N_LAYERS - 1)
    )
    assert 0 < alone.earns.milliseconds < most.earns.milliseconds


def test_the_file_is_judged_as_the_subset_was(search: LayerSearch, tmp_path: Path) -> None:
    from spec_local.models.layers import keep_layers

    kept = (0, 1, 2, 4)
    keep_layers(search._target.model.path, tmp_path / "out.gguf", kept)
    assert search.judge(tmp_path / "out.gguf").agreement == search._agreement(kept, search._judging)
    assert search.judge(search._target.model.path).agreement == 1


# ---- the command ---------------------------------------------------------------------------------


def command(target: Path, out: Path, *more: str | Path) -> Result:
    words = ["draft", "layers", target, "--out", out, "--search", "--minutes", "0.02", *more]
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.mark.parametrize("file_type", [None, "Q8_0"])
def test_the_best_is_written_and_what_was_measured(
    target: Path, tmp_path: Path, file_type: str | None
) -> None:
    out, record = tmp_path / "out.gguf", tmp_path / "record.json"
    more = [] if file_type is None else ["--type", file_type]
    done = command(target, out, "--json", record, "--beside", target, *more)
    assert done.exit_code == 0, (done.output, done.exception)
    document = json.loads(record.read_text())
    best = max(document["tried"], key=lambda each: each["speedup"])
    assert document["kept"] == best["kept"]
    assert check_model_file(out).metadata["general.name"].endswith(f"(layers {best['kept']} of 6)")
    assert document["beside"]["deep"]["agreement"] == 1
    assert document["file_type"] == file_type
    assert set(document["verify_milliseconds"]) >= {"1", "2", "8"}
    assert best["kept"] in done.output
    assert "layers are kept" in done.output
    assert "plain decoding" in done.output
    assert sorted(tmp_path.iterdir()) == [out, record]


def test_ctrl_c_leaves_the_best_so_far(
    target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, out = LayerSearch.run, tmp_path / "out.gguf"

    def interrupted(self: LayerSearch, seconds: float) -> Iterator[Tried]:
        for count, tried in enumerate(original(self, seconds)):
            if count == 3:
                raise KeyboardInterrupt
            yield tried

    monkeypatch.setattr(LayerSearch, "run", interrupted)
    done = command(target, out)
    assert done.exit_code == 130
    assert check_model_file(out).hyperparameter("block_count") < N_LAYERS
    assert "interrupted" in done.output
    assert list(tmp_path.iterdir()) == [out]


def test_ctrl_c_before_anything_was_tried_leaves_nothing(
    target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_self: LayerSearch, _seconds: float) -> Iterator[Tried]:
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(LayerSearch, "run", interrupted)
    assert command(target, tmp_path / "out.gguf").exit_code != 0
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_draft_is_not_compared(target: Path, tmp_path: Path) -> None:
    far = write_tiny(tmp_path / "far.gguf", bpe=True)
    done = command(target, tmp_path / "out.gguf", "--beside", far)
    assert isinstance(done.exception, VocabularyMismatch)
    assert list(tmp_path.iterdir()) == [far]


def test_layers_that_hang_on_their_numbers_are_not_searched(tmp_path: Path) -> None:
    path = write(deepened(recipes()["smollm3"], 8), tmp_path / "model.gguf")
    done = command(path, tmp_path / "out.gguf")
    assert "keep the first ones" in str(done.exception)
    assert list(tmp_path.iterdir()) == [path]
