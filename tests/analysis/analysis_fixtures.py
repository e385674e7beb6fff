"""A store with finished runs, kept detections made from the true boxes, and the small data set they are of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from mmad.base.records import CheckpointKind, CheckpointRecord, Detections, EvaluationRecord, GroundTruth
from mmad.config.protocol import EvaluationProtocol, TrainingProtocol
from mmad.config.runs import Ablation, DataSource, Member, RunSpec
from mmad.config.setup import ModelSetup
from mmad.data.dataset import DataSet
from mmad.evaluation.coco import evaluate
from mmad.evaluation.detections_file import write_detections
from mmad.store.measurements import write_checkpoints
from mmad.store.store import Store

ARMS = ("CXR", "CXR+Clinical")
SKILLS = {"CXR": 0.4, "CXR+Clinical": 0.95}
NOON = datetime(2022, 5, 16, 12, 0, tzinfo=UTC)


@dataclass(frozen=True)
class World:
    """The database, the data set, and the key of each run by (arm, seed)."""

    database: Path
    dataset: DataSet
    keys: Mapping[tuple[str, int], str]


def seen(truth: GroundTruth, skill: float, seed: int, false: float = 0.5) -> Detections:
    """Each true box found with chance ``skill``, a few px beside, and ``false`` wrong boxes per image."""
    rng = np.random.default_rng(seed)
    found = np.flatnonzero(rng.random(len(truth.labels)) < skill)
    wrong = rng.integers(0, len(truth.studies), rng.poisson(false * len(truth.studies)))
    corner = rng.uniform(0, 30, (len(wrong), 2))
    boxes = [truth.boxes[found] + rng.uniform(-1, 1, (len(found), 4)), np.concatenate([corner, corner + 8], axis=1)]
    scores = np.r_[rng.beta(5, 2, len(found)), rng.beta(2, 5, len(wrong))]
    labels = np.r_[truth.labels[found], rng.integers(1, len(truth.categories) + 1, len(wrong))]
    return Detections(truth.studies, np.r_[truth.study[found], wrong], np.concatenate(boxes), scores, labels)


def member(
    dataset: DataSet,
    arm: str,
    seed: int,
    setting: str = "default",
    evaluation: EvaluationProtocol | None = None,
    **fields: object,
) -> Member:
    source = DataSource(str(dataset.root), dataset.name, dataset.fingerprint())
    setup = ModelSetup(use_clinical=arm != "CXR", **fields)  # type: ignore[arg-type]
    spec = RunSpec(setup, TrainingProtocol(epochs=3, seed=seed, weights_hash="a" * 64), source)
    return Member("made", setting, arm, seed, spec, evaluation or EvaluationProtocol())


def record(store: Store, members: Sequence[Member], compare: Sequence[tuple[str, str]] = (ARMS,)) -> None:
    arms = tuple(dict.fromkeys(m.arm for m in members))
    store.add_ablation(Ablation("made", "made.toml", "Made up", "", "", arms, tuple(compare), tuple(members)))


def finish(
    store: Store,
    one: Member,
    dataset: DataSet,
    skill: float,
    kinds: Sequence[CheckpointKind] = ("best_ap", "final"),
    splits: Sequence[str] = ("val", "test"),
) -> None:
    """Give the run of ``one`` checkpoints of epoch 3 with detections, and the status finished."""
    key, paths = one.run.key, store.run_paths(one.run.key)
    with store.database.writing() as connection:
        rows = [CheckpointRecord(kind, 3, "checkpoints/x.pt", "c" * 64, 9, NOON) for kind in kinds]
        write_checkpoints(connection, key, rows)
    for split in splits:
        truth = dataset.ground_truth(split)
        found, file = seen(truth, skill, one.seed), paths.detections(3, split, "clean")
        write_detections(file, found)
        for overlap in ("iou", "iobb"):
            score = evaluate(found, truth, overlap=overlap)  # type: ignore[arg-type]
            rows = [(k, split, overlap) for k in kinds]
            store.put_evaluations(
                key,
                [
                    EvaluationRecord(
                        kind,
                        3,
                        split_,
                        over,
                        0.5,
                        10,
                        "clean",
                        score.ap,
                        score.ar,
                        (),
                        paths.relative(file),  # type: ignore[arg-type]
                    )
                    for kind, split_, over in rows
                ],
            )
    store.end_free(key, "finished")


def world(folder: Path, dataset: DataSet, seeds: Sequence[int] = (0, 1), skills: Mapping[str, float] = SKILLS) -> World:
    """Both arms over ``seeds``, all finished."""
    database = folder / "db" / "mmad.sqlite"
    members = [member(dataset, arm, seed) for seed in seeds for arm in skills]
    with Store.open(database) as store:
        record(store, members)
        for one in members:
            finish(store, one, dataset, skills[one.arm])
    return World(database, dataset, {(m.arm, m.seed): m.run.key for m in members})
