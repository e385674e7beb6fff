"""Training with a mask head: masks are kept and evaluated; without one nothing is said of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_training_run import Notes, specification

from mmad.base.paths import RunPaths
from mmad.data.phantom.generate import make_phantom
from mmad.evaluation.coco import scores_by_overlap
from mmad.evaluation.detections_file import read_detections
from mmad.training.inference import InferenceRunner
from mmad.training.trainer import train

pytestmark = pytest.mark.slow
MASKS = {"ap_mask_iou", "ar_mask_iou", "ap_mask_iobb", "ar_mask_iobb"}


def test_masks_are_kept_evaluated_by_epoch_and_made_again(tmp_path: Path) -> None:
    dataset = make_phantom(tmp_path / "phantom", studies=24, image_size=64)
    spec = specification(dataset, 2, use_clinical=False, use_mask=True, mask_hidden_layers=8)
    notes, paths = Notes(), RunPaths(tmp_path / "run")
    assert train(spec, dataset_path=dataset.root, run=paths, recorder=notes) == "finished"
    for record in notes.epochs.values():
        for split in ("train", "val"):
            assert {m.name for m in record.metrics if m.split == split} >= MASKS
    (last,) = (c for c in notes.checkpoints if c.kind == "final")
    kept = read_detections(paths.detections(last.epoch, "test", "clean"))
    assert kept.masks is not None
    assert len(kept.masks.runs) == len(kept.scores) > 0
    scores = scores_by_overlap(kept, dataset.ground_truth("test"))
    rows = {e.overlap: e for e in notes.evaluations if (e.kind, e.epoch, e.split) == ("final", last.epoch, "test")}
    assert set(rows) == {"iou", "iobb", "mask_iou", "mask_iobb"}
    assert all((rows[name].ap, rows[name].ar) == (score.ap, score.ar) for name, score in scores.items())
    again = InferenceRunner(spec, dataset_path=dataset.root, run=paths).detections(paths.folder / last.path, "test")
    assert again.masks is not None
    assert again.masks.runs == kept.masks.runs


def test_without_a_mask_head_there_is_no_word_of_masks(tmp_path: Path) -> None:
    dataset = make_phantom(tmp_path / "phantom", studies=24, image_size=64)
    notes, paths = Notes(), RunPaths(tmp_path / "run")
    spec = specification(dataset, 1, use_clinical=False)
    assert train(spec, dataset_path=dataset.root, run=paths, recorder=notes) == "finished"
    assert not any("mask" in m.name for record in notes.epochs.values() for m in record.metrics)
    assert {e.overlap for e in notes.evaluations} == {"iou", "iobb"}
    assert read_detections(paths.detections(1, "test", "clean")).masks is None
