"""models.toml: what is shipped is sound, and every mistake is named by file and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from spec_local.errors import ConfigError
from spec_local.models import registry
from spec_local.models.registry import load_registry, read_registry, shipped_file


@pytest.fixture(autouse=True)
def no_user_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config" / "models.toml"
    monkeypatch.setattr(registry, "user_file", lambda: path)
    return path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_the_shipped_file_is_complete() -> None:
    shipped = load_registry()
    assert {"smollm2", "qwen2.5-coder-1.5b", "llama-3.1-8b", "gemma-3-27b"} <= shipped.pairs.keys()
    assert shipped.pairs["smollm2"].draft is None
    advised = shipped.pairs["smollm2"].sampling  # at llama.cpp's defaults it loses the thread
    assert (advised.temperature, advised.top_p) == (0.2, 0.9)
    assert len(shipped.model("qwen2.5-coder-1.5b").wheels) == 22
    used = {model for pair in shipped.pairs.values() for model in pair.models}
    assert shipped.models.keys() <= used
    assert "unchecked" in shipped_file().read_text()


def test_the_users_file_adds_and_replaces(no_user_file: Path) -> None:
    write(
        no_user_file,
        """
        [models.smollm2-135m]
        path = "/models/mine.gguf"
        [models.other]
        hf = { repo = "a/b", file = "c.gguf" }
        [pairs.mine]
        target = "other"
        draft = "smollm2-135m"
        sampling = { temperature = 0, top_k = 3, banned_strings = ["x"], logit_bias = [[5, 1]] }
        """,
    )
    merged = load_registry()
    assert merged.model("smollm2-135m").path == "/models/mine.gguf"
    assert merged.model("other").source == "Hugging Face a/b"
    assert merged.pairs["mine"].sampling.top_k == 3
    assert merged.pairs["mine"].sampling.temperature == 0
    assert merged.pairs["mine"].sampling.banned_strings == ("x",)
    assert merged.pairs["mine"].sampling.logit_bias == ((5, 1.0),)
    assert "qwen2.5-coder-1.5b" in merged.pairs


def test_sources_keep_their_order(no_user_file: Path) -> None:
    write(
        no_user_file,
        f"""
        [models.several]
        bytes = 5
        sha256 = "{"0" * 64}"
        sources = [
            {{ hf = {{ repo = "a/b", file = "c.gguf" }} }},
            {{ wheels = [{{ requirement = "d==1", member = "e" }}] }},
        ]
        [models.one]
        hf = {{ repo = "a/b", file = "c.gguf" }}
        """,
    )
    models = load_registry().models
    assert [str(each) for each in models["several"].fetched_from] == ["hf:a/b/c.gguf", "wheel d==1"]
    assert models["several"].source == "Hugging Face a/b, or from 1 other"
    assert [str(each) for each in models["one"].fetched_from] == ["hf:a/b/c.gguf"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[models.a]\npath = 3", "models.a.path must be a string"),
        ("[models.'../../x']\npath = 'x'", "a name has letters, digits"),
        ("[models.'/x']\npath = 'x'", "a name has letters, digits"),
        ("[models.'a/b']\npath = 'x'", "a name has letters, digits"),
        ("[models.'']\npath = 'x'", "a name has letters, digits"),
        ('[models."\\u001b]0;x"]\npath = "x"', r"models.'\\x1b\]0;x': a name has letters"),
        (f"[models.{'x' * 300}]\npath = 'x'", "a name has letters, digits"),
        ("[pairs.'a b']\ntarget = 'x'", "a name has letters, digits"),
        ("[models.a]\npaht = 'x'", "models.a.paht: unknown key; did you mean path?"),
        ("[models.a]\nzzz = 'x'", "models.a.zzz: unknown key; known are path, hf"),
        ("[models.a]", "models.a: needs exactly one of path, hf, wheels and sources"),
        ("[models.a]\npath = 'x'\nhf = { repo = 'a/c', file = 'b' }", "exactly one"),
        ("[models.a]\nhf = { repo = 'a' }", "models.a.hf.file is missing"),
        ("[models.a]\nwheels = 'x'", "models.a.wheels must be an array"),
        (
            "[models.a]\nwheels = [{ requirement = 'a', member = 'b' }]",
            r"models.a.wheels\[0\]: requirement 'a' must be of the form",
        ),
        ("[models.a]\nwheels = [{ requirement = 'a==1', member = 'b' }]", "needs sha256 and bytes"),
        ("[models.a]\nsources = [{}]", r"models.a.sources\[0\]: needs either hf or wheels"),
        (
            "[models.a]\nsources = [{ hf = { repo = 'a/b', file = 'c' } }]\npath = 'x'",
            "needs exactly one of",
        ),
        (
            "[models.a]\nsources = [\n{ hf = { repo = 'a/b', file = 'c' } },\n"
            "{ hf = { repo = 'd/b', file = 'c' } }]",
            "several sources need sha256 and bytes",
        ),
        ("[models.a]\npath = 'x'\nsha256 = 'abc'", "64 lower-case hexadecimal digits"),
        ("[models.a]\npath = 'x'\nbytes = true", "models.a.bytes must be a whole number"),
        ("[pairs.a]", "pairs.a.target is missing"),
        ("[pairs.a]\ntarget = 't'\nsampling = { top_p = 2.0 }", "pairs.a.sampling: top_p must"),
        ("[pairs.a]\ntarget = 't'\nsampling = { topp = 2.0 }", "did you mean top_p"),
        (
            "[pairs.a]\ntarget = 't'\nsampling = { acceptance = 'no' }",
            "acceptance must be one of keyed",
        ),
        (
            "[pairs.a]\ntarget = 't'\nsampling = { logit_bias = [[5]] }",
            r"pairs.a.sampling.logit_bias\[0\] must have 2 items",
        ),
        (
            "[pairs.a]\ntarget = 't'\nsampling = { banned_tokens = ['x'] }",
            r"banned_tokens\[0\] must be a whole number",
        ),
        ("[models.a]\nhf = { repo = '../..', file = 'x' }", "must be of the form owner/name"),
        ("[models.a]\nhf = { repo = 'a/b/c', file = 'x' }", "must be of the form owner/name"),
        ("[models.a]\nwheels = [{ requirement = '-r==1', member = 'b' }]", "of the form name==1.0"),
        (
            "[pairs.a]\ntarget = 't'\ndrafter = 'modle'",
            "pairs.a: There is no drafter 'modle'",
        ),
        ("[pears.a]", "pears: unknown key; only models and pairs"),
        ("models = 3", "models must be a table"),
        ("[models", "cannot be read"),
    ],
)
def test_a_mistake_is_named_by_file_and_key(tmp_path: Path, text: str, complaint: str) -> None:
    path = write(tmp_path / "bad.toml", text)
    with pytest.raises(ConfigError, match=complaint) as caught:
        read_registry(path)
    assert str(caught.value).startswith(str(path))


def test_a_pair_of_an_undefined_model_is_refused(no_user_file: Path) -> None:
    write(no_user_file, "[pairs.x]\ntarget = 'nowhere'")
    with pytest.raises(ConfigError, match=r"models\.toml: pairs\.x names the model 'nowhere'"):
        load_registry()


def test_unknown_names_come_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no model 'smolm2'; did you mean smollm2"):
        load_registry().model("smolm2")
    with pytest.raises(ConfigError, match=r"no model 'zzzzzzzz'; give a \.gguf file or one of "):
        load_registry().model("zzzzzzzz")
    with pytest.raises(ConfigError, match="'smollm2' is a pair; give one of its models, smollm2-"):
        load_registry().model("smollm2")
