"""The search for each arm's setup as far as it is: the trials by now, and the setups that they chose."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmad.api.loading import Loaded
from mmad.base.errors import MmadError
from mmad.base.paths import StorePaths
from mmad.config.tuning import asked, best_of, same

if TYPE_CHECKING:
    from mmad.config.runs import Ablation, Member
    from mmad.config.tuning import TrialValues
    from mmad.store.store import Store

#: Whether a trial has ended, and the validation AP that it came to.
_Outcome = tuple[bool, float | None]


def searched(loaded: Sequence[Loaded], db: str) -> list[Loaded]:
    """Each ablation with ``[tune]`` as its trials by now, followed by itself with the setups that they chose.

    A trial has ended where its run is finished or failed. Once all of an arm in a setting have, the highest validation
    AP of the kept checkpoint is chosen, the first of equal ones; until then the members that are recorded with the
    values of a trial stay, and the others are left out.

    Raises:
        StoreError: a database that cannot be read.
        MmadError: Optuna is not installed, for the sampler ``tpe``.
    """
    return [(part, data) for ablation, data in loaded for part in _searched(ablation, db)]


def _searched(ablation: Ablation, db: str) -> tuple[Ablation, ...]:
    from mmad.store.store import Store

    tuning = ablation.tuning
    if tuning is None:
        return (ablation,)
    if tuning.sampler == "tpe" and importlib.util.find_spec("optuna") is None:
        hint = "pip install 'mmad[tune]', or set sampler = \"random\""
        raise MmadError("the package optuna is not installed", where=ablation.path, hint=hint)
    trials: list[Member] = []
    chosen: dict[tuple[str, str], TrialValues] = {}
    with contextlib.ExitStack() as stack:
        store = None
        if not StorePaths(db).missing:
            store = stack.enter_context(Store.open(db, create=False, read_only=True, lenient=True))
        search = _Search(ablation, store)
        for place, member in ablation.arms_of_settings().items():
            values = search.trials(member)
            own = [ablation.trial(member, number, one) for number, one in enumerate(values, 1)]
            outcomes = [search.outcome(one) for one in own]
            trials += own
            if len(own) == tuning.trials and all(ended for ended, _ in outcomes):
                if (best := best_of([ap for _, ap in outcomes])) is not None:
                    chosen[place] = values[best]
            elif (kept := search.recorded(member)) is not None and any(same(kept, one) for one in values):
                chosen[place] = kept
    return ablation.trials(trials), ablation.tuned(chosen)


class _Search:
    """What ``store`` holds of an ablation and its trials; nothing where it is None."""

    def __init__(self, ablation: Ablation, store: Store | None) -> None:
        assert ablation.tuning is not None
        self.ablation, self.tuning, self.store = ablation, ablation.tuning, store
        self.runs = {} if store is None else {run.key: run for run in store.run_records()}
        members = [] if store is None else store.members()
        self.keys = {(one.ablation, one.setting, one.arm): one.key for one in members}

    def recorded(self, member: Member) -> TrialValues | None:
        """What is searched as the recorded member of this ablation, setting and arm has it."""
        run = self.runs.get(self.keys.get((member.ablation, member.setting, member.arm), ""))
        return None if run is None else self.tuning.read(run.setup)

    def outcome(self, trial: Member) -> _Outcome:
        from mmad.store.lookup import results_under, trained_for

        if self.store is None or trial.run.key not in self.runs:
            return False, None
        run = trained_for(self.runs, trial.run.key)
        if run.status != "finished":
            return run.status == "failed", None
        rows = (self.store.checkpoints(run.key), self.store.evaluations(run.key), self.store.epoch_records(run.key))
        found = results_under(trial.evaluation.model_dump(mode="json"), run, *rows)
        kept = found.best_ap or found.final
        return True, None if kept is None else kept.val_ap

    def trials(self, member: Member) -> Sequence[TrialValues]:
        """The trials of a setting and arm: all of them, or with ``tpe`` the ones that ended and the next one.

        One that is recorded stays as it is, whatever another version of Optuna would ask for.
        """
        if self.tuning.sampler == "random":
            return self.tuning.drawn()
        told: list[tuple[TrialValues, float | None]] = []
        while len(told) < self.tuning.trials:
            number = len(told) + 1
            values = self.recorded(self.ablation.trial(member, number, {}))
            if values is None or self.ablation.trial(member, number, values).run.key not in self.runs:
                values = asked(self.tuning, told)
            ended, ap = self.outcome(self.ablation.trial(member, number, values))
            if not ended:
                return [*(before for before, _ in told), values]
            told.append((values, ap))
        return [values for values, _ in told]
