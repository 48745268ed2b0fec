"""A beginning that was read once is taken up from a file: the same text, or a reason why not."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spec_local import (
    Adapter,
    ConfigError,
    ContextOverflow,
    EngineError,
    LoadOptions,
    PrefixMismatch,
    Runner,
    RunnerBusy,
)
from spec_local.drafters.build import BUILDERS
from spec_local.llama.state_file import FIRST_LINE, StateFile
from spec_local.models.registry import PairSpec
from spec_local.sampling.settings import Sampling
from tests.tiny_gguf import LETTERS, write_tiny
from tests.tiny_lora import write_lora
from tests.zoo.eagle import write_eagle
from tests.zoo.headed import write_headed

pytestmark = pytest.mark.llama

OPTIONS = LoadOptions(n_ctx=512, n_batch=32, n_threads=1)
SAMPLINGS = [Sampling(temperature=0), Sampling(temperature=0.9, seed=4)]
SYSTEM = {"role": "system", "content": "the other thing and the thing " * 8}
ASKED = [SYSTEM, {"role": "user", "content": "one more thing"}]

Load = Callable[..., Runner]


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Where it is kept."""
    return tmp_path / "system.prefix"


@pytest.fixture
def load(tiny: Path, tiny_draft: Path) -> Iterator[Load]:
    """Load a runner, by default on the tiny models."""
    runners = list[Runner]()

    def loaded(drafter: str = "model", options: LoadOptions = OPTIONS, **more: Any) -> Runner:
        which = {"target": tiny, "draft": tiny_draft, "k": 4, **more}
        if drafter == "auto":
            which["k"] = None
        runners.append(Runner.load(drafter=drafter, options=options, **which))
        return runners[-1]

    yield loaded
    for runner in runners:
        runner.close()


def answer(runner: Runner, sampling: Sampling = SAMPLINGS[0]) -> tuple[int, ...]:
    return runner.complete(ASKED, max_tokens=40, sampling=sampling).tokens


# ---- the same text, read once --------------------------------------------------------------------


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=["0", "0.9"])
def test_every_drafter_writes_what_it_writes_without(
    load: Load, kept: Path, sampling: Sampling
) -> None:
    expected = answer(load("none"), sampling)
    count = load("model").save_prefix(kept, [SYSTEM])
    for drafter in (*BUILDERS, "auto"):
        runner = load(drafter)
        assert runner.load_prefix(kept) == count == len(runner.target.tokens)
        assert answer(runner, sampling) == expected, drafter


def test_what_was_kept_is_not_read_again(load: Load, kept: Path) -> None:
    saving = load()
    stages = list[tuple[str, float]]()
    count = saving.save_prefix(kept, [SYSTEM], progress=lambda *each: stages.append(each))
    assert stages[0] == ("prompt", 0.0)
    assert stages[-1] == ("prompt", 1.0)
    assert {stage for stage, _share in stages} == {"prompt", "draft prompt"}
    runner = load()
    runner.load_prefix(kept)
    target, (draft,) = runner.target, runner.drafts
    assert (target.decode_calls, draft.decode_calls) == (0, 0)
    assert list(target.tokens) == list(draft.tokens) == runner.tokenize(ASKED)[:count]
    done = runner.complete(ASKED, max_tokens=1)
    assert target.decode_calls == 1  # the question alone, which fits into a batch
    assert done.stats.prompt_tokens == len(runner.tokenize(ASKED)) > 250
    assert count > 230


def test_of_messages_is_kept_what_any_question_leaves(load: Load, kept: Path) -> None:
    runner = load("none")
    count = runner.save_prefix(kept, [SYSTEM])
    for said in ("one", "two", "?"):
        prompt = runner.tokenize([SYSTEM, {"role": "user", "content": said}])
        assert prompt[:count] == list(runner.target.tokens)
    assert runner.save_prefix(kept, ASKED) == len(runner.tokenize(ASKED))
    for plain in ("the thing", runner.tokenize("the thing")):
        assert runner.save_prefix(kept, plain) == len(runner.tokenize("the thing"))


def test_one_that_is_held_in_part_is_read_on(load: Load, kept: Path) -> None:
    runner = load("none")
    answer(runner)
    before = runner.target.decode_calls
    runner.save_prefix(kept, [SYSTEM])
    assert runner.target.decode_calls == before  # all of it was there


@pytest.mark.parametrize("arch", ["gemma3", "mamba"])
def test_memories_that_cannot_go_back_take_it_up(load: Load, kept: Path, arch: str) -> None:
    target = write_tiny(kept.parent / f"{arch}.gguf", arch)
    draft = write_tiny(kept.parent / "draft.gguf", arch, seed=1)
    models = {"target": target, "draft": draft}
    expected = answer(load("none", **models))
    load("model", **models).save_prefix(kept, [SYSTEM])
    for drafter in ("none", "lookup", "model"):
        runner = load(drafter, **models)
        runner.load_prefix(kept)
        assert answer(runner) == expected
        assert len(runner.target.tokens) > 250


def test_drafts_with_other_tokens_take_it_up(load: Load, kept: Path) -> None:
    other = write_tiny(kept.parent / "other.gguf", bpe=True, seed=5)
    trimmed = write_tiny(kept.parent / "trim.gguf", letters=LETTERS[:6], token_map=range(266))
    expected = answer(load("none"))
    for draft in (other, trimmed):
        count = load("model", draft=draft).save_prefix(kept, [SYSTEM])
        runner = load("model", draft=draft)
        assert runner.load_prefix(kept) == count
        (session,) = runner.drafts
        assert session.decode_calls == 1  # its last token
        assert len(session.tokens) > 50
        assert answer(runner) == expected
        runner.load_prefix(kept)  # in the place of what is there
        assert answer(runner) == expected


def test_a_draft_that_is_another_reads_for_itself(load: Load, kept: Path, tiny_draft: Path) -> None:
    expected = answer(load("none"))
    load("model").save_prefix(kept, [SYSTEM])
    other = write_tiny(kept.parent / "other.gguf", seed=7)
    runner = load("models", draft=[other, tiny_draft])
    runner.load_prefix(kept)
    assert [len(draft.tokens) > 0 for draft in runner.drafts] == [False, True]
    assert answer(runner) == expected


def test_heads_draft_after_it(kept: Path) -> None:
    target = write_headed("qwen35", kept.parent / "qwen35.gguf")
    head = write_eagle(kept.parent / "head.gguf")
    texts = set()
    for drafter, draft in (("none", None), ("mtp", None), ("eagle3", head)):
        for takes_up in (False, True):
            with Runner.load(
                PairSpec(str(target)), draft=draft, drafter=drafter, options=OPTIONS
            ) as runner:
                if takes_up:
                    runner.load_prefix(kept)
                texts.add(answer(runner))
                if not kept.exists():
                    runner.save_prefix(kept, [SYSTEM])
    assert len(texts) == 1


def test_in_exact_modes_it_is_the_same_to_the_last_bit(load: Load, kept: Path) -> None:
    def bits(runner: Runner) -> tuple[tuple[int, ...], bytes]:
        return answer(runner), runner.target.digest()

    exact: dict[str, Any] = {"exact": True, "target": kept.parent / "tiny.gguf"}
    write_tiny(exact["target"])
    expected = bits(load("none", **exact))
    count = load("model", **exact).save_prefix(kept, [SYSTEM])
    for drafter in ("none", "lookup", "model"):
        runner = load(drafter, **exact)
        assert runner.load_prefix(kept) == count
        assert runner.exact is not None
        assert runner.exact.session.sync(runner.tokenize(ASKED)) == count // 32 * 32
        assert bits(runner) == expected
    with pytest.raises(PrefixMismatch, match="was kept with another setting of the exact modes"):
        load("none", replace(OPTIONS, kv_type_v="bf16"), target=exact["target"]).load_prefix(kept)


# ---- what does not fit ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"kv_type_v": "bf16"}, r"was kept with other types of the KV cache \(f16,f16\); load"),
        ({"n_batch": 64}, r"was kept with other sizes of batches \(32,512\); load what it was"),
        ({"n_threads": 2}, r"was kept with another number of threads \(1\); load what it was"),
        ({"flash_attention": "on"}, r"was kept with another setting of flash attention \(auto\)"),
        ({"tensor_split": (1.0,)}, r"was kept with other load options"),
        ({"n_ctx": 230}, r"has 2\d\d tokens, which leaves no room in the context of 230; ask for"),
    ],
)
def test_what_is_computed_otherwise_is_refused(
    load: Load, kept: Path, change: dict[str, Any], sentence: str
) -> None:
    load("none").save_prefix(kept, [SYSTEM])
    runner = load("none", replace(OPTIONS, **change))
    runner.complete("the thing", max_tokens=3)
    held = [*runner.target.tokens]
    with pytest.raises(PrefixMismatch, match=sentence):
        runner.load_prefix(kept)
    assert [*runner.target.tokens] == held
    assert runner.complete("the thing", max_tokens=3).tokens


def test_another_model_or_release_is_refused_and_another_name_is_not(
    load: Load, kept: Path, tiny: Path, tiny_draft: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load("none").save_prefix(kept, [SYSTEM])
    with pytest.raises(PrefixMismatch, match="was kept with another model; load what it was"):
        load("none", target=tiny_draft).load_prefix(kept)
    same = kept.parent / "renamed.gguf"
    same.write_bytes(tiny.read_bytes())
    assert load("none", target=same).load_prefix(kept)
    monkeypatch.setattr("spec_local.llama.identity.version", lambda _package: "0.0.1")
    with pytest.raises(PrefixMismatch, match="another release of llama-cpp-python"):
        load("none").load_prefix(kept)


def test_other_adapters_or_scales_are_refused(load: Load, kept: Path, tiny: Path) -> None:
    file = write_lora(kept.parent / "adapter.gguf", tiny)
    one, half = (replace(OPTIONS, lora=(Adapter(file, scale),)) for scale in (1.0, 0.5))
    load("none", one).save_prefix(kept, [SYSTEM])
    for options in (OPTIONS, half):
        with pytest.raises(PrefixMismatch, match="was kept with other LoRA adapters; load"):
            load("none", options).load_prefix(kept)
    expected = answer(load("none", one))
    runner = load("model", one)
    runner.load_prefix(kept)
    assert answer(runner) == expected


# ---- damage --------------------------------------------------------------------------------------


def test_a_damaged_file_is_refused_and_changes_nothing(load: Load, kept: Path) -> None:
    load("model").save_prefix(kept, [SYSTEM])
    with StateFile(kept) as file:
        of_target, _of_draft = file.parts
    whole = kept.read_bytes()
    runner = load("model")
    runner.complete("the thing", max_tokens=3)
    held = [*runner.target.tokens]
    end = of_target.at + of_target.bytes

    def refused(data: bytes) -> None:
        kept.write_bytes(data)
        with pytest.raises((PrefixMismatch, ConfigError)) as caught:
            runner.load_prefix(kept)
        assert str(caught.value).count("; ") == 1
        assert [*runner.target.tokens] == held

    rng = np.random.default_rng(0)
    for length in (0, 5, len(FIRST_LINE), 100, of_target.at, end - 1, end + 1, len(whole) - 1):
        refused(whole[:length])
    for place in [*rng.integers(0, of_target.at, 60), *rng.integers(of_target.at, end, 20)]:
        changed = bytearray(whole)
        changed[place] ^= int(rng.integers(1, 256))
        refused(bytes(changed))
    for line in (b"[]", b"{}", b"1e999", b'{"version": 2}', b"[" * 100_000):
        refused(FIRST_LINE + line + b"\n")
    kept.write_bytes(whole)
    assert runner.load_prefix(kept) == len(of_target.tokens)


def test_a_damaged_part_of_a_draft_is_left_out(load: Load, kept: Path) -> None:
    expected = answer(load("none"))
    load("model").save_prefix(kept, [SYSTEM])
    with StateFile(kept) as file:
        _of_target, of_draft = file.parts
    changed = bytearray(kept.read_bytes())
    changed[of_draft.at + 1000] ^= 1
    kept.write_bytes(changed)
    runner = load("model")
    assert runner.load_prefix(kept) > 0
    assert [len(draft.tokens) for draft in runner.drafts] == [0]
    assert answer(runner) == expected


def test_what_llama_cpp_refuses_leaves_nothing_held(
    load: Load, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = answer(load("none"))
    runner = load("none")
    runner.save_prefix(kept, [SYSTEM])
    with monkeypatch.context() as patched:
        patched.setattr("spec_local.llama.session.write_state", lambda *_: False)
        with pytest.raises(PrefixMismatch, match=r"^llama\.cpp cannot take up what .*; have it"):
            runner.load_prefix(kept)
    assert not runner.target.tokens
    assert answer(runner) == expected


# ---- the file ------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="Windows has no file modes")
def test_only_the_owner_may_read_it(load: Load, kept: Path) -> None:
    runner, old = load("none"), os.umask(0)
    try:
        runner.save_prefix(kept, "the thing")
    finally:
        os.umask(old)
    assert kept.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in kept.parent.glob("*prefix*")] == [kept.name]


def test_one_that_is_broken_off_leaves_the_old_one(load: Load, kept: Path) -> None:
    runner = load("none")
    runner.save_prefix(kept, "the thing")
    old = kept.read_bytes()

    def stop(_stage: str, share: float) -> None:
        if 0 < share < 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runner.save_prefix(kept, [SYSTEM], progress=stop)
    assert kept.read_bytes() == old
    assert [each.name for each in kept.parent.glob(".*.partial")] == []
    assert answer(runner) == answer(load("none"))


def test_what_is_something_else_is_neither_read_nor_replaced(
    load: Load, kept: Path, tiny: Path
) -> None:
    runner, content = load("none"), tiny.read_bytes()
    for use in (runner.load_prefix, lambda path: runner.save_prefix(path, "the thing")):
        with pytest.raises(ConfigError, match=r"tiny\.gguf holds no prefix; name another file\."):
            use(tiny)
    assert tiny.read_bytes() == content
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        runner.load_prefix(kept)
    with pytest.raises(ConfigError, match="cannot be written: No such file"):
        runner.save_prefix(kept / "below", "the thing")
    kept.touch()
    assert runner.save_prefix(kept, "the thing")


def test_what_cannot_be_kept_is_said(load: Load, kept: Path) -> None:
    runner = load("none")
    with pytest.raises(ContextOverflow, match="leaves no room in the context of 512; ask for a"):
        runner.save_prefix(kept, [1] * 512)
    with pytest.raises(ConfigError, match="There is nothing to keep"):
        runner.save_prefix(kept, [])
    assert not kept.exists()
    generation = runner.generate(ASKED, max_tokens=30)
    next(generation)
    for use in (runner.load_prefix, lambda path: runner.save_prefix(path, "the thing")):
        with pytest.raises(RunnerBusy):
            use(kept)
    generation.close()
    runner.close()
    with pytest.raises((ConfigError, EngineError)):
        runner.save_prefix(kept, "the thing")
