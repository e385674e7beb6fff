"""Whole runs on a tiny phantom: equal bit for bit, stopped anywhere, explained when they cannot go on."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from mmad.base.errors import CheckpointError, DataError, MmadError, TrainingStopped
from mmad.base.paths import RunPaths
from mmad.base.records import (
    CheckpointRecord,
    EnvironmentRecord,
    EpochRecord,
    EvaluationRecord,
    ParameterCount,
    Progress,
)
from mmad.data.dataset import DataSet, load_dataset
from mmad.data.phantom import make_phantom
from mmad.evaluation.coco import evaluate
from mmad.evaluation.detections import read_detections
from mmad.spec.protocol import TrainingProtocol
from mmad.spec.runs import DataSource, RunSpec
from mmad.spec.setup import ModelSetup
from mmad.training import checkpoint, passes, train

pytestmark = pytest.mark.slow

SETUP = {
    "backbone": "custom1",
    "image_size": 32,
    "pretrained": False,
    "batch_size": 5,
    "backbone_out_channels": 4,
    "representation_size": 8,
    "box_head_dropout_rate": 0.2,
    "clinical_input_channels": 11,
    "clinical_expand_conv_channels": 4,
    "fuse_depth": 0,
    "fusion_strategy": "add",
    "anchor_sizes": (8, 16),
    "use_clinical": True,
    "lr": 0.01,
    "box_score_thresh": 0.0,
}


@dataclass
class Notes:
    """A recorder that keeps everything."""

    epochs: dict[int, EpochRecord] = field(default_factory=dict)
    evaluations: list[EvaluationRecord] = field(default_factory=list)
    checkpoints: tuple[CheckpointRecord, ...] = ()
    environments: list[EnvironmentRecord] = field(default_factory=list)
    counts: tuple[ParameterCount, ...] = ()
    steps: int = 0
    warnings: list[str] = field(default_factory=list)

    def started(self, environment: EnvironmentRecord, counts: Sequence[ParameterCount]) -> None:
        self.environments.append(environment)
        self.counts = tuple(counts)

    def epoch(
        self,
        record: EpochRecord,
        checkpoints: Sequence[CheckpointRecord],
        evaluations: Sequence[EvaluationRecord],
    ) -> None:
        self.epochs[record.epoch] = record
        self.checkpoints = tuple(checkpoints)
        self.evaluations += evaluations

    def warning(self, text: str) -> None:
        self.warnings.append(text)

    def progress(self, progress: Progress) -> None:
        self.steps += progress.phase == "train"

    def numbers(self) -> dict[tuple[int, str, str], float]:
        return {(e, m.split, m.name): m.value for e, r in self.epochs.items() for m in r.metrics}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return make_phantom(tmp_path_factory.mktemp("data") / "phantom", studies=24, image_size=64)


Start = Callable[..., str]


@pytest.fixture
def start(dataset: DataSet, tmp_path: Path) -> Start:
    def begin(
        notes: Notes, folder: str = "run", epochs: int = 3, stop_after: int | None = None, **fields: object
    ) -> str:
        spec = specification(dataset, epochs, **fields)
        return train(
            spec,
            dataset_path=dataset.root,
            run=RunPaths(tmp_path / folder),
            recorder=notes,
            stop=lambda: stop_after is not None and notes.steps >= stop_after,
        )

    return begin


def specification(dataset: DataSet, epochs: int, **fields: object) -> RunSpec:
    source = DataSource(str(dataset.root), dataset.name, dataset.fingerprint())
    return RunSpec(ModelSetup(**(SETUP | fields)), TrainingProtocol(epochs=epochs), source)


def test_two_runs_of_one_key_are_equal_bit_for_bit(start: Start) -> None:
    first, second = Notes(), Notes()
    assert start(first, "a") == start(second, "b") == "finished"
    assert first.numbers() == second.numbers()
    assert all(math.isfinite(v) for (_, _, name), v in first.numbers().items() if name.startswith("loss"))
    assert {(s, n) for _, s, n in first.numbers()} >= {
        (split, name)
        for split in ("train", "val", "test")
        for name in ("loss", "loss_classifier", "loss_rpn_box_reg", "ap_iou", "ar_iou", "ap_iobb", "ar_iobb")
    }
    assert first.epochs[1].peak_memory > 0
    assert first.warnings == []


@pytest.mark.parametrize("stop_after", [1, 5, 9])
def test_a_stopped_run_goes_on_as_if_nothing_had_happened(start: Start, stop_after: int) -> None:
    whole, parts = Notes(), Notes()
    start(whole, "whole")
    assert start(parts, "parts", stop_after=stop_after) == "interrupted"
    assert len(parts.epochs) < 3
    parts.steps = 0
    assert start(parts, "parts") == "finished"
    assert parts.numbers() == whole.numbers()
    assert [c.sha256 for c in parts.checkpoints if c.kind == "final"] != [""]
    assert parts.environments[-1].from_epoch == len(parts.epochs) - (3 - parts.environments[-1].from_epoch)


def test_a_lost_commit_is_reported_again_and_nothing_is_trained_twice(start: Start) -> None:
    notes, late = Notes(), Notes()
    start(notes)
    assert start(late) == "finished"
    assert late.steps == 0
    assert late.epochs == {3: notes.epochs[3]}
    assert {c.kind for c in late.checkpoints} == {c.kind for c in notes.checkpoints}


def test_checkpoints_and_detections_agree_with_the_record(start: Start, dataset: DataSet, tmp_path: Path) -> None:
    notes = Notes()
    start(notes)
    run = RunPaths(tmp_path / "run")
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
    original = passes._to

    def spy(batch, device):
        seen.append(list(batch.positions))
        return original(batch, device)

    monkeypatch.setattr(passes, "_to", spy)
    start(Notes(), "with", epochs=1)
    both, seen[:] = list(seen), []
    start(Notes(), "without", epochs=1, use_clinical=False)
    assert seen == both


def test_a_loss_that_is_not_finite_stops_with_the_studies_named(start: Start) -> None:
    notes = Notes()
    with pytest.raises(TrainingStopped, match=r"the loss became .* in epoch 1, step \d+ \(studies s.*; lower lr"):
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
    with pytest.raises(MmadError, match=r"clinical_num_len = 7, but the data set has 9"):
        start(Notes(), clinical_num_len=7)


def test_full_stop_ends_early_and_the_last_epoch_is_final(start: Start) -> None:
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
    assert {c.kind: c.epoch for c in notes.checkpoints}["final"] == 4


def test_the_training_leaves_the_data_set_as_it_was(start: Start, dataset: DataSet) -> None:
    before = load_dataset(dataset.root).fingerprint()
    start(Notes(), epochs=1)
    assert load_dataset(dataset.root).fingerprint() == before
    assert np.isfinite(dataset.boxes).all()
    assert torch.are_deterministic_algorithms_enabled()


def test_a_fused_map_of_one_cell_is_warned_of(start: Start) -> None:
    notes = Notes()
    documented = {"clinical_expand_conv_channels": None, "clinical_conv_channels": 4, "fuse_depth": 4, "fuse_stride": 2}
    start(notes, epochs=1, **documented)
    assert len(notes.warnings) == 1
    assert "shrinks to 1×1" in notes.warnings[0]
