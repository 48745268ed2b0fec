"""What the command line said of the machine and of sampling, for whatever a conversation loads."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from spec_local.cli.machine_options import MachineOptions, load_options
from spec_local.cli.options import ModelOptions, chosen_pair, load_runner
from spec_local.cli.progress import on_terminal
from spec_local.cli.sampling_options import SamplingOptions
from spec_local.cli.template_options import TemplateOptions

if TYPE_CHECKING:
    from spec_local.llama.model import Model
    from spec_local.llama.session import Session
    from spec_local.models.registry import PairSpec
    from spec_local.runner import Runner


@dataclass(frozen=True, slots=True)
class Loader:
    """Loads models as the command line said; progress is shown on a terminal."""

    begun_with: ModelOptions
    """The models that the template options are for."""
    sampling: SamplingOptions
    machine: MachineOptions
    template: TemplateOptions

    def load(self, models: ModelOptions, spec: PairSpec | None = None) -> Runner:
        """A runner of the models; spec: the pair they mean, if that is known already.

        Raises SpecLocalError.
        """
        template, machine = self.template, self.machine
        if models.target != self.begun_with.target:  # these two are made for one model
            template = replace(template, chat_template=None)
            machine = replace(machine, lora=None, draft_lora=None)
        return load_runner(models, self.sampling, machine, template, spec)

    def found(self, models: ModelOptions) -> PairSpec:
        """The pair that the models mean, its files here and looked at; nothing is loaded.

        Raises SpecLocalError for what can be known to fail without loading.
        """
        from spec_local import drafters
        from spec_local.gguf.header import check_model_file
        from spec_local.models.download import pulled
        from spec_local.models.loading import draft_may_fail
        from spec_local.models.registry import load_registry

        spec, registry = chosen_pair(models, models.drafter), load_registry()
        drafter = models.drafter or spec.drafter
        drafters.check(drafter, drafts=len(spec.drafts), k=models.k)
        drafts = spec.drafts if drafters.uses_draft(drafter) else ()
        with on_terminal() as progress:
            check_model_file(pulled(spec.target, registry, progress))
            for draft in drafts:
                with draft_may_fail(draft, not models.draft):
                    check_model_file(pulled(draft, registry, progress))
        return spec

    def has_room(self, spec: PairSpec, target: Model) -> bool:
        """Whether GPUs have room for all of a pair's drafts beside its target, which is loaded.

        Also if nothing is to be decided: with a number of layers for drafts, or without a GPU.
        Raises SpecLocalError.
        """
        from spec_local.llama.options import AUTO
        from spec_local.models.download import pulled
        from spec_local.models.loading import DRAFT_CONTEXT
        from spec_local.models.needs import placing_of
        from spec_local.models.registry import load_registry

        registry, wanted = load_registry(), load_options(self.machine).for_draft()
        if not spec.drafts or wanted.n_gpu_layers != AUTO:
            return True
        if target.options.for_draft().n_gpu_layers == 0:  # as its target got none
            return False
        with on_terminal() as progress:
            first, *others = [pulled(name, registry, progress) for name in spec.drafts]
        n_ctx = min(wanted.n_ctx or DRAFT_CONTEXT, DRAFT_CONTEXT)
        return placing_of(first, replace(wanted, n_ctx=n_ctx))(others).has_all

    def open_drafts(self, spec: PairSpec, target: Model, stack: ExitStack) -> tuple[Session, ...]:
        """A context on each draft model of a pair whose target is loaded, freed by the stack.

        A head that the target has is left alone. Raises SpecLocalError.
        """
        from spec_local.models.loading import draft_session, load_drafts, names_head
        from spec_local.models.registry import load_registry

        registry = load_registry()
        names = (n for n in spec.drafts if target.head is None or not names_head(n, registry))
        with ExitStack() as opened:
            with on_terminal() as progress:
                found = load_drafts(names, target, registry, progress, opened).values()
            drafts = [each for each in found if not each.is_head]
            sessions = tuple(opened.enter_context(draft_session(each)) for each in drafts)
            stack.push(opened.pop_all())
        return sessions
