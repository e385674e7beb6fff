"""One pass over a split: a training epoch or an evaluation, with losses, detections and AP/AR."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mmad.base.records import Detections, GroundTruth, Metric, Split
from mmad.data.dataset import DataSet
from mmad.data.loading.batches import Batch
from mmad.detector import MultimodalRCNN, RoiMode
from mmad.evaluation.coco import Scores
from mmad.evaluation.outlines import judged
from mmad.training.collector import Collector
from mmad.training.finite import Watch
from mmad.training.losses import Weighing, packed
from mmad.training.precision import Precision
from mmad.training.running import Mean, Running
from mmad.training.stepper import Stepper

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
    """What one pass measured; ``detections`` in pixels of the original images (training: of the S×S image).

    ``losses`` are means over images; ``weights`` are the learned weights after a training pass, by metric name.
    """

    split: Split
    losses: dict[str, float]
    detections: Detections | None
    scores: dict[str, Scores]
    weights: dict[str, float] = field(default_factory=dict)

    def metrics(self) -> tuple[Metric, ...]:
        """Losses, learned weights and, per overlap, AP and AR."""
        found = [Metric(self.split, name, value) for name, value in (self.losses | self.weights).items()]
        for overlap, score in self.scores.items():
            found += [Metric(self.split, f"ap_{overlap}", score.ap), Metric(self.split, f"ar_{overlap}", score.ar)]
        return tuple(found)


def _to(batch: Batch, device: torch.device) -> tuple[Tensor, list[dict[str, Tensor]], Tensor, Tensor]:
    targets = [
        {"boxes": t["boxes"].to(device, non_blocking=True), "labels": t["labels"].to(device, non_blocking=True)}
        for t in batch.targets
    ]
    return (
        _pinned(batch.images, device).to(device, non_blocking=True),
        targets,
        batch.numeric.to(device, non_blocking=True),
        batch.categorical.to(device, non_blocking=True),
    )


def _pinned(images: Tensor, device: torch.device) -> Tensor:
    """Images in page-locked memory, from where a CUDA device fetches them by itself while the process goes on."""
    return images.pin_memory() if device.type == "cuda" else images


def _judge(detections: Detections, truth: GroundTruth, how: Judgement) -> dict[str, Scores]:
    return judged(detections, truth, threshold=how.threshold, max_detections=how.max_detections)


def train_pass(
    model: MultimodalRCNN,
    batches: Iterable[Batch],
    stepper: Stepper,
    dataset: DataSet,
    *,
    weighing: Weighing,
    mode: RoiMode,
    device: torch.device,
    judgement: Judgement,
    epoch: int,
    report: StepReport,
    stop: Callable[[], bool],
    watch: Watch | None = None,
    running: Running | None = None,
    keep: Callable[[int], None] = lambda step: None,
) -> PassResult:
    """Train one epoch. AP and AR are taken against the boxes as augmented, from the weights of each step.

    ``loss`` is the fixed-weighted sum, comparable with validation; with learned weights ``objective`` is what
    was minimised.

    Args:
        batches: those that are left of the epoch after ``running.step`` of them.
        running: what the epoch has gathered so far; always that of the state of model and optimiser after a batch.
        keep: called after every batch that is not the one to stop at, with how many are done.

    Raises:
        Interrupted: when ``stop`` says so after a batch.
        DivergedError: at a loss, gradients or weights that are not finite, as ``watch`` words it.
    """
    model.train()
    watch = watch or Watch(dataset, epoch, half=stepper.precision.half)
    running = Running() if running is None else running
    mean, collector = running.mean, running.collector
    for batch in batches:
        images, targets, numeric, categorical = _to(batch, device)
        with watch.explaining(), stepper.precision.autocast():
            output = model(images, targets, numeric, categorical, mode)
        losses = stepper.precision.full(output.losses)
        plain, objective = weighing.both(losses)
        # Read before the backward pass: the device has little left to do now and need not wait then.
        measured = _measured(losses, plain, None if weighing.learned is None else objective)
        watch.settle()
        step = running.step + 1
        watch.losses("train", step, batch.positions, measured)
        watch.gradients(step, batch.positions, stepper.add(objective))
        mean.add(measured, len(batch.positions))
        if output.detections:
            collector.add(batch, output.detections)
        running.step = step
        report(step, measured["loss"])
        if stop():
            raise Interrupted
        keep(step)
    steps = running.step
    watch.gradients(steps, (), stepper.finish())
    watch.settle()
    watch.weights(steps, [model] if weighing.learned is None else [model, weighing.learned])
    watch.scale(steps, stepper.precision.scale)
    weights = weighing.metrics()
    if not collector.positions:
        return PassResult("train", mean.result(), None, {}, weights)
    found = collector.detections(dataset, None)
    scores = _judge(found, collector.augmented_truth(dataset), judgement)
    return PassResult("train", mean.result(), found, scores, weights)


def _measured(losses: Mapping[str, Tensor], plain: Tensor, objective: Tensor | None) -> dict[str, float]:
    """``loss``, the components and, where it is another number, ``objective``: one transfer for all."""
    named = {"loss": plain, **losses} | ({} if objective is None else {"objective": objective})
    return dict(zip(named, packed(named.values()).tolist(), strict=True))


@torch.no_grad()
def evaluation_pass(
    model: MultimodalRCNN,
    batches: Iterable[Batch],
    dataset: DataSet,
    split: Split,
    *,
    weighing: Weighing,
    precision: Precision,
    mode: RoiMode,
    scales: Tensor,
    device: torch.device,
    judgement: Judgement,
    seed: int,
    report: StepReport,
    stop: Callable[[], bool],
    watch: Watch | None = None,
) -> PassResult:
    """Measure losses, detections, AP and AR of a split; the training's random state is left alone.

    Learned weights have no part in it: ``loss`` is the fixed-weighted sum. ``scales`` (studies, 4) turns boxes
    of the S×S image into pixels of the original one.

    Raises:
        Interrupted: when ``stop`` says so after a batch.
        DivergedError: where there is a ``watch``, at a loss that is not finite.
    """
    model.eval()
    collector = Collector()
    names: tuple[str, ...] = ()
    rows: list[Tensor] = []  # per batch its losses, left on the device until the end
    shown: list[list[int]] = []
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        for step, batch in enumerate(batches):
            images, targets, numeric, categorical = _to(batch, device)
            with precision.autocast():
                output = model(images, targets, numeric, categorical, mode)
            losses = precision.full(output.losses)
            names = ("loss", *losses)
            rows.append(packed([weighing.plain(losses), *losses.values()]))
            shown.append(batch.positions)
            collector.add(batch, output.detections)
            report(step + 1, None)
            if stop():
                raise Interrupted
    losses_read = [dict(zip(names, row, strict=True)) for row in (torch.stack(rows).tolist() if rows else [])]
    mean = Mean()
    for step, (measured, positions) in enumerate(zip(losses_read, shown, strict=True)):
        if watch is not None:
            watch.losses(split, step + 1, positions, measured)
        mean.add(measured, len(positions))
    collector.unseen(dataset.split(split))
    found = collector.detections(dataset, scales)
    scores = _judge(found, dataset.ground_truth(split), judgement)
    return PassResult(split, mean.result(), found, scores)
