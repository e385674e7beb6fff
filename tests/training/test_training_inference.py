"""Inference re-run on a checkpoint: the stored detections unaltered, others after an alteration or another protocol."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from test_training_run import Notes, specification

from mmad.base.errors import CheckpointError, DataError, EvaluationError
from mmad.base.paths import RunPaths
from mmad.base.records import Detections
from mmad.config.runs import RunSpec
from mmad.data.dataset import DataSet
from mmad.data.phantom.generate import make_phantom
from mmad.evaluation.detections_file import read_detections
from mmad.training.inference import InferenceRunner, InputAlteration
from mmad.training.trainer import train

pytestmark = pytest.mark.slow


@dataclass
class Trained:
    """A run of two epochs and where its files are."""

    spec: RunSpec
    paths: RunPaths
    notes: Notes

    def checkpoint(self, kind: str) -> Path:
        return self.paths.folder / next(c.path for c in self.notes.checkpoints if c.kind == kind)


def equal(one: Detections, other: Detections) -> bool:
    names = ("study", "boxes", "scores", "labels")
    return one.studies == other.studies and all(np.array_equal(getattr(one, n), getattr(other, n)) for n in names)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return make_phantom(tmp_path_factory.mktemp("data") / "phantom", studies=24, image_size=64)


def trained(dataset: DataSet, folder: Path, **fields: object) -> Trained:
    spec, notes = specification(dataset, 2, **fields), Notes()
    assert train(spec, dataset_path=dataset.root, run=RunPaths(folder), recorder=notes) == "finished"
    return Trained(spec, RunPaths(folder), notes)


@pytest.fixture(scope="module")
def clinical(dataset: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    fields = {"clinical_missing_indicators": True, "clinical_input_channels": 20}
    return trained(dataset, tmp_path_factory.mktemp("clinical"), **fields)


@pytest.fixture(scope="module")
def plain(dataset: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained(dataset, tmp_path_factory.mktemp("plain"), use_clinical=False, box_detections_per_img=100)


def runner_of(run: Trained, dataset: DataSet) -> InferenceRunner:
    return InferenceRunner(run.spec, dataset_path=dataset.root, run=run.paths)


def test_without_an_alteration_these_are_the_stored_detections(
    clinical: Trained, plain: Trained, dataset: DataSet
) -> None:
    for run in (clinical, plain):
        runner = runner_of(run, dataset)
        assert {e.kind for e in run.notes.evaluations} >= {"best_ap", "final"}
        for kind in ("best_ap", "final"):
            epoch = next(c.epoch for c in run.notes.checkpoints if c.kind == kind)
            for split in ("val", "test"):
                kept = read_detections(run.paths.detections(epoch, split, "clean"))
                assert len(kept.scores)
                assert equal(runner.detections(run.checkpoint(kind), split), kept)  # type: ignore[arg-type]


def test_it_hears_how_far_the_look_is(plain: Trained, dataset: DataSet) -> None:
    heard: list[tuple[int, int]] = []
    runner_of(plain, dataset).detections(
        plain.checkpoint("final"), "test", report=lambda done, whole: heard.append((done, whole))
    )
    assert heard[-1][0] == heard[-1][1] == len(heard) > 0


def test_ground_truth_among_the_proposals_gives_other_detections(plain: Trained, dataset: DataSet) -> None:
    runner, file = runner_of(plain, dataset), plain.checkpoint("final")
    assert not equal(runner.detections(file, "test", proposals="with_ground_truth"), runner.detections(file, "test"))


def test_an_alteration_changes_what_a_clinical_run_finds_and_is_drawn_by_its_seed(
    clinical: Trained, dataset: DataSet
) -> None:
    runner, file = runner_of(clinical, dataset), clinical.checkpoint("final")
    unaltered = runner.detections(file, "train")  # whose patients are men and women
    for alteration in (
        InputAlteration(columns=("age",)),
        InputAlteration(columns=("gender",), seed=1),
        InputAlteration(patients=True),
        InputAlteration(blank=True),
    ):
        altered = runner.detections(file, "train", alteration=alteration)
        assert not equal(altered, unaltered), alteration
        assert equal(runner.detections(file, "train", alteration=alteration), altered), alteration
    first, second = (
        runner.detections(file, "train", alteration=InputAlteration(patients=True, seed=s)) for s in (0, 1)
    )
    assert not equal(first, second)
    assert equal(runner.detections(file, "train"), unaltered)  # nothing of an alteration stays


def test_blank_images_change_what_an_image_only_run_finds(plain: Trained, dataset: DataSet) -> None:
    runner, file = runner_of(plain, dataset), plain.checkpoint("final")
    blank = runner.detections(file, "test", alteration=InputAlteration(blank=True))
    assert not equal(blank, runner.detections(file, "test"))
    per_study = [blank.scores[blank.study == i] for i in range(len(blank.studies))]
    assert all(np.array_equal(scores, per_study[0]) for scores in per_study)  # every image is the same grey


@pytest.mark.parametrize(
    ("alteration", "words"),
    [
        (
            InputAlteration(columns=("age",)),
            "the run does not read the clinical column 'age'; choose a run with use_clinical",
        ),
        (InputAlteration(patients=True), "the run reads no clinical data; choose a run with use_clinical"),
    ],
    ids=["column", "records"],
)
def test_an_alteration_of_what_a_run_does_not_read_is_refused(
    plain: Trained, dataset: DataSet, alteration: InputAlteration, words: str
) -> None:
    with pytest.raises(EvaluationError, match=words):
        runner_of(plain, dataset).detections(plain.checkpoint("final"), "test", alteration=alteration)


def test_an_unknown_column_of_a_clinical_run_is_refused(clinical: Trained, dataset: DataSet) -> None:
    with pytest.raises(EvaluationError, match="does not read the clinical column 'weight'"):
        runner_of(clinical, dataset).detections(
            clinical.checkpoint("final"), "test", alteration=InputAlteration(columns=("weight",))
        )


def test_another_run_s_checkpoint_and_another_data_set_are_refused(
    clinical: Trained, plain: Trained, dataset: DataSet, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="belongs to run"):
        runner_of(plain, dataset).detections(clinical.checkpoint("final"), "test")
    other = make_phantom(tmp_path / "other", studies=12, image_size=64, seed=5)
    with pytest.raises(DataError, match="the data set changed"):
        InferenceRunner(plain.spec, dataset_path=other.root, run=plain.paths)
