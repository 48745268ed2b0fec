"""Everything that a file may die of, once: `python -m spec_local.llama.trial_run FILE SETTINGS`.

Run by `trial.py`, which takes an end by a signal for the verdict. A refusal in words is none:
whoever opens the file afterwards hears the same, and it is tried again.
"""

from __future__ import annotations

import json
import math
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from spec_local.errors import SpecLocalError
from spec_local.llama.adapter import Adapter
from spec_local.llama.model import Model
from spec_local.llama.mtp_chain import own_heads
from spec_local.llama.options import LoadOptions
from spec_local.llama.pictures import Picture
from spec_local.llama.seeing import SeeingSession
from spec_local.llama.session import Session
from spec_local.llama.template import ChatTemplate
from spec_local.llama.template_limits import TemplateTooCostly, TemplateWithoutEnd
from spec_local.llama.trial import REFUSED, TEMPLATE_COSTLY, TEMPLATE_FAULT

_MEMORY = 4 << 30
"""Bytes a trial may take beside the file, which is only mapped."""
_TOKENS, _ROWS, _KEPT = 8, 2, 5
"""Tokens evaluated; logits asked of so few of them that a model which gives all of them is found
out; and what is left after going back."""
_IMAGE = (48, 32)
"""Width and height of the image that an encoder is tried with."""
_TEXT = "".join(
    map(
        chr,
        (
            *range(0xC0),  # ASCII, then every second byte that UTF-8 has …
            *range(0x80, 0x800, 0x40),  # … and every first one of two bytes, of three, of four
            *(0x800, *range(0x1000, 0x10000, 0x1000)),
            *(0x10000, 0x40000, 0x80000, 0xC0000, 0x100000),
        ),
    )
)
"""Some vocabularies lack a byte, and llama.cpp ends the process when a text needs it."""
_MESSAGES = (
    {"role": "user", "content": "Hello!"},
    {"role": "assistant", "content": "Good morning."},
    {"role": "user", "content": "How are you?"},
)


def main() -> int:
    """Try the file that the arguments name; the exit status."""
    path, settings = sys.argv[1], json.loads(sys.argv[2])
    encoder = settings.pop("encoder", None)
    _limit_memory(0 if encoder is None else os.path.getsize(encoder))
    try:
        if encoder is None:
            _use(Path(path), **settings)
        else:
            _look(Path(path), Path(encoder), **settings)
    except TemplateWithoutEnd as error:
        print(error, file=sys.stderr)
        return TEMPLATE_COSTLY if isinstance(error, TemplateTooCostly) else TEMPLATE_FAULT
    except SpecLocalError:
        return REFUSED
    return 0


def _use(
    path: Path, vocabulary: bool, heads: bool = False, adapter: str | None = None, **kind: Any
) -> None:
    """Load, tokenize, render, evaluate, go back and evaluate again; on the processor only."""
    lora = () if adapter is None else (Adapter(Path(adapter)),)
    options = LoadOptions(
        n_ctx=256, n_batch=64, n_gpu_layers=0, repack=False, trial=False, lora=lora, **kind
    )
    with Model(path, options, vocab_only=vocabulary, vouched=True, heads=heads) as model:
        for special in (True, False):
            model.vocab.tokenize(_TEXT, add_special=special, parse_special=special)
        if vocabulary:
            return
        n_vocab = model.vocab.n_tokens
        tokens = [number * n_vocab // _TOKENS for number in range(_TOKENS)]
        with Session(model, max_rows=_ROWS) as session:
            session.evaluate(tokens, _ROWS)
            session.truncate(_KEPT)
            session.evaluate(tokens[_KEPT:])
            if heads:
                with own_heads(session) as drafting:
                    drafting.evaluate(tokens)
                    for token in tokens[
                        1 : model.header.tensors.heads
                    ]:  # each by a layer of its own
                        drafting.evaluate([token])
        _render(model)


def _look(path: Path, encoder: Path, vocabulary: bool, **kind: Any) -> None:
    """Show the model an image, and go back before it; on the processor only."""
    from spec_local.llama.eyes import Eyes  # its library may be missing, and models need it not

    assert not vocabulary
    options = LoadOptions(
        n_ctx=2048, n_batch=1024, n_ubatch=1024, n_gpu_layers=0, repack=False, trial=False, **kind
    )
    with Model(path, options, vouched=True) as model, Eyes(encoder, model) as eyes:
        mark = eyes.show(Picture(*_IMAGE, bytes(3 * math.prod(_IMAGE))))
        with SeeingSession(model, eyes, max_rows=_ROWS) as session:
            session.evaluate([*model.vocab.marked[mark], 0])
            session.truncate(0)
            session.evaluate([0])


def _render(model: Model) -> None:
    """A template that refuses is no fault of the file: texts can be completed without one."""
    for count in (1, len(_MESSAGES)):
        try:
            text = ChatTemplate(model).render(_MESSAGES[:count])
        except TemplateWithoutEnd:
            raise
        except SpecLocalError:
            continue
        model.vocab.tokenize(text, add_special=False, parse_special=True)


def _limit_memory(more: int) -> None:
    """Where the system can; nor is a core written. more: bytes of a file that is not mapped."""
    try:
        import resource
    except ImportError:  # Windows
        return
    for kind, most in ((resource.RLIMIT_DATA, _MEMORY + more), (resource.RLIMIT_CORE, 0)):
        _soft, hard = resource.getrlimit(kind)
        within = hard == resource.RLIM_INFINITY or most <= hard
        with suppress(ValueError, OSError):  # macOS takes no limit of data
            resource.setrlimit(kind, (most if within else hard, hard))


if __name__ == "__main__":
    sys.exit(main())
