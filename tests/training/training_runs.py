"""A tiny run, and a recorder that keeps everything it is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmad.base.records import (
    CheckpointRecord,
    EnvironmentRecord,
    EpochRecord,
    EvaluationRecord,
    ParameterCount,
    Progress,
)
from mmad.config.protocol import TrainingProtocol
from mmad.config.runs import DataSource, RunSpec
from mmad.config.setup import ModelSetup
from mmad.data.dataset import DataSet

Start = Callable[..., str]
Whole = Callable[..., tuple["Notes", Path]]

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


def specification(dataset: DataSet, epochs: int, **fields: object) -> RunSpec:
    source = DataSource(str(dataset.root), dataset.name, dataset.fingerprint())
    return RunSpec(ModelSetup(**(SETUP | fields)), TrainingProtocol(epochs=epochs), source)
