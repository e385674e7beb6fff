"""Comparisons by name and of an ablation: seeds that both have, one family of tests, reasons for what is left out."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import analysis_fixtures as made
import pytest

from mmad.analysis.comparison import Comparison, PairStatistics
from mmad.analysis.evaluation_target import DetectionStore, EvaluationOptions
from mmad.analysis.report_frame import load_frame
from mmad.analysis.verdicts import compare_ablation, compare_arms, finished_pairs
from mmad.base.errors import EvaluationError, StoreError
from mmad.base.records import EpochRecord, Metric
from mmad.config.protocol import EvaluationProtocol
from mmad.data.dataset import DataSet
from mmad.data.phantom.generate import make_phantom
from mmad.evaluation.differences import Difference
from mmad.store.store import Store

FEW = EvaluationOptions(resamples=50)
CXR, CLINICAL = "made/default/CXR", "made/default/CXR+Clinical"


def statistics_of(found: Comparison) -> PairStatistics:
    assert found.statistics is not None
    return found.statistics


def difference_of(found: Comparison) -> Difference:
    difference = statistics_of(found).difference
    assert difference is not None
    return difference


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return make_phantom(tmp_path_factory.mktemp("data") / "phantom", studies=30, image_size=64)


@pytest.fixture(scope="module")
def template(dataset: DataSet, tmp_path_factory: pytest.TempPathFactory) -> made.World:
    return made.world(tmp_path_factory.mktemp("made"), dataset)


@pytest.fixture
def store(template: made.World, tmp_path: Path) -> Iterator[Store]:
    shutil.copytree(template.database.parent, tmp_path / "db")
    with Store.open(tmp_path / "db" / template.database.name) as opened:
        yield opened


def test_arms_are_compared_over_all_their_seeds(store: Store) -> None:
    found = compare_arms(store, DetectionStore(), CXR, CLINICAL, FEW)
    known = statistics_of(found)
    assert (difference_of(found).seeds, found.note) == (2, "")
    assert known.reference is not None
    assert known.other is not None
    sides = known.reference.estimate.ap.value, known.other.estimate.ap.value
    assert difference_of(found).ap.value == pytest.approx(sides[1] - sides[0])
    assert (found.verdict, found.reasons) == ("not settled", ("two_seeds_alone",))
    assert found.sentence.endswith(" test AP; two seeds alone settle nothing.")
    back = compare_arms(store, DetectionStore(), CLINICAL, CXR, FEW)
    assert difference_of(back).ap.value == pytest.approx(-difference_of(found).ap.value)


def test_two_single_runs_are_a_pair_whatever_their_seeds(store: Store) -> None:
    found = compare_arms(store, DetectionStore(), f"{CXR}/0", f"{CXR}/1", FEW)
    assert difference_of(found).seeds == 1
    assert difference_of(found).sd is None


def test_a_seed_that_is_not_finished_in_both_is_left_out_with_a_word(store: Store, template: made.World) -> None:
    assert store.requeue([template.keys["CXR", 1]], ["finished"])
    assert store.end_free(template.keys["CXR", 1], "failed", "no memory")
    found = compare_arms(store, DetectionStore(), CXR, CLINICAL, FEW)
    assert (difference_of(found).seeds, found.note) == (1, "1 of 2 seeds: CXR seed 1 failed at epoch 0 of 3")
    assert store.requeue([template.keys["CXR+Clinical", 0]], ["finished"])
    assert store.end_free(template.keys["CXR+Clinical", 0], "interrupted")
    with pytest.raises(EvaluationError, match="no seed that both have finished"):
        compare_arms(store, DetectionStore(), CXR, CLINICAL, FEW)
    with pytest.raises(
        EvaluationError, match=r"no seed that both have finished \(CXR\+Clinical interrupted at epoch 0 of 3\)"
    ):
        compare_arms(store, DetectionStore(), f"{CXR}/0", f"{CLINICAL}/0", FEW)


def test_one_run_twice_and_unknown_names_are_refused(store: Store) -> None:
    with pytest.raises(EvaluationError, match="cannot be compared: both are one run"):
        compare_arms(store, DetectionStore(), f"{CXR}/0", f"{CXR}/0", FEW)
    with pytest.raises(StoreError, match="did you mean"):
        compare_arms(store, DetectionStore(), CXR, "made/default/CRX", FEW)


def test_an_ablation_s_pairs_are_one_family_of_tests(store: Store, dataset: DataSet) -> None:
    members = [made.member(dataset, arm, seed, "default") for seed in (0, 1) for arm in made.ARMS]
    more = [made.member(dataset, arm, 0, "lower lr", lr=1e-4) for arm in made.ARMS]
    made.record(store, [*members, *more])
    for one in more:
        made.finish(store, one, dataset, 0.5)
    seen: list[tuple[int, int]] = []
    found, refused = compare_ablation(
        store, DetectionStore(), "made", FEW, lambda done, whole: seen.append((done, whole))
    )
    assert [c.setting for c in found] == ["default", "lower lr"]
    assert refused == []
    assert [found[0].reasons, found[1].reasons[0]] == [("two_seeds_alone",), "one_seed"]
    for one in found:
        alone = compare_arms(store, DetectionStore(), *one.names, FEW)
        assert (alone.sentence, alone.reasons) == (one.sentence, one.reasons)
        assert repr(alone.difference) == repr(one.difference)  # from Python 3.13 on records with a NaN are never equal
    ended = finished_pairs(store, DetectionStore(), "made", FEW)
    assert [one.sentence for one in ended if isinstance(one, Comparison)] == [one.sentence for one in found]
    assert seen == [(0, 2), (1, 2), (2, 2)]


def test_seeds_that_were_added_after_a_look_are_counted_by_every_output(store: Store, dataset: DataSet) -> None:
    members = [made.member(dataset, arm, 0, lr=1e-5) for arm in made.ARMS]
    made.record(store, members)
    for one in members:
        store.commit_epoch(one.run.key, EpochRecord(1, 0.1, 1.0, 0, (Metric("test", "ap_iou", 0.5),)), [])
        made.finish(store, one, dataset, 0.5)
    more = [made.member(dataset, arm, 1, lr=1e-5) for arm in made.ARMS]
    made.record(store, [*members, *more])
    for one in more:
        made.finish(store, one, dataset, 0.5)
    (compared,), _ = compare_ablation(store, DetectionStore(), "made", FEW)
    (ended,) = finished_pairs(store, DetectionStore(), "made", FEW)
    assert isinstance(ended, Comparison)
    for found in (compared, ended, compare_arms(store, DetectionStore(), CXR, CLINICAL, FEW)):
        assert found.late == 2
        assert found.sentence.endswith(" 2 runs of this ablation were queued after its first test figures.")
    (shown,) = load_frame(store).ablations[0].comparisons
    assert isinstance(shown, Comparison)
    assert shown.late == 2


def test_what_cannot_be_compared_stands_beside_the_rest(store: Store, dataset: DataSet) -> None:
    members = [made.member(dataset, arm, 0) for arm in made.ARMS]
    other = EvaluationProtocol(overlap="iobb")
    unlike = [made.member(dataset, arm, 0, "unlike", other if arm == "CXR" else None, lr=1e-4) for arm in made.ARMS]
    made.record(store, [*members, *unlike])
    for one in unlike:
        made.finish(store, one, dataset, 0.5)
    found, refused = compare_ablation(store, DetectionStore(), "made", FEW)
    assert [c.setting for c in found] == ["default"]
    assert [(r.setting, r.reference, r.other) for r in refused] == [("unlike", "CXR", "CXR+Clinical")]
    assert refused[0].reason == "overlap iobb / iou"
    both, none = compare_ablation(store, DetectionStore(), "made", EvaluationOptions(overlap="iou", resamples=50))
    assert (len(both), none) == (2, [])


def test_pairs_without_best_checkpoints_are_compared_by_final_ones(store: Store, dataset: DataSet) -> None:
    members = [made.member(dataset, arm, 0, use_early_stop_model=arm != "CXR") for arm in made.ARMS]
    made.record(store, members)
    for one in members:
        made.finish(store, one, dataset, 0.5, kinds=("final",) if one.arm == "CXR" else ("best_ap", "final"))
    found = compare_arms(store, DetectionStore(), CXR, CLINICAL, FEW)
    assert (found.kind, [c.checkpoint for c in found.sides]) == ("final", ["final", "final"])


def test_nothing_to_compare_is_refused(store: Store, dataset: DataSet) -> None:
    with pytest.raises(StoreError, match="no ablation 'maed'"):
        compare_ablation(store, DetectionStore(), "maed", FEW)
    made.record(store, [made.member(dataset, arm, 9) for arm in made.ARMS])
    with pytest.raises(EvaluationError, match=r"ablation made: .* cannot be compared: .* finished \(CXR queued"):
        compare_ablation(store, DetectionStore(), "made", FEW)
