"""A store as a lab has it after weeks: many finished runs of many epochs with kept detections, made up at once."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from support.rows import put_epochs

from mmad.base.records import (
    LOSS_COMPONENTS,
    SPLITS,
    CheckpointRecord,
    Detections,
    EnvironmentRecord,
    EpochRecord,
    EvaluationRecord,
    GroundTruth,
    Metric,
    ParameterCount,
    Split,
)
from mmad.config.protocol import EvaluationProtocol, TrainingProtocol
from mmad.config.runs import Ablation, DataSource, Member, RunSpec
from mmad.config.setup import ModelSetup
from mmad.data.dataset import DataSet
from mmad.evaluation.detections_file import write_detections
from mmad.evaluation.matching import match
from mmad.evaluation.resampling import weigh
from mmad.store import measurements
from mmad.store.store import Store

ARMS = ("CXR", "CXR+Clinical")
SETTINGS, SEEDS = 5, 2
RUNS_PER_ABLATION = SETTINGS * SEEDS * len(ARMS)
NOON = datetime(2022, 5, 16, 12, 0, tzinfo=UTC)
_START = {"loss_classifier": 0.62, "loss_box_reg": 0.31, "loss_objectness": 0.52, "loss_rpn_box_reg": 0.18}
_MODULES = {
    "model": 1_040_729, "model.backbone": 1_009_968, "model.rpn": 3_595, "model.roi_heads": 27_166,
    "model.roi_heads.box_head": 26_176, "model.roi_heads.box_predictor": 990,
}  # fmt: skip


def make_store(database: Path, dataset: DataSet, runs: int, epochs_each: int) -> list[str]:
    """Fills ``database`` with ``runs`` finished runs on ``dataset``, twenty per ablation; gives their keys."""
    truths = {split: dataset.ground_truth(split) for split in ("val", "test")}
    source = DataSource(str(dataset.root), dataset.name, dataset.fingerprint())
    keys: list[str] = []
    with Store.open(database) as store:
        for n in range(runs // RUNS_PER_ABLATION):
            ablation = _ablation(n, source, epochs_each)
            store.add_ablation(ablation)
            keys += [member.run.key for member in ablation.members]
            for i, member in enumerate(ablation.members):
                level = 0.45 + 0.06 * (member.arm != ARMS[0]) * ((n + i) % 3 > 0) + 0.004 * (i % 7)
                finish(store, member.run.key, truths, level, epochs_each)
    return keys


def _ablation(n: int, source: DataSource, epochs_each: int) -> Ablation:
    members = [
        Member(
            f"ablation-{n:03d}",
            f"patience {5 * (s + 1)}",
            arm,
            seed,
            RunSpec(
                ModelSetup(
                    use_clinical=arm != ARMS[0],
                    lr_scheduler="ReduceLROnPlateau",
                    reduceLROnPlateau_patience=5 * (s + 1),
                    lr=1e-3 / (n + 1),
                ),
                TrainingProtocol(epochs=epochs_each, seed=seed, weights_hash="a" * 64),
                source,
            ),
            EvaluationProtocol(),
        )
        for s in range(SETTINGS)
        for arm in ARMS
        for seed in range(SEEDS)
    ]
    words = f"Patience at a learning rate of 0.001 / {n + 1}"
    return Ablation(f"ablation-{n:03d}", f"ablations/{n:03d}.toml", words, words, "", ARMS, (ARMS,), tuple(members))


def finish(store: Store, key: str, truths: dict[str, GroundTruth], level: float, epochs_each: int) -> None:
    """Gives the run its epochs, checkpoints, detections and evaluations, in one transaction."""
    rng = np.random.default_rng(int(key[:12], 16))
    curves = _curves(rng, level, epochs_each)
    best = 1 + int(np.argmax(curves["val", "ap_iou"][:-1]))  # the final epoch has detections of its own
    paths = store.run_paths(key)
    rows = []
    for kind, epoch in (("best_ap", best), ("final", epochs_each)):
        for split, truth in truths.items():
            found = seen(truth, level + (0.03 if kind == "best_ap" else 0), rng)
            path = paths.detections(epoch, split, "clean")
            write_detections(path, found)
            file = paths.relative(path)
            for overlap in ("iou", "iobb"):
                judged = weigh(match(found, truth, overlap=overlap))
                each = tuple(zip(truth.categories, judged.ap[0].tolist(), judged.ar[0].tolist(), strict=True))
                ap, ar = float(judged.mean_ap[0]), float(judged.mean_ar[0])
                rows.append(EvaluationRecord(kind, epoch, split, overlap, 0.5, 10, "clean", ap, ar, each, file))
    kept = [
        CheckpointRecord(kind, epoch, f"checkpoints/epoch-{epoch:05d}.pt", "ab" * 32, 4_300_000, NOON)
        for kind, epoch in (("best_ap", best), ("best_ar", best), ("last", epochs_each), ("final", epochs_each))
    ]
    place = EnvironmentRecord(
        NOON, "workstation", "Linux 6.1 x86_64, glibc 2.36", "3.11.2",
        {"torch": "2.6.0", "torchvision": "0.21.0", "numpy": "2.2.1", "mmad": "0.1.0"}, "cuda:0 (24 GiB)", 1,
        "0123456789abcdef0123456789abcdef01234567", False, "mmad ablate ablations/patience.toml", 0,
    )  # fmt: skip
    epochs = [
        EpochRecord(
            n + 1,
            1e-3 * 0.1 ** (n > 60),
            20.0 + float(rng.random()),
            1_200_000_000,
            tuple(Metric(split, name, float(values[n])) for (split, name), values in curves.items()),
        )
        for n in range(epochs_each)
    ]
    with store.database.writing() as connection:
        put_epochs(connection, key, epochs, NOON)
        measurements.write_checkpoints(connection, key, kept)
        measurements.write_evaluations(connection, key, rows)
        measurements.write_parameter_counts(connection, key, [ParameterCount(*one) for one in _MODULES.items()])
        measurements.write_environment(connection, key, place)
    store.end_free(key, "finished")


def _curves(rng: np.random.Generator, level: float, count: int) -> dict[tuple[Split, str], np.ndarray]:
    """What a training records by (split, name), over the epochs: losses that fall, AP and AR that rise."""
    n = np.arange(1, count + 1)
    curves = {}
    for split, gap in zip(SPLITS, (0.0, 0.035, 0.05), strict=True):
        parts = {
            name: _START[name] * (0.28 + 0.72 * np.exp(-n / 9)) + gap * (1 + n / 60) + abs(rng.normal(0, 0.012, count))
            for name in LOSS_COMPONENTS
        }
        curves |= {(split, name): values for name, values in parts.items()}
        curves[split, "loss"] = np.sum(list(parts.values()), axis=0)
        for overlap, lift in (("iou", 0.0), ("iobb", 0.09)):
            ap = (level + lift - gap) * (1 - np.exp(-n / 7)) + rng.normal(0, 0.018, count)
            curves[split, f"ap_{overlap}"] = np.clip(ap, 0, 1)
            curves[split, f"ar_{overlap}"] = np.clip(ap * 0.7 + 0.28, 0, 1)
    return curves


def seen(truth: GroundTruth, skill: float, rng: np.random.Generator, false: float = 6.0) -> Detections:
    """Each true box found with chance ``skill``, a few px beside, and ``false`` wrong boxes per image."""
    found = np.flatnonzero(rng.random(len(truth.labels)) < skill)
    wrong = rng.integers(0, len(truth.studies), rng.poisson(false * len(truth.studies)))
    corner = rng.uniform(0, 40, (len(wrong), 2))
    size = rng.uniform(6, 16, (len(wrong), 2))
    boxes = [truth.boxes[found] + rng.uniform(-1, 1, (len(found), 4)), np.concatenate([corner, corner + size], axis=1)]
    scores = np.r_[rng.beta(5, 2, len(found)), rng.beta(1, 5, len(wrong))]
    labels = np.r_[truth.labels[found], rng.integers(1, len(truth.categories) + 1, len(wrong))]
    order = rng.permutation(len(scores))
    study = np.r_[truth.study[found], wrong]
    return Detections(truth.studies, study[order], np.concatenate(boxes)[order], scores[order], labels[order])
