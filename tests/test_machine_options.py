"""What the options of memory, threads and devices mean."""

from __future__ import annotations

import os
from typing import Any

import pytest

from spec_local.cli.machine_options import MachineOptions, load_options
from spec_local.errors import ConfigError
from spec_local.llama.options import ALL, AUTO, DraftOptions, LoadOptions


def test_by_default_everything_is_decided_when_it_is_known() -> None:
    assert load_options(MachineOptions()) == LoadOptions()
    assert LoadOptions().n_gpu_layers == LoadOptions().n_cpu_moe == AUTO


@pytest.mark.parametrize(
    ("said", "meant"), [("auto", AUTO), ("all", ALL), ("-1", ALL), ("0", 0), ("17", 17)]
)
def test_layers_are_a_number_or_a_word(said: str, meant: object) -> None:
    assert load_options(MachineOptions(gpu_layers=said)).n_gpu_layers == meant
    assert load_options(MachineOptions(cpu_moe=said)).n_cpu_moe == meant
    assert load_options(MachineOptions(draft_gpu_layers=said)).draft.n_gpu_layers == meant


def test_devices_and_their_shares() -> None:
    found = load_options(MachineOptions(device=["CUDA1", "cuda"], tensor_split="3,1"))
    assert (found.devices, found.tensor_split) == (("CUDA1", "cuda"), (3.0, 1.0))
    assert load_options(MachineOptions(device=["auto"])) == LoadOptions()
    of_draft = load_options(MachineOptions(draft_device=["auto"])).draft
    assert of_draft == DraftOptions(devices=())


def test_a_draft_is_loaded_as_its_target_but_for_what_is_said() -> None:
    target = load_options(
        MachineOptions(threads=1, kv_type="q8_0", device=["CUDA0"], tensor_split="1", batch=64)
    )
    as_target = target.for_draft()
    assert as_target == load_options(
        MachineOptions(
            threads=1, kv_type="q8_0", device=["CUDA0"], tensor_split="1", batch=64, cpu_moe="0"
        )
    )
    own = load_options(
        MachineOptions(
            device=["CUDA0"],
            tensor_split="1",
            draft_device=["cpu"],
            draft_threads=0,
            draft_kv_type="q4_0",
            draft_gpu_layers="3",
        )
    ).for_draft()
    assert (own.devices, own.tensor_split, own.n_gpu_layers) == (("cpu",), (), 3)
    assert (own.n_threads, own.kv_type_k, own.kv_type_v) == (0, "q4_0", "q4_0")
    assert own.draft == DraftOptions()


@pytest.mark.parametrize(("when", "ahead"), [("on", True), ("off", False), ("auto", None)])
def test_a_draft_is_told_when_to_draft_ahead(when: str, ahead: bool | None) -> None:
    assert load_options(MachineOptions(draft_ahead=when)).draft.ahead is ahead


@pytest.mark.parametrize(
    ("layers", "device", "of_draft"),
    [("0", None, 0), ("0", ["cuda"], AUTO), ("17", None, AUTO), ("all", None, AUTO)],
)
def test_a_draft_is_on_gpus_as_far_as_it_fits_where_its_target_is(
    layers: str, device: list[str] | None, of_draft: object
) -> None:
    found = load_options(MachineOptions(gpu_layers=layers, draft_device=device))
    assert found.for_draft().n_gpu_layers == of_draft


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"gpu_layers": "most"}, "--gpu-layers must be a number, all or auto, not 'most'."),
        ({"gpu_layers": "-2"}, "--gpu-layers must be at least -1, which is all layers, not -2."),
        ({"cpu_moe": "-2"}, "--cpu-moe must be at least -1, which is all layers, not -2."),
        ({"draft_gpu_layers": "x"}, "--draft-gpu-layers must be a number, all or auto, not 'x'."),
        (
            {"draft_gpu_layers": "-2"},
            "--draft-gpu-layers must be at least -1, which is all layers, not -2.",
        ),
        ({"tensor_split": "3:1"}, "--tensor-split must be numbers with commas, such as 3,1, not"),
        ({"tensor_split": "0,0"}, "--tensor-split must be proportions of at least 0, not all of"),
        ({"tensor_split": "-1,2"}, "--tensor-split must be proportions of at least 0, not all of"),
        ({"tensor_split": "nan"}, "--tensor-split must be proportions of at least 0, not all of"),
        ({"kv_type": "q9"}, "--kv-type must be one of f32, f16"),
        ({"draft_ahead": "yes"}, "--draft-ahead must be on, off or auto, not 'yes'"),
        ({"draft_kv_type": "q9"}, "--draft-kv-type must be one of f32, f16"),
        (
            {"flash_attention": "off", "draft_kv_type": "q8_0"},
            "A V cache of type q8_0 needs flash attention; turn that on.",
        ),
    ],
)
def test_what_has_no_meaning_is_said_of_the_option(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_options(MachineOptions(**given))
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize("option", ["threads", "draft_threads"])
def test_more_threads_than_processors_are_refused(option: str) -> None:
    many = (os.cpu_count() or 1) + 1
    with pytest.raises(ConfigError, match=rf"give --{option.replace('_', '-')} at most {many - 1}"):
        load_options(MachineOptions(**{option: many}))  # type: ignore[arg-type]


def test_words_are_no_numbers_for_the_library_either() -> None:
    with pytest.raises(ConfigError, match="n_gpu_layers must be a whole number, or auto, not 'x'"):
        LoadOptions(n_gpu_layers="x")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="n_ctx must be a whole number, not 'auto'"):
        LoadOptions(n_ctx="auto")  # type: ignore[arg-type]
