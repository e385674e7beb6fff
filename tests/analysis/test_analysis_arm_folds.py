"""Arms over the folds of a cross-validation: compared fold by fold, by every command alike."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import analysis_fixtures as made
import numpy as np
import pytest

from mmad.analysis.arm_folds import arms_over_folds
from mmad.analysis.cached_statistics import sample_of
from mmad.analysis.clinical_table import late_fusion
from mmad.analysis.comparison import ESTIMAND_OF_FOLDS, FOLDS, OUTSIDE_FOLDS, Comparison
from mmad.analysis.evaluation_target import (
    DetectionStore,
    EvaluationOptions,
    by_fold,
    ensemble_of,
    evaluation_target,
    fold_of,
)
from mmad.analysis.external import external_pairs, note_external, outside_target, recorded_external
from mmad.analysis.report_frame import load_frame
from mmad.analysis.verdicts import compare_ablation, compare_arms, comparison_targets
from mmad.api.results import evaluate
from mmad.base.errors import EvaluationError, StoreError
from mmad.config.hypothesis import Hypothesis
from mmad.config.protocol import Fold
from mmad.config.runs import Ablation, Member
from mmad.data.dataset import DataSet
from mmad.data.folds import folded
from mmad.data.phantom.generate import make_phantom
from mmad.data.samples import samples
from mmad.evaluation.cross_validation import pooled
from mmad.evaluation.detections_file import write_detections
from mmad.evaluation.diagnosis import score_allowing
from mmad.evaluation.differences import FoldedSample, MeanDifference
from mmad.report.cohort import cohorts_of
from mmad.report.methods import render_methods
from mmad.report.pictures import pictures_of
from mmad.report.sections import build_model
from mmad.report.tables import external_pairs_table, pairs_table
from mmad.store.lookup import find_ensembles, find_run, find_seeds, member_summaries
from mmad.store.store import Store

FEW = EvaluationOptions(resamples=100)
CXR, CLINICAL = "made/default/CXR", "made/default/CXR+Clinical"


def member_of(dataset: DataSet, arm: str, seed: int, fold: Fold, **fields: object) -> Member:
    one = made.member(dataset, arm, seed, fold.of_setting("default"), **fields)  # type: ignore[arg-type]
    protocol = one.run.protocol.model_copy(update={"fold": fold})
    return replace(one, run=replace(one.run, protocol=protocol))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return make_phantom(tmp_path_factory.mktemp("data") / "phantom", studies=36, image_size=64)


@pytest.fixture(scope="module")
def template(dataset: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three folds of two seeds; the second seed of the last fold is not finished in one arm."""
    database = tmp_path_factory.mktemp("made") / "db" / "mmad.sqlite"
    folds = [Fold(number=n, of=3) for n in (1, 2, 3)]
    members = [member_of(dataset, arm, seed, fold) for arm in made.ARMS for fold in folds for seed in (0, 1)]
    with Store.open(database) as store:
        made.record(store, members)
        for one in members[:-1]:
            fold = one.run.protocol.fold
            assert fold is not None
            made.finish(store, one, folded(dataset, fold), made.SKILLS[one.arm])
    return database


@pytest.fixture
def store(template: Path, tmp_path: Path) -> Iterator[Store]:
    shutil.copytree(template.parent, tmp_path / "db")
    with Store.open(tmp_path / "db" / template.name) as opened:
        yield opened


def people(dataset: DataSet) -> int:
    return len({study.patient for study in dataset.studies})


@pytest.mark.slow
def test_seeds_are_averaged_in_each_fold_and_the_mean_is_over_folds(store: Store, dataset: DataSet) -> None:
    found = compare_arms(store, DetectionStore(), CXR, CLINICAL, FEW)
    assert found.statistics is not None
    sample, difference = found.statistics.sample, found.statistics.difference
    assert isinstance(sample, FoldedSample)
    assert difference is not None
    assert (difference.folds, difference.freedom, difference.seeds, difference.patients) == (3, 2, 1, people(dataset))
    by_fold = [sum(b.test_ap - a.test_ap for a, b in fold) / len(fold) for fold in figures(found)]
    assert sample.differences == pytest.approx(by_fold)
    assert difference.ap.value == pytest.approx(sum(by_fold) / 3)
    assert found.test_ap.difference is not None
    assert (found.test_ap.difference.mean, found.test_ap.difference.n) == (pytest.approx(sum(by_fold) / 3), 3)
    assert (found.setting, found.seeds, found.folds, found.folds_done) == ("default", (0, 1), 3, 3)
    assert found.sentence.endswith(FOLDS)
    assert f"over folds (3 folds, at least 1 seed each, {people(dataset)} patients, 2 df)" in found.sentence
    assert found.note == "3 of 3 folds, 5 of 6 pairs of runs: CXR+Clinical fold 3 seed 1 queued"
    assert found.statistics.reference is not None
    assert 0 < (found.statistics.reference.pooled or 0) < 1
    back = compare_arms(store, DetectionStore(), CLINICAL, CXR, FEW)
    assert back.difference is not None
    assert back.difference.value == pytest.approx(-difference.ap.value)


def figures(found: Comparison) -> list[list[tuple[Any, Any]]]:
    folds: dict[Fold | None, list[tuple[Any, Any]]] = {}
    for a, b in found.pairs:
        folds.setdefault(a.fold, []).append((a.figures("best_ap"), b.figures("best_ap")))
    return list(folds.values())


def test_a_fold_that_is_not_finished_leaves_no_verdict_and_is_counted(store: Store, dataset: DataSet) -> None:
    for seed in (0, 1):
        key = member_of(dataset, "CXR", seed, Fold(number=2, of=3)).run.key
        assert store.requeue([key], ["finished"])
    ((found,), _) = compare_ablation(store, DetectionStore(), "made", FEW)
    assert (found.verdict, found.reasons) == ("no verdict", ("folds_missing",))
    assert found.sentence.startswith("No verdict, 2 of 3 folds are finished: ")
    assert found.note.startswith(
        "2 of 3 folds, 3 of 6 pairs of runs: CXR fold 2 seed 0 queued; CXR fold 2 seed 1 queued"
    )
    reference, other = arms_over_folds(member_summaries(store))
    assert reference.sentence == "default, CXR: 2 of 3 folds are finished"
    assert (other.done, other.of, other.seeds, other.uneven) == (3, 3, 1, True)
    assert other.sentence.endswith(" over 3 folds, at least 1 seed each")


@pytest.mark.parametrize(("seeds", "reason"), [(1, "confirmed"), (2, "seeds_missing")])
def test_a_registered_pair_takes_its_verdict_when_the_seeds_of_all_folds_are_there(
    store: Store, dataset: DataSet, seeds: int, reason: str
) -> None:
    members = tuple(
        member_of(dataset, arm, seed, Fold(number=number, of=3))
        for arm in made.ARMS for number in (1, 2, 3) for seed in (0, 1)
    )  # fmt: skip
    asked = Hypothesis(compare=made.ARMS, setting="default", seeds=seeds)
    pairs = (made.ARMS,)
    store.add_ablation(Ablation("made", "made.toml", "Made up", "", "", made.ARMS, pairs, members, hypothesis=asked))
    ((found,), _) = compare_ablation(store, DetectionStore(), "made", FEW)
    assert reason in found.reasons
    assert ("5 of the 6 registered seeds of all folds are finished" in found.sentence) == (seeds == 2)


def test_runs_are_compared_within_a_fold_alone(store: Store) -> None:
    one = [f"made/default, fold 1 of 3/{arm}" for arm in made.ARMS]
    found = compare_arms(store, DetectionStore(), *one, FEW)
    assert (found.folds, found.setting, found.reasons[0]) == (0, "default, fold 1 of 3", "two_seeds_alone")
    assert (found.conditions["folds"], found.conditions["fold"]) == ("3 (seed 0)", "1")
    for seed in ("", "/0"):
        with pytest.raises(EvaluationError, match="cannot be compared: fold 1 / 2"):
            compare_arms(store, DetectionStore(), one[0] + seed, f"made/default, fold 2 of 3/CXR+Clinical{seed}", FEW)


def test_parts_of_folds_are_refused_in_the_option_s_name(store: Store) -> None:
    """What ``--by`` cannot part is no reason against the comparison."""
    with pytest.raises(EvaluationError, match="--by: each fold has other patients"):
        compare_ablation(store, DetectionStore(), "made", FEW, by=["age"])
    one = [f"made/default, fold 1 of 3/{arm}" for arm in made.ARMS]
    with pytest.raises(EvaluationError, match="--by: unknown column 'sex'"):
        compare_arms(store, DetectionStore(), *one, FEW, by=["sex"])


@pytest.mark.slow
def test_the_fold_that_is_finished_first_confirms_nothing_by_itself(dataset: DataSet, tmp_path: Path) -> None:
    """Nor is it of the family of the folds, to which the means over permutations belong."""
    permuted = ("permuted 0", "permuted 1")
    fields = {name: {"clinical_records": "permuted", "clinical_permutation": n} for n, name in enumerate(permuted)}
    folds = [Fold(number=n, of=3) for n in (1, 2, 3)]
    members = [
        member_of(dataset, arm, seed, fold, **fields.get(arm, {}))
        for arm in (*made.ARMS, *permuted) for fold in folds for seed in (0, 1)
    ]  # fmt: skip
    asked = Hypothesis(compare=made.ARMS, setting="default", seeds=2)
    pairs = (made.ARMS, *((name, "CXR+Clinical") for name in permuted))
    arms = (*made.ARMS, *permuted)
    with Store.open(tmp_path / "mmad.sqlite") as store:
        store.add_ablation(Ablation("made", "made.toml", "", "", "", arms, pairs, tuple(members), hypothesis=asked))
        for one in members:
            if one.run.protocol.fold == folds[0]:
                made.finish(store, one, folded(dataset, folds[0]), made.SKILLS.get(one.arm, 0.3))
        alone = compare_arms(store, DetectionStore(), *(f"made/default, fold 1 of 3/{arm}" for arm in made.ARMS), FEW)
        every, _ = compare_ablation(store, DetectionStore(), "made", FEW)
        for one in members:
            fold = one.run.protocol.fold
            if fold in folds[1:] and one.seed == 0:
                assert fold is not None
                made.finish(store, one, folded(dataset, fold), made.SKILLS.get(one.arm, 0.3))
        (whole, *_), _ = compare_ablation(store, DetectionStore(), "made", FEW)
        pairs = comparison_targets(store, whole, FEW)
        parts = [[pair for pair in pairs if fold_of(pair[0].run) == fold] for fold in folds]
        each = [late_fusion(store, DetectionStore(), part, FEW).differences.mean() for part in parts]
    assert whole.statistics is not None
    late = whole.statistics.late_fusion
    assert isinstance(late, MeanDifference)
    assert (late.seeds, late.ap.value) == (3, pytest.approx(np.mean(each)))
    assert len(set(each)) == 3
    assert alone.folds == 0
    assert "exploratory" in alone.reasons
    assert alone.sentence.startswith("Exploratory: ")
    assert [one.reasons[0] for one in every] == ["folds_missing"] * 3


def test_a_name_without_a_fold_means_all_of_them(store: Store) -> None:
    assert len(find_seeds(store, CXR)) == 6
    assert [len(group) for group in find_ensembles(store, CXR)] == [2, 2, 2]
    assert len(find_seeds(store, "made/default, fold 2 of 3/CXR")) == 2
    with pytest.raises(StoreError, match="is more than one run: made/default, fold 1 of 3/CXR/0"):
        find_run(store, f"{CXR}/0")


def test_the_detections_of_a_fold_are_measured_on_its_patients(store: Store, dataset: DataSet) -> None:
    run = find_run(store, "made/default, fold 3 of 3/CXR/0").run
    there = DetectionStore().dataset(run)
    assert there.studies == samples(dataset, "unified", Fold(number=3, of=3)).studies


def test_pictures_are_of_one_fold_and_say_so(store: Store) -> None:
    (found,) = pictures_of(load_frame(store), store, number=2).ablations.values()
    (pair,) = found.pairs
    run = find_run(store, "made/default, fold 1 of 3/CXR/0").run
    assert pair.studies
    assert {one.study for one in pair.studies} <= set(DetectionStore().dataset(run).ground_truth("test").studies)
    assert any(note.text.startswith("Pictures are of fold 1 of 3") for note in found.notes)


def test_the_methods_name_the_folds_and_whose_variance_it_is(store: Store) -> None:
    frame = load_frame(store)
    text = render_methods(
        build_model(frame, created=made.NOON, database="made", cohorts=cohorts_of(frame, store, DetectionStore()))
    )
    assert "Seeds are averaged within each fold." in text
    assert "Nadeau" in text
    assert r"Cross\-validation by whole patients" in text


@pytest.mark.slow
def test_commands_and_the_report_say_the_figure_over_folds(
    store: Store, dataset: DataSet, call_mmad: Callable[..., Any]
) -> None:
    frame = load_frame(store)
    assert frame.ablations[0].settings == ("default",)
    assert len(frame.ablations[0].of("default", "CXR")) == 6
    (cohort,) = cohorts_of(frame, store, DetectionStore()).values()
    assert [one.split for one in cohort.splits] == ["fold 1", "fold 2", "fold 3"]
    assert sum(one.patients for one in cohort.splits) == people(dataset)
    ((found,), _) = compare_ablation(store, DetectionStore(), "made", FEW)
    assert found.statistics is not None
    table = pairs_table([(found, found.statistics)])
    assert table.frame["folds_done"].tolist() == [3]
    reference, other = arms_over_folds(member_summaries(store))
    assert found.statistics.other is not None
    assert other.ap is not None
    assert other.ap.low == pytest.approx(found.statistics.other.estimate.ap.low)
    database = store.paths.database
    for words in (("runs", "made"), ("show", "made/default, fold 1 of 3/CXR/0")):
        assert reference.sentence in " ".join(call_mmad(*words, "--db", database).out.split())
    plain = json.loads(call_mmad("compare", "made", "--json", "--resamples", "100", "--db", database).out)
    (pair,) = plain["pairs"]
    assert (pair["folds"]["of"], pair["folds"]["done"], len(pair["folds"]["ap"])) == (3, 3, 3)
    assert pair["words"] == found.sentence
    assert plain["estimand"] == ESTIMAND_OF_FOLDS
    assert 0 < pair["folds"]["other_pooled_ap"] < 1
    rows = json.loads(call_mmad("runs", "made", "--json", "--db", database).out)
    assert rows[-1]["over_folds"]["sentence"] == other.sentence


@pytest.fixture
def elsewhere(store: Store, dataset: DataSet, tmp_path: Path) -> Path:
    """Another data set, on which every finished run of both arms was evaluated."""
    other = make_phantom(tmp_path / "elsewhere", studies=24, image_size=64, seed=1)
    detections = DetectionStore()
    for arm in made.ARMS:
        for n, found in enumerate(find_seeds(store, f"made/default/{arm}")):
            if found.run.status == "finished":
                target = outside_target(store, detections, evaluation_target(store, found, FEW), other.root, {})
                truth = detections.truth(target)
                write_detections(target.file, made.seen(truth, made.SKILLS[arm], 10 * n))
                note_external(store, target)
    return other.root


def test_folds_have_one_difference_on_an_external_data_set(
    store: Store, elsewhere: Path, call_mmad: Callable[..., Any]
) -> None:
    ((found,), _) = compare_ablation(store, DetectionStore(), "made", FEW)
    assert found.statistics is not None
    (there,) = found.statistics.external
    assert there.why == ""
    assert there.difference is not None
    assert (there.difference.folds, there.difference.seeds) == (3, 1)
    kept = recorded_external(store)
    (pairs,) = external_pairs(store, DetectionStore(), comparison_targets(store, found, FEW), kept)
    sample = sample_of(store, DetectionStore(), pairs, FEW)
    numbers = [1, 1, 2, 2, 3]
    folds = [[d for d, n in zip(sample.differences, numbers, strict=True) if n == k] for k in (1, 2, 3)]
    each = np.array([np.mean(fold) for fold in folds])
    assert there.difference.ap.value == pytest.approx(each.mean())
    for side, whose in ((there.reference, sample.reference), (there.other, sample.other)):
        assert side is not None
        parts = [np.mean([ap for ap, n in zip(whose, numbers, strict=True) if n == k]) for k in (1, 2, 3)]
        assert side.estimate.ap.value == pytest.approx(np.mean(parts))
        assert side.pooled is None
    assert found.note.startswith("3 of 3 folds, 5 of 6 pairs of runs: ")
    assert found.note in external_pairs_table([(found, found.statistics)]).rows[0]  # as the main table says
    shown = call_mmad("compare", "made", "--resamples", "100", "--db", store.paths.database)
    assert OUTSIDE_FOLDS in " ".join(shown.out.split())


def test_an_ensemble_of_folds_is_for_images_that_none_of_them_was_trained_on(
    store: Store, dataset: DataSet, elsewhere: Path, call_mmad: Callable[..., Any]
) -> None:
    database = store.paths.database
    called = call_mmad("eval", CXR, "--ensemble", "--on", elsewhere, "--json", "--db", database)
    assert called.code == 0, called.err
    (run,) = json.loads(called.out)["runs"]
    assert (run["setting"], run["images"], len(run["ensemble"]["runs"])) == ("default", 24, 6)
    assert [one["setting"] for one in run["ensemble"]["runs"]] == [
        f"default, fold {n} of 3" for n in (1, 2, 3) for _ in (0, 1)
    ]
    assert "never the estimand" in run["ensemble"]["note"]
    assert "each fold's own networks" in run["ensemble"]["note"]
    # the operating point is of validation images, each of its fold's own networks
    targets = [evaluation_target(store, one, replace(FEW, split="val")) for one in find_seeds(store, CXR)]
    whole = ensemble_of(targets, unseen=True)
    for unseen, hint in ((True, "name an arm with several seeds"), (False, "all folds together on another data set")):
        with pytest.raises(EvaluationError, match=f"is one run.*{hint}"):
            ensemble_of(targets[:1], unseen=unseen)
    parts = [DetectionStore().matched(ensemble_of(part)) for part in by_fold(targets)]
    assert run["diagnosis"]["score"] == score_allowing(pooled(parts), 0.5)
    assert len(DetectionStore().matched(whole).patients) == sum(len(part.patients) for part in parts)
    printed = call_mmad("eval", CXR, "--ensemble", "--on", elsewhere, "--db", database)
    assert "made/default/CXR/ensemble of 6 networks of 3 folds" in " ".join(printed.out.split())
    with pytest.raises(EvaluationError, match=r"was trained on test images of the others; evaluate .*\(--on DIR\)"):
        evaluate(store, CXR, ensemble=True)
    shutil.copytree(dataset.root, elsewhere.parent / "part")
    table = elsewhere.parent / "part" / "boxes.csv"
    table.write_text("\n".join(table.read_text().splitlines()[:-1]) + "\n")
    refused = call_mmad("eval", CXR, "--ensemble", "--on", table.parent, "--db", database)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "36 of its images are of the runs' data set" in refused.err, refused.err
