"""Mixtures of experts: what several tokens read of a model, what that does to drafts, the text."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, product
from math import prod
from pathlib import Path

import pytest
from typer.testing import CliRunner

from spec_local import LoadOptions, Runner, Sampling
from spec_local.bench.hindsight.replay import KS
from spec_local.bench.report.ranking import Candidate
from spec_local.cli.app import app
from spec_local.cli.bench_drafts import print_found
from spec_local.control.costs import CostCurve
from spec_local.drafters.build import BUILDERS
from spec_local.gguf.experts import Experts, experts_of
from spec_local.gguf.header import check_model_file
from spec_local.machine.experts import advice, experts_advice
from spec_local.machine.others import Others
from spec_local.machine.prediction import by_size, reading
from spec_local.machine.profile import ProfileStore
from tests.test_advice import curve
from tests.zoo.recipes import Recipe, recipes, write

pytestmark = pytest.mark.llama

OLMOE = Experts(count=64, used=8, bytes=1000, share=0.75)


def mixture(experts: int = 16) -> Recipe:
    """The zoo's, with so many experts, of which a token uses two."""
    recipe = recipes()["qwen3moe"]
    of_each = ("_exps.", "gate_inp.")
    tensors = {
        name: [*shape[:-1], experts] if any(part in name for part in of_each) else shape
        for name, shape in recipe.tensors.items()
    }
    return replace(recipe, keys={**recipe.keys, "expert_count": experts}, tensors=tensors)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(mixture(), tmp_path_factory.mktemp("experts") / "mixture.gguf")


# ---- the formula ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "used", "tokens"), [(4, 2, 1), (4, 2, 3), (5, 1, 3), (6, 2, 2)])
def test_experts_touched_are_the_mean_over_all_choices(count: int, used: int, tokens: int) -> None:
    choices = list(combinations(range(count), used))
    unions = [len(set().union(*each)) for each in product(choices, repeat=tokens)]
    found = Experts(count, used, 1, 1.0).touched(tokens)
    assert found == pytest.approx(sum(unions) / len(unions))


def test_what_is_read_grows_from_one_token_to_all_experts() -> None:
    read = [OLMOE.weights_read(tokens) for tokens in range(1, 200)]
    assert read == sorted(read)
    assert read[0] == 1
    assert read[1] == pytest.approx(0.25 + 0.75 * 15 / 8)  # 8 + 8 · 56/64 experts
    assert read[-1] == pytest.approx(0.25 + 0.75 * 64 / 8)
    assert reading(OLMOE)[1:4] == read[:3]
    assert reading(None)[1:4] == [1, 1, 1]


def test_a_file_tells_how_much_of_it_a_token_reads(mixed: Path, tiny: Path) -> None:
    header = check_model_file(mixed)
    shapes = {each.name: 4 * prod(each.shape) for each in header.tensors.entries}
    experts = sum(size for name, size in shapes.items() if "_exps." in name)
    others = sum(shapes.values()) - experts  # the embeddings are the output as well
    found = experts_of(header)
    assert found is not None
    assert (found.count, found.used) == (16, 2)
    assert found.bytes == others + experts // 8
    assert found.share == pytest.approx(experts / 8 / found.bytes)
    assert experts_of(check_model_file(tiny)) is None


def test_all_experts_for_every_token_are_no_mixture(tmp_path: Path) -> None:
    assert experts_of(check_model_file(write(mixture(2), tmp_path / "dense.gguf"))) is None


def test_a_draft_is_compared_with_what_a_token_reads() -> None:
    """By its size on the disk a draft for a mixture would look far too cheap."""
    assert str(by_size(10, 10_000)).startswith("at most 3.")
    assert str(by_size(10, 10_000, OLMOE)) == "at most 1.02 if 70% are accepted, by size"
    assert str(by_size(100, 10_000, OLMOE)) == "does not pay if 70% are accepted, by size"


# ---- the advice ----------------------------------------------------------------------------------

WHY = "Each token uses 8 of 64 experts, so 4 at once read about 2.7 times the weights of one"


def test_what_was_measured_decides() -> None:
    flat = curve(lambda _width: 0.1)
    said = advice(OLMOE, flat, 0.05, 0.9)
    assert said.startswith(f"{WHY}, and take 1.00 times as long here: if 90% are accepted, drafts ")
    steep = curve(lambda width: 0.1 * width)
    assert advice(OLMOE, steep, 0.05) == (
        f"{WHY}, and take 4.00 times as long here: if 70% are accepted, no drafts are best."
    )
    short = curve(lambda width: 0.1 if width < 3 else 0.1 * width)
    assert advice(OLMOE, short, 0.05).endswith("drafts of one token are best.")


def test_where_nothing_was_measured_the_formula_predicts_and_that_is_said() -> None:
    assert advice(OLMOE, CostCurve(), 0.0) == (
        f"{WHY}. Predicted from that alone, as nothing was measured yet: if 70% are accepted, "
        "drafts of one token are best; for a dense model drafts of 16 tokens are."
    )


def test_a_dense_model_has_no_advice(tiny: Path, own_profiles: ProfileStore) -> None:
    assert experts_advice(tiny, None, LoadOptions(), own_profiles) is None


def test_models_pair_and_tune_say_it(
    mixed: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Others, "processors", 0.0)
    paired = CliRunner().invoke(app, ["models", "pair", str(mixed)])
    assert "Each token uses 2 of 16 experts" in paired.stdout
    assert "Predicted from that alone" in paired.stdout
    how = ["tune", "-m", str(mixed), "-c", "300", "--no-trial"]
    tuned = CliRunner().invoke(app, [*how, "--seconds", "1"])
    assert tuned.exit_code == 0, tuned.output
    (said,) = (line for line in tuned.stdout.splitlines() if "experts" in line)
    assert said.startswith("- Each token uses 2 of 16 experts")
    assert "times as long here" in said
    assert said in CliRunner().invoke(app, [*how, "--show"]).stdout


def test_bench_drafts_says_it_of_the_best_one(
    mixed: Path, tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = Candidate("draft.gguf", 100, 0.1, 0.9, dict.fromkeys(KS, 1.0), 1.2)
    print_found([best], mixed, curve(lambda _width: 0.1))
    assert "take 1.00 times as long here: if 90% are accepted, drafts of" in capsys.readouterr().out
    print_found([best], tiny, curve(lambda _width: 0.1))
    assert "experts" not in capsys.readouterr().out


# ---- the text ------------------------------------------------------------------------------------


def test_drafting_changes_no_text_of_a_mixture(mixed: Path, tmp_path: Path) -> None:
    """Rows that are evaluated together ask for other experts, and are computed as if alone."""
    draft = write(mixture(), tmp_path / "draft.gguf", seed=1)
    options = LoadOptions(n_ctx=256, n_threads=1, trial=False)
    texts: dict[float, str] = {}
    for drafter in ("none", *BUILDERS.keys() - {"none", "models"}, "auto"):
        with Runner.load(target=mixed, draft=draft, drafter=drafter, options=options) as runner:
            for temperature in (0.0, 1.0):
                sampling = Sampling(temperature=temperature, seed=3)
                done = runner.complete("hello, hello and", max_tokens=48, sampling=sampling)
                assert texts.setdefault(temperature, done.text) == done.text, drafter
