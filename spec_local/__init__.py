"""Speculative decoding for GGUF models on your own machine: faster, and not one word different.

    from spec_local import Runner

    with Runner.load("smollm2") as runner:
        for chunk in runner.generate([{"role": "user", "content": "Hello!"}]):
            print(chunk.text, end="", flush=True)

Names are imported when they are first used, so that `spec-local --help` need not load llama.cpp,
and Ctrl-C finds a program that can be interrupted within milliseconds.
"""

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spec_local.chat import Chat
    from spec_local.engine.draft import Draft
    from spec_local.engine.logprobs import TokenLogprobs
    from spec_local.engine.rounds import Stats
    from spec_local.engine.types import Drafter
    from spec_local.errors import (
        ConfigError,
        ContextOverflow,
        DownloadError,
        EngineError,
        ModelFileError,
        PrefixMismatch,
        RunnerBusy,
        SpecLocalError,
        VocabularyMismatch,
    )
    from spec_local.generation import Chunk, Completion, Generation
    from spec_local.llama.adapter import Adapter
    from spec_local.llama.options import DraftOptions, LoadOptions
    from spec_local.llama.template import ChatTemplate
    from spec_local.machine.profile import ProfileStore
    from spec_local.runner import Runner
    from spec_local.sampling.settings import Sampling

    __version__: str

logging.getLogger(__name__).addHandler(logging.NullHandler())  # else Python writes to stderr

__all__ = [
    "Adapter",
    "Chat",
    "ChatTemplate",
    "Chunk",
    "Completion",
    "ConfigError",
    "ContextOverflow",
    "DownloadError",
    "Draft",
    "DraftOptions",
    "Drafter",
    "EngineError",
    "Generation",
    "LoadOptions",
    "ModelFileError",
    "PrefixMismatch",
    "ProfileStore",
    "Runner",
    "RunnerBusy",
    "Sampling",
    "SpecLocalError",
    "Stats",
    "TokenLogprobs",
    "VocabularyMismatch",
    "__version__",
]

_HOMES = {
    "Adapter": "llama.adapter",
    "Sampling": "sampling.settings",
    "Stats": "engine.rounds",
    "Chat": "chat",
    "ChatTemplate": "llama.template",
    "Draft": "engine.draft",
    "DraftOptions": "llama.options",
    "Drafter": "engine.types",
    "Chunk": "generation",
    "Completion": "generation",
    "Generation": "generation",
    "LoadOptions": "llama.options",
    "ProfileStore": "machine.profile",
    "TokenLogprobs": "engine.logprobs",
    "Runner": "runner",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "__version__":
        from importlib.metadata import version

        return version("spec-local")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
