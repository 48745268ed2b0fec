"""llama-cpp-python's own `Llama` as a program to measure: `python -m spec_local.llama.peer`.

One line of JSON in, one out. The first line in holds the settings (model: a path; lookup: whether
to draft by prompt lookup; load: the fields of `LoadOptions`), and the answer to it the version.
Every further line is a question, and the answer its tokens and their times in seconds. The program
ends when its input does.

It loads llama.cpp the way spec-local does, so both run under the same thread and AMX policy.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from contextlib import closing
from time import perf_counter
from typing import Any, TextIO

from spec_local.llama.backend import lib
from spec_local.llama.devices import on_gpu
from spec_local.llama.kv_types import KV_TYPES
from spec_local.llama.options import LoadOptions
from spec_local.llama.placing import numbered
from spec_local.util.descriptors import STDERR, STDOUT, redirected

from llama_cpp import Llama, __version__  # isort: skip  # after backend, which prepares it
from llama_cpp.llama_speculative import LlamaPromptLookupDecoding  # isort: skip


def main() -> None:
    """Answer until standard input ends."""
    with (
        os.fdopen(os.dup(STDOUT), "w", encoding="utf-8") as answers,
        redirected(STDOUT, STDERR),  # what llama.cpp prints must not come between the answers
    ):
        _serve(sys.stdin, answers)


def _serve(questions: TextIO, answers: TextIO) -> None:
    settings = json.loads(questions.readline())
    with closing(
        load(settings["model"], LoadOptions(**settings["load"]), settings["lookup"])
    ) as llm:
        print(json.dumps({"version": __version__}), file=answers, flush=True)
        for line in questions:
            print(json.dumps(answer(llm, json.loads(line))), file=answers, flush=True)


def load(path: str, options: LoadOptions, lookup: bool) -> Llama:
    """A `Llama` with these options, as far as its constructor takes them.

    Flash attention is on or off there, so `auto` turns it on. With lookup it keeps
    n_ctx x n_vocab logits, of which the table for prompts longer than one batch must be asked for.
    """
    layers = numbered(options).n_gpu_layers if on_gpu(options) else 0
    assert isinstance(layers, int)
    return Llama(
        path,
        n_ctx=options.n_ctx,
        n_threads=options.n_threads,
        n_threads_batch=options.n_threads,
        n_batch=options.n_batch,
        n_ubatch=options.n_ubatch,
        n_gpu_layers=layers,
        tensor_split=list(options.tensor_split) or None,
        main_gpu=options.main_gpu,
        use_mmap=options.mmap,
        use_mlock=options.mlock,
        flash_attn=options.flash_attention != "off",
        type_k=KV_TYPES[options.kv_type_k].number,
        type_v=KV_TYPES[options.kv_type_v].number,
        draft_model=LlamaPromptLookupDecoding() if lookup else None,
        logits_all=lookup,
        verbose=False,
    )


def answer(llm: Llama, question: Mapping[str, Any]) -> dict[str, Any]:
    """Generate up to an end-of-generation token or max_tokens; time the first token apart."""
    vocabulary = lib.llama_model_get_vocab(llm.model)
    llm.set_seed(question["seed"])
    tokens: list[int] = []
    times = [perf_counter()]
    llm.reset()
    generation = llm.generate(
        question["tokens"],
        temp=question["temperature"],
        top_k=question["top_k"],
        top_p=question["top_p"],
        min_p=question["min_p"],
    )
    with closing(generation):
        for token in generation:
            tokens.append(token)
            times.append(perf_counter())
            if len(tokens) == question["max_tokens"] or lib.llama_vocab_is_eog(vocabulary, token):
                break
    start, first, last = times[0], times[1], times[-1]
    return {"tokens": tokens, "prompt_seconds": first - start, "seconds": last - first}


if __name__ == "__main__":
    main()
