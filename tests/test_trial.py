"""A file that would end the process is one sentence, and costs a child process, once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import gguf
import pytest

from spec_local.errors import ModelFileError
from spec_local.gguf.header import check_model_file
from spec_local.llama import trial, verdict
from spec_local.llama.model import Model
from spec_local.llama.options import LoadOptions
from spec_local.llama.template import ChatTemplate
from spec_local.llama.template_limits import TemplateWithoutEnd
from spec_local.llama.trial import require_survived as really_tried
from tests.tiny_gguf import write_tiny

pytestmark = pytest.mark.llama


@pytest.fixture(autouse=True)
def tried(without_trials: None, empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where verdicts are kept; files are tried as they are for users."""
    monkeypatch.setattr(trial, "require_survived", really_tried)
    return empty_cache.parent / "tried"


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that were run."""
    commands: list[list[str]] = []
    run = subprocess.run

    def noted(command: list[str], **more: Any) -> Any:
        commands.append(command)
        return run(command, **more)

    monkeypatch.setattr(subprocess, "run", noted)
    return commands


def changed(
    path: Path,
    arch: str = "llama",
    tokens: Callable[[list[str]], None] | None = None,
    **keys: tuple[str, Any],
) -> Path:
    """A tiny model with other metadata: for each key, the writer's method and its value."""
    writer = gguf.GGUFWriter

    class Changed(writer):  # type: ignore[misc, valid-type]
        def write_header_to_file(self, *args: Any, **more: Any) -> None:
            for key, (method, value) in keys.items():
                name = key.replace("__", ".")
                if key == "alignment":
                    self.add_custom_alignment(value)
                    continue
                for data in self.kv_data:
                    data.pop(name, None)
                getattr(self, f"add_{method}")(name, value)
            super().write_header_to_file(*args, **more)

        def add_token_list(self, found: Any) -> None:
            found = list(found)
            if tokens is not None:
                tokens(found)
            super().add_token_list(found)

    gguf.GGUFWriter = Changed
    try:
        return write_tiny(path, arch)
    finally:
        gguf.GGUFWriter = writer


def _twice(tokens: list[str]) -> None:
    tokens[-1] = tokens[-2]


DEADLY: dict[str, dict[str, Any]] = {
    "layers": {"llama__block_count": ("uint32", 0)},
    "too many layers": {"llama__block_count": ("uint32", 513)},
    "experts": {"llama__expert_count": ("uint32", 1)},
    "prediction": {"llama__nextn_predict_layers": ("uint32", 3)},
    "epsilon": {"llama__attention__layer_norm_rms_epsilon": ("float32", -1.0)},
    "scaling": {"llama__rope__scaling__type": ("string", "bogus")},
    "rope": {"llama__rope__dimension_count": ("uint32", 3)},
    "tokens": {"tokens": _twice},
    "tokenizer": {"tokenizer__ggml__model": ("string", "bert")},
    "window": {"arch": "gemma3", "gemma3__attention__sliding_window_pattern": ("uint32", 1)},
}


def refused(path: Path) -> str:
    """The sentence with which a file is refused."""
    with pytest.raises(ModelFileError) as caught:
        Model(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", DEADLY)
def test_a_deadly_file_is_one_sentence_again_and_again(
    kind: str, tmp_path: Path, tried: Path, children: list[list[str]]
) -> None:
    path = changed(tmp_path / "deadly.gguf", **DEADLY[kind])
    assert refused(path) == refused(path)
    if kind == "rope":  # refused in words, by whoever opens it
        assert not tried.exists()
    else:
        assert len(children) == 1


def test_a_refusal_lasts_as_long_as_the_file_and_the_release(
    tmp_path: Path, children: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = changed(tmp_path / "deadly.gguf", **DEADLY["experts"])
    said = refused(path)
    path.write_bytes(path.read_bytes())  # downloaded again; only samples of it are compared
    assert refused(path) == said
    assert len(children) == 2
    monkeypatch.setattr(verdict, "_release", lambda: "the next one")
    assert refused(path) == said
    assert len(children) == 3


@pytest.mark.parametrize(
    "dies",
    [
        "signal.raise_signal(signal.SIGABRT)",
        "signal.raise_signal(signal.SIGSEGV)",
        "signal.raise_signal(signal.SIGKILL)",
        "print('ggml.c:9: GGML_ASSERT(ctx->mem_buffer != NULL) failed', file=sys.stderr)\n"
        "print('ggml_aligned_malloc: insufficient memory', file=sys.stderr, flush=True)\n"
        "signal.raise_signal(signal.SIGABRT)",
        "print('ggml-cpu.c:9: GGML_ASSERT(rc == 0) failed', file=sys.stderr, flush=True)\n"
        "signal.raise_signal(signal.SIGABRT)",
        'print("terminate called ... what():  std::bad_alloc", file=sys.stderr, flush=True)\n'
        "signal.raise_signal(signal.SIGABRT)",
    ],
    ids=["abort", "fault", "killed", "memory", "threads", "C++"],
)
def test_what_may_be_the_machine_s_fault_is_not_kept(
    dies: str, tmp_path: Path, tried: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tiny(tmp_path / "sound.gguf")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "dying.py").write_text(f"import signal, sys\n{dies}\n")
    with monkeypatch.context() as elsewhere, suppress(ModelFileError):
        elsewhere.setattr(trial, "_PROGRAM", "dying")
        really_tried(path, check_model_file(path), LoadOptions(), False)
    assert not tried.exists()
    with Model(path):
        pass
    assert len(list(tried.iterdir())) == 1


def test_the_sentence_has_llama_cpp_s_own_reason(tmp_path: Path) -> None:
    path = changed(tmp_path / "deadly.gguf", **DEADLY["too many layers"])
    with pytest.raises(
        ModelFileError,
        match=r"^deadly\.gguf cannot be used: llama\.cpp ends the process that opens it "
        r"\(llama-model\.cpp:\d+: GGML_ASSERT\(.*n_layer.*; download it again or choose another",
    ):
        Model(path)


def test_a_sound_file_is_tried_once_wherever_it_lies(
    tmp_path: Path, tried: Path, children: list[list[str]]
) -> None:
    path = write_tiny(tmp_path / "sound.gguf")
    for _ in range(2):
        with Model(path):
            pass
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(path.read_bytes())
    with Model(copy):
        pass
    assert [command[:3] for command in children] == [
        [sys.executable, "-m", "spec_local.llama.trial_run"]
    ]
    assert len(list(tried.iterdir())) == 1
    write_tiny(copy, seed=1)
    with Model(copy):
        pass
    assert len(children) == 2


def test_nothing_is_tried_that_is_vouched_for_or_where_nobody_wants_it(
    tmp_path: Path, children: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tiny(tmp_path / "sound.gguf")
    with Model(path, vouched=True), Model(path, LoadOptions(trial=False)):
        pass
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with Model(path):
        pass
    assert children == []


def test_a_file_that_is_refused_in_words_is_refused_in_the_same_words(tmp_path: Path) -> None:
    path = changed(tmp_path / "unknown.gguf", general__architecture=("string", "nobody"))
    with pytest.raises(ModelFileError, match="unknown model architecture: 'nobody'; update spec-"):
        Model(path)


def test_a_process_without_end_is_ended(
    tmp_path: Path, tried: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "_SECONDS", 0.01)
    path = write_tiny(tmp_path / "slow.gguf")
    with pytest.raises(
        ModelFileError,
        match=r"came to no end with it in 0 s; download it again or choose another file, or take "
        r"--no-trial \(in an application LoadOptions\(trial=False\)\) if you trust the file\.$",
    ):
        really_tried(path, check_model_file(path), LoadOptions(), False)
    assert not tried.exists()


def test_a_template_without_end_is_found_in_the_child(
    tmp_path: Path, children: list[list[str]]
) -> None:
    path = write_tiny(tmp_path / "template.gguf", template="{{ 'a' * 10**8 ~ messages }}")
    said = refused(path)
    assert said == (
        "template.gguf cannot be used: The model's chat template has no end: it makes too much by "
        "*; use another one with --chat-template, or --raw, each with --no-trial (in an "
        "application LoadOptions(trial=False)) if you trust the file."
    )
    assert refused(path) == said
    assert len(children) == 1
    with Model(path, LoadOptions(trial=False)) as model:  # as the sentence says
        messages = [{"role": "user", "content": "hi"}]
        with pytest.raises(TemplateWithoutEnd):
            ChatTemplate(model).render(messages)
        assert ChatTemplate(model, "{{ messages[0].content }}").render(messages)


def test_a_template_that_took_too_long_is_tried_again(tmp_path: Path, tried: Path) -> None:
    nested = "{% for x in range(100000) %}" * 3 + "{% endfor %}" * 3
    path = write_tiny(tmp_path / "template.gguf", template=nested)
    assert "it takes too long; use another one" in refused(path)
    assert not tried.exists()


def test_who_waits_is_told_of_a_trial_once(tmp_path: Path) -> None:
    path, stages = write_tiny(tmp_path / "sound.gguf"), list[str]()
    for _ in range(2):
        with Model(path, progress=lambda stage, _share: stages.append(stage)):
            pass
    assert list(dict.fromkeys(stages)) == ["try sound", "load sound"]
    assert stages.count("try sound") == 1


def test_a_verdict_that_cannot_be_kept_is_no_error(tmp_path: Path, tried: Path) -> None:
    tried.parent.mkdir(parents=True)
    tried.write_text("a file where a folder should be")
    with Model(write_tiny(tmp_path / "sound.gguf")):
        pass


@pytest.mark.parametrize("alignment", [8, 16, 64])
def test_a_file_of_any_alignment_is_read(alignment: int, tmp_path: Path) -> None:
    path = changed(tmp_path / "aligned.gguf", alignment=("uint32", alignment))
    with Model(path) as model:
        assert model.header.mappable == (alignment == 64)
        assert model.vocab.n_tokens == 292
