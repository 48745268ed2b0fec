"""`--prompt-cache FILE`: what a prompt begins with is read by the first run alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from spec_local.cli.output import say
from spec_local.errors import PrefixMismatch
from spec_local.util.files import size_of
from spec_local.util.prefix import common_prefix
from spec_local.util.progress import Progress

if TYPE_CHECKING:
    from spec_local.prompt import Prompt
    from spec_local.runner import Runner


def begin_from(
    runner: Runner, path: Path, asking: Callable[[str], Prompt], progress: Progress
) -> None:
    """Have a runner hold what a prompt begins with: from the file, or read now and kept there.

    asking: the prompt with another question; what does not depend on that is kept. A file of
    something else is written anew, and where it was kept of another model or otherwise, that is
    said. Raises SpecLocalError, also for what is no such file.
    """
    from spec_local.kept_prefix import shared_beginning

    tokens = shared_beginning(runner.tokenize, asking)
    try:
        if size_of(path):
            runner.load_prefix(path)
            if common_prefix(runner.target.tokens, tokens) == len(tokens):
                return
    except PrefixMismatch as error:
        say(f"note: {error} That is done now.", err=True)
    runner.save_prefix(path, tokens, progress=progress)
