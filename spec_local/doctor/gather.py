"""Finding out what there is: no model is loaded, nothing is fetched, and nothing fails.

A library that is missing is no reason to know nothing, so all of them are imported where they are
needed, and what cannot be told without one is None.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from spec_local.doctor.facts import Facts
from spec_local.doctor.models import (
    default_facts,
    facts_of_models,
    facts_of_pairs,
    placement_facts,
)
from spec_local.errors import SpecLocalError
from spec_local.llama.build import Build, this_build
from spec_local.llama.library_trial import library_fault
from spec_local.llama.options import LoadOptions
from spec_local.machine.hardware import this_hardware
from spec_local.machine.software import requirements, unmet, versions
from spec_local.util.told import told

if TYPE_CHECKING:
    from spec_local.machine.others import Others
    from spec_local.models.registry import Registry

VARIABLES = (
    "OMP_NUM_THREADS",
    "OMP_THREAD_LIMIT",
    "OMP_WAIT_POLICY",
    "GOMP_SPINCOUNT",
    "CUDA_VISIBLE_DEVICES",
)

_LLAMA = "llama_cpp"
"""What Python calls it; a module that is None cannot be imported."""


def gather(options: LoadOptions) -> Facts:
    """Everything, of evaluations with these options."""
    others = told(_others)
    build, build_fault = _build()
    registry, registry_fault = _registry()
    wanted = told(requirements) or {}
    cache = told(_cache)
    default = None if registry is None else told(partial(default_facts, registry, options))
    return Facts(
        versions=versions(),
        requirements=wanted,
        unmet=told(lambda: tuple(unmet(wanted))) or (),
        hardware=this_hardware(),
        environment={name: os.environ[name] for name in VARIABLES if name in os.environ},
        build=build,
        build_fault=build_fault,
        threads=told(partial(_threads, options)),
        models=None if registry is None else told(partial(facts_of_models, registry, options)),
        pairs=None if registry is None else told(partial(facts_of_pairs, registry, options)),
        default=default,
        placement=(
            None if registry is None else told(partial(placement_facts, registry, options, default))
        ),
        registry_fault=registry_fault,
        registry_file=told(_registry_file),
        cache=None if cache is None else str(cache),
        cache_can_be_written=None if cache is None else told(partial(_can_be_written, cache)),
        busy=told(lambda: None if others is None else others.processors),  # after all the rest
    )


def _others() -> Others:
    """Counts what others use from now on; our child is none of them."""
    from spec_local.machine.others import Others

    return Others(own_seconds=lambda: sum(os.times()[:4]))


def _build() -> tuple[Build | None, str | None]:
    """The build, or why it cannot be loaded; then nothing else loads it, as that may end us."""
    try:
        if (fault := library_fault()) is None:
            return this_build(), None
    except Exception as error:
        fault = str(error)
    sys.modules.setdefault(_LLAMA, None)  # type: ignore[arg-type]
    return None, fault


def _threads(options: LoadOptions) -> int:
    from spec_local.llama.backend import default_threads

    return options.n_threads or default_threads()


def _registry() -> tuple[Registry | None, str | None]:
    """What models.toml says, or what is wrong with it."""
    try:
        from spec_local.models.registry import load_registry

        return load_registry(), None
    except SpecLocalError as error:
        return None, str(error)
    except Exception:
        return None, None


def _registry_file() -> str | None:
    from spec_local.models.registry import user_file

    place = user_file()
    return None if place is None else str(place)


def _cache() -> Path:
    from spec_local.util.paths import cache_directory

    return cache_directory()


def _can_be_written(folder: Path) -> bool:
    """Whether it can be, or can be made."""
    there = next(each for each in (folder, *folder.parents) if each.exists())
    return os.access(there, os.W_OK | os.X_OK)
