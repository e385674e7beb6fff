"""A run that goes on from another: as one longer run, with the other's epochs and best checkpoints."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from training_runs import Notes, specification

from mmad.base.errors import CheckpointError
from mmad.base.paths import RunPaths
from mmad.base.records import EpochRecord
from mmad.config.protocol import Continues
from mmad.config.runs import RunSpec
from mmad.data.dataset import DataSet
from mmad.evaluation.detections_file import read_detections
from mmad.training import checkpoint
from mmad.training.trainer import train

pytestmark = pytest.mark.slow


class Runs:
    """Runs of one store."""

    def __init__(self, folder: Path, dataset: DataSet) -> None:
        self.folder, self.dataset = folder, dataset

    def spec(self, epochs: int, after: RunSpec | None = None, kind: str = "final", **fields: object) -> RunSpec:
        spec = specification(self.dataset, epochs, **fields)
        if after is None:
            return spec
        continues = Continues(key=after.key, checkpoint=kind)  # type: ignore[arg-type]
        return replace(spec, protocol=spec.protocol.model_copy(update={"continues": continues}))

    def paths(self, spec: RunSpec) -> RunPaths:
        return RunPaths(self.folder / spec.key[:2] / spec.key)

    def train(self, spec: RunSpec, notes: Notes | None = None, stop_after: int | None = None) -> Notes:
        notes = notes or Notes()
        steps = notes.steps
        train(
            spec,
            dataset_path=self.dataset.root,
            run=self.paths(spec),
            recorder=notes,
            stop=lambda: stop_after is not None and notes.steps - steps >= stop_after,
        )
        return notes


@pytest.fixture
def runs(tmp_path: Path, dataset: DataSet) -> Runs:
    return Runs(tmp_path, dataset)


PLATEAU = {"lr_scheduler": "ReduceLROnPlateau", "reduceLROnPlateau_patience": 0, "measure_test": False}


@pytest.mark.parametrize("fields", [{}, PLATEAU | {"learned_loss_weights": True}], ids=["plain", "carrying"])
def test_going_on_from_an_equal_run_is_one_longer_run_bit_for_bit(runs: Runs, fields: dict[str, object]) -> None:
    longer = runs.spec(4, **fields)
    first = runs.spec(2, **fields)
    second = runs.spec(4, first, **fields)
    assert len({longer.key, first.key, second.key}) == 3
    whole = runs.train(longer)
    runs.train(first)
    before = sorted((path, path.read_bytes()) for path in runs.paths(first).folder.rglob("*.pt"))
    child = runs.train(second)
    found, expected = child.numbers(), whole.numbers()
    # The last epoch of a run is measured on the test, whether it is best or not.
    assert {key[:2] for key in found.keys() - expected.keys()} <= {(2, "test")}
    assert found | expected == found
    assert {e: (r.seconds > 0, r.lr) for e, r in child.epochs.items()} == {
        e: (r.seconds > 0, r.lr) for e, r in whole.epochs.items()
    }
    assert {c.kind: c.epoch for c in child.checkpoints} == {c.kind: c.epoch for c in whole.checkpoints}
    for row in child.checkpoints:
        file, content = checkpoint.load(runs.paths(second).folder / row.path)
        assert (content.facts["key"], file.sha256, file.size) == (second.key, row.sha256, row.size)
    for row in child.evaluations:
        read_detections(runs.paths(second).folder / (row.detections or ""))
    assert sorted((path, path.read_bytes()) for path in runs.paths(first).folder.rglob("*.pt")) == before
    assert child.environments[0].from_epoch == 2


def test_a_continued_run_is_resumed_as_any_other(runs: Runs) -> None:
    first = runs.spec(1)
    second = runs.spec(3, first)
    whole = runs.train(runs.spec(3))
    runs.train(first)
    notes = runs.train(second, stop_after=2)
    runs.train(second, notes, stop_after=3)
    runs.train(second, notes)
    assert notes.numbers() == whole.numbers()


def test_cut_off_while_it_begins_it_begins_again(runs: Runs) -> None:
    class Cut(Notes):
        def epoch(self, record: EpochRecord, *rest: object) -> None:
            super().epoch(record, *rest)  # type: ignore[arg-type]
            if record.epoch == 2:
                raise KeyboardInterrupt

    first = runs.spec(3)
    second = runs.spec(4, first)
    runs.train(first)
    with pytest.raises(KeyboardInterrupt):
        runs.train(second, Cut())
    notes = runs.train(second)
    assert notes.epochs.keys() == {1, 2, 3, 4}
    copy = checkpoint.Content({}, {"key": second.key, "copy": True})
    alone = RunPaths(runs.folder / "alone")
    checkpoint.save(alone, 1, copy)
    assert checkpoint.latest(alone) is None  # a copy of another's best is no state to go on from


def test_the_best_checkpoint_can_be_gone_on_from(runs: Runs) -> None:
    first = runs.spec(3)
    parent = runs.train(first)
    best = next(c.epoch for c in parent.checkpoints if c.kind == "best_ap")
    child = runs.train(runs.spec(4, first, "best_ap"))
    assert child.environments[0].from_epoch == best
    assert {k: v for k, v in child.numbers().items() if k[0] <= best} == {
        k: v for k, v in parent.numbers().items() if k[0] <= best
    }


def test_another_rate_begins_its_own_schedule_and_another_optimiser_its_own_memory(runs: Runs) -> None:
    first = runs.spec(1)
    runs.train(first)
    lower = runs.train(runs.spec(2, first, lr=0.001))
    assert [lower.epochs[e].lr for e in (1, 2)] == [0.01, 0.001]
    adamw = runs.train(runs.spec(2, first, optimiser="adamw"))
    assert adamw.epochs.keys() == {1, 2}
    assert adamw.numbers() != lower.numbers()


def test_with_nothing_left_to_train_the_other_run_is_its_own(runs: Runs) -> None:
    first = runs.spec(1)
    parent = runs.train(first)
    child = runs.train(runs.spec(1, first))
    assert child.steps == 0
    assert child.numbers() == parent.numbers()
    assert {c.kind: c.epoch for c in child.checkpoints} == {c.kind: c.epoch for c in parent.checkpoints}


def test_a_run_that_ended_by_its_patience_goes_on(runs: Runs) -> None:
    stop = PLATEAU | {"reduceLROnPlateau_full_stop": True, "lr": 1e-12}
    first = runs.spec(9, **stop)
    ended = max(runs.train(first).epochs)
    assert ended < 9
    assert max(runs.train(runs.spec(9, first, **stop)).epochs) > ended


def test_a_run_that_is_not_there_or_not_finished_is_refused_with_the_mend(runs: Runs) -> None:
    first = runs.spec(2)
    second = runs.spec(3, first)
    with pytest.raises(CheckpointError, match=rf"run {first.key[:12]} .*has no checkpoint here; train that run first"):
        runs.train(second)
    runs.train(first, stop_after=6)
    with pytest.raises(CheckpointError, match=r"not trained to its end \(epoch \d is the newest\); let mmad ablate"):
        runs.train(second)
    assert not runs.paths(second).checkpoints.exists()
    runs.train(first)
    assert max(runs.train(second).epochs) == 3


def test_a_network_of_other_sizes_and_a_best_that_was_not_kept_are_refused(runs: Runs) -> None:
    first = runs.spec(1, use_early_stop_model=False)
    runs.train(first)
    with pytest.raises(CheckpointError, match="does not fit this detector"):
        runs.train(runs.spec(2, first, representation_size=16))
    with pytest.raises(CheckpointError, match=r"kept no best_ap checkpoint .*; continue from its checkpoint"):
        runs.train(runs.spec(2, first, "best_ap"))


def test_a_checkpoint_without_the_history_of_its_epochs_is_refused(runs: Runs) -> None:
    first = runs.spec(2)
    notes = runs.train(first)
    file, content = checkpoint.load(runs.paths(first).folder / notes.checkpoints[-1].path)
    facts = json.loads(json.dumps(content.facts))
    del facts["ledger"]["history"]
    for path in runs.paths(first).checkpoints.iterdir():
        path.unlink()
    checkpoint.save(runs.paths(first), file.epoch, checkpoint.Content(content.tensors, facts))
    with pytest.raises(CheckpointError, match=r"an earlier version, which kept no history"):
        runs.train(runs.spec(3, first))
