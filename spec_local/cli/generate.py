"""`spec-local generate`: one prompt, one answer, text on stdout."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from spec_local.cli.flat import flat
from spec_local.cli.interrupt import interrupt_cancels
from spec_local.cli.machine_options import MachineOptions
from spec_local.cli.options import ModelOptions, load_runner
from spec_local.cli.output import say, write
from spec_local.cli.progress import on_terminal
from spec_local.cli.prompt_cache import begin_from
from spec_local.cli.sampling_options import SamplingOptions
from spec_local.cli.signals import exit_code
from spec_local.cli.summary import summary
from spec_local.cli.template_options import SYSTEM_FOLDED, TemplateOptions
from spec_local.errors import ConfigError, require
from spec_local.util.files import read_text, text_of

if TYPE_CHECKING:
    from spec_local.engine.logprobs import TokenLogprobs
    from spec_local.generation import Chunk
    from spec_local.llama.messages import Message
    from spec_local.runner import Runner

_rare = partial(typer.Option, rich_help_panel="Prompt and answer")


@flat
def generate(
    prompt: Annotated[
        str | None, typer.Argument(help="The prompt; what comes through a pipe goes before it.")
    ] = None,
    *,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", metavar="FILE", help="A file that goes before the prompt."),
    ] = None,
    image: Annotated[
        list[Path] | None,
        typer.Option("--image", metavar="FILE", help="An image before the prompt; repeatable."),
    ] = None,
    system: Annotated[
        str | None, typer.Option("--system", "-s", metavar="TEXT", help="System message.")
    ] = None,
    raw: Annotated[bool, _rare("--raw", help="Continue the text; apply no chat template.")] = False,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            "--max-tokens",
            "-n",
            metavar="N",
            min=1,
            help="Stop after this many tokens.",
            show_default="until the model ends",
        ),
    ] = None,
    stop: Annotated[
        list[str] | None, _rare("--stop", help="Stop before this text; repeatable.")
    ] = None,
    prediction: Annotated[
        Path | None,
        _rare(
            "--prediction",
            metavar="FILE",
            help="A text that much of the answer will be, such as the file to edit.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of text.")
    ] = False,
    logprobs: Annotated[
        int | None,
        _rare("--logprobs", help="With --json: each token and the n likeliest.", min=0),
    ] = None,
    prompt_cache: Annotated[
        Path | None,
        _rare(
            "--prompt-cache",
            metavar="FILE",
            help="Where what comes before PROMPT is kept as read, for the next time.",
        ),
    ] = None,
    quiet: Annotated[bool, _rare("--quiet", "-q", help="No statistics on stderr.")] = False,
    models: ModelOptions,
    template: TemplateOptions,
    sampling: SamplingOptions,
    machine: MachineOptions,
) -> None:
    """Answer a prompt, or with --raw continue it."""
    wanted = _Wanted(*_read_prompt(prompt, file), system=system, raw=raw)
    if raw:
        require(system is None, "--system needs the chat template; leave out --raw.")
        require(not image, "--image needs the chat template; leave out --raw.")
        require(
            template == TemplateOptions(),
            "--raw uses no chat template; leave it out, or what changes the template.",
        )
    if not wanted.text.strip() and system is None:
        raise ConfigError("The prompt is empty; give at least one word.")
    if logprobs is not None and not as_json:
        raise ConfigError("--logprobs is part of the JSON output; add --json.")
    expected = None if prediction is None else read_text(prediction)
    with load_runner(models, sampling, machine, template) as runner:
        wanted = wanted._replace(images=tuple(map(runner.target.model.show, image or ())))
        _note_template(runner, wanted)
        with on_terminal() as progress:
            if prompt_cache is not None:
                begin_from(runner, prompt_cache, wanted.asking, progress)
            generation = runner.generate(
                wanted.prompt,
                max_tokens=max_tokens,
                stop=stop or (),
                logprobs=logprobs,
                prediction=expected,
                progress=progress,
            )
            with interrupt_cancels(generation):
                first = next(generation)
        with interrupt_cancels(generation):
            chunks = []
            for chunk in chain([first], generation):
                chunks.append(chunk)
                if not as_json:
                    write(chunk.text)
        if as_json:
            write(json.dumps(_as_json(runner, chunks), ensure_ascii=False, indent=2))
        write("\n")
        if not quiet:
            say(summary(generation.stats, generation.finish_reason), err=True)
    if generation.finish_reason == "cancelled":
        raise typer.Exit(exit_code())


def _read_prompt(argument: str | None, file: Path | None) -> tuple[str, str | None]:
    """What comes through a pipe or from the file, and what is asked about it."""
    asked = None if argument == "-" else argument
    if file is not None:
        given = read_text(file)
    elif not sys.stdin.isatty():
        given = text_of(sys.stdin.buffer.read(), "replace")
    elif asked is None:
        raise ConfigError("Give a prompt as an argument, with --file, or through a pipe.")
    else:
        given = ""
    return given, asked


class _Wanted(NamedTuple):
    """What the model is asked."""

    given: str
    """From a file or through a pipe."""
    asked: str | None
    """What is asked about it."""
    system: str | None
    raw: bool
    images: tuple[str, ...] = ()
    """The marks of images."""

    @property
    def text(self) -> str:
        """All that is asked, without images."""
        return self._text(self.asked)

    def _text(self, asked: str | None) -> str:
        if asked is None:
            return self.given
        return "\n\n".join(filter(str.strip, (self.given.rstrip("\n"), asked)))

    @property
    def prompt(self) -> str | list[Message]:
        """All that is asked."""
        return self._prompt(self.asked)

    def asking(self, asked: str) -> str | list[Message]:
        """The prompt that asks this instead; the same where nothing stands before what is asked."""
        stands_alone = self.asked is None or not (self.system or self.given.strip())
        return self._prompt(self.asked if stands_alone else asked)

    def _prompt(self, asked: str | None) -> str | list[Message]:
        text = "\n\n".join([*self.images, self._text(asked)])
        if self.raw:
            return text
        messages: list[Message] = [{"role": "user", "content": text}]
        return messages if self.system is None else [_system(self.system), *messages]


def _system(text: str) -> Message:
    return {"role": "system", "content": text}


def _note_template(runner: Runner, wanted: _Wanted) -> None:
    if not wanted.raw and runner.template.is_plain:
        say(
            "note: this model has no chat template; the prompt is written as plain "
            "`user:` and `assistant:` lines (use --raw to continue it as it is).",
            err=True,
        )
    if wanted.system and not runner.template.takes_system:
        say(f"note: {SYSTEM_FOLDED}", err=True)


def _as_json(runner: Runner, chunks: list[Chunk]) -> dict[str, Any]:
    logprobs = [found for chunk in chunks for found in chunk.logprobs]
    return {
        "target": runner.target.model.path.name,
        "draft": runner.draft.model.path.name if runner.draft else None,
        "drafts": [draft.model.path.name for draft in runner.drafts],
        "drafter": runner.speculator.name,
        "exact": None if runner.exact is None else runner.exact.mode,
        "sampling": asdict(runner.sampling),
        "text": "".join(chunk.text for chunk in chunks),
        "tokens": [token for chunk in chunks for token in chunk.tokens],
        "finish_reason": chunks[-1].finish_reason,
        "stats": chunks[-1].stats.as_dict(),
    } | ({"logprobs": [_logprobs(runner, found) for found in logprobs]} if logprobs else {})


def _logprobs(runner: Runner, found: TokenLogprobs) -> dict[str, Any]:
    def entry(token: int, logprob: float) -> dict[str, Any]:
        text = runner.target.model.vocab.piece(token).decode(errors="replace")
        return {"token": token, "text": text, "logprob": logprob}

    return entry(found.token, found.logprob) | {"top": [entry(*rival) for rival in found.top]}
