"""Deciding how much of a target and its drafts GPUs get; and less of it where that fails."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar

from spec_local.errors import ShortOfMemory
from spec_local.gguf.header import GGUFHeader
from spec_local.llama.demand import demand
from spec_local.llama.devices import encoding_gpu, free_bytes, gpus
from spec_local.llama.fit import Asked, fit
from spec_local.llama.options import ALL, AUTO, LoadOptions
from spec_local.llama.placement_words import PlacedModel, said_of

logger = logging.getLogger("spec_local.llama.placing")

MARGIN = 1 << 30
"""Bytes left free on every GPU, for what is not counted and for other programs. llama.cpp's own
--fit leaves as much."""
_UNTOLD = sys.maxsize
"""Free bytes of a GPU that tells nothing of its memory: it gets all, as llama.cpp does it."""

Loaded = TypeVar("Loaded")


class ModelFile(NamedTuple):
    """A model that is to be loaded."""

    name: str
    header: GGUFHeader


class Files(NamedTuple):
    """All that is to be loaded."""

    target: ModelFile
    drafts: Sequence[ModelFile] = ()
    beside: int = 0
    """Bytes that an image encoder will take of a GPU, if anything of the target is on one."""


class Placed(NamedTuple):
    """What was decided."""

    options: LoadOptions
    """With numbers in the place of auto."""
    said: str = ""
    """What goes where, and why, in a sentence; empty where nothing was decided."""
    has_all: bool = True
    """Whether GPUs have all that they could have."""
    may_shrink: bool = False
    """Whether they have something that could be left to the processor."""


def placed(
    options: LoadOptions, files: Callable[[], Files], margin: int = MARGIN, draft_ctx: int = 0
) -> Placed:
    """Where the layers of a target and of its drafts go.

    files: gives them; called only if there is a GPU and something to decide. margin: bytes that are
    left free on each. draft_ctx: most tokens of a draft's context. Raises ConfigError for a device
    that is not here.
    """
    drafting = options.for_draft()
    here, theirs = gpus(options), gpus(drafting)
    decides, may_decide = options.n_gpu_layers == AUTO, drafting.n_gpu_layers == AUTO
    if not (here or theirs) or not (decides or may_decide):
        return Placed(numbered(options))
    target, drafts, beside = files()
    decides_drafts = bool(drafts) and may_decide
    if not (decides or decides_drafts):
        return Placed(numbered(options))

    free = {device.name: free_bytes(device) for device in (*here, *theirs)}
    known = {name: _UNTOLD if size is None else size for name, size in free.items()}
    room = {name: size - margin for name, size in known.items()}
    spare = margin * len(free)
    if beside and here and options.n_gpu_layers != 0:
        spare += _kept_for_encoder(beside, room)
    asked = _asked(target, options, known, options.n_ctx)
    most = min(drafting.n_ctx or draft_ctx, draft_ctx)
    asked_drafts = [_asked(draft, drafting, known, most) for draft in drafts]
    placement, of_drafts = fit(asked, asked_drafts, room)

    models = [PlacedModel(target.name, asked, placement)]
    models += [
        PlacedModel(draft.name, each, of_drafts if each.layers is None else each.best)
        for draft, each in zip(drafts, asked_drafts, strict=True)
    ]
    found = numbered(options, models[0].layers, placement.cpu_moe)
    if decides_drafts:
        deepest = max(models[1:], key=lambda each: each.asked.demand.most)
        found = replace(found, draft=replace(options.draft, n_gpu_layers=deepest.layers))
    return Placed(
        found,
        said_of(models, free, spare=spare),
        has_all=all(model.has_all for model in models),
        may_shrink=(decides and models[0].is_on_gpu)
        or (decides_drafts and any(model.is_on_gpu for model in models[1:])),
    )


def _kept_for_encoder(size: int, room: dict[str, int]) -> int:
    """So many bytes less where image encoders are; none if no layers go there."""
    gpu = encoding_gpu()
    if gpu is None or gpu.name not in room:
        return 0
    room[gpu.name] -= size
    return size


def numbered(options: LoadOptions, layers: int = ALL, cpu_moe: int = 0) -> LoadOptions:
    """The options with these numbers where they say auto of the target."""
    return replace(
        options,
        n_gpu_layers=layers if options.n_gpu_layers == AUTO else options.n_gpu_layers,
        n_cpu_moe=cpu_moe if options.n_cpu_moe == AUTO else options.n_cpu_moe,
    )


def _asked(file: ModelFile, options: LoadOptions, free: Mapping[str, int], n_ctx: int) -> Asked:
    """What a model asks for, and what its options do not leave open."""
    trained = file.header.hyperparameter("context_length", n_ctx)
    needs = demand(file.header, options, min(n_ctx or trained, trained))
    names = [device.name for device in gpus(options)]
    split = options.tensor_split or [max(1, free[name]) for name in names]
    layers, cpu_moe = options.n_gpu_layers, options.n_cpu_moe
    decides = layers == AUTO
    return Asked(
        needs,
        dict(zip(names, split, strict=False)),
        None if layers == AUTO else _number(layers, needs.most),
        (None if decides else 0) if cpu_moe == AUTO else _number(cpu_moe, len(needs.layers)),
    )


def _number(given: int, every: int) -> int:
    return every if given == ALL else min(given, every)


def until_it_fits(place: Callable[[int], Placed], load: Callable[[Placed, bool], Loaded]) -> Loaded:
    """Load as it was placed; while memory is short, again with more of it left free.

    place: what is decided for a margin. load: is told that, and whether it is close: with twice the
    margin less would be on GPUs. Raises NotEnoughMemory or ContextTooLarge when there is nothing
    left that the processor could take, or where it is the machine's memory that is short.
    """
    margin = MARGIN
    found = place(margin)
    while True:
        _tell(found)
        is_close = found.may_shrink and place(2 * margin).options != found.options
        try:
            return load(found, is_close)
        except ShortOfMemory as error:
            if not found.may_shrink or error.of_machine:
                raise
            logger.warning("note: %s; it is tried with fewer layers on GPUs.", error.reason)
        failed = found.options
        while found.options == failed:
            margin *= 2
            found = place(margin)


def _tell(found: Placed) -> None:
    """A note where something had to stay with the processor; else it is of no interest."""
    if found.said and not found.has_all:
        logger.warning("note: %s", found.said)
    elif found.said:
        logger.info(found.said)
