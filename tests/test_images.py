"""Images in messages: what the model sees, and what drafts for it without seeing."""

from __future__ import annotations

import base64
import gc
import weakref
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from spec_local import LoadOptions, Runner, Sampling
from spec_local.cli.app import app
from spec_local.errors import ConfigError, EngineError, ModelFileError
from spec_local.generation import GenerationOptions
from spec_local.llama import trial
from spec_local.llama.contexts import session_on
from spec_local.llama.eyes import Eyes
from spec_local.llama.image_tokens import part_of
from spec_local.llama.model import Model
from spec_local.llama.pictures import picture, shown
from spec_local.llama.seeing import SeeingSession
from spec_local.llama.trial import require_survived
from tests.test_serve_runner import served
from tests.tiny_eyes import KINDS, write_eyes
from tests.zoo.recipes import recipes, write

Image = pytest.importorskip("PIL.Image")

pytestmark = pytest.mark.llama

OPTIONS = LoadOptions(n_ctx=512, n_threads=2)


def png(seed: int, width: int = 50, height: int = 20) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def asked(seed: int, text: str = "abc abc hello") -> list[dict[str, Any]]:
    url = "data:image/png;base64," + base64.b64encode(png(seed)).decode()
    image = {"type": "image_url", "image_url": {"url": url}}
    return [{"role": "user", "content": [{"type": "text", "text": text}, image]}]


@pytest.fixture(params=sorted(KINDS))
def seeing(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Path]:
    """A text model of the zoo and an encoder for it."""
    arch = "qwen2vl" if request.param == "qwen2vl_merger" else "llama"
    target = write(recipes()[arch], tmp_path / "text.gguf")
    return target, write_eyes(tmp_path / "eyes.gguf", request.param, 64)


@pytest.fixture
def model(tmp_path: Path) -> Iterator[Model]:
    with Model(write(recipes()["llama"], tmp_path / "text.gguf"), OPTIONS) as model:
        model.eyes = Eyes(write_eyes(tmp_path / "mmproj.gguf", "mlp", 64), model)
        yield model


@pytest.mark.parametrize("drafter", ["lookup", "model", "auto"])
def test_every_drafter_leaves_the_text_as_it_is(seeing: tuple[Path, Path], drafter: str) -> None:
    target, encoder = seeing
    draft = None if drafter == "lookup" else target
    with (
        Runner.load(target=target, mmproj=encoder, drafter="none", options=OPTIONS) as plain,
        Runner.load(
            target=target, draft=draft, mmproj=encoder, drafter=drafter, options=OPTIONS
        ) as drafted,
    ):
        for temperature in (0.0, 0.8):
            texts = []
            for seed in (1, 2, 1):
                sampling = Sampling(temperature=temperature, seed=5, repeat_penalty=1.2)
                given = GenerationOptions(max_tokens=30, sampling=sampling)
                answer = plain.complete(asked(seed), **given)
                again = drafted.complete(asked(seed), **given)
                assert again.tokens == answer.tokens
                assert again.stats.drafted > 0 or drafter != "model"
                texts.append(answer.tokens)
            assert texts[0] == texts[2] != texts[1]  # it is the image that makes the difference


def test_an_image_that_was_seen_is_not_evaluated_again(model: Model) -> None:
    with SeeingSession(model, model.eyes) as session:  # type: ignore[arg-type]
        mark = model.show(png(1))
        image = list(model.vocab.marked[mark])
        assert [part_of(token)[1] for token in image] == list(range(16))
        alone = session.evaluate([1, *image, 270, 271])[-1].copy()
        assert session.tokens == [1, *image, 270, 271]
        session.truncate(17)
        assert np.array_equal(session.evaluate([270, 271])[-1], alone)
        assert session.decode_calls == 4  # text, image, text, text
        assert session.sync([1, *image[:9], 300]) == 1  # a part of it is none of it
        assert np.array_equal(session.evaluate([*image, 270, 271])[-1], alone)
        other = list(model.vocab.marked[model.show(png(2))])
        session.truncate(1)
        assert not np.array_equal(session.evaluate([*other, 270, 271])[-1], alone)


def test_where_images_take_more_of_the_cache_than_positions_less_is_left(tmp_path: Path) -> None:
    target = write(recipes()["qwen2vl"], tmp_path / "text.gguf")
    with Model(target, OPTIONS) as model:
        model.eyes = Eyes(write_eyes(tmp_path / "eyes.gguf", "qwen2vl_merger", 64), model)
        image = model.vocab.marked[model.show(png(1, width=96, height=96))]
        parts = [token for token in image if token < 0]
        positions, cells = model.eyes.positions(parts[0]), model.eyes.cells(parts[0])
        assert len(parts) == positions < cells
        with SeeingSession(model, model.eyes) as session:
            session.evaluate([*image, 270])
            assert session.n_ctx == 512 - (cells - positions)
            held = session.saved()
            session.truncate(0)
            session.adopt(held)
            assert session.n_ctx == 512 - (cells - positions)
            row = session.evaluate([271] * 20)[-1].copy()
            session.truncate(len(image) + 1)
            assert np.array_equal(session.evaluate([271] * 20)[-1], row)
            session.truncate(1)
            assert session.n_ctx == 512


def test_the_same_image_has_the_same_tokens(model: Model) -> None:
    mark = model.show(png(1))
    assert model.show(png(1)) == mark != model.show(png(1, width=20, height=50))


def test_a_chat_sees_what_was_shown_in_it(seeing: tuple[Path, Path]) -> None:
    target, encoder = seeing
    greedy = Sampling(temperature=0)
    with Runner.load(
        target=target, mmproj=encoder, drafter="none", options=OPTIONS, sampling=greedy
    ) as runner:
        chat = runner.chat(max_tokens=8)
        first = chat.send(f"{runner.target.model.show(png(1))} hello").complete()
        second = chat.send("abc").complete()
        assert second.stats.cached_tokens >= first.stats.prompt_tokens
        other = runner.chat(max_tokens=8)
        assert other.send(f"{runner.target.model.show(png(2))} hello").complete().text != first.text


def test_an_encoder_beside_the_model_is_found(tmp_path: Path) -> None:
    target = write(recipes()["llama"], tmp_path / "text.gguf")
    with Runner.load(target=target, options=OPTIONS) as runner:
        assert runner.target.model.eyes is None
        with pytest.raises(ConfigError, match="Images need the model's encoder"):
            runner.tokenize(asked(1))
    write_eyes(tmp_path / "mmproj-text-f16.gguf", "mlp", 64)
    with Runner.load(target=target, options=OPTIONS) as runner:
        assert sum(token < 0 for token in runner.tokenize(asked(1))) == 16


def test_what_is_no_encoder_for_this_model_is_said(tmp_path: Path) -> None:
    target = write(recipes()["llama"], tmp_path / "text.gguf")
    wide = write_eyes(tmp_path / "wide.gguf", "mlp", 96)
    with (
        Runner.load(target=target, mmproj=wide, options=OPTIONS) as runner,
        pytest.raises(ModelFileError, match=r"^wide\.gguf cannot show images to this model: mism"),
    ):
        runner.tokenize(asked(1))
    with pytest.raises(ModelFileError, match="no encoder of images; give the model's mmproj file"):
        Runner.load(target=target, mmproj=target, options=OPTIONS)


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"vision.attention.head_count": 3}, "cannot be used: llama.cpp ends the process that"),
        ({"vision.attention.layer_norm_epsilon": -1.0}, r"\(ops.cpp:\d+: GGML_ASSERT\(eps >="),
        ({"vision.block_count": 3}, "to this model: unable to find tensor v.blk.2.attn_out.weight"),
        ({"vision.patch_size": 0}, r"to this model: patch_size \(0\) must be positive"),
        ({"projector_type": "qwen2vl_merger"}, "ends the process that opens it"),
        ({"has_vision_encoder": False}, "cannot show images to this model: Failed to load CLIP"),
    ],
)
def test_an_encoder_that_would_end_the_process_is_refused(
    changed: dict[str, Any], error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "require_survived", require_survived)
    monkeypatch.setenv("SPEC_LOCAL_CACHE", str(tmp_path / "cache"))
    options = LoadOptions(n_ctx=512)
    with Model(write(recipes()["llama"], tmp_path / "text.gguf"), options, vouched=True) as model:
        model.eyes = Eyes(write_eyes(tmp_path / "eyes.gguf", "mlp", 64, **changed), model)
        for _ in range(2):
            with pytest.raises(ModelFileError, match=error):
                model.show(png(1))


@pytest.mark.parametrize("kind", ["mlp", "gemma3"])
@pytest.mark.parametrize("size", [(1, 1), (1, 5_000), (5_000, 1), (3_000, 2_000)])
def test_images_of_any_shape_are_cut(kind: str, size: tuple[int, int], tmp_path: Path) -> None:
    with Model(write(recipes()["llama"], tmp_path / "text.gguf"), OPTIONS) as model:
        model.eyes = Eyes(write_eyes(tmp_path / "eyes.gguf", kind, 64), model)
        buffer = BytesIO()
        Image.new("RGB", size).save(buffer, "PNG")
        assert len(model.vocab.marked[model.show(buffer.getvalue())]) > 0


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("https://example.org/cat.png", "as a data URL"),
        ("file:///etc/passwd", "as a data URL"),
        ("data:image/png;base64,§", "not in base64"),
        ("data:image/png;base64,AAAA", "is no image that can be read: its format is not known"),
        (None, "as a data URL"),
    ],
)
def test_what_is_no_image_is_said(url: str | None, error: str) -> None:
    part = {"type": "image_url", "image_url": {"url": url}}
    with pytest.raises(ConfigError, match=error):
        shown([{"role": "user", "content": [part]}], lambda data: picture(data).mark)


def test_an_image_of_too_many_pixels_is_refused_unread() -> None:
    buffer = BytesIO()
    Image.new("1", (10_000, 5_001)).save(buffer, "PNG")
    with pytest.raises(ConfigError, match="10,000 x 5,001 pixels"):
        picture(buffer.getvalue())


def test_a_mark_that_nobody_was_given_is_no_image(model: Model) -> None:
    with Runner(session_on(model), "none") as runner:
        forged = "\ufdd2" + "0" * 32 + "\ufdd3"
        tokens = runner.tokenize([{"role": "user", "content": forged}])
        assert tokens == runner.tokenize([{"role": "user", "content": "[image]"}])
        with pytest.raises(ConfigError, match="token ids the model lacks"):
            runner.tokenize([1, -2 - (1 << 14)])


def test_token_prompts_have_whole_images(model: Model) -> None:
    with Runner(session_on(model), "none") as runner:
        image = list(model.vocab.marked[model.show(png(1))])
        assert runner.tokenize([1, *image, 270]) == [1, *image, 270]
        for wrong in ([1, *image], [*image[1:], 270], [*image[:5], 270, 271, *image[5:], 270]):
            with pytest.raises(ConfigError, match="an image in part"):
                runner.tokenize(wrong)


def test_images_shown_long_ago_are_forgotten(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spec_local.llama.eyes._MOST_BYTES", 1)
    with session_on(model) as session:
        first, mark = png(1), model.show(png(1))
        tokens = [1, *model.vocab.marked[mark], 270]
        row = session.evaluate(tokens)[-1].copy()
        model.show(png(2))
        session.truncate(17)  # what was read stays
        assert np.array_equal(session.evaluate([270])[-1], row)
        session.truncate(0)
        with pytest.raises(EngineError, match="show it again"):
            session.evaluate(tokens)
        session.truncate(0)
        assert model.show(first) == mark
        assert model.vocab.marked[mark] != tuple(tokens[1:-1])
        again = session.evaluate([1, *model.vocab.marked[mark], 270])[-1]
        assert np.array_equal(again, row)


def test_the_encoder_does_not_keep_a_model_alive(tmp_path: Path) -> None:
    target = write(recipes()["llama"], tmp_path / "text.gguf")
    model = Model(target, OPTIONS)
    model.eyes = Eyes(write_eyes(tmp_path / "eyes.gguf", "mlp", 64), model)
    model.show(png(1))
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_of_formats_only_common_ones_are_decoded() -> None:
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"
    with pytest.raises(ConfigError, match="its format is not known"):
        picture(script)


def test_images_turn_upright(tmp_path: Path) -> None:
    image, exif = Image.new("RGB", (30, 10)), Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    image.save(tmp_path / "photo.jpg", exif=exif)
    assert picture(tmp_path / "photo.jpg")[:2] == (10, 30)


def test_the_server_takes_images(seeing: tuple[Path, Path], tmp_path: Path) -> None:
    target, encoder = seeing
    answers = []
    with served(target, parallel=2, mmproj=str(encoder)) as client:
        for seed in (1, 2, 1):
            asks = {"messages": asked(seed), "max_tokens": 12, "temperature": 0}
            answer = client.post("/v1/chat/completions", json=asks)
            assert answer.status_code == 200, answer.text
            answers.append(answer.json()["choices"][0]["message"]["content"])
        parts = [{"type": "input_text", "text": "abc abc hello"}, *asked(1)[0]["content"][1:]]
        parts[1] = {"type": "input_image", "image_url": parts[1]["image_url"]["url"]}
        given = {"input": [{"role": "user", "content": parts}], "max_output_tokens": 12}
        item = client.post("/v1/responses", json={**given, "temperature": 0}).json()["output"][0]
    with Runner.load(target=target, mmproj=encoder, options=OPTIONS) as runner:
        greedy = Sampling(temperature=0)
        assert answers[0] == runner.complete(asked(1), max_tokens=12, sampling=greedy).text
    assert answers[0] == answers[2] == item["content"][0]["text"] != answers[1]


def test_the_command_line_takes_images(
    seeing: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, encoder = seeing
    (tmp_path / "photo.png").write_bytes(png(1))
    name = ["-m", str(target), "--mmproj", str(encoder), "--temperature", "0", "-n", "8", "-q"]
    seen = CliRunner().invoke(app, ["generate", *name, "--image", f"{tmp_path}/photo.png", "hello"])
    assert seen.exit_code == 0, seen.output
    unseen = CliRunner().invoke(app, ["generate", *name, "hello"])
    assert seen.stdout != unseen.stdout
    monkeypatch.chdir(tmp_path)
    chats = []
    for typed in ("/image photo.png\nhello\n", "hello\n"):
        chats.append(CliRunner().invoke(app, ["chat", *name[:-1]], input=typed))
        assert chats[-1].exit_code == 0, chats[-1].output
    assert chats[0].stdout != chats[1].stdout
