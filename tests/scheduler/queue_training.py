"""Real trainings, as small as they come, in the queue: their specifications, and what was recorded of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import psutil

from mmad.base.records import EpochRecord, EvaluationRecord
from mmad.config.protocol import EvaluationProtocol, TrainingProtocol
from mmad.config.runs import Ablation, DataSource, Member, RunSpec
from mmad.config.setup import ModelSetup
from mmad.data.dataset import DataSet
from mmad.data.phantom.generate import make_phantom
from mmad.scheduler.jobs import Job
from mmad.store.store import Store

EPOCHS = 2
SETUP = {
    "backbone": "custom1",
    "image_size": 64,
    "pretrained": False,
    "batch_size": 2,
    "backbone_out_channels": 4,
    "representation_size": 8,
    "box_head_dropout_rate": 0.2,  # draws from the generators in every step
    "clinical_expand_conv_channels": 4,
    "lr": 0.01,
}


def phantom(folder: Path) -> DataSet:
    return make_phantom(folder, studies=16, image_size=64)


def member(dataset: DataSet, seed: int, arm: str = "CXR", threads: int = 1, epochs: int = EPOCHS) -> Member:
    """A run of two steps in each of its epochs."""
    source = DataSource(str(dataset.root), dataset.name, dataset.fingerprint())
    setup = ModelSetup(**(SETUP | {"use_clinical": arm != "CXR"}))
    protocol = TrainingProtocol(epochs=epochs, seed=seed, steps_per_epoch=2, threads=threads, weights="none")
    return Member("small", f"threads {threads}", arm, seed, RunSpec(setup, protocol, source), EvaluationProtocol())


def queue_small(database: str, members: Sequence[Member]) -> list[Job]:
    """Queues the runs of ``members``; their jobs."""
    arms = tuple(dict.fromkeys(one.arm for one in members))
    with Store.open(database) as store:
        store.add_ablation(Ablation("small", "small.toml", "Small", "", "", arms, (), tuple(members)))
    return [
        Job(one.run.key, "small", one.setting, one.arm, one.seed, one.run.protocol.epochs, one.run.protocol.threads)
        for one in members
    ]


def numbers(record: EpochRecord) -> tuple[object, ...]:
    """All of an epoch that is a result, as hexadecimal digits: equal ones are equal bit for bit."""
    return (record.epoch, record.lr.hex(), [(m.split, m.name, m.value.hex()) for m in record.metrics])


def results(database: str, keys: Sequence[str]) -> dict[str, tuple[object, ...]]:
    """Epochs, evaluations and the content of the checkpoints of each run."""
    with Store.open(database, read_only=True) as store:
        return {
            key: (
                [numbers(record) for record in store.epoch_records(key)],
                sorted(map(_judged, store.evaluations(key))),
                sorted((record.kind, record.epoch) for record in store.checkpoints(key)),
            )
            for key in keys
        }


def _judged(record: EvaluationRecord) -> tuple[object, ...]:
    place = (record.kind, record.epoch, record.split, record.overlap, record.threshold, record.proposals)
    return (*map(str, place), record.ap.hex(), record.ar.hex())


def weights(database: str, key: str) -> dict[str, object]:
    """The tensors of a run's last checkpoint."""
    import torch

    with Store.open(database, read_only=True) as store:
        record = next(record for record in store.checkpoints(key) if record.kind == "final")
        content = torch.load(store.run_paths(key).folder / record.path, weights_only=True, map_location="cpu")
    found: dict[str, object] = {}

    def flatten(name: str, value: object) -> None:
        if isinstance(value, torch.Tensor):
            found[name] = value
        elif isinstance(value, dict):
            for part, inner in value.items():
                flatten(f"{name}/{part}", inner)

    flatten("", content)
    return found


def processes_that_name(text: str) -> list[psutil.Process]:
    """Living processes whose command line, or the environment they were started with, has ``text``."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            words = [*process.cmdline(), *process.environ().values()]
        except psutil.Error:
            continue
        if any(text in word for word in words):
            found.append(process)
    return found
