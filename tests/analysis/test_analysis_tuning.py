"""The search for each arm's setup: which runs are due, what is chosen, and what is marked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import analysis_fixtures as made
import pytest

from mmad.analysis.comparison import Comparison, compare_stored
from mmad.analysis.evaluation_target import DetectionStore, EvaluationOptions
from mmad.analysis.report_frame import load_frame
from mmad.analysis.verdicts import compare_arms
from mmad.api import training
from mmad.api.loading import ChosenData, Loaded
from mmad.api.training import due
from mmad.api.tuning import Choice, choice_notes
from mmad.base.errors import MmadError
from mmad.base.records import EpochRecord
from mmad.config.runs import NO_DATA, Ablation, Member
from mmad.config.tuning import TrialValues, TuneRange, Tuning
from mmad.data.dataset import DataSet
from mmad.data.phantom.generate import make_phantom
from mmad.report.tables import trials_table
from mmad.scheduler.jobs import Summary
from mmad.scheduler.scheduler import Options
from mmad.store.store import Store

pytestmark = pytest.mark.slow
SOURCE = "[tune]\ntrials = 3\n[tune.space]\nlr = { from = 1e-4, to = 1e-2, log = true }\nweight_decay = [0, 1e-3]\n"
SPACE = {"lr": TuneRange.model_validate({"from": 1e-4, "to": 1e-2, "log": True}), "weight_decay": (0.0, 1e-3)}
NO = ChosenData(NO_DATA, None)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return make_phantom(tmp_path_factory.mktemp("data") / "phantom", studies=40, image_size=64)


class Bench:
    """A database in which the runs that are due end as they are told to."""

    def __init__(self, dataset: DataSet, folder: Path, sampler: str = "random") -> None:
        self.dataset, self.database = dataset, folder / "mmad.sqlite"
        members = tuple(made.member(dataset, arm, seed) for arm in made.ARMS for seed in (0, 1, 2))
        self.tuning = Tuning(3, sampler, 1000, SPACE)  # type: ignore[arg-type]
        self.ablation = Ablation(
            "made", "made.toml", "Made up", "", SOURCE, made.ARMS, (made.ARMS,), members, tuning=self.tuning
        )

    def due(self) -> tuple[Ablation, Ablation]:
        (trials, _), (main, _) = due([(self.ablation, NO)], str(self.database))
        with Store.open(self.database) as store:
            store.add_ablation(trials)
            store.add_ablation(main)
        return trials, main

    def end(self, one: Member, skill: float | None) -> None:
        """Finished with figures of ``skill``, or failed."""
        with Store.open(self.database) as store:
            if skill is None:
                store.end_free(one.run.key, "failed", "the loss is not finite")
            else:
                made.finish(store, one, self.dataset, skill, kinds=("best_ap",), splits=("val",))


def of_arm(ablation: Ablation, arm: str = "CXR") -> list[Member]:
    return [one for one in ablation.members if one.arm == arm]


def values(one: Member) -> TrialValues:
    return {"lr": one.run.setup.lr, "weight_decay": one.run.setup.weight_decay}


def test_trials_come_first_and_the_best_on_validation_is_trained_with_the_file_s_seeds(
    dataset: DataSet, tmp_path: Path
) -> None:
    bench = Bench(dataset, tmp_path)
    trials, main = bench.due()
    assert [one.setting for one in of_arm(trials)] == ["default, trial 1", "default, trial 2", "default, trial 3"]
    assert [values(a) for a in of_arm(trials)] == [values(b) for b in of_arm(trials, "CXR+Clinical")]
    assert not main.members
    for one, skill in zip(of_arm(trials), (0.3, 0.9, None), strict=True):
        bench.end(one, skill)
    for one in of_arm(trials, "CXR+Clinical")[:2]:
        bench.end(one, 0.5)
    trials, main = bench.due()
    chosen = values(of_arm(trials)[1])
    assert [(one.arm, one.seed, values(one)) for one in main.members] == [("CXR", n, chosen) for n in range(3)]
    bench.end(of_arm(trials, "CXR+Clinical")[2], 0.95)
    trials, main = bench.due()
    best = values(of_arm(trials)[2])
    assert [values(one) for one in main.members] == [chosen] * 3 + [best] * 3
    with Store.open(bench.database) as store:
        assert store.requeue([of_arm(trials)[2].run.key])  # the one that failed is tried once more
    assert bench.due() == (trials, main), "what was chosen stays until all have ended again"


def test_a_failed_trial_that_wins_when_runs_have_begun_changes_nothing_and_is_named(
    dataset: DataSet, tmp_path: Path
) -> None:
    bench = Bench(dataset, tmp_path)
    trials, _ = bench.due()
    for one in trials.members:
        bench.end(one, {1: 0.3, 2: 0.6, 3: None}[int(one.setting[-1])])
    trials, main = bench.due()
    late = of_arm(trials)[2]
    with Store.open(bench.database) as store:
        store.commit_epoch(main.members[0].run.key, EpochRecord(1, 0.01, 1.0, 0, ()), [])
        assert store.requeue([late.run.key])
    bench.end(late, 0.95)
    told: list[Choice] = []
    assert due_of(bench, lambda _, choice: told.append(choice)) == (trials, main)
    cxr, clinical = told
    assert (cxr.trial, cxr.before, cxr.later) == (2, None, 3)
    assert cxr.note.startswith("default, CXR: trial 2 (validation AP 0.")
    assert "stays the choice; trial 3 (validation AP 1.000) ended" in cxr.note
    assert (clinical.trial, clinical.figures[2], clinical.note) == (2, None, "")
    with Store.open(bench.database) as store:
        (frame,) = (one for one in load_frame(store, ("made · trials",)).ablations)
    table = trials_table(SimpleNamespace(frame=frame)).frame  # type: ignore[arg-type]
    assert list(table["chosen"]) == ["", "yes", "no", "", "yes", ""]
    # of fewer trials the setup of the runs is none: another choice, which is said
    fewer = replace(bench.ablation, tuning=replace(bench.tuning, trials=1))
    told.clear()
    due([(fewer, NO)], str(bench.database), lambda _, choice: told.append(choice))
    assert [(one.trial, one.before, one.later) for one in told] == [(1, 0, None)] * 2
    assert "the choice changes from a setup that no trial has now to trial 1 (validation AP 0." in told[0].note
    with pytest.raises(MmadError, match="leave --only out"):
        choice_notes(print, whole=False)(fewer, told[0])


def due_of(bench: Bench, tell: Callable[[Ablation, Choice], None]) -> tuple[Ablation, Ablation]:
    (trials, _), (main, _) = due([(bench.ablation, NO)], str(bench.database), tell)
    return trials, main


def test_another_choice_is_trained_though_no_more_runs_are_due(
    dataset: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(dataset, tmp_path)
    bench.ablation = replace(bench.ablation, tuning=replace(bench.tuning, trials=2))
    for one in bench.due()[0].members:
        bench.end(one, 0.5)
    for one in bench.due()[1].members:
        bench.end(one, 0.5)
    trained: list[list[Member]] = []

    def run_once(loaded: Sequence[Loaded], db: str, *more: object) -> Summary:
        """Every run that is due is finished, the third trial with the most on validation."""
        trials, main = (ablation for ablation, _ in loaded)
        with Store.open(db) as store:
            for one in (trials, main):
                store.add_ablation(one)
            waiting = [one for one in (*trials.members, *main.members) if store.run(one.run.key).status != "finished"]
        for one in waiting:
            bench.end(one, 0.95)
        trained.append(waiting)
        return Summary((), (), ())

    monkeypatch.setattr(training, "_run_once", run_once)
    more = [(replace(bench.ablation, tuning=bench.tuning), NO)]
    nothing: Any = None
    warned: list[str] = []
    with Store.open(bench.database) as store:  # of a longer search the arm chooses anew, though its runs have begun
        store.commit_epoch(store.members("made")[0].key, EpochRecord(1, 0.01, 1.0, 0, ()), [])
    training.run_ablations(more, str(bench.database), nothing, Options(), nothing, choice=nothing, warn=warned.append)
    assert [line.partition(":")[0] for line in warned] == ["made"] * 2
    assert "the choice changes from trial 1 (validation AP 0." in warned[0]
    assert warned[0].endswith("); all its runs are trained anew")
    assert [{one.setting for one in once} for once in trained] == [{"default, trial 3"}, {"default"}]
    best = bench.tuning.drawn()[2]
    assert [values(one) for one in trained[1]] == [best] * 6
    changed = Choice("default", "CXR", (0.5, 0.5, 0.9), 3, before=1)
    with pytest.raises(MmadError, match=r"the choice changes from trial 1 .* leave --only out"):
        choice_notes(warned.append, whole=False)(bench.ablation, changed)


def test_a_sampler_that_learns_goes_on_where_it_was(dataset: DataSet, tmp_path: Path) -> None:
    bench = Bench(dataset, tmp_path, "tpe")
    seen: list[list[str]] = []
    for skills in ((0.3, 0.4), (None, 0.8), (0.9, 0.2)):
        trials, main = bench.due()
        assert not main.members
        assert bench.due()[0] == trials, "a kill between two trials changes nothing"
        seen.append([one.run.key for one in trials.members])
        assert len(trials.members) == 2 * len(seen)
        for arm, skill in zip(made.ARMS, skills, strict=True):
            bench.end(of_arm(trials, arm)[-1], skill)
    assert set(seen[0]) < set(seen[1]) < set(seen[2]), "no trial is trained again"
    trials, main = bench.due()
    assert [values(one) for one in main.members] == [
        *[values(of_arm(trials)[2])] * 3,
        *[values(of_arm(trials, "CXR+Clinical")[1])] * 3,
    ]


def test_trials_are_never_compared_and_a_search_is_marked_against_none(dataset: DataSet, tmp_path: Path) -> None:
    bench = Bench(dataset, tmp_path)
    for one in bench.due()[0].members:
        bench.end(one, 0.5)
    _, main = bench.due()
    with Store.open(bench.database) as store:
        for one in main.members:
            made.finish(store, one, dataset, made.SKILLS[one.arm])
        other = [made.member(dataset, "CXR+Clinical", seed, lr=0.05) for seed in (0, 1, 2)]
        plain = [replace(one, ablation="plain") for one in other]
        alone = Ablation("plain", "plain.toml", "", "", "", ("CXR+Clinical",), (), tuple(plain))
        store.add_ablation(alone)
        for one in plain:
            made.finish(store, one, dataset, 0.9)
        assert compare_stored(store, "made · trials") == ()
        (trials,) = (one for one in load_frame(store, ("made · trials",)).ablations)
        table = trials_table(SimpleNamespace(frame=trials)).frame  # type: ignore[arg-type]
        assert table["_setup"][0].startswith("lr 0.00")
        assert list(table["chosen"]) == ["yes", "", ""] * 2
        assert list(table["weight_decay"]) == [one["weight_decay"] for one in bench.tuning.drawn()] * 2
        (own,) = compare_stored(store, "made")
        assert isinstance(own, Comparison)
        assert (own.by_design, own.conditions["trials"]) == ({}, "3")
        names = ("made/default/CXR", "plain/default/CXR+Clinical")
        found = compare_arms(store, DetectionStore(), *names, EvaluationOptions(resamples=10))
    assert found.by_design == {"trials": "trials 3 / 0"}
