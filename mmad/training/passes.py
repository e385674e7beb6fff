"""One pass over a split: a training epoch or an evaluation, with losses, detections and AP/AR."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import Optimizer

from mmad.base.errors import TrainingStopped
from mmad.base.records import Detections, GroundTruth, Metric, Split
from mmad.data.dataset import DataSet
from mmad.data.loading.batches import Batch
from mmad.detector import MultimodalRCNN, RoiMode
from mmad.evaluation.coco import Overlap, Scores, evaluate
from mmad.spec.setup import LossWeight
from mmad.training.losses import total, weighted

OVERLAPS: tuple[Overlap, ...] = ("iou", "iobb")
StepReport = Callable[[int, float | None], None]


class Interrupted(Exception):
    """The pass was asked to stop between two steps."""


@dataclass(frozen=True)
class Judgement:
    """How detections are judged: threshold and detections per image; both overlaps are always measured."""

    threshold: float = 0.5
    max_detections: int = 10


@dataclass(frozen=True, eq=False)
class PassResult:
    """What one pass measured; ``detections`` in pixels of the original images (training: of the S×S image)."""

    split: Split
    losses: dict[str, float]
    detections: Detections | None
    scores: dict[str, Scores]

    def metrics(self) -> tuple[Metric, ...]:
        """Losses and, per overlap, AP and AR."""
        found = [Metric(self.split, name, value) for name, value in self.losses.items()]
        for overlap, score in self.scores.items():
            found += [Metric(self.split, f"ap_{overlap}", score.ap), Metric(self.split, f"ar_{overlap}", score.ar)]
        return tuple(found)


class _Mean:
    """Means over images of the loss components and of the weighted total."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.images = 0

    def add(self, losses: dict[str, float], images: int) -> None:
        self.images += images
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value * images

    def result(self) -> dict[str, float]:
        return {name: value / max(self.images, 1) for name, value in self.sums.items()}


class _Collector:
    """Gathers detections, and for training the boxes as augmented, batch by batch."""

    def __init__(self) -> None:
        self.positions: list[int] = []
        self.found: list[dict[str, Tensor]] = []
        self.given: list[dict[str, Tensor]] = []

    def add(self, batch: Batch, detections: Sequence[dict[str, Tensor]]) -> None:
        self.positions += batch.positions
        self.found += [{k: v.detach().cpu() for k, v in d.items()} for d in detections]
        self.given += [{"boxes": t["boxes"], "labels": t["labels"]} for t in batch.targets]


def _stack(rows: list[dict[str, Tensor]], key: str, width: int | None = None) -> NDArray[np.float64]:
    shape = (0,) if width is None else (0, width)
    parts = [row[key].double().numpy() for row in rows]
    return np.concatenate([np.zeros(shape), *parts])


def _owners(rows: list[dict[str, Tensor]]) -> NDArray[np.int64]:
    return np.repeat(np.arange(len(rows)), [len(row["boxes"]) for row in rows]).astype(np.int64)


def _detections(collector: _Collector, dataset: DataSet, scales: Tensor | None) -> Detections:
    found = collector.found
    boxes = _stack(found, "boxes", 4)
    owners = _owners(found)
    if scales is not None:
        boxes = boxes * scales.numpy()[np.asarray(collector.positions, dtype=np.int64)[owners]]
    return Detections(
        studies=tuple(dataset.studies[p].study for p in collector.positions),
        study=owners,
        boxes=boxes,
        scores=_stack(found, "scores"),
        labels=_stack(found, "labels").astype(np.int64),
    )


def _augmented_truth(collector: _Collector, dataset: DataSet) -> GroundTruth:
    return GroundTruth(
        studies=tuple(dataset.studies[p].study for p in collector.positions),
        patients=tuple(dataset.studies[p].patient for p in collector.positions),
        categories=tuple(dataset.labels),
        study=_owners(collector.given),
        boxes=_stack(collector.given, "boxes", 4),
        labels=_stack(collector.given, "labels").astype(np.int64),
    )


def _to(batch: Batch, device: torch.device) -> tuple[Tensor, list[dict[str, Tensor]], Tensor, Tensor]:
    targets = [
        {"boxes": t["boxes"].to(device, non_blocking=True), "labels": t["labels"].to(device, non_blocking=True)}
        for t in batch.targets
    ]
    return (
        batch.images.to(device, non_blocking=True),
        targets,
        batch.numeric.to(device, non_blocking=True),
        batch.categorical.to(device, non_blocking=True),
    )


def _judge(detections: Detections, truth: GroundTruth, how: Judgement) -> dict[str, Scores]:
    return {
        overlap: evaluate(
            detections, truth, overlap=overlap, threshold=how.threshold, max_detections=how.max_detections
        )
        for overlap in OVERLAPS
    }


def train_pass(
    model: MultimodalRCNN,
    batches: Iterable[Batch],
    optimiser: Optimizer,
    dataset: DataSet,
    *,
    weights: dict[str, LossWeight],
    mode: RoiMode,
    device: torch.device,
    judgement: Judgement,
    epoch: int,
    report: StepReport,
    stop: Callable[[], bool],
) -> PassResult:
    """Train one epoch. AP and AR are taken against the boxes as augmented, from the weights of each step.

    Raises:
        Interrupted: when ``stop`` says so after a step.
        TrainingStopped: at a loss that is not finite, naming the step and the batch's studies.
    """
    model.train()
    mean, collector = _Mean(), _Collector()
    for step, batch in enumerate(batches):
        images, targets, numeric, categorical = _to(batch, device)
        output = model(images, targets, numeric, categorical, mode)
        loss = total(weighted(output.losses, weights))
        value = float(loss.detach())
        if not math.isfinite(value):
            raise _not_finite(epoch, step, batch, dataset, value)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        mean.add({"loss": value, **{k: float(v.detach()) for k, v in output.losses.items()}}, len(batch.positions))
        if output.detections:
            collector.add(batch, output.detections)
        report(step + 1, value)
        if stop():
            raise Interrupted
    if not collector.positions:
        return PassResult("train", mean.result(), None, {})
    found = _detections(collector, dataset, None)
    return PassResult("train", mean.result(), found, _judge(found, _augmented_truth(collector, dataset), judgement))


def _not_finite(epoch: int, step: int, batch: Batch, dataset: DataSet, value: float) -> TrainingStopped:
    studies = ", ".join(dataset.studies[p].study for p in batch.positions[:8])
    return TrainingStopped(
        f"the loss became {value} in epoch {epoch}, step {step + 1} (studies {studies})",
        mend="lower lr, or look at those studies with `mmad data info`; the last checkpoint is kept",
    )


@torch.no_grad()
def evaluation_pass(
    model: MultimodalRCNN,
    batches: Iterable[Batch],
    dataset: DataSet,
    split: Split,
    *,
    weights: dict[str, LossWeight],
    mode: RoiMode,
    scales: Tensor,
    device: torch.device,
    judgement: Judgement,
    seed: int,
    report: StepReport,
    stop: Callable[[], bool],
) -> PassResult:
    """Measure losses, detections, AP and AR of a split; the training's random state is left alone.

    ``scales`` (studies, 4) turns boxes of the S×S image into pixels of the original one.

    Raises:
        Interrupted: when ``stop`` says so after a batch.
    """
    model.eval()
    mean, collector = _Mean(), _Collector()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        for step, batch in enumerate(batches):
            images, targets, numeric, categorical = _to(batch, device)
            output = model(images, targets, numeric, categorical, mode)
            loss = float(total(weighted(output.losses, weights)))
            mean.add({"loss": loss, **{k: float(v) for k, v in output.losses.items()}}, len(batch.positions))
            collector.add(batch, output.detections)
            report(step + 1, None)
            if stop():
                raise Interrupted
    found = _detections(collector, dataset, scales)
    return PassResult(split, mean.result(), found, _judge(found, dataset.ground_truth(split), judgement))
