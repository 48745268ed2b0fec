"""LoRA adapters: what is asked for, what they change, and that they are part of the model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from spec_local import Adapter, ConfigError, DraftOptions, LoadOptions, ModelFileError, Runner
from spec_local.cli.app import app
from spec_local.drafters.build import BUILDERS
from spec_local.drafters.past_answers import PastAnswers
from spec_local.llama import trial
from spec_local.llama.identity import identity
from spec_local.llama.model import Model
from spec_local.llama.session import Session
from spec_local.llama.trial import require_survived
from spec_local.machine.learned import pairs_of
from spec_local.models.adapters import with_adapters
from spec_local.models.loading import choose_pair
from spec_local.models.registry import PairSpec, read_registry
from spec_local.sampling.settings import Sampling
from spec_local.sampling.types import Logits
from tests.tiny_gguf import write_tiny
from tests.tiny_lora import RANK, Shapes, write_lora

pytestmark = pytest.mark.llama

OPTIONS = LoadOptions(n_ctx=256, n_batch=32)
GREEDY = Sampling(temperature=0)
HELLO = [{"role": "user", "content": "hello there"}]
TEXT = [1, *range(262, 282)]


@pytest.fixture(scope="module")
def adapter(tiny: Path, tiny_directory: Path) -> Path:
    return write_lora(tiny_directory / "adapter.gguf", tiny)


@pytest.fixture(scope="module")
def other(tiny: Path, tiny_directory: Path) -> Path:
    return write_lora(tiny_directory / "other.gguf", tiny, seed=1)


def adapted(*adapters: tuple[Path, float]) -> LoadOptions:
    return replace(OPTIONS, lora=tuple(Adapter(*each) for each in adapters))


def logits(model: Path, options: LoadOptions) -> Logits:
    """After a text, a row for each of its tokens."""
    with Model(model, options) as loaded, Session(loaded) as session:
        return session.evaluate(TEXT, rows=len(TEXT)).copy()


# ---- which file, and how much of it -------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "text", "scale"),
    [
        ("a.gguf", "a.gguf", 1.0),
        ("a.gguf", "a.gguf:0.5", 0.5),
        ("a.gguf", "a.gguf:-2", -2.0),
        ("a.gguf:0.5", "a.gguf:0.5", 1.0),  # what is there wins
        ("a.gguf:0.5", "a.gguf:0.5:2", 2.0),
        ("C:\\a.gguf", "C:\\a.gguf", 1.0),
        ("C:\\a.gguf", "C:\\a.gguf:0.25", 0.25),
    ],
)
def test_a_file_and_its_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, text: str, scale: float
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(file).touch()
    assert Adapter.spelled(text) == Adapter(Path(file), scale)


@pytest.mark.parametrize("text", ["none.gguf", "none.gguf:0.5", "a.gguf:half", "C:\\none.gguf", ""])
def test_a_file_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.gguf").touch()
    with pytest.raises(ConfigError, match=r"^There is no file .*; give an adapter as FILE, or as"):
        Adapter.spelled(text)


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), "1"])
def test_a_scale_is_a_number(scale: float) -> None:
    with pytest.raises(ConfigError, match="The scale of an adapter must be a number"):
        Adapter(Path("a.gguf"), scale)


def test_a_pair_of_models_toml_has_adapters(
    tmp_path: Path, adapter: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "models.toml"
    file.write_text(
        f'[pairs.both]\ntarget = "a"\ndraft = "b"\nlora = ["{adapter}:0.5", "{other}"]\n'
        f'draft_lora = ["{other}:2"]\n'
    )
    pair = read_registry(file).pairs["both"]
    found = with_adapters(pair, None)
    assert found.lora == (Adapter(adapter, 0.5), Adapter(other))
    assert found.for_draft().lora == (Adapter(other, 2.0),)
    assert with_adapters(pair, found) == found
    named = LoadOptions(lora=(Adapter(other),), draft=DraftOptions(lora=()))
    assert with_adapters(pair, named) == named  # which says what it wants
    for draft in ("c", "none"):
        assert with_adapters(choose_pair(pair, draft=draft), None).for_draft().lora == ()
    with pytest.raises(ConfigError, match="draft_lora is for a pair with one draft"):
        PairSpec("a", ("b", "c"), draft_lora=("x",))


# ---- what it changes ----------------------------------------------------------------------------


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(temperature=0.9, seed=4)], ids=["0", "0.9"])
def test_every_drafter_gives_the_same_text(
    tiny: Path, tiny_draft: Path, adapter: Path, other: Path, sampling: Sampling
) -> None:
    texts, options = {}, adapted((adapter, 1.0), (other, 0.5))
    for drafter in BUILDERS:
        with Runner.load(
            target=tiny, draft=tiny_draft, drafter=drafter, k=4, options=options
        ) as runner:
            texts[drafter] = runner.complete(HELLO, max_tokens=40, sampling=sampling).tokens
    assert len(set(texts.values())) == 1
    with Runner.load(target=tiny, drafter="none", options=OPTIONS) as runner:
        assert runner.complete(HELLO, max_tokens=40, sampling=sampling).tokens != texts["none"]


def test_the_scale_is_how_much_it_changes(tiny: Path, adapter: Path) -> None:
    plain = logits(tiny, OPTIONS)
    assert np.array_equal(logits(tiny, adapted((adapter, 0.0))), plain)
    small, whole, halves = (
        logits(tiny, adapted(*each))
        for each in ([(adapter, 1e-4)], [(adapter, 1.0)], [(adapter, 0.5), (adapter, 0.5)])
    )
    assert 0 < np.abs(small - plain).max() < 0.1
    assert np.abs(whole - plain).max() > 1
    assert np.allclose(halves, whole, atol=0.05)


def test_a_draft_has_none_unless_it_is_asked_for(tiny: Path, adapter: Path) -> None:
    options = adapted((adapter, 1.0))
    accepted = []
    for draft in (DraftOptions(), DraftOptions(lora=options.lora)):
        with Runner.load(
            target=tiny, draft=tiny, drafter="model", k=3, options=replace(options, draft=draft)
        ) as runner:
            assert runner.draft is not None
            assert len(runner.draft.model.adapters) == len(draft.lora or ())
            done = runner.complete(HELLO, max_tokens=40, sampling=GREEDY)
            accepted.append(done.stats.acceptance_rate)
    assert accepted[0] < 0.5
    assert accepted[1] > 0.9


# ---- it is part of the model --------------------------------------------------------------------


def test_what_is_learned_of_a_model_is_kept_for_it_and_its_adapters(
    tiny: Path, adapter: Path, other: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(adapter.read_bytes())
    wanted: list[tuple[tuple[Path, float], ...]] = [
        (),
        ((adapter, 1.0),),
        ((adapter, 0.5),),
        ((other, 1.0),),
        ((adapter, 1.0), (other, 1.0)),
    ]
    keys = [identity(tiny, adapted(*each)) for each in wanted]
    plain = keys[0]
    of_pairs = [*(pairs_of(key, [plain])[0] for key in keys), *(pairs_of(plain, [keys[1]]))]
    answers = [PastAnswers.of_user(key).path for key in keys]
    for found in (keys, of_pairs, answers):
        assert len({str(each) for each in found}) == len(found)
    assert identity(tiny, adapted((copy, 1.0))) == keys[1]  # its content counts
    assert identity(tiny, adapted((adapter, 0.0))) == plain  # it changes nothing
    assert "adapters" not in pairs_of(plain, [plain])[0]


# ---- refusals -----------------------------------------------------------------------------------


def test_what_is_no_adapter_is_refused(tiny: Path, tmp_path: Path) -> None:
    for file in (tiny, write_lora(tmp_path / "x.gguf", tiny, kind="vera")):
        with pytest.raises(ModelFileError, match=rf"^{file.name} is no LoRA adapter; give one"):
            Model(tiny, adapted((file, 1.0)))


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ({"arch": "gpt2"}, "is an adapter of models of the architecture gpt2, and tiny.gguf is of"),
        ({"invocation": True}, "is an activated LoRA, which holds from certain tokens of a text"),
        ({"alpha": "much"}, "is damaged: its alpha is no number; download it again."),
        (
            {"shapes": {"blk.0.attn_q.weight": ((RANK, 32), (64, RANK))}},
            "cannot adapt tiny.gguf: tensor 'blk.0.attn_q.weight' has incorrect shape",
        ),
        (
            {"shapes": {"blk.9.attn_q.weight": ((RANK, 64), (64, RANK))}},
            "cannot adapt tiny.gguf: LoRA tensor 'blk.9.attn_q.weight' does not exist in base",
        ),
    ],
)
def test_an_adapter_that_does_not_fit_is_refused(
    tiny: Path, tmp_path: Path, file: dict[str, object], sentence: str
) -> None:
    path = write_lora(tmp_path / "x.gguf", tiny, **file)  # type: ignore[arg-type]
    with pytest.raises(ModelFileError) as caught:
        Model(tiny, adapted((path, 1.0)))
    assert str(caught.value).startswith(f"x.gguf {sentence}")
    assert str(caught.value).count(". ") == 0  # one sentence


def test_a_file_that_is_cut_short_is_refused(tiny: Path, adapter: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    for length in (0, 3, 100, 2_000, len(adapter.read_bytes()) - 1):
        path.write_bytes(adapter.read_bytes()[:length])
        with pytest.raises(ModelFileError, match=r"^x\.gguf is "):
            Model(tiny, adapted((path, 1.0)))


def test_an_adapter_that_would_end_the_process_is_one_sentence(
    tiny: Path, tmp_path: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "require_survived", require_survived)
    with Model(tiny, vocab_only=True) as model:
        n_vocab = model.vocab.n_tokens
    ranks_differ: Shapes = {"token_embd.weight": ((n_vocab, RANK), (64, RANK + 1))}
    path = write_lora(tmp_path / "x.gguf", tiny, shapes=ranks_differ)
    for _ in range(2):  # tried, and then known
        with pytest.raises(ModelFileError, match=r"^x\.gguf cannot be used: llama.cpp ends the"):
            Model(tiny, adapted((path, 1.0)))


def test_a_head_alone_and_several_drafts_take_none(
    tiny: Path, tiny_draft: Path, adapter: Path, tmp_path: Path
) -> None:
    second = write_tiny(tmp_path / "second.gguf", seed=2)
    options = replace(OPTIONS, draft=DraftOptions(lora=(Adapter(adapter),)))
    with pytest.raises(ConfigError, match="An adapter is for one draft; name one draft"):
        Runner.load(target=tiny, draft=[tiny_draft, second], options=options)


# ---- on the command line ------------------------------------------------------------------------


def written(tiny: Path, *options: str) -> str:
    words = ["generate", "-m", str(tiny), "--no-draft", "--temperature", "0", "-n", "20", "-q"]
    done = CliRunner().invoke(app, [*words, *options, "hello there"])
    assert done.exit_code == 0, done.output
    return done.output


def test_generate_takes_adapters(tiny: Path, adapter: Path, other: Path) -> None:
    lora = ["--lora", f"{adapter}:0.5", "--lora", str(other)]
    texts = [written(tiny, *each) for each in ([], lora[:2], lora)]
    assert len(set(texts)) == 3
    assert written(tiny, "--lora", f"{adapter}:0") == texts[0]


def test_several_served_models_take_none(tiny: Path, tiny_draft: Path, adapter: Path) -> None:
    words = ["serve", str(tiny), str(tiny_draft), "--lora", str(adapter)]
    with pytest.raises(ConfigError, match="Adapters are for one model; leave them out"):
        CliRunner().invoke(app, words, catch_exceptions=False)


@pytest.mark.model("smollm2-135m")
def test_quantized_and_rearranged_weights_are_adapted(
    model_files: list[Path], tmp_path: Path
) -> None:
    (path,) = model_files
    adapter = Adapter(write_lora(tmp_path / "adapter.gguf", path), 0.02)
    texts = {}
    for lora in ((), (adapter,)):
        for drafter in ("none", "lookup"):
            with Runner.load(
                target=path, drafter=drafter, k=4, options=replace(OPTIONS, lora=lora)
            ) as runner:
                done = runner.complete(HELLO, max_tokens=24, sampling=GREEDY)
                texts[drafter, lora] = done.text
    assert texts["none", ()] == texts["lookup", ()]
    assert texts["none", (adapter,)] == texts["lookup", (adapter,)] != texts["none", ()]
