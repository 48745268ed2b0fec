"""What is decided before a model is loaded, on GPUs that are made up, and again where it fails."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spec_local import LoadOptions, Runner
from spec_local.cli.machine_options import MachineOptions
from spec_local.cli.options import ModelOptions
from spec_local.cli.serve import has_room
from spec_local.errors import ContextOverflow, ContextTooLarge, ModelFileError, NotEnoughMemory
from spec_local.gguf.header import check_model_file
from spec_local.llama import placing
from spec_local.llama.demand import demand
from spec_local.llama.devices import Device
from spec_local.llama.fit import Asked, Placement, taken
from spec_local.llama.model import Model
from spec_local.llama.options import ALL, DraftOptions
from spec_local.llama.placing import MARGIN, Files, ModelFile, Placed, placed, until_it_fits
from spec_local.llama.session import Session
from spec_local.models.loading import draft_session, load_draft
from spec_local.models.registry import PairSpec
from spec_local.pair import open_pair
from tests.tiny_gguf import write_tiny
from tests.zoo.recipes import recipes, write

pytestmark = pytest.mark.llama

CARD = Device(1, "CUDA0", "CUDA", "a card", 1)
SECOND = Device(2, "CUDA1", "CUDA", "another", 1)
OPTIONS = LoadOptions(n_ctx=256, n_threads=1)

GPUs = Callable[..., None]


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> GPUs:
    """Have llama.cpp report GPUs with so many bytes free; a model that is given cpu has none."""

    def have(*free: int | None) -> None:
        found = dict(zip((CARD, SECOND), free, strict=False))
        monkeypatch.setattr(
            placing, "gpus", lambda options: () if options.devices == ("cpu",) else (*found,)
        )
        monkeypatch.setattr(placing, "free_bytes", found.__getitem__)
        monkeypatch.setattr(placing, "encoding_gpu", lambda: CARD)

    return have


@pytest.fixture(scope="module")
def files(tiny: Path, tiny_draft: Path) -> Files:
    draft = ModelFile("draft.gguf", check_model_file(tiny_draft))
    return Files(ModelFile("target.gguf", check_model_file(tiny)), [draft])


def needed(file: ModelFile, layers: int = 3, options: LoadOptions = OPTIONS) -> int:
    """Bytes of a tiny model with two layers, so many of them on a GPU."""
    asked = Asked(demand(file.header, options, 256), {"": 1.0})
    return taken(asked, Placement(layers))[""]


def test_all_of_it_where_there_is_room(files: Files, gpus: GPUs) -> None:
    both = needed(files.target) + needed(files.drafts[0])
    gpus(MARGIN + both)
    found = placed(OPTIONS, lambda: files, draft_ctx=256)
    assert found.options == replace(
        OPTIONS, n_gpu_layers=ALL, n_cpu_moe=0, draft=DraftOptions(n_gpu_layers=ALL)
    )
    assert found.has_all
    assert found.may_shrink
    size, free = f"{both / 1e9:.1f}", f"{(MARGIN + both) / 1e9:.1f}"
    assert found.said == (
        f"CUDA0, with {free} GB free, gets all of target.gguf and all of draft.gguf; everything "
        f"takes {size} GB, and 1.1 GB are kept free."
    )


def test_a_byte_less_and_it_is_a_layer_less(files: Files, gpus: GPUs) -> None:
    gpus(MARGIN + needed(files.target) + needed(files.drafts[0]) - 1)
    found = placed(OPTIONS, lambda: files, draft_ctx=256)
    assert (found.options.n_gpu_layers, found.options.draft.n_gpu_layers) == (2, ALL)
    assert not found.has_all
    assert "gets 2 of 3 layers of target.gguf and all of draft.gguf; everything" in found.said
    gpus(MARGIN + needed(files.drafts[0]))
    found = placed(OPTIONS, lambda: files, draft_ctx=256)
    assert (found.options.n_gpu_layers, found.options.draft.n_gpu_layers) == (0, ALL)
    assert "gets nothing of target.gguf and all of draft.gguf; everything would" in found.said


def test_without_a_gpu_no_file_is_looked_at(gpus: GPUs) -> None:
    def never() -> Files:
        raise AssertionError

    gpus()
    found = placed(OPTIONS, never)
    assert found == Placed(replace(OPTIONS, n_gpu_layers=ALL, n_cpu_moe=0))
    assert not found.may_shrink


def test_a_gpu_that_tells_nothing_gets_all(files: Files, gpus: GPUs) -> None:
    gpus(None)
    found = placed(OPTIONS, lambda: files, draft_ctx=256)
    assert (found.options.n_gpu_layers, found.options.draft.n_gpu_layers) == (ALL, ALL)


def test_an_image_encoder_has_its_place(files: Files, gpus: GPUs) -> None:
    seeing = files._replace(beside=1 << 20)
    both = needed(files.target) + needed(files.drafts[0])
    gpus(MARGIN + (1 << 20) + both)
    assert placed(OPTIONS, lambda: seeing, draft_ctx=256).has_all
    gpus(MARGIN + (1 << 20) + both - 1)
    assert not placed(OPTIONS, lambda: seeing, draft_ctx=256).has_all


def test_an_encoder_has_it_on_the_first_card_whatever_its_model_has(
    files: Files, gpus: GPUs, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, seeing = needed(files.target) + needed(files.drafts[0]), files._replace(beside=1 << 20)
    gpus(MARGIN + both)
    monkeypatch.setattr(placing, "encoding_gpu", lambda: SECOND)
    assert placed(OPTIONS, lambda: seeing, draft_ctx=256).has_all
    on_cpu = replace(OPTIONS, n_gpu_layers=0, draft=DraftOptions(n_gpu_layers="auto"))
    monkeypatch.setattr(placing, "encoding_gpu", lambda: CARD)
    gpus(MARGIN + needed(files.drafts[0]))
    assert placed(on_cpu, lambda: seeing, draft_ctx=256).has_all


def test_what_is_given_is_no_reason_to_ask_a_card(
    gpus: GPUs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> Any:
        raise AssertionError

    gpus(0)
    monkeypatch.setattr(placing, "free_bytes", never)
    for layers in (0, 2):
        given = replace(OPTIONS, n_gpu_layers=layers, draft=DraftOptions(n_gpu_layers=layers))
        assert placed(given, never) == Placed(replace(given, n_cpu_moe=0))
    assert placed(replace(OPTIONS, n_gpu_layers=0), never).options.n_gpu_layers == 0


def test_what_is_given_stays(files: Files, gpus: GPUs) -> None:
    gpus(0)
    given = replace(OPTIONS, n_gpu_layers=2, draft=DraftOptions(n_gpu_layers=1))
    found = placed(given, lambda: files, draft_ctx=256)
    assert found == Placed(replace(given, n_cpu_moe=0))
    found = placed(replace(OPTIONS, n_gpu_layers=2), lambda: files, draft_ctx=256)
    assert (found.options.n_gpu_layers, found.options.draft.n_gpu_layers) == (2, 0)
    assert not found.may_shrink
    draft_on_cpu = replace(OPTIONS, draft=DraftOptions(devices=("cpu",)))
    gpus(MARGIN + needed(files.target))
    assert placed(draft_on_cpu, lambda: files, draft_ctx=256).options.n_gpu_layers == ALL


def test_two_gpus_are_named_and_each_keeps_the_margin(files: Files, gpus: GPUs) -> None:
    gpus(MARGIN + (1 << 22), MARGIN + (1 << 22))
    found = placed(OPTIONS, lambda: files, draft_ctx=256)
    assert found.said.startswith("CUDA0 and CUDA1, with 2.2 GB free, get all of target.gguf and")
    assert found.said.endswith("and 2.1 GB are kept free.")


def test_experts_that_stay_are_said(tmp_path: Path, gpus: GPUs) -> None:
    path = write(recipes()["qwen3moe"], tmp_path / "experts.gguf")
    file = ModelFile("experts.gguf", check_model_file(path))
    needs = demand(file.header, OPTIONS, 256)
    assert all(needs.experts)
    asked = Asked(needs, {"": 1.0})
    gpus(MARGIN + taken(asked, Placement(3, 1))[""])
    found = placed(OPTIONS, lambda: Files(file))
    assert (found.options.n_gpu_layers, found.options.n_cpu_moe) == (ALL, 1)
    assert "gets all of experts.gguf but the experts of its first layer; " in found.said
    without = replace(OPTIONS, n_cpu_moe=ALL)
    gpus(MARGIN + taken(asked, Placement(2, 2))[""])
    found = placed(without, lambda: Files(file))
    assert (found.options.n_gpu_layers, found.options.n_cpu_moe) == (2, ALL)
    assert "gets 2 of 3 layers of experts.gguf without experts; everything would" in found.said


def by_margin(layers: dict[int, int]) -> Callable[[int], Placed]:
    """A decision for each margin, in units of the usual one; 0 beyond."""

    def place(margin: int) -> Placed:
        count = layers.get(margin // MARGIN, 0)
        return Placed(LoadOptions(n_gpu_layers=count), may_shrink=count > 0)

    return place


class Loader:
    """Loads so many layers at most."""

    def __init__(self, room: int, error: type[Exception] = NotEnoughMemory) -> None:
        self.tried = list[tuple[int, bool]]()
        self._room, self._error = room, error

    def __call__(self, found: Placed, is_close: bool) -> str:
        layers = found.options.n_gpu_layers
        assert isinstance(layers, int)
        self.tried.append((layers, is_close))
        if layers > self._room:
            raise self._error(f"{layers} layers do not fit.")
        return f"{layers} layers"


@pytest.mark.parametrize("error", [NotEnoughMemory, ContextTooLarge])
def test_while_memory_is_short_it_is_tried_with_fewer_layers(
    error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    load = Loader(20, error)
    place = by_margin({1: 33, 2: 33, 4: 30, 8: 20, 16: 20})
    assert until_it_fits(place, load) == "20 layers"
    assert load.tried == [(33, False), (30, True), (20, False)]
    assert [record.getMessage() for record in caplog.records] == [
        "note: 33 layers do not fit; it is tried with fewer layers on GPUs.",
        "note: 30 layers do not fit; it is tried with fewer layers on GPUs.",
    ]


def test_of_what_was_short_the_reason_is_said_and_no_advice(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def load(found: Placed, _is_close: bool) -> None:
        if found.options.n_gpu_layers:
            raise NotEnoughMemory("It does not fit", "give --gpu-layers fewer")

    until_it_fits(by_margin({1: 33}), load)
    assert caplog.messages == [
        "note: It does not fit; it is tried with fewer layers on GPUs.",
    ]


def test_more_for_the_processor_is_no_help_where_its_own_memory_is_short() -> None:
    tried = list[int]()

    def load(found: Placed, _is_close: bool) -> None:
        tried.append(int(found.options.n_gpu_layers))
        raise ContextTooLarge("It does not fit", "ask for less", of_machine=True)

    with pytest.raises(ContextTooLarge, match=r"^It does not fit; ask for less\.$"):
        until_it_fits(by_margin({1: 33, 2: 5}), load)
    assert tried == [33]


def test_it_ends_with_none_on_gpus() -> None:
    load = Loader(-1)
    with pytest.raises(NotEnoughMemory, match=r"^0 layers do not fit"):
        until_it_fits(by_margin({1: 33, 2: 5}), load)
    assert [layers for layers, _close in load.tried] == [33, 5, 0]


@pytest.mark.parametrize("error", [ModelFileError, ContextOverflow])
def test_other_errors_are_no_reason_to_try_again(error: type[Exception]) -> None:
    load = Loader(0, error)
    with pytest.raises(error):
        until_it_fits(by_margin({1: 33}), load)
    assert len(load.tried) == 1


def test_why_not_all_is_a_note_and_that_all_is_there_is_none(
    files: Files, gpus: GPUs, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "spec_local.llama.placing")
    for free in (1 << 40, MARGIN + needed(files.drafts[0])):
        gpus(free)
        until_it_fits(lambda margin: placed(OPTIONS, lambda: files, margin, 256), lambda *_: None)
    told, noted = caplog.records
    assert (told.levelno, noted.levelno) == (logging.INFO, logging.WARNING)
    assert told.getMessage().startswith("CUDA0, with 1,099.5 GB free, gets all of target.gguf")
    assert noted.getMessage().startswith("note: CUDA0, with 1.1 GB free, gets nothing of target")


def test_a_model_by_itself_decides_for_itself(tiny: Path, files: Files, gpus: GPUs) -> None:
    gpus(MARGIN + needed(files.target, 2))
    with Model(tiny, OPTIONS) as model:
        assert (model.options.n_gpu_layers, model.options.n_cpu_moe) == (2, 0)
        assert model.identity["gpu_layers"] == 2
    with Model(tiny, replace(OPTIONS, n_gpu_layers=7)) as model:
        assert model.options.n_gpu_layers == 7


def test_a_pair_counts_both_and_is_loaded_so(
    tiny: Path, tiny_draft: Path, files: Files, gpus: GPUs
) -> None:
    gpus(MARGIN + needed(files.target, 2) + needed(files.drafts[0]))
    with Runner.load(target=tiny, draft=tiny_draft, drafter="model", options=OPTIONS) as runner:
        assert runner.target.model.options.n_gpu_layers == 2
        assert runner.draft is not None
        assert runner.draft.model.options.n_gpu_layers == ALL
        assert runner.complete("abc", max_tokens=4).tokens


def test_contexts_that_have_no_room_cost_layers(
    tiny: Path, gpus: GPUs, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are tried while the models can still be loaded with fewer."""
    gpus(MARGIN + needed(files.target))
    failures = [ContextTooLarge("A context cannot be made.")]

    def failing_once(model: Model) -> Session:
        if failures:
            raise failures.pop()
        return Session(model)

    monkeypatch.setattr("spec_local.pair.session_on", failing_once)
    with Runner.load(target=tiny, drafter="none", options=OPTIONS) as runner:
        assert runner.target.model.options.n_gpu_layers == 0


@pytest.mark.parametrize("where", ["pair.draft_session", "models.loading.load_draft"])
@pytest.mark.parametrize("often", [1, 2])
def test_a_draft_that_nobody_named_costs_layers_before_it_is_done_without(
    where: str,
    often: int,
    tiny: Path,
    tiny_draft: Path,
    files: Files,
    gpus: GPUs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Once there is nothing left to shrink, it is."""
    gpus(MARGIN + needed(files.target) + needed(files.drafts[0]))
    failures = [NotEnoughMemory("It does not fit.") for _ in range(often)]
    does: dict[str, Callable[..., object]] = {
        "pair.draft_session": draft_session,
        "models.loading.load_draft": load_draft,
    }

    def failing(*args: Any) -> object:
        if failures:
            raise failures.pop()
        return does[where](*args)

    monkeypatch.setattr(f"spec_local.{where}", failing)
    spec = PairSpec(str(tiny), str(tiny_draft))
    with open_pair(spec, options=OPTIONS, may_lack_draft=True) as pair, ExitStack() as stack:
        assert pair.target.options.n_gpu_layers == pair.target.options.draft.n_gpu_layers == 0
        assert len(pair.sessions(stack).drafts) == (1 if often == 1 else 0)


def test_what_is_loaded_later_has_its_room(
    tiny: Path, tiny_draft: Path, files: Files, gpus: GPUs
) -> None:
    gpus(MARGIN + needed(files.target) + needed(files.drafts[0]) - 1)
    spec, later = PairSpec(str(tiny)), [str(tiny_draft)]
    with open_pair(spec, options=OPTIONS, later=later) as pair:
        assert pair.drafts == {}
        assert (pair.target.options.n_gpu_layers, pair.target.options.draft.n_gpu_layers) == (
            2,
            ALL,
        )
    with open_pair(spec, options=OPTIONS) as pair:
        assert pair.target.options.n_gpu_layers == ALL


def test_as_many_contexts_are_tried_as_there_will_be(
    tiny: Path, files: Files, gpus: GPUs, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, made = replace(OPTIONS, contexts=3), list[Model]()
    gpus(MARGIN + needed(files.target, options=options))

    def third_fails(model: Model) -> Session:
        made.append(model)
        if len(made) == 3:
            raise ContextTooLarge("A context cannot be made.")
        return Session(model)

    monkeypatch.setattr("spec_local.pair.session_on", third_fails)
    with open_pair(PairSpec(str(tiny)), ["none"], options=options) as pair:
        assert pair.target.options.n_gpu_layers == 0
    assert len(made) == 3


def test_a_server_knows_whether_there_is_room_for_all(
    tiny: Path, tiny_draft: Path, files: Files, gpus: GPUs
) -> None:
    models = ModelOptions(target=str(tiny), draft=[str(tiny_draft)])
    machine = MachineOptions(ctx_size=256, threads=1)
    gpus(MARGIN + needed(files.target) + needed(files.drafts[0]))
    assert has_room(models, 1, machine)
    assert not has_room(models, 2, machine)
    assert has_room(replace(models, drafter="none"), 1, machine)
    assert has_room(replace(models, target="nowhere.gguf"), 2, machine)  # loading says why not


def test_a_context_is_no_longer_than_the_training(tmp_path: Path, gpus: GPUs) -> None:
    trained = write_tiny(tmp_path / "trained.gguf", n_ctx=512)
    file = ModelFile("trained.gguf", check_model_file(trained))
    everything = replace(OPTIONS, n_ctx=0)
    room = taken(Asked(demand(file.header, everything, 512), {"": 1.0}), Placement(3))[""]
    gpus(MARGIN + room)
    assert placed(everything, lambda: Files(file)).has_all
    gpus(MARGIN + room - 1)
    assert not placed(everything, lambda: Files(file)).has_all
