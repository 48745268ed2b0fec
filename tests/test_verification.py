"""`spec-local verify` and exact modes as a person meets them; planted faults are caught."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from spec_local import ConfigError, LoadOptions, Runner, Sampling
from spec_local.cli.app import app
from spec_local.cli.exact_output import findings, ranges
from spec_local.exact.modes import ExactMode, exact_options
from spec_local.llama.quantize import quantize
from spec_local.llama.session import Session
from spec_local.machine.certify import Certificate
from spec_local.machine.profile import ProfileStore
from spec_local.sampling.types import Logits
from tests.test_cli import fails_with, spec_local
from tests.tiny_gguf import write_tiny

pytestmark = pytest.mark.llama

OPTIONS = LoadOptions(n_ctx=250, n_batch=32, n_threads=1)
PROMPT = "the thing and the other thing and the "
SHORT = ("--ctx-size", "256", "--threads", "1", "--tokens", "24")


@pytest.fixture(scope="module")
def exact_tiny(tiny: Path, tiny_directory: Path) -> Path:
    """The tiny model in a type whose kernels compute the same at every width."""
    path = tiny_directory / "tiny-Q8_0.gguf"
    quantize(tiny, path, "Q8_0")
    return path


def run(*arguments: str | Path | int) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def perturb(monkeypatch: pytest.MonkeyPatch, least: int) -> None:
    """One logit of the last row is off where at least so many tokens are evaluated at once.

    Not those of a prompt, of which one row is read: everybody has the same.
    """
    honest = Session.evaluate

    def evaluate(
        self: Session, tokens: Sequence[int], rows: int = 1, parents: Sequence[int] | None = None
    ) -> Logits:
        logits = honest(self, tokens, rows, parents)
        if rows >= least:
            logits[0, int(logits[0].argmin())] = logits[0].max() + np.float32(0.5)
        return logits

    monkeypatch.setattr(Session, "evaluate", evaluate)


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    file = tmp_path / "prompts.jsonl"
    turns = [PROMPT * 3, "and the other"]
    file.write_text(json.dumps({"category": "things", "turns": turns}) + "\n")
    return file


@pytest.mark.parametrize("mode", ["certified", "fixed", "guard"])
@pytest.mark.parametrize("sampling", [Sampling(temperature=0), Sampling(temperature=0.9, seed=4)])
def test_every_drafter_writes_the_same(
    exact_tiny: Path, tiny_draft: Path, mode: ExactMode, sampling: Sampling
) -> None:
    texts = set()
    for drafter in ("none", "auto", "lookup", "model"):
        with Runner.load(
            target=exact_tiny, draft=tiny_draft, drafter=drafter, options=OPTIONS, exact=mode
        ) as runner:
            done = runner.complete(PROMPT * 4, max_tokens=60, sampling=sampling)
            again = runner.complete(PROMPT * 4, max_tokens=60, sampling=sampling)
            assert done.tokens == again.tokens
            texts.add(done.tokens)
    assert len(texts) == 1


def answers_of(target: Path, draft: Path, mode: ExactMode) -> dict[str, tuple[int, ...]]:
    """What every drafter writes, having drafted."""
    found = {}
    for drafter in ("none", "lookup", "model"):
        with Runner.load(
            target=target, draft=draft, drafter=drafter, options=OPTIONS, exact=mode
        ) as runner:
            done = runner.complete(PROMPT * 4, max_tokens=60, sampling=Sampling(temperature=0))
            assert (done.stats.drafted > 0) is (drafter != "none")
            found[drafter] = done.tokens
    return found


def test_fixed_pads_every_token_where_width_one_is_alone(
    exact_tiny: Path, tiny_draft: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, seen = Session.evaluate, set[int]()

    def evaluate(
        self: Session, tokens: Sequence[int], rows: int = 1, parents: Sequence[int] | None = None
    ) -> Logits:
        logits = honest(self, tokens, rows, parents)
        if len(tokens) == 1 and self.model.path == exact_tiny:
            logits[0, :40] += np.float32(0.5)
        if rows > 1 or len(tokens) == 1:
            seen.add(len(tokens))
        return logits

    monkeypatch.setattr(Session, "evaluate", evaluate)
    with Runner.load(target=exact_tiny, drafter="none", options=OPTIONS, exact=True) as runner:
        assert runner.exact is not None
        assert runner.exact.widths.allowed == (1,)
        assert "--exact=fixed" in str(runner.exact.note)
    with Runner.load(target=exact_tiny, drafter="none", options=OPTIONS, exact="fixed") as runner:
        assert runner.exact is not None
        assert runner.exact.certificate.base == 2
        assert runner.exact.widths.allowed == tuple(range(2, 33))
        seen.clear()
        runner.complete(PROMPT * 4, max_tokens=20)
        assert seen == {2}
    assert len(set(answers_of(exact_tiny, tiny_draft, "fixed").values())) == 1


def test_the_guard_decides_as_plain_decoding_does(
    exact_tiny: Path, tiny_draft: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wide evaluations are off by what the certificate then finds, and near ties are frequent."""
    honest = Session.evaluate

    def evaluate(
        self: Session, tokens: Sequence[int], rows: int = 1, parents: Sequence[int] | None = None
    ) -> Logits:
        logits = honest(self, tokens, rows, parents)
        if rows > 1:
            places = len(self.tokens) - rows + np.arange(rows)
            logits += np.where((places % 3 == 0)[:, None], 1.5, 0.0).astype(np.float32) * (
                np.arange(self.n_vocab) % 2
            )
        return logits

    monkeypatch.setattr(Session, "evaluate", evaluate)
    assert len(set(answers_of(exact_tiny, tiny_draft, "guard").values())) == 1
    with Runner.load(
        target=exact_tiny, draft=tiny_draft, drafter="model", options=OPTIONS, exact="guard"
    ) as runner:
        done = runner.complete(PROMPT * 4, max_tokens=60, sampling=Sampling(temperature=0))
        assert done.stats.rechecked > 0
        assert done.stats.guard_seconds > 0


def test_a_continued_chat_is_a_fresh_one(exact_tiny: Path) -> None:
    def answers(fresh: bool) -> list[str]:
        said = []
        with Runner.load(
            target=exact_tiny, drafter="lookup", options=OPTIONS, exact=True
        ) as runner:
            chat = runner.chat(max_tokens=20, sampling=Sampling(temperature=0.8, seed=2))
            for line in (PROMPT, "and the other", "more"):
                if fresh:
                    runner.target.truncate(0)
                said.append("".join(chunk.text for chunk in chat.send(line)))
        return said

    assert answers(fresh=True) == answers(fresh=False)


def test_the_certificate_is_made_once(tiny: Path, own_profiles: ProfileStore) -> None:
    stages: list[str] = []

    def load() -> Certificate:
        stages.clear()
        with Runner.load(
            target=tiny,
            options=OPTIONS,
            exact=True,
            progress=lambda stage, _share: stages.append(stage),
        ) as runner:
            assert runner.exact is not None
            assert own_profiles.certificates(runner.target.model.identity)
            return runner.exact.certificate

    first = load()
    assert f"certify {tiny.stem}" in stages
    assert load() == first
    assert f"certify {tiny.stem}" not in stages


@pytest.mark.parametrize("arch", ["gemma3", "mamba"])
def test_where_rolling_back_evaluates_again_nothing_is_drafted(
    tiny_directory: Path, arch: str
) -> None:
    path = write_tiny(tiny_directory / f"exact-{arch}.gguf", arch)
    with Runner.load(target=path, drafter="lookup", options=OPTIONS, exact=True) as runner:
        assert runner.exact is not None
        assert runner.exact.widths.allowed == (1,)
        assert runner.exact.note is not None
        done = runner.complete(PROMPT * 3, max_tokens=30)
        assert done.stats.drafted == 0


@pytest.mark.parametrize("rule", ["rejection", "block"])
def test_rules_that_depend_on_the_draft_are_refused(tiny: Path, rule: str) -> None:
    with (
        Runner.load(target=tiny, options=OPTIONS, exact=True) as runner,
        pytest.raises(ConfigError, match="keyed"),
    ):
        runner.generate(PROMPT, sampling=Sampling(acceptance=rule))  # type: ignore[arg-type]


def test_an_unknown_mode_is_refused(tiny: Path) -> None:
    with pytest.raises(ConfigError, match="certified, fixed, guard"):
        Runner.load(target=tiny, options=OPTIONS, exact="very")  # type: ignore[arg-type]


def test_types_that_were_asked_for_stay() -> None:
    assert exact_options("certified", LoadOptions()).kv_type_k == "f16"
    asked = LoadOptions(kv_type_k="q8_0", kv_type_v="q8_0")
    assert exact_options("certified", asked) == asked
    off = LoadOptions(flash_attention="off")
    assert exact_options("certified", off) == off


def test_identical_answers_are_said_to_be(exact_tiny: Path, tmp_path: Path, prompts: Path) -> None:
    file = tmp_path / "found.json"
    done = run("verify", "-m", exact_tiny, *SHORT, "--exact", "--prompts", prompts, "--json", file)
    assert done.exit_code == 0, done.output
    assert "exact (certified), evaluated at widths 1-" in done.output
    assert "IDENTICAL: all 8 answers" in done.output
    found = json.loads(file.read_text())
    assert found["exact"] == "certified"
    assert found["interrupted"] is False
    assert found["plain"]["answers"] == 4
    assert [(e["drafter"], e["temperature"]) for e in found["drafters"]] == [
        *(("auto", 0.0), ("lookup", 0.0)),
        *(("auto", 0.8), ("lookup", 0.8)),
    ]
    assert all(e["answers"] == e["identical"] == 2 for e in found["drafters"])
    assert len(found["plain"]["sha256"]) == 64
    same = run(
        "verify", "-m", exact_tiny, *SHORT, "--exact", "--prompts", prompts, "--drafter", "none"
    )
    assert found["plain"]["sha256"][:16] in same.output


CTRL_C = """
import os, signal
from spec_local.bench.run.verification import Verification

whole, written = Verification._answer, []

def answer(*given):
    if len(written) == {after}:
        os.kill(os.getpid(), signal.SIGINT)
    written.append(whole(*given))
    return written[-1]

Verification._answer = answer
from spec_local.cli import main
main()
"""


def interrupted(after: int, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`spec-local verify`, in a process that meets Ctrl-C after so many answers."""
    return subprocess.run(
        [sys.executable, "-c", CTRL_C.format(after=after), "verify", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_ctrl_c_keeps_what_was_compared(exact_tiny: Path, tmp_path: Path, prompts: Path) -> None:
    """Answers are written in the order plain, auto, lookup; the fifth is never there."""
    file = tmp_path / "found.json"
    done = interrupted(4, "-m", exact_tiny, *SHORT, "--prompts", prompts, "--json", file)
    assert done.returncode == 130
    assert done.stderr == "note: interrupted; this is what was compared until then.\n"
    assert "Plain decoding wrote 2 answers" in done.stdout
    assert "2 answers, " in done.stdout.splitlines()[-1]
    found = json.loads(file.read_text())
    assert found["interrupted"] is True
    assert [e["answers"] for e in found["drafters"]] == [1, 1]


def test_ctrl_c_before_anything_was_compared(exact_tiny: Path, prompts: Path) -> None:
    done = interrupted(1, "-m", exact_tiny, *SHORT, "--prompts", prompts)
    assert done.returncode == 130
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 1


def test_a_planted_fault_is_caught_by_the_certificate(
    exact_tiny: Path, prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    perturb(monkeypatch, least=3)
    done = run("verify", "-m", exact_tiny, *SHORT, "--exact", "--prompts", prompts)
    assert "evaluated at widths 1-2 only" in done.output
    assert "IDENTICAL" in done.output
    assert done.exit_code == 0


def test_a_fault_that_comes_after_the_certificate_is_caught_by_verify(
    exact_tiny: Path, tmp_path: Path, prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = ("-m", exact_tiny, *SHORT, "--prompts", prompts, "--drafter", "lookup")
    assert run("verify", *how, "--exact").exit_code == 0
    perturb(monkeypatch, least=3)
    file = tmp_path / "found.json"
    done = run("verify", *how, "--exact", "--json", file)
    assert done.exit_code == 1
    assert "DIFFERENT: " in done.output
    assert "lookup on things 1, turn 1, temperature 0, seed 1: token " in done.output
    first = json.loads(file.read_text())["differences"][0]
    assert first["width"] >= 3
    assert first["plain"] != first["other"]
    free = run("verify", *how)
    assert "evaluated freely" in free.output
    assert "DIFFERENT" in free.output
    assert free.exit_code == 0  # only exact modes promise anything


def test_exact_may_stand_alone_or_with_a_mode(exact_tiny: Path) -> None:
    how = ("generate", PROMPT, "--raw", "-m", exact_tiny, "-n", 8, "-c", 128, "-t", 1, "--seed", 1)
    alone = spec_local(*how, "--exact")
    named = spec_local(*how, "--exact=certified", "--drafter", "lookup")
    assert alone.returncode == named.returncode == 0
    assert alone.stdout == named.stdout
    assert fails_with(spec_local(*how, "--exact=very"), "There is no exact mode 'very'")
    after = spec_local(
        "generate", "--raw", "-m", exact_tiny, "-n", 1, "-c", 128, "-t", 1, "--", "--exact"
    )
    assert after.returncode == 0  # it is the prompt


@pytest.mark.parametrize("word", ["guard", "fixed", "certified"])
def test_exact_leaves_the_next_word_to_the_prompt(word: str) -> None:
    """`generate --exact guard` answers the prompt "guard" in the mode certified."""
    missing = ("-m", "missing.gguf")
    found = spec_local("generate", "--exact", word, *missing)
    assert fails_with(found, "missing.gguf")  # not "a prompt is missing"


def test_tune_explains_what_was_certified(exact_tiny: Path) -> None:
    how = ("tune", "-m", exact_tiny, "-c", 256, "-t", 1)
    done = run(*how, "--seconds", 1, "--exact")
    assert done.exit_code == 0, done.output
    assert "Evaluated after 1, 33 tokens of context, against width 1:" in done.stdout
    assert "identical, bit for bit" in done.stdout
    assert run(*how, "--show", "--exact").stdout == done.stdout
    refused = run(*how, "--show", "--exact", "very")
    assert refused.exit_code != 0


def test_findings_in_words() -> None:
    certificate = Certificate(1, (1, 1025), {1: 0.0, 2: 0.0, 3: 0.5, 4: 0.5, 5: 0.0}, (1, 2))
    assert list(findings(certificate)) == [
        "Evaluated after 1, 1,025 tokens of context, against width 1:",
        "widths 1-2: identical, bit for bit",
        "widths 3-4: logits differ by up to 0.5",
        "widths 5: the cache differs",
    ]
    nothing = Certificate(4, (1,), {4: 0.1}, ())
    assert "wherever a token stands" in list(findings(nothing))[-1]
    assert ranges([1, 2, 3, 5]) == "1-3, 5"


@pytest.mark.model("smollm2-135m")
def test_exact_text_of_a_real_model(model_files: list[Path]) -> None:
    """Past 512 tokens, where attention at width 1 is another one unless the cache prevents it."""
    words = " ".join(f"item {i % 23} costs {i % 7} coins;" for i in range(75))
    texts = set()
    for drafter in ("none", "lookup", "model"):
        with Runner.load(
            target=model_files[0],
            draft=model_files[0],
            drafter=drafter,
            options=LoadOptions(n_ctx=1024),
            exact=True,
        ) as runner:
            assert len(runner.tokenize(words)) > 520
            done = runner.complete(
                words, max_tokens=100, sampling=Sampling(temperature=0.8, seed=1)
            )
            texts.add(done.tokens)
    assert len(texts) == 1
