"""One pass over a split: a training epoch or an evaluation, with losses, detections and AP/AR.

First its parts: the stepper, the collector of detections, and the state of an epoch that is not over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools import mask
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer
from torchvision.models.detection.roi_heads import paste_masks_in_image

from mmad.base.records import Detections, GroundTruth, Masks, Metric, Split
from mmad.data.dataset import DataSet
from mmad.data.loader import Batch
from mmad.detector.model import MultimodalRCNN
from mmad.detector.roi_heads import RoiMode
from mmad.evaluation.coco import Scores, scores_by_overlap
from mmad.training.device import Precision, fetched
from mmad.training.divergence import DivergenceMonitor
from mmad.training.losses import Weighing, packed
from mmad.training.ranks import Ranks

# From the losses of batches to optimiser steps: gradients averaged over batches, and clipped.


class Stepper:
    """Takes one loss per batch and steps once per ``accumulation`` of them.

    Args:
        optimiser: holds every parameter that is trained.
        precision: of the gradients.
        accumulation: batches whose gradients are averaged into one step.
        clip_norm: largest norm of all gradients together, after averaging; None clips nothing.
        stepped: called after every step.
        ranks: that train the run together; None for this process alone.
    """

    def __init__(
        self,
        optimiser: Optimizer,
        precision: Precision,
        *,
        accumulation: int = 1,
        clip_norm: float | None = None,
        stepped: Callable[[], None] = lambda: None,
        ranks: Ranks | None = None,
    ) -> None:
        self.optimiser, self.precision, self._stepped, self.ranks = optimiser, precision, stepped, ranks
        self.accumulation, self.clip_norm = accumulation, clip_norm
        self._pending = 0

    def add(self, loss: Tensor) -> Tensor | None:
        """Take in the loss of one batch, or this rank's share of it, and step when its group is full, as ``finish``."""
        if self._pending == 0:
            self.optimiser.zero_grad(set_to_none=True)
        elif self.ranks is not None:
            self.ranks.divide(self._parameters())
        self.precision.backward(loss if self.ranks is None else self.ranks.weigh(loss))
        if self.ranks is not None:
            self.ranks.agree(self._parameters())
        self._pending += 1
        if self._pending == self.accumulation:
            return self.finish()
        return None

    def finish(self) -> Tensor | None:
        """Step with a group that is not full, as the last one of an epoch; nothing when no batch is pending.

        Returns:
            The norm of all gradients () before clipping, on their device. None where there was no step, and in half
            precision, which leaves out by itself what is not finite.
        """
        if self._pending == 0:
            return None
        self.precision.unscale(self.optimiser)
        if self._pending > 1:
            for parameter in self._parameters():
                if parameter.grad is not None:
                    parameter.grad.div_(self._pending)
        norm = self._clip() if self.clip_norm is not None or not self.precision.half else None
        self.precision.step(self.optimiser)
        self._stepped()
        self._pending = 0
        return None if self.precision.half else norm

    def pending_gradients(self) -> list[Tensor | None]:
        """The gradients of a group that is not full, in the order of the parameters, on the CPU; empty without one."""
        gradients = [parameter.grad for parameter in self._parameters()] if self._pending else []
        return [None if gradient is None else gradient.detach().cpu() for gradient in gradients]

    @property
    def pending_batches(self) -> int:
        """Batches whose gradients are not stepped with yet: the rest of their group is missing."""
        return self._pending

    def restore_pending(self, batches: int, gradients: Sequence[Tensor | None]) -> None:
        """Resume a group of ``batches`` whose gradients ``pending_gradients`` gave."""
        self._pending = batches
        if batches:
            for parameter, gradient in zip(self._parameters(), gradients, strict=True):
                parameter.grad = None if gradient is None else gradient.to(parameter.device)

    def _clip(self) -> Tensor:
        parameters = self._parameters()
        norm = get_total_norm([p.grad for p in parameters if p.grad is not None])
        if self.clip_norm is not None:
            clip_grads_with_norm_(parameters, self.clip_norm, norm)
        return norm

    def _parameters(self) -> list[Tensor]:
        return [parameter for group in self.optimiser.param_groups for parameter in group["params"]]


# The detections of a pass, batch by batch, as the records that are evaluated.

#: What is evaluated of a detection; masks only where there is a mask head.
_EVALUATED = ("boxes", "scores", "labels", "masks")
#: Least probability of a cell that belongs to a mask.
_INSIDE = 0.5


class Collector:
    """Gathers detections, and for training the boxes as augmented.

    Detections stay on their device until the pass is over, and how many an image has is asked for then: no batch waits.
    """

    def __init__(self) -> None:
        self.positions: list[int] = []
        self._found: list[dict[str, Tensor]] = []
        self._unread: list[Sequence[dict[str, Tensor]]] = []
        self.given: list[dict[str, Tensor]] = []
        self.side = 0  # pixels of the square that the network sees

    def add(self, batch: Batch, detections: Sequence[dict[str, Tensor]]) -> None:
        """Take in a batch and, per image, its ``boxes`` (d, 4), ``scores`` (d,) and ``labels`` (d,).

        With a mask head also ``masks`` (d, 1, m, m): probabilities within each box.
        """
        self.side = batch.images.shape[-1]
        self.positions += batch.positions
        self._unread.append(detections)
        self.given += [{"boxes": t["boxes"], "labels": t["labels"]} for t in batch.targets]

    @property
    def found(self) -> list[dict[str, Tensor]]:
        """Per image what is evaluated of its detections."""
        rows = [row for detections in self._unread for row in detections]
        self._found += [{key: row[key].detach() for key in _EVALUATED if key in row} for row in rows]
        self._unread.clear()
        return self._found

    @found.setter
    def found(self, rows: list[dict[str, Tensor]]) -> None:
        self._found = rows

    def add_unseen(self, positions: Sequence[int]) -> None:
        """Count those of ``positions`` that no batch held as studies without a detection."""
        self.positions += sorted(set(positions) - set(self.positions))

    def detections(self, dataset: DataSet, scales: Tensor | None) -> Detections:
        """All detections; ``scales`` (studies, 4) turns boxes of the S×S image into pixels of the original."""
        boxes = _stack(self.found, "boxes", 4)
        owners = _owners(self.found)
        if scales is not None:
            boxes = boxes * scales.numpy()[np.asarray(self.positions, dtype=np.int64)[owners]]
        return Detections(
            studies=tuple(dataset.studies[p].study for p in self.positions),
            study=owners,
            boxes=boxes,
            scores=_stack(self.found, "scores"),
            labels=_stack(self.found, "labels").astype(np.int64),
            masks=self._masks(scales) if any("masks" in row for row in self.found) else None,
        )

    def _masks(self, scales: Tensor | None) -> Masks:
        """What is inside a mask, on the square that the network sees; its images have their original extent."""
        side = self.side
        extent = np.full((len(self.positions), 2), float(side))
        if scales is not None:
            extent = np.round(scales.numpy()[self.positions, :2] * side)
        runs: list[bytes] = []
        for row in self.found:
            drawn = paste_masks_in_image(row["masks"].float().cpu(), row["boxes"].float().cpu(), (side, side))
            inside = (drawn[:, 0] >= _INSIDE).numpy()  # (d, S, S)
            cells = np.asfortranarray(inside.transpose(1, 2, 0), dtype=np.uint8)
            runs += [bytes(run["counts"]) for run in mask.encode(cells)]  # type: ignore[no-untyped-call]
        return Masks(side, extent, tuple(runs))

    def augmented_truth(self, dataset: DataSet) -> GroundTruth:
        """The true boxes as they were shown, in pixels of the S×S image."""
        return GroundTruth(
            studies=tuple(dataset.studies[p].study for p in self.positions),
            patients=tuple(dataset.studies[p].patient for p in self.positions),
            categories=tuple(dataset.labels),
            study=_owners(self.given),
            boxes=_stack(self.given, "boxes", 4),
            labels=_stack(self.given, "labels").astype(np.int64),
        )


def _stack(rows: list[dict[str, Tensor]], key: str, width: int | None = None) -> NDArray[np.float64]:
    if not rows:
        return np.zeros((0,) if width is None else (0, width))
    stacked: NDArray[np.float64] = torch.cat([row[key] for row in rows]).cpu().double().numpy()
    return stacked


def _owners(rows: list[dict[str, Tensor]]) -> NDArray[np.int64]:
    return np.repeat(np.arange(len(rows)), [len(row["boxes"]) for row in rows]).astype(np.int64)


# How far an epoch's training has come, so that it can resume from the middle.


class Mean:
    """Means over images of the loss components and of their sums."""

    def __init__(self, sums: Mapping[str, float] | None = None, images: int = 0) -> None:
        self.sums: dict[str, float] = dict(sums or {})
        self.images = images

    def add(self, losses: Mapping[str, float], images: int) -> None:
        self.images += images
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value * images

    def result(self) -> dict[str, float]:
        return {name: value / max(self.images, 1) for name, value in self.sums.items()}


@dataclass
class PartialEpoch:
    """What the training pass of an epoch has gathered after ``step`` batches.

    ``seconds`` and ``peak_memory`` are the epoch's before its latest resumption.
    """

    step: int = 0
    mean: Mean = field(default_factory=Mean)
    collector: Collector = field(default_factory=Collector)
    seconds: float = 0.0
    peak_memory: int = 0

    def facts(self, *, seconds: float, peak_memory: int) -> dict[str, Any]:
        """Plain JSON to resume from; ``seconds`` and ``peak_memory`` are the whole epoch's up to now."""
        return {
            "step": self.step,
            "sums": self.mean.sums,
            "images": self.mean.images,
            "seconds": seconds,
            "peak_memory": peak_memory,
            "positions": self.collector.positions,
            "side": self.collector.side,
        }

    def tensors(self) -> dict[str, Any]:
        """The detections and boxes gathered so far, on the CPU."""
        return {"found": _stacked(self.collector.found), "given": _stacked(self.collector.given)}

    @classmethod
    def of(cls, facts: Mapping[str, Any], tensors: Mapping[str, Any], device: torch.device) -> PartialEpoch:
        """Resume from what ``facts`` and ``tensors`` gave; detections go to ``device``."""
        collector = Collector()
        collector.positions, collector.side = list(facts["positions"]), facts["side"]
        collector.found = _parted(tensors["found"], device)
        collector.given = _parted(tensors["given"], torch.device("cpu"))
        return cls(
            facts["step"], Mean(facts["sums"], facts["images"]), collector, facts["seconds"], facts["peak_memory"]
        )


def _stacked(rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Rows of tensors, one per image, as one tensor per name; ``counts`` says how many belong to each image."""
    if not rows:
        return {}
    joined = {name: torch.cat([row[name] for row in rows]).cpu() for name in rows[0]}
    return joined | {"counts": torch.tensor([len(row["boxes"]) for row in rows])}


def _parted(joined: Mapping[str, Tensor], device: torch.device) -> list[dict[str, Tensor]]:
    if not joined:
        return []
    counts = joined["counts"].tolist()
    parts = {name: torch.split(value.to(device), counts) for name, value in joined.items() if name != "counts"}
    return [{name: part[i] for name, part in parts.items()} for i in range(len(counts))]


# The passes.

#: Overlap threshold and detections per image of every epoch's AP and AR; both overlaps are always measured.
THRESHOLD, MAX_DETECTIONS = 0.5, 10
StepReport = Callable[[int, float | None], None]


class Interrupted(Exception):
    """The pass was asked to stop between two steps."""


@dataclass(frozen=True, eq=False)
class PassResult:
    """What one pass measured; ``detections`` in pixels of the original images (training: of the S×S image).

    ``losses`` are means over images; ``last_20`` is the plain mean of ``loss`` over the last 20 batches of an
    evaluation; ``weights`` are the learned weights after a training pass, by metric name.
    """

    split: Split
    losses: dict[str, float]
    detections: Detections | None
    scores: dict[str, Scores]
    weights: dict[str, float] = field(default_factory=dict)
    last_20: float = float("nan")

    def metrics(self) -> tuple[Metric, ...]:
        """Losses, learned weights and, per overlap, AP and AR."""
        found = [Metric(self.split, name, value) for name, value in (self.losses | self.weights).items()]
        for overlap, score in self.scores.items():
            found += [Metric(self.split, f"ap_{overlap}", score.ap), Metric(self.split, f"ar_{overlap}", score.ar)]
        return tuple(found)


def _to(batch: Batch, device: torch.device) -> tuple[Tensor, list[dict[str, Tensor]], Tensor, Tensor]:
    """What a detector reads, on ``device``; the targets stay on the CPU, where it checks them."""
    targets = [{"boxes": t["boxes"], "labels": t["labels"]} for t in batch.targets]
    return (
        _pinned(batch.images, device).to(device, non_blocking=True),
        targets,
        batch.numeric.to(device, non_blocking=True),
        batch.categorical.to(device, non_blocking=True),
    )


def _pinned(images: Tensor, device: torch.device) -> Tensor:
    """Images in page-locked memory, from where a GPU fetches them by itself while the process continues."""
    return images.pin_memory() if device.type == "cuda" else images


def _forked(device: torch.device) -> str:
    """The kind of device whose random state is kept beside the CPU's; with no device of it there is none."""
    return "cuda" if device.type == "cpu" else device.type


def _scores(detections: Detections, truth: GroundTruth) -> dict[str, Scores]:
    return scores_by_overlap(detections, truth, threshold=THRESHOLD, max_detections=MAX_DETECTIONS)


@dataclass(frozen=True)
class _Pending:
    """A batch whose numbers may not be here yet."""

    step: int
    positions: list[int]
    names: tuple[str, ...]
    read: Callable[[], list[float]]

    def measured(self, monitor: DivergenceMonitor) -> dict[str, float]:
        """``loss``, the components and, where it is another number, ``objective``; refused if not finite."""
        found = dict(zip(self.names, self.read(), strict=True))
        monitor.check_losses("train", self.step, self.positions, found)
        return found


def train_pass(
    model: MultimodalRCNN,
    batches: Iterable[Batch],
    stepper: Stepper,
    dataset: DataSet,
    *,
    weighing: Weighing,
    mode: RoiMode,
    device: torch.device,
    epoch: int,
    report: StepReport,
    stop: Callable[[], bool],
    monitor: DivergenceMonitor | None = None,
    partial: PartialEpoch | None = None,
    save_every: int | None = None,
    save: Callable[[], None] = lambda: None,
) -> PassResult:
    """Train one epoch. AP and AR are taken against the boxes as augmented, from the weights of each step.

    ``loss`` is the fixed-weighted sum, comparable with validation; with learned weights ``objective`` is what
    was minimised. On a GPU the numbers of a batch are read, checked and reported when the next one has gone through
    the network: the process does not wait for them. Where ``stepper`` has ranks, each shows its share of a batch, and
    all have the whole batch's losses and the same weights after it.

    Args:
        batches: those that are left of the epoch after ``partial.step`` of them.
        partial: what the epoch has gathered so far; always that of the state of model and optimiser after a batch.
        save_every: batches of the epoch after which ``save`` is called, but for the one to stop at.

    Raises:
        Interrupted: when ``stop`` says so after a batch.
        DivergedError: at a loss, gradients or weights that are not finite, as ``monitor`` words it.
    """
    model.train()
    monitor = monitor or DivergenceMonitor(dataset, epoch, half=stepper.precision.half)
    partial = PartialEpoch() if partial is None else partial
    mean, collector, pending, ranks = partial.mean, partial.collector, list[_Pending](), stepper.ranks

    def settle() -> None:
        for batch_of in pending:
            measured = batch_of.measured(monitor)
            mean.add(measured, len(batch_of.positions))
            report(batch_of.step, measured["loss"])
        pending.clear()
        monitor.check_gradients()

    for batch in batches:
        shown = batch if ranks is None else ranks.share(batch, epoch, partial.step + 1)
        images, targets, numeric, categorical = _to(shown, device)
        with monitor.explaining(settle), stepper.precision.autocast():
            output = model(images, targets, numeric, categorical, mode)
        settle()
        losses = stepper.precision.full(output.losses)
        plain, objective = weighing.both(losses)
        named = {"loss": plain, **losses} | ({} if weighing.learned is None else {"objective": objective})
        step = partial.step + 1
        numbers = packed(named.values()) if ranks is None else ranks.mean(packed(named.values()))
        pending.append(_Pending(step, batch.positions, tuple(named), fetched(numbers)))
        if device.type == "cpu":
            pending[0].measured(monitor)  # before the weights follow a loss that is not finite
        monitor.add_gradients(step, batch.positions, stepper.add(objective))
        if output.detections:
            collector.add(batch, output.detections)
        partial.step = step
        saves = save_every is not None and step % save_every == 0
        if saves or device.type == "cpu":
            settle()
        stops = stop()
        if stops:
            settle()
            raise Interrupted
        if saves:
            save()
    settle()
    steps = partial.step
    monitor.add_gradients(steps, (), stepper.finish())
    monitor.check_gradients()
    monitor.check_weights(steps, [model] if weighing.learned is None else [model, weighing.learned])
    monitor.check_scale(steps, stepper.precision.scale)
    weights = weighing.metrics()
    if not collector.positions:
        return PassResult("train", mean.result(), None, {}, weights)
    found = collector.detections(dataset, None)
    scores = _scores(found, collector.augmented_truth(dataset))
    return PassResult("train", mean.result(), found, scores, weights)


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
    seed: int,
    report: StepReport,
    stop: Callable[[], bool],
    monitor: DivergenceMonitor | None = None,
) -> PassResult:
    """Measure losses, detections, AP and AR of a split; the training's random state is left alone.

    Learned weights have no part in it: ``loss`` is the fixed-weighted sum. ``scales`` (studies, 4) turns boxes
    of the S×S image into pixels of the original one.

    Raises:
        Interrupted: when ``stop`` says so after a batch.
        DivergedError: where there is a ``monitor``, at a loss that is not finite.
    """
    model.eval()
    collector = Collector()
    names: tuple[str, ...] = ()
    rows: list[Tensor] = []  # per batch its losses, left on the device until the end
    shown: list[list[int]] = []
    with torch.random.fork_rng([] if device.type == "cpu" else [device], device_type=_forked(device)):
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
        if monitor is not None:
            monitor.check_losses(split, step + 1, positions, measured)
        mean.add(measured, len(positions))
    collector.add_unseen(dataset.split(split))
    found = collector.detections(dataset, scales)
    scores = _scores(found, dataset.ground_truth(split))
    last = [measured["loss"] for measured in losses_read[-20:]]
    return PassResult(split, mean.result(), found, scores, last_20=fmean(last) if last else float("nan"))
