"""Boxes of a whole batch at once: overlaps, matching, sampling and suppression without a loop over images.

A GPU computes behind the process, which waits for it wherever a size or a number has to be known. So sizes stay on the
device until ``read`` fetches all that are wanted in one transfer, and ``rows_of`` selects without a wait.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torchvision.models.detection._utils import encode_boxes
from torchvision.ops import batched_nms, nms
from torchvision.ops.boxes import box_area

BACKGROUND, IGNORED = -1, -2
#: Boxes that a GPU suppresses in one call, but for those of one image: a table of 128 MiB.
MOST_SUPPRESSED = 2**15
#: Overlaps that are in memory at once, but for those of one image: 32 MiB in single precision, and some copies.
MOST_OVERLAPS = 2**23


def sent(numbers: Sequence[int], device: torch.device) -> Tensor:
    """Whole numbers (n,) on ``device``, which takes them when it comes to them."""
    return torch.tensor(numbers, dtype=torch.int64).to(device, non_blocking=True)


def read(*counts: Tensor) -> list[list[int]]:
    """Whole numbers of the device, per tensor: one transfer, for which the process waits once."""
    numbers = torch.cat([count.reshape(-1) for count in counts]).tolist()
    parts, start = [], 0
    for count in counts:
        parts.append(numbers[start : start + count.numel()])
        start += count.numel()
    return parts


def rows_of(chosen: Tensor, count: int) -> Tensor:
    """The rows of ``chosen`` (N,) that are True, rising: ``nonzero`` where it is known that they are ``count``."""
    place = chosen.cumsum(0).sub_(1).masked_fill_(~chosen, count)
    rows = torch.arange(len(chosen), device=chosen.device)
    return place.new_zeros(count + 1).scatter_(0, place, rows)[:count]


def count_per(owner: Tensor, chosen: Tensor, owners: int) -> Tensor:
    """How many ``chosen`` (N,) rows every one of ``owners`` has, (owners,); ``owner`` (N,) from 0."""
    return owner.new_zeros(owners).scatter_add_(0, owner, chosen.to(owner.dtype))


def pad(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Per image (n, …) tensors as one (B, max(n, 1), …) and the (B, max(n, 1)) mask of what is real."""
    padded = pad_sequence(list(rows), batch_first=True)
    if padded.shape[1] == 0:
        padded = padded.new_zeros((len(rows), 1, *padded.shape[2:]))
    lengths = sent([len(row) for row in rows], padded.device)
    return padded, torch.arange(padded.shape[1], device=padded.device) < lengths[:, None]


def upcast(values: Tensor) -> Tensor:
    """``values`` in at least single precision: boxes in half precision would be off by half a pixel."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def batched_iou(truth: Tensor, boxes: Tensor) -> Tensor:
    """IoU of ``truth`` (B, M, 4) with ``boxes`` (N, 4) or (B, N, 4): (B, M, N)."""
    boxes = boxes if boxes.dim() == 3 else boxes[None]
    shared = _shared_side(truth, boxes, 0).mul_(_shared_side(truth, boxes, 1))
    # torchvision's order of the sums, so that both agree to the bit
    union = (_area(truth)[:, :, None] + _area(boxes)[:, None]).sub_(shared)
    return shared.div_(union)


def _shared_side(truth: Tensor, boxes: Tensor, axis: int) -> Tensor:
    """How far boxes overlap along x (0) or y (1), (B, M, N): one axis at a time takes half the memory."""
    begin = torch.maximum(truth[:, :, None, axis], boxes[:, None, :, axis])
    return torch.minimum(truth[:, :, None, axis + 2], boxes[:, None, :, axis + 2]).sub_(begin).clamp_(min=0)


def _area(boxes: Tensor) -> Tensor:
    area: Tensor = box_area(boxes.reshape(-1, 4)).view(boxes.shape[:-1])
    return area


def match(
    iou: Tensor, real: Tensor, *, fg_iou_thresh: float, bg_iou_thresh: float, allow_low_quality_matches: bool
) -> Tensor:
    """Which true box each box belongs to: torchvision's ``Matcher`` over a batch.

    Args:
        iou: (B, M, N) overlaps of true boxes with boxes.
        real: (B, M), False for padding among the true boxes.
        fg_iou_thresh: overlap from which a box belongs to its best true box.
        bg_iou_thresh: overlap below which it is background; between the two it is ignored.
        allow_low_quality_matches: also give every true box the boxes that overlap it best.

    Returns:
        (B, N) rows among the true boxes, -1 for background, -2 for ignored.
    """
    iou = iou.masked_fill(~real[:, :, None], -1.0)
    best, rows = iou.max(dim=1)
    matched = torch.where(best < bg_iou_thresh, BACKGROUND, torch.where(best < fg_iou_thresh, IGNORED, rows))
    if not allow_low_quality_matches:
        return matched
    best_of_truth = (iou == iou.max(dim=2, keepdim=True).values) & real[:, :, None]
    return torch.where(best_of_truth.any(dim=1), rows, matched)


def assign(
    truth: Tensor,
    real: Tensor,
    boxes: Tensor,
    *,
    fg_iou_thresh: float,
    bg_iou_thresh: float,
    allow_low_quality_matches: bool,
) -> Tensor:
    """``match`` by the IoU of ``truth`` (B, M, 4) with ``boxes`` (N, 4) or (B, N, 4), as many images at once as fit.

    One crowded image pads all others, so that a batch could take B times the memory that its images take.
    """
    per_image = truth.shape[1] * boxes.shape[-2]
    step = max(1, MOST_OVERLAPS // max(1, per_image))
    parts = [
        match(
            batched_iou(truth[i : i + step], boxes if boxes.dim() == 2 else boxes[i : i + step]),
            real[i : i + step],
            fg_iou_thresh=fg_iou_thresh,
            bg_iou_thresh=bg_iou_thresh,
            allow_low_quality_matches=allow_low_quality_matches,
        )
        for i in range(0, len(truth), step)
    ]
    return torch.cat(parts)


class Sampler(nn.Module):
    """Draws a balanced sample of every image's boxes: torchvision's ``BalancedPositiveNegativeSampler``, batched.

    Args:
        batch_size_per_image: boxes per image.
        positive_fraction: largest share of positives; negatives fill what they leave free.
    """

    def __init__(self, batch_size_per_image: int, positive_fraction: float) -> None:
        super().__init__()
        self.batch_size_per_image = batch_size_per_image
        self.max_positives = int(batch_size_per_image * positive_fraction)

    def forward(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """From (B, N) labels (above 0 positive, 0 negative, below 0 neither) the (B, N) masks drawn of each."""
        positive = _subset(labels > 0, torch.full_like(labels[:, 0], self.max_positives), self.max_positives)
        free = self.batch_size_per_image - positive.sum(dim=1)
        return positive, _subset(labels == 0, free, self.batch_size_per_image)


def _subset(candidates: Tensor, size: Tensor, max_size: int) -> Tensor:
    """A random subset of every row's ``candidates`` (B, N), at most ``size`` (B,) of them and ``max_size``."""
    max_size = min(max_size, candidates.shape[1])
    order = torch.rand(candidates.shape, device=candidates.device).masked_fill_(~candidates, 2.0)
    rows = order.topk(max_size, dim=1, largest=False).indices
    chosen = torch.arange(max_size, device=candidates.device) < size[:, None]
    return torch.zeros_like(candidates).scatter_(1, rows, chosen) & candidates


@dataclass(frozen=True)
class FlatBoxes:
    """Boxes of all images as one tensor.

    Args:
        flat: (R, 4), one image after the other.
        image: (R,) of each box.
        counts: how many an image has.
        levels: (R,) the map each is pooled from; None where there is one map.
        per_level: how many are pooled from each map; None while it is not known.
    """

    flat: Tensor
    image: Tensor
    counts: list[int]
    levels: Tensor | None = None
    per_level: list[int] | None = None

    @classmethod
    def of(cls, boxes: Sequence[Tensor]) -> FlatBoxes:
        """Per image (n, 4) boxes; their levels are not known yet."""
        counts = [len(b) for b in boxes]
        device = boxes[0].device
        image = torch.arange(len(boxes), device=device)
        image = image.repeat_interleave(sent(counts, device), output_size=sum(counts))
        return cls(torch.cat(list(boxes)), image, counts)

    def split(self) -> list[Tensor]:
        """Per image (n, 4)."""
        return list(torch.split(self.flat, self.counts))

    def places(self, width: int) -> Tensor:
        """Where each box lies (R,) among those of all images padded to ``width``, flattened."""
        numbers = sent(self.counts, self.flat.device)
        first = numbers.cumsum(0) - numbers
        return torch.arange(len(self.flat), device=self.flat.device) + (self.image * width - first[self.image])

    def take(self, rows: Tensor, counts: list[int], per_level: list[int] | None = None) -> FlatBoxes:
        """The boxes at flat ``rows``, which rise: ``counts`` of the images, ``per_level`` of the maps."""
        levels = None if self.levels is None else self.levels[rows]
        return FlatBoxes(self.flat[rows], self.image[rows], counts, levels, per_level)


class BoxCoder:
    """Boxes as the deltas that a network learns, and back: torchvision's ``BoxCoder``, on the device alone.

    Args:
        weights: of x, y, width and height.
    """

    #: Of a logarithm of a width or height, as torchvision's.
    MOST = math.log(1000.0 / 16)

    def __init__(self, weights: tuple[float, float, float, float]) -> None:
        self.weights = weights

    def encode(self, truth: Tensor, boxes: Tensor) -> Tensor:
        """The deltas (N, 4) from ``boxes`` (N, 4) to ``truth`` (N, 4)."""
        deltas: Tensor = encode_boxes(truth, boxes, self.weights)
        return deltas

    def decode(self, deltas: Tensor, boxes: Tensor) -> Tensor:
        """The boxes (N, k, 4) that ``deltas`` (N, 4 k) make of ``boxes`` (N, 4)."""
        boxes = boxes.to(deltas.dtype)
        size = boxes[:, None, 2:] - boxes[:, None, :2]
        centre = boxes[:, None, :2] + 0.5 * size
        steps = deltas.view(len(deltas), deltas.shape[1] // 4, 4)
        x, y, width, height = self.weights
        moved = torch.stack((steps[..., 0] / x, steps[..., 1] / y), dim=-1) * size + centre
        grown = torch.stack((steps[..., 2] / width, steps[..., 3] / height), dim=-1).clamp(max=self.MOST).exp() * size
        half = 0.5 * grown
        return torch.cat((moved - half, moved + half), dim=-1)


@dataclass(frozen=True)
class Kept:
    """What a suppression keeps of an image by falling score: the first ``counts`` (images,) of ``rows`` (images, T)."""

    rows: Tensor
    counts: Tensor

    @property
    def real(self) -> Tensor:
        """(images, T), False behind an image's ``counts``."""
        return torch.arange(self.rows.shape[1], device=self.rows.device) < self.counts[:, None]


def suppress(
    boxes: Tensor,
    scores: Tensor,
    image: Tensor,
    group: Tensor,
    sizes: Sequence[int],
    *,
    valid: Tensor | None = None,
    nms_thresh: float,
    top_n: int,
) -> Kept:
    """Non-maximum suppression within the groups of every image; the best ``top_n`` of an image are kept.

    Args:
        boxes: (N, 4), one image after the other; scores: (N,); image: (N,) from 0.
        group: (N,) suppressed apart from each other; a group lies in one image.
        sizes: how many of the N each image has.
        valid: (N,), False for those that are not there; None where all are.
        nms_thresh: IoU above which the weaker box goes.
        top_n: boxes kept of one image.
    """
    valid = torch.ones_like(scores, dtype=torch.bool) if valid is None else valid
    kept = _best_of_groups(boxes, scores, group, sizes, valid, nms_thresh)
    owner, order = image[kept].sort(stable=True)
    kept = kept[order]
    there = valid[kept]  # an image's best come first, and what is not there last
    numbers = count_per(owner, torch.ones_like(there), len(sizes))
    rank = torch.arange(len(owner), device=owner.device) - (numbers.cumsum(0) - numbers)[owner]
    width = min(top_n, len(kept))
    place = (owner * width + rank).masked_fill_(~there | (rank >= width), len(sizes) * width)
    rows = kept.new_zeros(len(sizes) * width + 1).scatter_(0, place, kept)[:-1]
    return Kept(rows.view(len(sizes), width), count_per(owner, there, len(sizes)).clamp(max=top_n))


def _best_of_groups(
    boxes: Tensor, scores: Tensor, group: Tensor, sizes: Sequence[int], valid: Tensor, nms_thresh: float
) -> Tensor:
    """The rows that no better box of their group covers, each image's by falling score.

    torchvision's ``batched_nms`` on the CPU. It would wait for a GPU once per group of a large batch, and so there the
    groups are moved apart, as it does with a small one, and what is not there comes last.
    """
    if boxes.device.type == "cpu":
        rows = valid.nonzero().squeeze(1)
        return rows[batched_nms(boxes[rows], scores[rows], group[rows], nms_thresh)]
    boxes, scores = boxes.masked_fill(~valid[:, None], 0), scores.masked_fill(~valid, -math.inf)
    kept = [group.new_zeros(0)]
    for begin, end in _portions(sizes):
        part, groups = boxes[begin:end], group[begin:end]
        apart = (groups - groups.amin()).to(part.dtype) * (part.amax() + 1)
        kept.append(nms(part + apart[:, None], scores[begin:end], nms_thresh) + begin)
    return torch.cat(kept)


def _portions(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First row and the row behind the last of as many whole images as are suppressed together."""
    begin = end = 0
    for size in sizes:
        if end > begin and end + size - begin > MOST_SUPPRESSED:
            yield begin, end
            begin = end
        end += size
    if end > begin:
        yield begin, end
