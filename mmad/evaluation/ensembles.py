"""One set of detections out of those of several networks: weighted box fusion (Solovyev, Wang and Gabruseva, 2021).

Within an image and a finding the boxes of all networks stand by falling score. Each joins the fused box that it
overlaps most, if by more than ``IOU``, else it begins one of its own; a fused box is the mean of its boxes, weighted by
their scores. Its score is their sum over the number of networks, or over the number of its boxes where there are more
of them: what one network alone sees counts less. All networks have equal weight. Masks are not fused.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmad.base.errors import EvaluationError
from mmad.base.records import Detections
from mmad.evaluation.detections_file import check_detections
from mmad.evaluation.matching import Flags, Floats, Ints

#: IoU above which a box joins a fused one.
IOU = 0.55
#: Groups (image × finding) times their boxes that are held at once.
_CELLS = 200_000
#: A score of 0 weighs so much, for a mean needs some weight.
_LEAST_WEIGHT = 1e-12


def fused(networks: Sequence[Detections]) -> Detections:
    """The detections of several networks on the same studies as those of one, without masks.

    Raises:
        EvaluationError: other studies, or numbers that are not finite (naming the study).
    """
    first = networks[0]
    for one in networks:
        check_detections(one)
        if one.studies != first.studies:
            raise EvaluationError("the networks saw other studies", where="ensemble", hint="fuse runs of one split")
    study, boxes, scores, labels = (
        np.concatenate([getattr(one, name) for one in networks]) for name in ("study", "boxes", "scores", "labels")
    )
    solid = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    study, boxes, scores, labels = study[solid], boxes[solid], scores[solid], labels[solid]
    # the groups with the most boxes come first, so that those with a box of a rank are the first of them
    _, group, sizes = np.unique(np.stack([study, labels]), axis=1, return_inverse=True, return_counts=True)
    group, largest = group.reshape(-1), np.argsort(-sizes, kind="stable")
    place = np.empty_like(largest)
    place[largest] = np.arange(len(largest))
    order = np.lexsort((-scores, place[group]))
    sizes = sizes[largest]
    starts = np.cumsum(sizes) - sizes
    cluster = np.zeros(len(order), dtype=np.int64)  # within the group, by rank
    at = 0
    while at < len(sizes):
        groups = slice(at, at + max(1, _CELLS // int(sizes[at])))
        rows = slice(int(starts[at]), int((starts + sizes)[groups][-1]))
        cluster[rows] = _clusters(boxes[order[rows]], scores[order[rows]], sizes[groups])
        at = groups.stop
    whose, member = np.unique(np.stack([np.repeat(np.arange(len(sizes)), sizes), cluster]), axis=1, return_inverse=True)
    member, count = member.reshape(-1), whose.shape[1]
    weight = np.maximum(scores[order], _LEAST_WEIGHT)
    total = np.bincount(member, weight, count)
    mean = [np.bincount(member, weight * side, count) / total for side in boxes[order].T]
    joined = np.bincount(member, minlength=count)
    score = np.bincount(member, scores[order], count) / np.maximum(joined, len(networks))
    begins = order[starts[whose[0]]]
    found, label = study[begins], labels[begins]
    final = np.lexsort((-score, found))
    return Detections(first.studies, found[final], np.stack(mean, axis=1)[final], score[final], label[final])


def _clusters(boxes: Floats, scores: Floats, sizes: Ints) -> Ints:
    """(N,) the fused box of its group that each box joins, counted in the order in which they begin.

    Args:
        boxes: (N, 4) group by group, by falling score.
        scores: (N,).
        sizes: (G,) boxes of each group, the largest first.
    """
    most = int(sizes[0])
    starts = np.cumsum(sizes) - sizes
    mean, total = np.zeros((len(sizes), most, 4)), np.zeros((len(sizes), most))
    begun = np.zeros(len(sizes), dtype=np.int64)
    joined = np.zeros(len(boxes), dtype=np.int64)
    for rank in range(most):
        some = np.arange(int((sizes > rank).sum()))
        rows = starts[some] + rank
        box, weight = boxes[rows], np.maximum(scores[rows], _LEAST_WEIGHT)
        shared = _ious(box, mean[some, : rank + 1])
        best = shared.argmax(axis=1)
        old: Flags = shared[some, best] > IOU
        into = np.where(old, best, begun[some])
        begun[some] += ~old
        before = total[some, into]
        total[some, into] = before + weight
        moved = mean[some, into] + (box - mean[some, into]) * (weight / (before + weight))[:, None]
        mean[some, into] = np.where(old[:, None], moved, box)
        joined[rows] = into
    return joined


def _ious(box: Floats, fused_boxes: Floats) -> Floats:
    """(G, C) IoU of a box (G, 4) of each group with its fused boxes (G, C, 4); 0 where there is none yet."""
    sides = np.minimum(box[:, None, 2:], fused_boxes[..., 2:]) - np.maximum(box[:, None, :2], fused_boxes[..., :2])
    inside = np.clip(sides, 0, None).prod(axis=-1)
    areas = [(corners[..., 2:] - corners[..., :2]).prod(axis=-1) for corners in (box[:, None], fused_boxes)]
    shared: Floats = inside / (areas[0] + areas[1] - inside)
    return shared
