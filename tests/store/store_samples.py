"""Small ablations and records to fill a store with."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from mmad.base.records import (
    CheckpointKind,
    CheckpointRecord,
    EnvironmentRecord,
    EpochRecord,
    EvaluationRecord,
    Metric,
    ParameterCount,
)
from mmad.config.protocol import EvaluationProtocol, TrainingProtocol
from mmad.config.runs import Ablation, DataSource, Member, RunSpec
from mmad.config.setup import ModelSetup
from mmad.store.store import Store

ARMS = ("CXR", "CXR+Clinical")
NOON = datetime(2022, 5, 16, 12, 0, tzinfo=UTC)


def source(fingerprint: str | None = "f" * 64, path: str = "/data/set") -> DataSource:
    return DataSource(path=path, name="set", fingerprint=fingerprint)


def member(
    ablation: str = "patience",
    setting: str = "patience 10",
    arm: str = "CXR",
    seed: int = 0,
    *,
    patience: int = 10,
    evaluation: EvaluationProtocol | None = None,
    data: DataSource | None = None,
    epochs: int = 3,
) -> Member:
    setup = ModelSetup(use_clinical=arm != "CXR", lr_scheduler="ReduceLROnPlateau", reduceLROnPlateau_patience=patience)
    run = RunSpec(setup, TrainingProtocol(epochs=epochs, seed=seed, weights_hash="a" * 64), data or source())
    return Member(ablation, setting, arm, seed, run, evaluation or EvaluationProtocol(), documented="e069")


def ablation(
    name: str = "patience",
    patiences: Sequence[int] = (10,),
    seeds: Sequence[int] = (0,),
    evaluation: EvaluationProtocol | None = None,
    data: DataSource | None = None,
) -> Ablation:
    members = tuple(
        member(name, f"patience {p}", arm, seed, patience=p, evaluation=evaluation, data=data)
        for p in patiences
        for seed in seeds
        for arm in ARMS
    )
    return made_of(name, members)


def made_of(name: str, members: Sequence[Member]) -> Ablation:
    return Ablation(
        name=name,
        path=f"ablations/{name}.toml",
        title="How long to wait",
        description="On a plateau of the validation loss.",
        source='title = "How long to wait"\n',
        arms=ARMS,
        compare=((ARMS[0], ARMS[1]),),
        members=tuple(members),
    )


def epoch(number: int = 1, *, val_ap: float = 0.5, seconds: float = 2.0) -> EpochRecord:
    metrics = [Metric("train", "loss", 1.0 / number), Metric("train", "loss_classifier", 0.25)]
    for split, shift in (("val", 0.0), ("test", -0.125)):
        for name, value in (("ap_iou", val_ap), ("ar_iou", val_ap + 0.25), ("ap_iobb", 0.75), ("ar_iobb", 0.875)):
            metrics.append(Metric(split, name, value + shift))  # type: ignore[arg-type]
    return EpochRecord(number, 1e-3, seconds, 2**33, tuple(metrics))


def checkpoint(kind: CheckpointKind = "best_ap", number: int = 1) -> CheckpointRecord:
    return CheckpointRecord(kind, number, f"checkpoints/epoch-{number:05d}.pt", "c" * 64, 1234, NOON)


def evaluation(
    kind: CheckpointKind = "best_ap", number: int = 1, split: str = "val", overlap: str = "iou", ap: float = 0.5
) -> EvaluationRecord:
    return EvaluationRecord(
        kind=kind,
        epoch=number,
        split=split,  # type: ignore[arg-type]
        overlap=overlap,
        threshold=0.5,
        max_detections=10,
        proposals="clean",
        ap=ap,
        ar=ap + 0.25,
        per_class=(("Atelectasis", ap, None), ("Pulmonary edema", None, 0.5)),
        detections="detections/x.npz",
    )


def environment(from_epoch: int = 0) -> EnvironmentRecord:
    return EnvironmentRecord(
        started=NOON,
        host="cedar",
        platform="Linux-6.1-x86_64",
        python="3.11.7",
        versions={"torch": "2.6.0", "numpy": "2.1.0"},
        device="cpu",
        threads=1,
        git_commit="0123456789abcdef",
        git_dirty=True,
        command="mmad ablate ablations/patience.toml",
        from_epoch=from_epoch,
    )


COUNTS = (ParameterCount("model", 1_040_729), ParameterCount("model.backbone", 1_009_968))


def fill(store: Store) -> tuple[str, str]:
    """A pair: CXR finished with three epochs, CXR+Clinical failed. Returns their keys."""
    pair = ablation()
    store.add_ablation(pair)
    good, bad = (m.run.key for m in pair.members)
    store.put_parameter_counts(good, COUNTS)
    store.add_environment(good, environment())
    for number, ap in ((1, 0.25), (2, 0.5), (3, 0.375)):
        kinds: tuple[CheckpointKind, ...] = {1: ("best_ap",), 2: ("best_ap", "best_ar"), 3: ("final", "last")}[number]  # type: ignore[assignment]
        store.commit_epoch(
            good,
            epoch(number, val_ap=ap),
            [checkpoint(kind, number) for kind in kinds],
            [
                evaluation(kind, number, split, overlap, ap - (0.125 if split == "test" else 0))
                for kind in kinds
                for split in ("val", "test")
                for overlap in ("iou", "iobb")
            ],
        )
    store.add_warning(good, "training AP is NaN")
    store.end_free(good, "finished")
    store.end_free(bad, "failed", "OutOfMemoryError: 3 GiB were asked for")
    return good, bad


def write_files(store: Store, key: str) -> None:
    """Files for what the rows of a run name, and rows that tell their size and SHA-256."""
    folder = store.run_paths(key).folder
    records = []
    for record in store.checkpoints(key):
        content = f"checkpoint of epoch {record.epoch}".encode()
        file = folder / record.path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        records.append(replace(record, sha256=hashlib.sha256(content).hexdigest(), size=len(content)))
    store.commit_epoch(key, store.epoch_records(key)[-1], records)
    for name in {record.detections for record in store.evaluations(key)}:
        assert name is not None
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(folder / name, "w") as packed:
            packed.writestr("boxes.npy", "boxes " * 100)
    store.run_paths(key).log.write_text("a line\n")
