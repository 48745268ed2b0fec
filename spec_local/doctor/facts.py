"""What was found out, as records; None is what could not be. Sizes are bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from spec_local.llama.build import Build
from spec_local.machine.hardware import Hardware
from spec_local.machine.software import Unmet


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A model that is here, and what this machine has learned of it."""

    name: str
    path: str
    bytes: int
    is_pulled: bool
    """Else it is a file of the user's, or in the Hugging Face cache."""
    tuned_at: float | None
    """When `spec-local tune` measured it, as a Unix time; 0.0 for never."""
    is_learned: bool | None
    """Whether costs are known, from use or from tuning."""
    certified: tuple[int, ...] | None
    """Widths at which `--exact` evaluates, by its certificate; empty without one."""


@dataclass(frozen=True, slots=True)
class PairFacts:
    """A pair whose models are both here."""

    name: str
    target: str
    draft: str
    accepted: float | None
    """Share of the draft's tokens that the target has accepted here; None if none was judged."""
    most_speedup: float | None
    """Over plain decoding, at that share, or else if all were accepted; None: not measured yet."""


@dataclass(frozen=True, slots=True)
class DefaultPair:
    """The pair that commands take without a name."""

    name: str
    target: str
    draft: str | None
    """Its own, or the best one that is here; None if nothing here can draft."""
    bytes: int
    """Of both files; 0 if that is not known."""
    other: str | None
    """A pair with a draft, which could be pulled."""


@dataclass(frozen=True, slots=True)
class PlacementFacts:
    """What GPUs would get of the default pair if it were loaded now."""

    devices: tuple[str, ...]
    """Those that layers may be put on; none where the processor computes alone."""
    has_all: bool
    """Whether they would get all that they can have."""
    said: str
    """What they would get, in a sentence; empty where there is nothing to decide."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that a report is made from."""

    versions: Mapping[str, str]
    requirements: Mapping[str, str]
    """What spec-local requires, by the package: as pip takes it."""
    unmet: tuple[Unmet, ...]
    hardware: Hardware
    busy: float | None
    """Processors that other programs use at this moment."""
    environment: Mapping[str, str]
    """Variables that are set and change how llama.cpp computes."""
    build: Build | None
    build_fault: str | None
    """Why there is no build."""
    threads: int | None
    """With which evaluations are made."""
    models: tuple[ModelFacts, ...] | None
    pairs: tuple[PairFacts, ...] | None
    default: DefaultPair | None
    placement: PlacementFacts | None
    registry_fault: str | None
    """What is wrong with the user's models.toml."""
    registry_file: str | None
    """Where that is."""
    cache: str | None
    """Where models and what is learned are kept."""
    cache_can_be_written: bool | None
