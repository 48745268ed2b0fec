"""Everybody who takes part, ready to start: contexts, runners, peers, and what evaluations cost.

Contexts are few, however many contenders there are: as many as run side by side. Every benchmark
begins with the same knowledge, the cost curves of this machine and nothing of any text. Its own
curves go on learning from all contenders' evaluations: by them formulas and bounds are priced, as
the machine may have had another speed when it was tuned.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from spec_local.bench.record.result import Contender
from spec_local.bench.run.contenders import HEAT, heats
from spec_local.bench.run.energy import EnergyMeter
from spec_local.bench.run.race import RunningContender, warm_up
from spec_local.control.costs import CostCurve
from spec_local.llama.model import Model
from spec_local.llama.session import Session
from spec_local.machine.profile import ProfileStore
from spec_local.machine.tune import compare, keep, tune
from spec_local.models.loading import draft_session
from spec_local.policies.named import policy
from spec_local.runner import Runner
from spec_local.util.progress import Progress


class Field:
    """Opened contenders of one target and perhaps drafts; a context manager."""

    def __init__(
        self,
        contenders: Sequence[Contender],
        target: Model,
        drafts: Sequence[Model],
        known: ProfileStore | None,
        tune_seconds: float,
        progress: Progress,
    ) -> None:
        """known: where `spec-local tune` keeps what it measured; what is not there is measured now,
        in about tune_seconds for each model."""
        slots = range(min(HEAT, len(contenders)))
        with ExitStack() as stack:
            targets = [stack.enter_context(Session(target)) for _ in slots]
            own = [each for each in drafts if not each.is_head]  # a head drafts by the target's
            drafting = [[stack.enter_context(draft_session(m)) for m in own] for _ in slots]
            self.target, self.drafts = targets[0], drafting[0]
            sessions = [self.target, *self.drafts]
            curves = [curve_of(session, known, tune_seconds, progress) for session in sessions]
            compare(sessions, curves)
            self.target_curve, *self.draft_curves = curves
            directory = TemporaryDirectory(prefix="spec-local-bench-")
            profiles = ProfileStore(Path(stack.enter_context(directory)))
            keep(profiles, sessions, curves)
            self.running: dict[str, RunningContender] = {}
            meter = EnergyMeter()
            for heat in heats(contenders):
                for slot, contender in enumerate(heat):
                    if contender.name in self.running:
                        continue  # plain decoding is in every heat
                    runner = Runner(
                        targets[slot],
                        contender.drafter,
                        draft=drafting[slot],
                        k=policy(contender.policy) if contender.policy else contender.k,
                        profiles=profiles,
                    )
                    stack.enter_context(runner)
                    warm_up(runner)
                    self.running[contender.name] = RunningContender(
                        contender.name, runner, meter, curves
                    )
            self._stack = stack.pop_all()

    @property
    def draft(self) -> Session | None:
        """A context on the first draft model, whose agreement is recorded; None without one."""
        return next(iter(self.drafts), None)

    @property
    def draft_curve(self) -> CostCurve | None:
        """What its evaluations cost."""
        return next(iter(self.draft_curves), None)

    def close(self) -> None:
        """Free the contexts; the models stay."""
        self._stack.close()

    def __enter__(self) -> Field:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def curve_of(
    session: Session, known: ProfileStore | None, seconds: float, progress: Progress
) -> CostCurve:
    """What `spec-local tune` has kept in `known`, else measured now in about so many seconds."""
    who = session.model.identity
    if known is not None and known.tuned_at(who):
        return known.curve(who)
    stage = f"measure {session.model.path.stem}"
    return tune(session, seconds, lambda share: progress(stage, share))[0]
