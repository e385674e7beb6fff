"""Whole runs on a tiny phantom: equal bit for bit, stopped anywhere, explained when they cannot go on."""

import math
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_runs import Notes, Start, Whole, specification

from mmad.base.errors import CheckpointError, DataError, DivergedError, MmadError, SpecError
from mmad.base.paths import RunPaths
from mmad.base.records import LOSS_COMPONENTS
from mmad.config.protocol import TrainingProtocol
from mmad.data.dataset import DataSet
from mmad.data.phantom.generate import make_phantom
from mmad.data.reader import load_dataset
from mmad.evaluation.coco import Scores, evaluate
from mmad.evaluation.detections_file import read_detections
from mmad.training import checkpoint, loop, trainer
from mmad.training.trainer import train

pytestmark = pytest.mark.slow


def test_two_runs_of_one_key_are_equal_bit_for_bit(start: Start, whole: Whole) -> None:
    (first, _), second = whole(), Notes()
    assert start(second) == "finished"
    assert first.numbers() == second.numbers()
    assert all(math.isfinite(v) for (_, _, name), v in first.numbers().items() if name.startswith("loss"))
    assert {(s, n) for _, s, n in first.numbers()} >= {
        (split, name)
        for split in ("train", "val", "test")
        for name in ("loss", "loss_classifier", "loss_rpn_box_reg", "ap_iou", "ar_iou", "ap_iobb", "ar_iobb")
    }
    assert first.epochs[1].peak_memory > 0
    assert first.warnings == []


#: Everything that carries something from one epoch to the next.
CARRYING = {
    "learned_loss_weights": True,
    "gradient_accumulation": 2,
    "gradient_clip_norm": 0.5,
    "lr_scheduler": "ReduceLROnPlateau",
    "plateau_metric": "previous_val_ap",
    "reduceLROnPlateau_patience": 0,
    "measure_test": False,
}


@pytest.mark.parametrize(("stop_after", "fields"), [(1, {}), (5, {}), (9, {}), (5, CARRYING), (9, CARRYING)])
def test_a_stopped_run_goes_on_as_if_nothing_had_happened(
    start: Start, whole: Whole, stop_after: int, fields: dict[str, object]
) -> None:
    (expected, _), parts = whole(**fields), Notes()
    assert start(parts, "parts", stop_after=stop_after, **fields) == "interrupted"
    assert len(parts.epochs) < 3
    parts.steps = 0
    assert start(parts, "parts", **fields) == "finished"
    assert parts.numbers() == expected.numbers()
    assert [c.sha256 for c in parts.checkpoints if c.kind == "final"] != [""]
    assert parts.environments[-1].from_epoch == len(parts.epochs) - (3 - parts.environments[-1].from_epoch)


def test_by_reading_equals_by_image_where_each_has_one_reading(whole: Whole) -> None:
    (unified, _), (normal, _) = whole(1), whole(1, dataset_mode="normal")
    assert normal.numbers() == unified.numbers()


def test_each_reading_is_a_sample_of_its_own(start: Start, dataset: DataSet, tmp_path: Path) -> None:
    folder = tmp_path / "twice"
    shutil.copytree(dataset.root, folder)
    rows = (folder / "boxes.csv").read_text("utf-8").splitlines()
    again = [row.replace(",1,", ",2,", 1) for row in rows[1:]]
    (folder / "boxes.csv").write_text("\n".join([*rows, *again, ""]), "utf-8")
    notes, twice = Notes(), load_dataset(folder)
    spec = specification(twice, 1, dataset_mode="full", use_clinical=False, batch_size=1)
    assert train(spec, dataset_path=folder, run=RunPaths(tmp_path / "run"), recorder=notes) == "finished"
    with_boxes = set(dataset.box_study.tolist())
    assert notes.steps == sum(2 if i in with_boxes else 1 for i in dataset.split("train"))


def test_a_trial_takes_no_more_steps_than_asked_in_any_pass(dataset: DataSet, tmp_path: Path) -> None:
    notes = Notes()
    run, whole = RunPaths(tmp_path / "run"), specification(dataset, 1, batch_size=2)
    spec = replace(whole, protocol=TrainingProtocol(epochs=1, steps_per_epoch=1))
    assert spec.key != whole.key
    assert train(spec, dataset_path=dataset.root, run=run, recorder=notes) == "finished"
    assert notes.steps == 1
    for evaluation in notes.evaluations:
        found = read_detections(run.folder / (evaluation.detections or ""))
        # images that were not looked at count as missed, so that figures computed later are the same
        assert len(set(found.study.tolist())) <= 2 < len(found.studies)
        assert evaluation.ar == evaluate(found, dataset.ground_truth(evaluation.split), overlap=evaluation.overlap).ar


def test_what_is_missing_can_be_read(whole: Whole) -> None:
    fields = {"use_clinical": True, "clinical_input_channels": 32}
    plain, _ = whole(1, **fields)
    told, _ = whole(1, clinical_missing_indicators=True, clinical_unknown_slot=True, **fields)
    assert told.numbers() != plain.numbers()
    assert all(math.isfinite(v) for (_, _, name), v in told.numbers().items() if name.startswith("loss"))


def test_learned_weights_are_recorded_and_leave_the_validation_loss_plain(whole: Whole) -> None:
    (notes, _), (plain, _) = whole(1, learned_loss_weights=True), whole(1)
    numbers = notes.numbers()
    weights = {name: value for (_, split, name), value in numbers.items() if name.startswith("weight_")}
    assert set(weights) == {f"weight_{name}" for name in LOSS_COMPONENTS}
    assert all(value != 1.0 for value in weights.values())
    assert numbers[1, "train", "objective"] != numbers[1, "train", "loss"]
    for split in ("train", "val", "test"):
        parts = sum(numbers[1, split, name] for name in LOSS_COMPONENTS)
        assert numbers[1, split, "loss"] == pytest.approx(parts, rel=1e-6)
    assert {split for _, split, name in numbers if name == "objective" or name in weights} == {"train"}
    assert not {name for _, _, name in plain.numbers()} & {"objective", *weights}
    assert notes.counts == plain.counts  # the detector holds none of them


def test_the_test_split_is_measured_where_an_epoch_is_kept_and_nowhere_else(whole: Whole) -> None:
    (sparse, _), (every, _) = whole(4, measure_test=False), whole(4)
    kept = {e.epoch for e in every.evaluations}
    tested = {epoch for epoch, split, _ in sparse.numbers() if split == "test"}
    assert tested == kept == {e.epoch for e in sparse.evaluations if e.split == "test"}
    assert 4 in tested
    assert tested < {1, 2, 3, 4}  # else this data set tells nothing
    assert sparse.numbers() == {k: v for k, v in every.numbers().items() if k[1] != "test" or k[0] in tested}
    assert sparse.evaluations == every.evaluations


def test_without_early_stop_models_the_final_epoch_alone_is_kept(start: Start) -> None:
    notes = Notes()
    start(notes, epochs=2, use_early_stop_model=False, measure_test=False)
    assert {c.kind: c.epoch for c in notes.checkpoints} == {"final": 2, "last": 2}
    assert {(e.kind, e.epoch, e.split) for e in notes.evaluations} == {("final", 2, "val"), ("final", 2, "test")}
    assert {epoch for epoch, split, _ in notes.numbers() if split == "test"} == {2}


def test_half_precision_on_the_cpu_is_refused_before_anything_is_read(dataset: DataSet, tmp_path: Path) -> None:
    spec = specification(dataset, 1, mixed_precision=True)
    with pytest.raises(SpecError, match="mixed_precision needs a GPU of NVIDIA or AMD; set mixed_precision = false"):
        train(spec, dataset_path=tmp_path / "nowhere", run=RunPaths(tmp_path / "run"), recorder=Notes())


def facts(folder: Path, notes: Notes) -> Mapping[str, Any]:
    """The plain facts of a run's newest checkpoint."""
    last = next(c for c in notes.checkpoints if c.kind == "last")
    return checkpoint.load(folder / last.path)[1].facts


def test_half_precision_trains_records_and_resumes(
    start: Start, whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the CPU is slow, not unable
    monkeypatch.setattr(trainer, "require_device", lambda mixed_precision, device, bf16: None)
    (expected, folder), (single, _), parts = whole(2, mixed_precision=True), whole(1), Notes()
    start(parts, "parts", epochs=2, mixed_precision=True, stop_after=5)
    start(parts, "parts", epochs=2, mixed_precision=True)
    assert parts.numbers() == expected.numbers()
    scalers = [facts(*run)["scaler"] for run in ((folder, expected), (tmp_path / "parts", parts))]
    assert scalers[0] == scalers[1]  # the steps counted since the scale last changed, too
    assert scalers[0]["_growth_tracker"] == expected.steps
    loss, exact = expected.numbers()[1, "val", "loss"], single.numbers()[1, "val", "loss"]
    assert loss != exact
    assert loss == pytest.approx(exact, rel=0.1)


def test_a_lost_commit_is_reported_again_and_nothing_is_trained_twice(
    start: Start, whole: Whole, tmp_path: Path
) -> None:
    (notes, folder), late = whole(), Notes()
    shutil.copytree(folder, tmp_path / "run")
    assert start(late) == "finished"
    assert late.steps == 0
    assert late.epochs == {3: notes.epochs[3]}
    assert {c.kind for c in late.checkpoints} == {c.kind for c in notes.checkpoints}


def test_checkpoints_and_detections_agree_with_the_record(whole: Whole, dataset: DataSet) -> None:
    notes, folder = whole()
    run = RunPaths(folder)
    kinds = {c.kind: c for c in notes.checkpoints}
    assert set(kinds) == {"best_ap", "best_ar", "final", "last"}
    for row in kinds.values():
        file, _ = checkpoint.load(run.folder / row.path)
        assert (file.epoch, file.sha256, file.size) == (row.epoch, row.sha256, row.size)
    values = {e: r.value("val", "ap_iou") for e, r in notes.epochs.items()}
    assert values[kinds["best_ap"].epoch] == max(values.values())
    for row in (e for e in notes.evaluations if e.split == "test"):
        kept = read_detections(run.folder / row.detections)
        again = evaluate(kept, dataset.ground_truth("test"), overlap=row.overlap)
        assert (again.ap, again.ar) == (row.ap, row.ar)
        assert row.ap == notes.epochs[row.epoch].value("test", f"ap_{row.overlap}")
        assert kept.boxes.max() <= 64.0 + 1e-6  # pixels of the original image, not of the 32 px one
        assert kept.boxes.max() > 32.0


def test_arms_see_the_same_studies_in_the_same_order(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[int]] = []
    original = loop._to

    def spy(batch, device):
        seen.append(list(batch.positions))
        return original(batch, device)

    monkeypatch.setattr(loop, "_to", spy)
    start(Notes(), "with", epochs=1)
    both, seen[:] = list(seen), []
    start(Notes(), "without", epochs=1, use_clinical=False)
    assert seen == both


def test_a_loss_that_is_not_finite_stops_with_the_studies_named(start: Start) -> None:
    notes = Notes()
    with pytest.raises(DivergedError, match=r"diverged: .* became .* in epoch 1, step \d+ \(studies s.*; lower lr"):
        start(notes, lr=10.0, loss_weights={"loss_classifier": 1e30})
    assert notes.epochs == {}


def test_a_changed_data_set_is_refused(dataset: DataSet, tmp_path: Path) -> None:
    other = make_phantom(tmp_path / "other", studies=12, image_size=64, seed=5)
    with pytest.raises(DataError, match=r"the data set changed: .* restore the folder"):
        train(specification(dataset, 1), dataset_path=other.root, run=RunPaths(tmp_path / "r"), recorder=Notes())


def test_another_runs_checkpoint_is_refused(start: Start) -> None:
    start(Notes(), epochs=1)
    with pytest.raises(CheckpointError, match="belongs to run"):
        start(Notes(), epochs=2)


def test_a_wrong_number_of_columns_is_refused(start: Start) -> None:
    with pytest.raises(MmadError, match=r"clinical_num_len = 7, but .* 9 numeric columns"):
        start(Notes(), clinical_num_len=7)


def test_full_stop_ends_early_and_the_last_epoch_is_final_but_not_best(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    rising = count()
    monkeypatch.setattr(loop, "_scores", lambda *_: {"iou": Scores(ap=next(rising), ar=0.5, per_class=())})
    notes = Notes()
    start(
        notes,
        epochs=9,
        lr=1e-12,  # nothing is learnt: the first epoch stays the best
        use_clinical=False,
        horizontal_flip=0,
        norm_momentum=1e-12,
        lr_scheduler="ReduceLROnPlateau",
        reduceLROnPlateau_patience=2,
        reduceLROnPlateau_full_stop=True,
    )
    assert max(notes.epochs) == 4
    kinds = {c.kind: c.epoch for c in notes.checkpoints}
    assert kinds == {"best_ar": 1, "best_ap": 3, "final": 4, "last": 4}  # as documented, though AP rose again


def test_the_training_leaves_the_data_set_and_the_process_as_they_were(start: Start, dataset: DataSet) -> None:
    before = load_dataset(dataset.root).fingerprint(), torch.are_deterministic_algorithms_enabled()
    start(Notes(), epochs=1)
    assert (load_dataset(dataset.root).fingerprint(), torch.are_deterministic_algorithms_enabled()) == before
    assert np.isfinite(dataset.boxes).all()


def test_a_fused_map_of_one_cell_is_warned_of(start: Start) -> None:
    notes = Notes()
    documented = {"clinical_expand_conv_channels": None, "clinical_conv_channels": 4, "fuse_depth": 4, "fuse_stride": 2}
    start(notes, epochs=1, **documented)
    assert len(notes.warnings) == 1
    assert "shrinks to 1×1" in notes.warnings[0]


def test_a_huge_rate_ends_a_run_at_its_last_good_epoch_and_records_no_other(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = Notes()
    original, passed = loop._to, count(1)

    def poisoned(batch, device):
        images, targets, numeric, categorical = original(batch, device)
        return images, targets, numeric * (math.nan if next(passed) > 6 else 1.0), categorical

    monkeypatch.setattr(loop, "_to", poisoned)
    with pytest.raises(DivergedError) as told:
        start(notes)
    assert "\n" not in str(told.value)
    assert re.search(
        r"loss_\w+ became nan in epoch 2, step \d \(studies s\d+, .*last good checkpoint is", str(told.value)
    )
    assert "epoch-00001-" in str(told.value)
    assert list(notes.epochs) == [1]
    monkeypatch.undo()
    assert start(notes) == "finished"  # the last good checkpoint is whole: fixed, the run goes on
    assert all(math.isfinite(v) for (_, _, name), v in notes.numbers().items() if name.startswith("loss"))


def test_a_rate_far_too_large_never_ends_as_a_success(start: Start) -> None:
    notes = Notes()
    with pytest.raises(DivergedError, match=r"diverged: .* in epoch \d"):
        start(notes, epochs=20, lr=10.0)
    assert all(math.isfinite(v) for (_, _, name), v in notes.numbers().items() if name.startswith("loss"))
