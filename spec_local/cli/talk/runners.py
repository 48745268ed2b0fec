"""The runner of a conversation, and how it gets another one: of another model, or drafter."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from spec_local import drafters
from spec_local.cli.options import chosen_pair
from spec_local.errors import ModelFileError, SpecLocalError

if TYPE_CHECKING:
    from spec_local.cli.options import ModelOptions
    from spec_local.cli.talk.loader import Loader
    from spec_local.llama.session import Session
    from spec_local.models.registry import PairSpec
    from spec_local.sampling.settings import Sampling


class NoModelLeft(SpecLocalError):
    """Another model could not be loaded, and then the one before could not be loaded again."""


class Runners:
    """A context manager that frees what is loaded. Where a change fails, all stays as it was."""

    def __init__(self, models: ModelOptions, loader: Loader) -> None:
        """Load the models; raises SpecLocalError."""
        self._loader = loader
        self._models = models
        self._k = models.k
        self._later = ExitStack()
        """Frees draft models that were loaded later than their target."""
        self.runner = loader.load(models)
        """The one that answers."""
        self._loaded = self.runner
        self._drafts: tuple[Session, ...] = self.runner.drafts

    def use_model(self, name: str) -> None:
        """Free this one, then load that target or pair, with all other options as they were.

        What can be known to fail is refused before; if loading fails, this one is loaded again.
        Raises SpecLocalError, NoModelLeft if that fails as well.
        """
        models = replace(self._models, target=name, draft=None, mmproj=None)
        self._exchange(models, self._loader.found(models))

    def _exchange(self, models: ModelOptions, spec: PairSpec) -> None:
        """Free what is loaded, then load that; if it fails, load again what there was."""
        sampling, variables = self.runner.sampling, self.runner.template.variables
        model = self._loaded.target.model.path.stem
        self.close()
        try:
            self._load(models, spec)
            return
        except (SpecLocalError, KeyboardInterrupt) as error:
            reason = str(error).rstrip(".") or "Loading was interrupted"
        try:
            self._load(self._models)
        except (SpecLocalError, KeyboardInterrupt) as error:
            again = str(error) or "that was interrupted."
            raise NoModelLeft(f"{reason}; {model} cannot be loaded again either: {again}") from None
        self._set(sampling, variables)
        raise ModelFileError(f"{reason}; {model} answers again.")

    def use_drafter(self, name: str) -> None:
        """Draft so from the next answer on; raises SpecLocalError.

        What is cached of the conversation stays. Draft models are loaded when one is first needed;
        where GPUs have no room for them beside the target, that is loaded again with them, and the
        conversation is read again. Raises NoModelLeft if that fails, and then once more.
        """
        from spec_local.machine.profile import ProfileStore
        from spec_local.runner import Runner

        before, loaded = self.runner, self._loaded
        k = None if drafters.chosen_from(name) else self._k
        models = replace(self._models, drafter=name, k=k)
        if drafters.uses_draft(name) and not self._drafts:
            spec = chosen_pair(models, name)
            drafters.check(name, drafts=len(spec.drafts), k=k)
            if not self._loader.has_room(spec, loaded.target.model):
                sampling, variables = before.sampling, before.template.variables
                self._exchange(models, spec)
                self._set(sampling, variables)
                return
            self._drafts = self._loader.open_drafts(spec, loaded.target.model, self._later)
        runner = Runner(
            loaded.target,
            name,
            draft=self._drafts,
            k=k,
            sampling=before.sampling,
            profiles=ProfileStore.of_user(),
            exact=loaded.exact,
            library=loaded.library,
        )
        runner.template, runner.pair = before.template, before.pair
        self._free_shared()
        self.runner, self._models = runner, models

    def _load(self, models: ModelOptions, spec: PairSpec | None = None) -> None:
        self.runner = self._loaded = self._loader.load(models, spec)
        self._models, self._drafts = models, self.runner.drafts

    def _set(self, sampling: Sampling, variables: Mapping[str, Any]) -> None:
        """Go on as a runner did that had these."""
        self.runner.sampling = sampling
        self.runner.template.variables.update(variables)

    def _free_shared(self) -> None:
        """Close a runner on models that are not its own."""
        if self.runner is not self._loaded:
            self.runner.close()

    def close(self) -> None:
        """Free everything; twice is harmless."""
        self._free_shared()
        self._later.close()
        self._loaded.close()

    def __enter__(self) -> Runners:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
