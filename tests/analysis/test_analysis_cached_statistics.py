"""Analyses of kept detections: the figures of the store, kept once, refused with the hint."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import analysis_fixtures as made
import numpy as np
import pytest

from mmad.analysis.cached_statistics import (
    AgreementOptions,
    agreement_of,
    coco_of,
    estimate_of,
    keep_detections,
    note_evaluation,
    profile_of,
    sample_of,
)
from mmad.analysis.evaluation_target import (
    DetectionStore,
    EvaluationOptions,
    EvaluationTarget,
    ensemble_of,
    evaluation_target,
)
from mmad.base.errors import DataError, EvaluationError
from mmad.base.records import RunRecord
from mmad.config.protocol import EvaluationProtocol
from mmad.data.dataset import DataSet
from mmad.data.phantom.generate import make_phantom
from mmad.evaluation import detections_file as files
from mmad.evaluation.detections_file import read_detections, write_detections
from mmad.store.lookup import find_run
from mmad.store.store import Store

FEW = EvaluationOptions(resamples=50)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return make_phantom(tmp_path_factory.mktemp("data") / "phantom", studies=120, image_size=64)


@pytest.fixture(scope="module")
def template(dataset: DataSet, tmp_path_factory: pytest.TempPathFactory) -> made.World:
    return made.world(tmp_path_factory.mktemp("made"), dataset)


@pytest.fixture
def store(template: made.World, tmp_path: Path) -> Iterator[Store]:
    """A copy of the world, to be changed."""
    shutil.copytree(template.database.parent, tmp_path / "db")
    with Store.open(tmp_path / "db" / template.database.name) as opened:
        yield opened


@pytest.fixture
def one(store: Store) -> Callable[..., EvaluationTarget]:
    def target(arm: str = "CXR", seed: int = 0, options: EvaluationOptions = FEW) -> EvaluationTarget:
        return evaluation_target(store, find_run(store, f"made/default/{arm}/{seed}"), options)

    return target


@pytest.mark.slow
def test_the_value_is_the_recorded_one_and_lies_in_its_interval(
    store: Store, one: Callable[..., EvaluationTarget]
) -> None:
    for how in (FEW, replace(FEW, overlap="iobb"), replace(FEW, split="val")):
        judged = one(options=how)
        found = estimate_of(store, DetectionStore(), [judged])
        (row,) = (
            e
            for e in store.evaluations(judged.run.key)
            if (e.kind, e.split, e.overlap) == ("best_ap", judged.split, judged.protocol.overlap)
        )
        assert found.estimate.ap.value == pytest.approx(row.ap)
        assert found.estimate.ar.value == pytest.approx(row.ar)
        assert found.estimate.ap.low <= row.ap <= found.estimate.ap.high
        assert 0 < found.patients <= found.images


def test_it_is_computed_once_and_needs_no_data_set_afterwards(
    store: Store, one: Callable[..., EvaluationTarget], tmp_path: Path
) -> None:
    pair = [(one("CXR"), one("CXR+Clinical"))]
    first = (
        estimate_of(store, DetectionStore(), [one()]),
        sample_of(store, DetectionStore(), pair, FEW),
        agreement_of(store, DetectionStore(), pair),
        coco_of(store, DetectionStore(), one()),
    )
    nowhere = _Gone()
    again = (
        estimate_of(store, nowhere, [one()]),
        sample_of(store, nowhere, pair, FEW),
        agreement_of(store, nowhere, pair),
        coco_of(store, nowhere, one()),
    )
    assert repr(again) == repr(first)
    assert {a.kind for a in store.analyses()} == {"estimate", "difference", "agreement", "coco"}
    subject = store.analyses("difference")[0].subject
    assert subject["runs"] == [pair[0][0].run.key, pair[0][1].run.key]
    assert {"epochs", "checkpoint", "split", "overlap", "threshold", "max_detections", "proposals"} <= set(subject)
    assert {"resamples", "seed", "version"} <= set(subject)
    with pytest.raises(DataError):
        estimate_of(store, nowhere, [one(options=replace(FEW, split="val"))])


class _Gone(DetectionStore):
    def dataset(self, run: RunRecord) -> DataSet:
        raise DataError("the folder is gone")


def test_a_folder_that_was_named_holds_the_runs_data_though_all_is_cached(
    store: Store, one: Callable[..., EvaluationTarget], dataset: DataSet, tmp_path: Path
) -> None:
    first = estimate_of(store, DetectionStore(), [one()])
    assert repr(estimate_of(store, DetectionStore(dataset.root), [one()])) == repr(first)
    pair = [(one("CXR"), one("CXR+Clinical"))]
    nowhere = DetectionStore(tmp_path / "gone")
    for ask in (
        lambda: estimate_of(store, nowhere, [one()]),
        lambda: sample_of(store, nowhere, pair, FEW),
        lambda: agreement_of(store, nowhere, pair),
        lambda: coco_of(store, nowhere, one()),
        lambda: profile_of(store, nowhere, one(), (0.3,)),
    ):
        with pytest.raises(DataError, match="gone"):
            ask()


def test_other_detections_are_judged_anew(store: Store, one: Callable[..., EvaluationTarget], dataset: DataSet) -> None:
    before = estimate_of(store, DetectionStore(), [one()])
    keep_detections(store, DetectionStore(), one(), made.seen(dataset.ground_truth("test"), 1.0, 7, false=0.0))
    after = estimate_of(store, DetectionStore(), [one()])
    assert after.estimate.ap.value > before.estimate.ap.value
    rows = {(e.kind, e.overlap): e.ap for e in store.evaluations(one().run.key) if e.split == "test"}
    assert rows["best_ap", "iou"] == rows["final", "iou"] == pytest.approx(after.estimate.ap.value)


def test_seeds_are_joined_and_the_better_arm_is_ahead(store: Store, one: Callable[..., EvaluationTarget]) -> None:
    pairs = [(one("CXR", seed), one("CXR+Clinical", seed)) for seed in (0, 1)]
    both = estimate_of(store, DetectionStore(), [a for a, _ in pairs])
    alone = [estimate_of(store, DetectionStore(), [a]).estimate.ap.value for a, _ in pairs]
    assert both.estimate.ap.value == pytest.approx(np.mean(alone))
    assert both.estimate.sd is not None
    found = sample_of(store, DetectionStore(), pairs, FEW)
    assert len(found.differences) == 2
    assert found.differences.mean() > 0.1
    alike = agreement_of(store, DetectionStore(), pairs, AgreementOptions(0.1))
    parts = [agreement_of(store, DetectionStore(), [pair], AgreementOptions(0.1)) for pair in pairs]
    assert [s.both for s in alike.shared] == [a.both + b.both for a, b in zip(*(p.shared for p in parts), strict=True)]
    assert alike.studies[0][1] == max(dict(alike.studies).values(), key=abs)


def test_a_profile_has_a_row_per_score(store: Store, one: Callable[..., EvaluationTarget]) -> None:
    profile = profile_of(store, DetectionStore(), one(), [0.05, 0.3, 0.9])
    assert [row.score for row in profile.rows] == [0.05, 0.3, 0.9]
    assert profile.rows[0].recall >= profile.rows[2].recall
    assert profile.confusion.counts[:-1].sum() == len(DetectionStore().truth(one()).labels)
    assert repr(profile_of(store, DetectionStore(), one(), [0.05, 0.3, 0.9])) == repr(profile)
    with pytest.raises(EvaluationError, match=r"score thresholds \[1.5\]; use numbers from 0 to 1"):
        profile_of(store, DetectionStore(), one(), [1.5])


def test_detections_that_are_gone_name_the_command_that_makes_them(
    store: Store, one: Callable[..., EvaluationTarget]
) -> None:
    judged = one(options=replace(FEW, split="val", proposals="sampled"))
    key = judged.run.key[:12]
    with pytest.raises(EvaluationError) as caught:
        estimate_of(store, DetectionStore(), [judged])
    assert str(caught.value) == (
        "run made/default/CXR/0: its detections (best_ap, val, sampled) are not kept; "
        f"make them with `mmad eval {key} --again --split val --proposals sampled`"
    )


@pytest.mark.parametrize("what", ["score", "box"])
def test_numbers_that_are_not_finite_name_file_and_study(
    store: Store, one: Callable[..., EvaluationTarget], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    judged = one()
    found = read_detections(judged.file)
    (found.scores if what == "score" else found.boxes)[3] = np.nan
    with monkeypatch.context() as patch:
        patch.setattr(files, "check_detections", lambda detections: None)
        write_detections(judged.file, found)
    study = found.studies[found.study[3]]
    with pytest.raises(EvaluationError, match=f"{judged.file}: 1 detections with a {what} .* in study '{study}'"):
        estimate_of(store, DetectionStore(), [judged])


def test_a_changed_data_set_is_refused(store: Store, one: Callable[..., EvaluationTarget], tmp_path: Path) -> None:
    other = make_phantom(tmp_path / "other", studies=12, image_size=64, seed=5)
    with pytest.raises(DataError, match=r"the data set changed: .* name the right one with --data"):
        estimate_of(store, DetectionStore(other.root), [one()])


def test_an_absent_split_is_refused(store: Store, dataset: DataSet, tmp_path: Path) -> None:
    folder = tmp_path / "no-test"
    shutil.copytree(dataset.root, folder)
    table = (folder / "studies.csv").read_text("utf-8")
    (folder / "studies.csv").write_text(table.replace(",test", ",train"), "utf-8")
    from mmad.data.reader import load_dataset

    moved = load_dataset(folder)
    given = made.member(moved, "CXR", 0, "short")
    made.record(store, [given])
    made.finish(store, given, moved, 0.5)
    judged = evaluation_target(store, find_run(store, "made/short/CXR"), FEW)
    with pytest.raises(EvaluationError, match="run made/short/CXR/0: the data set has no test split; use --split val"):
        estimate_of(store, DetectionStore(), [judged])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"split": "val"}, "split test / val"),
        ({"overlap": "iobb"}, "overlap iou / iobb"),
        ({"checkpoint": "final"}, "checkpoint best_ap / final"),
        ({"proposals": "with_ground_truth"}, "proposals clean / with_ground_truth"),
    ],
    ids=str,
)
def test_unlike_runs_are_refused_with_the_difference(
    store: Store, one: Callable[..., EvaluationTarget], change: dict[str, str], words: str
) -> None:
    pair = (one("CXR"), one("CXR+Clinical", options=replace(FEW, **change)))  # type: ignore[arg-type]
    with pytest.raises(
        EvaluationError, match=f"made/default/CXR/0 and made/default/CXR\\+Clinical/0 cannot be compared: {words}"
    ):
        sample_of(store, DetectionStore(), [pair], FEW)


def test_runs_of_other_data_sets_are_refused(store: Store, one: Callable[..., EvaluationTarget]) -> None:
    first = one()
    moved = replace(first.run, dataset_fingerprint="e" * 64)
    with pytest.raises(EvaluationError, match=r"cannot be compared: data set's fingerprint .* / eeeeeeeeeeee"):
        estimate_of(store, DetectionStore(), [first, replace(first, run=moved)])


def test_only_finished_runs_and_kept_checkpoints_are_judged(store: Store, one: Callable[..., EvaluationTarget]) -> None:
    with pytest.raises(EvaluationError, match="kept no checkpoint best_ar; choose one of best_ap, final"):
        one(options=EvaluationOptions(checkpoint="best_ar"))
    key = one().run.key
    assert store.requeue([key], ["finished"])
    assert store.end_free(key, "interrupted")
    with pytest.raises(EvaluationError, match="run made/default/CXR/0: is interrupted at epoch 0 of 3; evaluate it"):
        one()


def test_runs_without_a_best_checkpoint_are_judged_by_their_final_one(store: Store, dataset: DataSet) -> None:
    given = made.member(dataset, "CXR", 5, "final only", use_early_stop_model=False)
    made.record(store, [given])
    made.finish(store, given, dataset, 0.5, kinds=("final",))
    assert evaluation_target(store, find_run(store, "made/final only/CXR"), FEW).checkpoint.kind == "final"


def test_a_protocol_of_its_own_is_recorded_when_judged(store: Store, dataset: DataSet) -> None:
    strict = EvaluationProtocol(threshold=0.75, max_detections=5)
    given = made.member(dataset, "CXR", 0, evaluation=strict)
    made.record(store, [given])
    judged = evaluation_target(store, find_run(store, "made/default/CXR"), FEW)
    for _ in range(2):
        note_evaluation(store, DetectionStore(), judged)
    rows = [e for e in store.evaluations(judged.run.key) if e.threshold == 0.75]
    assert [(e.kind, e.overlap, e.max_detections) for e in rows] == [
        (kind, overlap, 5) for overlap in ("iou", "iobb") for kind in ("best_ap", "final")
    ]
    found = estimate_of(store, DetectionStore(), [judged])
    assert found.estimate.ap.value == pytest.approx(rows[0].ap)


@pytest.mark.parametrize("resamples", [1, 10**6])
def test_too_few_or_too_many_resamples_are_refused(resamples: int) -> None:
    with pytest.raises(EvaluationError, match="use 10 to 100,000, such as 1000"):
        EvaluationOptions(resamples=resamples)


def test_folds_make_no_ensemble() -> None:
    runs = [SimpleNamespace(protocol={"fold": {"number": n, "of": 3, "seed": 0}}) for n in (1, 2)]
    targets = [SimpleNamespace(run=run, name="made/default/CXR/0", outside=None, member=None) for run in runs]
    for some, what in (
        (targets, "made/default/CXR: is of several folds, and each network was trained on test images of the others"),
        (targets[:1], "made/default/CXR/0: is one run, .*: the networks of the other folds were trained on its test"),
    ):
        with pytest.raises(EvaluationError, match=what):
            ensemble_of(some)  # type: ignore[arg-type]


def test_an_ensemble_is_of_seeds_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replicates of a seed are no further seeds, and another setup is another detector."""

    def target(seed: int, lr: float = 0.1) -> SimpleNamespace:
        run = SimpleNamespace(protocol={"seed": seed}, setup={"lr": lr})
        return SimpleNamespace(run=run, member=None, name=f"made/default/CXR/{seed}")

    for seeds, what in (
        ([target(0), target(0)], "is one run"),
        ([target(0), target(1, 0.2)], "is of setups that differ"),
    ):
        with pytest.raises(EvaluationError, match=f"made/default/CXR/0: {what}"):
            ensemble_of(seeds)  # type: ignore[arg-type]
    one = EvaluationTarget(*[None] * 5, Path())  # type: ignore[arg-type]
    seeds = [replace(one, run=target(seed).run) for seed in (0, 1, 0)]  # type: ignore[arg-type]
    monkeypatch.setattr(EvaluationTarget, "name", "made/default/CXR/0")
    assert ensemble_of(seeds).seeds == (seeds[0], seeds[1])
