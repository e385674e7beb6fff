"""COCO's matching of detections with true boxes, for all images, findings and thresholds at once.

Two engines compute AP. ``mmad.evaluation.coco`` is the oracle: pycocotools itself, whose numbers are stored. This match
with the weighing in ``mmad.evaluation.resampling`` is the engine of everything that resamples, and of what needs the
matches themselves. pycocotools keeps its matches too (``COCOeval.evalImgs``), but finds them image by image in Python;
this is for speed, which grows with the number of images. Tests hold the engine to the oracle, match by match and figure
by figure. See Lin et al., Microsoft COCO, 2014, and the evaluation code published with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask

from mmad.base.errors import EvaluationError
from mmad.base.records import Detections, GroundTruth
from mmad.evaluation.coco import Overlap, check_protocol, positions_in
from mmad.evaluation.detections_file import check_detections
from mmad.evaluation.masks import Outline, Rle, areas, masks_of, rles_of, true_rles

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Groups (image × finding) whose overlaps are held at once.
_CHUNK = 20_000
_ALMOST_ONE = 1 - 1e-10  # pycocotools' highest threshold


@dataclass(frozen=True, eq=False)
class Matched:
    """Detections with what they were matched to; N of them in COCO's order, T thresholds, I images, K findings.

    The order is by finding, then by falling score; equal scores by image, then as given. Only the best
    ``max_detections`` of an image and finding are here.
    """

    thresholds: Floats  # (T,)
    row: Ints  # (N,) of the detections given
    image: Ints  # (N,)
    finding: Ints  # (N,) from 0
    score: Floats  # (N,)
    true: Ints  # (T, N) row of the true box matched, -1 for none
    ignored: Flags  # (T, N) neither counts nor punishes
    boxes: Ints  # (I, K) true boxes that count
    patients: tuple[str, ...]  # I of them
    categories: tuple[str, ...]

    @property
    def hit(self) -> Flags:
        """Detections that found a box that counts, (T, N)."""
        return (self.true >= 0) & ~self.ignored

    @property
    def counted(self) -> Flags:
        """Detections that count at all, (T, N)."""
        return ~self.ignored

    def of(self, finding: int) -> slice:
        """Where the detections of ``finding`` stand."""
        start, stop = np.searchsorted(self.finding, [finding, finding + 1])
        return slice(int(start), int(stop))


def match(
    detections: Detections,
    truth: GroundTruth,
    *,
    overlap: Overlap = "iou",
    thresholds: Sequence[float] = (0.5,),
    max_detections: int = 10,
    area: tuple[float, float] = (0.0, 1e10),
    relative: bool = False,
    on: Outline = "boxes",
) -> Matched:
    """Match the detections of one split with its true boxes, each finding by itself.

    Args:
        detections: in pixels of the original images.
        truth: of the same studies.
        overlap: ``iou``, or ``iobb``: intersection over the detected box's area.
        thresholds: overlaps from which a detection is a hit.
        max_detections: best detections that count per image and finding.
        area: true boxes outside these px² are ignored, and unmatched detections outside too.
        relative: ``area`` is in shares of the image's area (0 to 1); needs the truth's ``extent``.
        on: what is compared: boxes, or the detections' masks and the filled true boxes.

    Raises:
        EvaluationError: other studies, unknown labels, numbers that are not finite (naming the study).
    """
    check_detections(detections)
    for threshold in thresholds:
        check_protocol(overlap, threshold, max_detections)
    place = positions_in(detections, truth)
    found = _CocoBoxes.of(place[detections.study], detections.labels, detections.boxes, len(truth.categories))
    given = _CocoBoxes.of(truth.study, truth.labels, truth.boxes, len(truth.categories))
    if on == "masks":
        masks = masks_of(detections)
        mine, theirs = rles_of(masks), true_rles(truth, masks, place)
        found = replace(found, area=areas(mine, place[detections.study], masks, place))
        given = replace(given, area=areas(theirs, truth.study, masks, place))
    unit = _image_areas(truth) if relative else np.ones(len(truth.studies))
    rows = found.best(detections.scores, max_detections)
    found = found.take(rows)
    crowd = np.zeros(len(truth.labels), dtype=bool) if truth.ignore is None else truth.ignore
    given_ignored = crowd | _outside(given.area / unit[truth.study], area)
    limits = np.minimum(np.asarray(thresholds, dtype=np.float64), _ALMOST_ONE)

    def shared(d: Ints, g: Ints) -> Floats:
        if on == "masks":
            return _mask_overlaps([mine[i] for i in rows], theirs, d, g, crowd, overlap)
        return _overlaps(found, given, d, g, crowd, overlap)

    true, ignored = _match(found, given, crowd, given_ignored, limits, shared)
    ignored |= (true < 0) & _outside(found.area / unit[place[detections.study[rows]]], area)
    boxes = np.zeros((len(truth.studies), len(truth.categories)), dtype=np.int64)
    np.add.at(boxes, (truth.study[~given_ignored], truth.labels[~given_ignored] - 1), 1)
    scores = detections.scores[rows]
    findings = detections.labels[rows] - 1
    image = place[detections.study[rows]]
    order = np.lexsort((np.arange(len(rows)), image, -scores, findings))
    return Matched(
        thresholds=np.asarray(thresholds, dtype=np.float64),
        row=rows[order],
        image=image[order],
        finding=findings[order],
        score=scores[order],
        true=true[:, order],
        ignored=ignored[:, order],
        boxes=boxes,
        patients=truth.patients,
        categories=truth.categories,
    )


def _image_areas(truth: GroundTruth) -> Floats:
    if truth.extent is None:
        raise EvaluationError("the sizes of the images are not known", where="evaluation")
    whole: Floats = truth.extent.prod(axis=1)
    return whole


def _outside(size: Floats, limits: tuple[float, float]) -> Flags:
    return (size < limits[0]) | (size > limits[1])


@dataclass(frozen=True, eq=False)
class _CocoBoxes:
    """Boxes as pycocotools sees them: left, top, width, height; and the group (image × finding) of each."""

    group: Ints
    corner: Floats  # (n, 2)
    size: Floats  # (n, 2)
    area: Floats

    @classmethod
    def of(cls, image: Ints, labels: Ints, boxes: Floats, findings: int) -> _CocoBoxes:
        size = boxes[:, 2:] - boxes[:, :2]
        return cls(image * findings + labels - 1, boxes[:, :2], size, size[:, 0] * size[:, 1])

    def take(self, rows: Ints) -> _CocoBoxes:
        return _CocoBoxes(self.group[rows], self.corner[rows], self.size[rows], self.area[rows])

    def best(self, scores: Floats, most: int) -> Ints:
        """Rows by group and falling score, the best ``most`` of each."""
        order = np.lexsort((np.arange(len(scores)), -scores, self.group))
        return order[_rank(self.group[order]) < most]


def _rank(group: Ints) -> Ints:
    """Each element's place within its group; equal groups stand together."""
    if not len(group):
        return np.zeros(0, dtype=np.int64)
    first = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
    sizes = np.diff(np.r_[first, len(group)])
    return np.arange(len(group)) - np.repeat(first, sizes)


def _match(
    found: _CocoBoxes,
    given: _CocoBoxes,
    crowd: Flags,
    ignored: Flags,
    limits: Floats,
    shared: Callable[[Ints, Ints], Floats],
) -> tuple[Ints, Flags]:
    """(T, N) rows of ``given`` matched with each of ``found`` (-1 none), and whether the match is ignored."""
    true = np.full((len(limits), len(found.group)), -1, dtype=np.int64)
    order = np.lexsort((np.arange(len(given.group)), ignored, given.group))  # those that count first
    # only groups that hold both can match; ``found`` is sorted by group
    both = np.intersect1d(found.group, given.group)
    for start in range(0, len(both), _CHUNK):
        chunk = both[start : start + _CHUNK]
        mine, theirs = _table(found.group, np.arange(len(found.group)), chunk), _table(given.group[order], order, chunk)
        _match_chunk(shared(mine, theirs), mine, theirs, crowd, ignored, limits, true)
    hit_ignored = (true >= 0) & ignored[true] if len(ignored) else np.zeros_like(true, dtype=bool)
    return true, hit_ignored


def _table(group: Ints, rows: Ints, wanted: Ints) -> Ints:
    """(groups, most) ``rows`` of each wanted group, -1 beyond its last; ``group`` is sorted."""
    first, last = np.searchsorted(group, wanted), np.searchsorted(group, wanted, side="right")
    most = int((last - first).max())
    place = first[:, None] + np.arange(most)
    table: Ints = np.where(place < last[:, None], rows[np.minimum(place, len(rows) - 1)], -1)
    return table


def _match_chunk(
    shared: Floats, mine: Ints, theirs: Ints, crowd: Flags, ignored: Flags, limits: Floats, true: Ints
) -> None:
    """The greedy match of a chunk of groups by their overlaps (g, D, M), one rank after the other, into ``true``."""
    skipped, again = ignored[theirs], crowd[theirs]  # (g, M)
    taken = np.zeros((len(limits), *theirs.shape), dtype=bool)  # (T, g, M)
    groups = np.arange(len(mine))
    most = theirs.shape[1]
    for rank in range(mine.shape[1]):
        value = shared[:, rank]  # (g, M)
        reached: Flags = (value >= limits[:, None, None]) & (~taken | again)  # (T, g, M)
        counts: Flags = reached & ~skipped
        has: Flags = np.any(counts, axis=2)
        usable: Flags = np.where(has[:, :, None], counts, reached)
        # of equal overlaps the last wins, as in pycocotools
        best = most - 1 - np.where(usable, value, -1.0)[:, :, ::-1].argmax(axis=2)  # (T, g)
        for t in range(len(limits)):
            some = np.any(usable[t], axis=1) & (mine[:, rank] >= 0)
            which = groups[some], best[t][some]
            taken[t][which] = True
            true[t, mine[some, rank]] = theirs[which]


def _overlaps(found: _CocoBoxes, given: _CocoBoxes, mine: Ints, theirs: Ints, crowd: Flags, overlap: Overlap) -> Floats:
    """(g, D, M) overlaps in pycocotools' own order of operations; -1 where a table has no box."""
    corner_d, corner_g = found.corner[mine][:, :, None], given.corner[theirs][:, None]
    end_d = corner_d + found.size[mine][:, :, None]
    end_g = corner_g + given.size[theirs][:, None]
    sides = np.minimum(end_d, end_g) - np.maximum(corner_d, corner_g)
    inside = np.where((sides > 0).all(axis=-1), sides[..., 0] * sides[..., 1], 0.0)
    alone = found.area[mine][:, :, None]
    union = alone + given.area[theirs][:, None] - inside
    whole = alone if overlap == "iobb" else np.where(crowd[theirs][:, None], alone, union)
    with np.errstate(divide="ignore", invalid="ignore"):
        shared = np.where(inside > 0, inside / whole, 0.0)
    absent = (mine < 0)[:, :, None] | (theirs < 0)[:, None]
    result: Floats = np.where(absent, -1.0, shared)
    return result


def _mask_overlaps(
    found: list[Rle], given: list[Rle], mine: Ints, theirs: Ints, crowd: Flags, overlap: Overlap
) -> Floats:
    """(g, D, M) as pycocotools counts them, cell by cell; -1 where a table has no mask."""
    shared = np.full((len(mine), mine.shape[1], theirs.shape[1]), -1.0)
    for group, (d, g) in enumerate(zip(mine, theirs, strict=True)):
        d, g = d[d >= 0], g[g >= 0]
        alone = np.ones(len(g), dtype=bool) if overlap == "iobb" else crowd[g]
        shared[group, : len(d), : len(g)] = mask.iou([found[i] for i in d], [given[i] for i in g], alone.tolist())
    return shared
