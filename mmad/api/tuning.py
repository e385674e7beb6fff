"""The search for each arm's setup as far as it is: the trials by now, and the setups that they chose."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmad.api.loading import Loaded
from mmad.base.errors import MmadError
from mmad.base.formatting import decimal
from mmad.base.paths import StorePaths
from mmad.config.tuning import asked, best_of, same

if TYPE_CHECKING:
    from mmad.base.records import RunRecord
    from mmad.config.runs import Ablation, Member
    from mmad.config.tuning import TrialValues
    from mmad.store.store import Store

#: Whether a trial has ended, and the validation AP that it came to.
_Outcome = tuple[bool, float | None]


@dataclass(frozen=True)
class Choice:
    """The trial that an arm's setup is of in a setting, and the trials that it was chosen from.

    Args:
        figures: the validation AP of every trial, None for one that failed.
        trial: the number of the chosen one, from 1; ``before`` the one that its recorded runs are of, where it is
            another (0: none of these trials), and ``later`` one that ended with a higher figure when runs had begun
            with the choice.
    """

    setting: str
    arm: str
    figures: tuple[float | None, ...]
    trial: int
    before: int | None = None
    later: int | None = None

    @property
    def note(self) -> str:
        """What is unusual about it, in a sentence; nothing where nothing is."""
        chosen, head = self._named(self.trial), f"{self.setting}, {self.arm}"
        if self.later is not None:
            late = f"{self._named(self.later)} ended after runs had begun with that choice, and changes nothing"
            return f"{head}: {chosen} stays the choice; {late}"
        if self.before is not None:
            before = self._named(self.before) if self.before else "a setup that no trial has now"
            return f"{head}: the choice changes from {before} to {chosen}; all its runs are trained anew"
        return ""

    def _named(self, trial: int) -> str:
        return f"trial {trial} (validation AP {decimal(self.figures[trial - 1])})"


def searched(loaded: Sequence[Loaded], db: str, tell: Callable[[Ablation, Choice], None] | None = None) -> list[Loaded]:
    """Each ablation with ``[tune]`` as its trials by now, followed by itself with the setups that they chose.

    A trial has ended where its run is finished or failed. Once all of an arm in a setting have, the highest validation
    AP of the kept checkpoint is chosen, the first of equal ones; until then the members that are recorded with the
    values of a trial stay, and the others are left out. They stay, too, once a run of theirs has an epoch, unless more
    trials were queued since: one that failed and is retried comes too late, for the arm has shown test figures.

    Args:
        tell: hears every choice that is made of all trials.

    Raises:
        StoreError: a database that cannot be read.
        MmadError: Optuna is not installed, for the sampler ``tpe``.
    """
    return [(part, data) for ablation, data in loaded for part in _searched(ablation, db, tell)]


def _searched(ablation: Ablation, db: str, tell: Callable[[Ablation, Choice], None] | None) -> tuple[Ablation, ...]:
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
            kept = search.recorded(member)
            before = None if kept is None else next((n for n, one in enumerate(values) if same(kept, one)), None)
            now = before
            if len(own) == tuning.trials and all(ended for ended, _ in outcomes):
                figures = tuple(ap for _, ap in outcomes)
                best = best_of(figures)
                stays = before is not None and search.stands(member, own)
                now = before if stays else best
                if now is not None and tell is not None:
                    other = None
                    if before != now and search.run_of(member) is not None:
                        other = 0 if before is None else before + 1
                    later = best + 1 if stays and best is not None and best != before else None
                    tell(ablation, Choice(*place, figures, now + 1, other, later))
            if now is not None:
                chosen[place] = values[now]
    return ablation.trials(trials), ablation.tuned(chosen)


def choice_notes(warn: Callable[[str], None], *, whole: bool) -> Callable[[Ablation, Choice], None]:
    """What ``searched`` tells, as warnings of what is unusual, each once.

    A choice that changed is refused (MmadError) unless the ``whole`` ablation is trained: no arm mixes two setups.
    """
    said: set[str] = set()

    def tell(ablation: Ablation, choice: Choice) -> None:
        line = f"{ablation.name}: {choice.note}"
        if choice.before is not None and not whole:
            raise MmadError(choice.note, where=ablation.path, hint="leave --only out, so that all of them are")
        if choice.note and line not in said:
            said.add(line)
            warn(line)

    return tell


class _Search:
    """What ``store`` holds of an ablation and its trials; nothing where it is None."""

    def __init__(self, ablation: Ablation, store: Store | None) -> None:
        assert ablation.tuning is not None
        self.ablation, self.tuning, self.store = ablation, ablation.tuning, store
        self.runs = {} if store is None else {run.key: run for run in store.run_records()}
        members = [] if store is None else store.members()
        self.keys: dict[tuple[str, str, str], list[str]] = {}
        for one in members:
            self.keys.setdefault((one.ablation, one.setting, one.arm), []).append(one.key)

    def run_of(self, member: Member) -> RunRecord | None:
        """The run of the recorded member of this ablation, setting and arm, the last of several."""
        keys = self.keys.get((member.ablation, member.setting, member.arm))
        return self.runs.get(keys[-1]) if keys else None

    def recorded(self, member: Member) -> TrialValues | None:
        """What is searched as the recorded member has it; None where there is none, or it has what is not searched."""
        run = self.run_of(member)
        return None if run is None else self.tuning.read(run.setup)

    def stands(self, member: Member, trials: Sequence[Member]) -> bool:
        """Whether a run with the recorded choice has an epoch since when no trial was queued."""
        if self.store is None:
            return False
        first = self.store.first_epochs(self.keys.get((member.ablation, member.setting, member.arm), ())).values()
        return bool(first) and all(self.runs[one.run.key].created <= min(first) for one in trials)

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
        tried: list[tuple[TrialValues, float | None]] = []
        while len(tried) < self.tuning.trials:
            number = len(tried) + 1
            values = self.recorded(self.ablation.trial(member, number, {}))
            if values is None or self.ablation.trial(member, number, values).run.key not in self.runs:
                values = asked(self.tuning, tried)
            ended, ap = self.outcome(self.ablation.trial(member, number, values))
            if not ended:
                return [*(before for before, _ in tried), values]
            tried.append((values, ap))
        return [values for values, _ in tried]
