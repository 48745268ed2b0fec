"""The runner of a conversation, and how it gets another one: of another model, or drafter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from spec_local import drafters

if TYPE_CHECKING:
    from spec_local.cli.options import ModelOptions
    from spec_local.runner import Runner


class Runners:
    """A context manager that frees what is loaded. Where a change fails, all stays as it was."""

    def __init__(
        self, loaded: Runner, models: ModelOptions, load: Callable[[ModelOptions], Runner]
    ) -> None:
        """loaded: what the options say, loaded; freed here. load: loads what other options say."""
        self.runner = loaded
        """The one that answers."""
        self._loaded = loaded
        self._models = models
        self._k = models.k
        self._load = load

    def use_model(self, name: str) -> None:
        """Load that target or pair, with all other options as they were; then free this one.

        Raises SpecLocalError.
        """
        self._reload(replace(self._models, target=name, draft=None))

    def use_drafter(self, name: str) -> None:
        """Draft so from the next answer on; raises SpecLocalError.

        What is cached of the conversation stays, unless a draft model has to be loaded.
        """
        from spec_local.machine.profile import ProfileStore
        from spec_local.runner import Runner

        before, loaded = self.runner, self._loaded
        k = None if name == drafters.AUTO else self._k
        models = replace(self._models, drafter=name, k=k)
        if drafters.uses_draft(name) and not drafters.uses_draft(loaded.speculator.name):
            self._reload(models)
            self.runner.sampling = before.sampling
            self.runner.template.variables.update(before.template.variables)
            return
        runner = Runner(
            loaded.target,
            name,
            draft=loaded.draft,
            k=k,
            sampling=before.sampling,
            profiles=ProfileStore.of_user(),
            exact=loaded.exact,
            library=loaded.library,
        )
        runner.template, runner.pair = before.template, before.pair
        self._answer_with(runner)
        self._models = models

    def _reload(self, models: ModelOptions) -> None:
        loaded, before = self._load(models), self._loaded
        self._answer_with(loaded)
        self._loaded, self._models = loaded, models
        before.close()

    def _answer_with(self, runner: Runner) -> None:
        """Free the one before, unless what is loaded is its own."""
        before, self.runner = self.runner, runner
        if before is not self._loaded:
            before.close()

    def __enter__(self) -> Runners:
        return self

    def __exit__(self, *_: object) -> None:
        self._answer_with(self._loaded)
        self._loaded.close()
