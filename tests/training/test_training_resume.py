"""Stopped, killed, damaged: a run goes on from the newest whole step as if nothing had happened."""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from training_runs import Notes, Start, Whole, specification

from mmad.base.errors import CheckpointError, SpecError
from mmad.base.paths import RunPaths
from mmad.base.records import Progress
from mmad.data.dataset import DataSet
from mmad.data.loader import Studies
from mmad.evaluation.detections_file import read_detections
from mmad.training import checkpoint
from mmad.training.trainer import train

pytestmark = pytest.mark.slow

#: Everything that carries something from one step, or one epoch, to the next.
CARRYING: Mapping[str, object] = {
    "learned_loss_weights": True,
    "gradient_accumulation": 2,
    "gradient_clip_norm": 0.5,
    "lr_scheduler": "ReduceLROnPlateau",
    "plateau_metric": "previous_val_ap",
    "reduceLROnPlateau_patience": 0,
    "record_training_performance": True,
    "measure_test": False,
    "clinical_dropout": 0.3,
}


class Killed(BaseException):
    """What a SIGKILL is to a test: nothing of the run is done after it."""


class Dying(Notes):
    """A recorder whose process is killed at a point of the run."""

    def __init__(self, step: int, phase: str = "train") -> None:
        super().__init__()
        self.at, self.phase = step, phase

    def progress(self, progress: Progress) -> None:
        super().progress(progress)
        if progress.phase == self.phase and self.steps >= self.at:
            raise Killed


def files(folder: Path) -> list[str]:
    return sorted(re.sub(r"-[0-9a-f]{16}", "", path.name) for path in (folder / "checkpoints").iterdir())


#: The recipe of today: an average of the weights, a cosine with a ramp, images moved anew each epoch.
TODAY: Mapping[str, object] = {
    "ema_decay": 0.7,
    "gradient_checkpointing": True,
    "gradient_accumulation": 2,
    "lr_scheduler": "CosineAnnealingLR",
    "cosine_ramp_epochs": 1,
    "augment_scale": 0.1,
    "augment_shift": 0.1,
    "augment_rotation": 10.0,
    "augment_contrast": 0.2,
}
MASKS: Mapping[str, object] = {"use_mask": True, "mask_hidden_layers": 4, "record_training_performance": True}


@pytest.mark.parametrize("fields", [{}, CARRYING, MASKS, TODAY], ids=["plain", "carrying", "masks", "today"])
@pytest.mark.parametrize("stop_after", [1, 3, 6])
def test_a_stop_keeps_every_step_that_was_made(
    start: Start, whole: Whole, tmp_path: Path, stop_after: int, fields: dict[str, object]
) -> None:
    expected, folder = whole(2, **fields)
    parts = Notes()
    assert start(parts, "parts", epochs=2, stop_after=stop_after, **fields) == "interrupted"
    assert parts.steps == stop_after
    assert any("-step-" in name for name in files(tmp_path / "parts"))
    assert start(parts, "parts", epochs=2, **fields) == "finished"
    assert parts.steps == expected.steps  # nothing was trained twice
    assert parts.numbers() == expected.numbers()
    assert not any("-step-" in name for name in files(tmp_path / "parts"))
    assert weights(tmp_path / "parts") == weights(folder)


def weights(folder: Path) -> object:
    """The final checkpoint's weights, optimiser and random state, to the bit."""
    found = checkpoint.latest(RunPaths(folder))
    assert found is not None
    names = ("model", "optimiser", "random", "trained", "averaged_steps")
    return _bits({name: found[1].tensors.get(name) for name in names})


def _bits(value: object) -> object:
    if isinstance(value, torch.Tensor):
        return value.numpy().tobytes()
    if isinstance(value, dict):
        return {name: _bits(part) for name, part in value.items()}
    return [_bits(part) for part in value] if isinstance(value, list | tuple) else value


def test_what_is_evaluated_and_kept_is_the_average_of_the_weights(whole: Whole) -> None:
    (plain, plain_folder), (averaged, averaged_folder) = whole(2), whole(2, ema_decay=0.7)
    of_plain, of_averaged = (checkpoint.latest(RunPaths(folder)) for folder in (plain_folder, averaged_folder))
    assert of_plain is not None
    assert of_averaged is not None
    assert _bits(of_averaged[1].tensors["trained"]) == _bits(of_plain[1].tensors["model"])  # training is the same
    assert _bits(of_averaged[1].tensors["model"]) != _bits(of_plain[1].tensors["model"])
    losses = {
        split: [[v for k, v in notes.numbers().items() if k[1:] == (split, "loss")] for notes in (plain, averaged)]
        for split in ("train", "val")
    }
    assert losses["train"][0] == losses["train"][1]
    assert losses["val"][0] != losses["val"][1]


@pytest.mark.parametrize("phase", ["val", "test"])
def test_a_stop_while_an_epoch_is_evaluated_trains_nothing_again(
    whole: Whole, dataset: DataSet, tmp_path: Path, phase: str
) -> None:
    (expected, _), parts = whole(2, **CARRYING), Notes()
    spec, run = specification(dataset, 2, **CARRYING), RunPaths(tmp_path / "parts")
    judged: list[int] = []

    class Judged(Notes):
        def progress(self, progress: Progress) -> None:
            super().progress(progress)
            judged.extend([progress.step] if progress.phase == phase else [])

    begun = Judged()
    how = {"dataset_path": dataset.root, "run": run}
    assert train(spec, recorder=begun, stop=lambda: bool(judged), **how) == "interrupted"
    assert train(spec, recorder=parts, **how) == "finished"
    assert begun.steps + parts.steps == expected.steps
    assert begun.numbers() | parts.numbers() == expected.numbers()


@pytest.mark.parametrize("fields", [{}, CARRYING], ids=["plain", "carrying"])
@pytest.mark.parametrize("kill", [2, 3, 5, 8])
def test_a_kill_costs_no_more_than_the_steps_between_two_checkpoints(
    dataset: DataSet, whole: Whole, tmp_path: Path, kill: int, fields: dict[str, object]
) -> None:
    spec = specification(dataset, 2, batch_size=3, **fields)
    expected, folder = whole(2, batch_size=3, **fields)
    dying, parts = Dying(kill), Notes()
    how = {"dataset_path": dataset.root, "run": RunPaths(tmp_path / "parts"), "checkpoint_every": 2}
    with pytest.raises(Killed):
        train(spec, recorder=dying, **how)
    assert train(spec, recorder=parts, **how) == "finished"
    assert dying.steps + parts.steps - expected.steps <= 2
    assert dying.numbers() | parts.numbers() == expected.numbers()
    assert weights(tmp_path / "parts") == weights(folder)


def test_going_on_reads_no_image_that_was_shown_before_the_kill(
    dataset: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = specification(dataset, 1, batch_size=3, measure_test=False)
    how = {"dataset_path": dataset.root, "run": RunPaths(tmp_path / "run"), "checkpoint_every": 2}
    with pytest.raises(Killed):
        train(spec, recorder=Dying(5), **how)
    shown: list[int] = []
    original = Studies.__getitems__

    def spy(self, items):
        shown.extend(item.position for item in items)
        return original(self, items)

    monkeypatch.setattr(Studies, "__getitems__", spy)
    notes = Notes()
    train(spec, recorder=notes, **how)
    trained = len(dataset.split("train"))
    judged = len(dataset.split("val")) + len(dataset.split("test"))
    assert len(shown) == trained - 4 * 3 + judged


def test_checkpoints_between_two_epochs_change_no_number_and_are_pruned(
    start: Start, whole: Whole, tmp_path: Path
) -> None:
    (plain, folder), often = whole(2), Notes()
    start(often, "often", epochs=2, checkpoint_every=1)
    assert often.numbers() == plain.numbers()
    assert files(tmp_path / "often") == files(folder)


def test_an_interval_below_one_step_is_refused(start: Start) -> None:
    with pytest.raises(SpecError, match=r"checkpoint_every = 0; name 1 or more steps"):
        start(Notes(), checkpoint_every=0)


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "truncate":
        data = data[: len(data) // 2]
    else:
        data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["truncate", "flip"])
def test_a_damaged_newest_checkpoint_is_told_moved_aside_and_trained_again(
    start: Start, whole: Whole, tmp_path: Path, how: str
) -> None:
    (expected, folder), again = whole(), Notes()
    run = RunPaths(shutil.copytree(folder, tmp_path / "run"))
    newest = run.folder / next(c.path for c in expected.checkpoints if c.kind == "last")
    damage(newest, how)
    assert start(again) == "finished"
    assert again.epochs.keys() == {2, 3}  # 2 is told again, 3 trained again
    assert {k: v for k, v in expected.numbers().items() if k[0] > 1} == again.numbers()
    (warning,) = again.warnings
    assert warning.startswith(f"the checkpoint {newest.name} is damaged")
    assert f"it was moved to {newest.name}.damaged, and the one before it is used" in warning
    assert newest.with_name(newest.name + ".damaged").exists()
    for row in again.checkpoints:
        checkpoint.load(run.folder / row.path)


def test_what_the_checkpoint_before_names_is_there_when_it_is_needed(whole: Whole, tmp_path: Path) -> None:
    notes, folder = whole(4)
    run = RunPaths(shutil.copytree(folder, tmp_path / "run"))
    newest = next(c for c in notes.checkpoints if c.kind == "last")
    damage(run.folder / newest.path, "flip")
    found = checkpoint.latest(run)
    assert found is not None
    for row in found[1].facts["ledger"]["checkpoints"]:
        assert row["path"] == "" or (run.folder / row["path"]).exists()


def test_with_every_checkpoint_damaged_the_run_starts_anew_with_equal_numbers(
    start: Start, whole: Whole, tmp_path: Path
) -> None:
    (expected, folder), again = whole(), Notes()
    shutil.copytree(folder, tmp_path / "run")
    broken = list((tmp_path / "run" / "checkpoints").iterdir())
    for path in broken:
        damage(path, "flip")
    assert start(again) == "finished"
    assert again.numbers() == expected.numbers()
    assert len(again.warnings) == len(broken)


def test_detections_that_a_power_cut_took_come_back_from_their_checkpoint(start: Start, tmp_path: Path) -> None:
    parts = Notes()
    start(parts, "parts", stop_after=5)
    lost = [path for path in (tmp_path / "parts" / "detections").iterdir() if "val" in path.name]
    assert lost
    before = {path: path.read_bytes() for path in lost}
    for path, how in zip(lost, itertools.cycle(["truncate", "gone"]), strict=False):
        path.unlink() if how == "gone" else damage(path, how)
    start(parts, "parts")
    assert {path: path.read_bytes() for path in lost} == before
    assert all("written again from its checkpoint" in text for text in parts.warnings)
    assert parts.warnings
    for row in parts.evaluations:
        read_detections(tmp_path / "parts" / (row.detections or ""))


def test_a_partial_checkpoint_of_another_run_is_refused(start: Start) -> None:
    start(Notes(), epochs=1, stop_after=2)
    with pytest.raises(CheckpointError, match="belongs to run"):
        start(Notes(), epochs=2)
