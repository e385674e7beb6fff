"""What each kind of error costs: the AP that would be gained were it alone repaired (Bolya et al., TIDE, 2020).

A detection that AP counts as wrong has the first kind that fits: no true box in the image: background; its best overlap
with a box of its finding lies from ``BACKGROUND`` to the protocol's: localisation; it overlaps a box of another finding
by the protocol's: classification; or one of its own that is taken: duplicate; it overlaps no box by more than
``BACKGROUND``: background; else both. A true box that no localisation or classification would repair is missed.

A repaired localisation or classification is a hit, where the box is free and no better-scored one repairs it, else it
is dropped as duplicates, background and both are; a missed box no longer counts. Repairs of two kinds together gain
more or less than their sum: the costs do not sum to 1 − AP.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmad.base.records import Detections, GroundTruth
from mmad.evaluation.coco import Overlap
from mmad.evaluation.matching import Flags, Floats, Ints, Matched

#: Overlap up to which nothing is there.
BACKGROUND = 0.1
KINDS = ("classification", "localisation", "both", "duplicate", "background", "missed")
NOTE = "does not sum to 1 − AP"
_HIT = -1
#: The package divides by 100, where COCO's recalls differ in the last digit and so a curve at times by one of them.
_RECALLS = np.arange(101) / 100


@dataclass(frozen=True)
class ErrorCost:
    """Errors of one kind, and the AP gained were they repaired."""

    kind: str
    count: int
    ap: float


@dataclass(frozen=True)
class ErrorCosts:
    """AP, what each kind of error costs, and all false positives or all false negatives together."""

    ap: float
    kinds: tuple[ErrorCost, ...]
    false_positives: float
    false_negatives: float


def error_costs(
    matched: Matched, detections: Detections, truth: GroundTruth, *, overlap: Overlap = "iou"
) -> ErrorCosts:
    """The costs of the errors of one run.

    Args:
        matched: the matches of ``detections`` with ``truth``.
        overlap: that the matches are by.
    """
    kept = matched.counted[0]
    finding, score, hit = matched.finding[kept], matched.score[kept], matched.hit[0, kept]
    counts = np.ones(len(truth.labels), dtype=bool) if truth.ignore is None else ~truth.ignore
    taken = np.zeros(len(truth.labels), dtype=bool)
    taken[matched.true[0, kept][hit]] = True
    boxes = detections.boxes[matched.row[kept]]
    limit = float(matched.thresholds[0])
    kind, repaired = np.full(len(finding), _HIT), np.full(len(finding), -1)
    for image in np.unique(matched.image[kept][~hit]):
        wrong = np.flatnonzero((matched.image[kept] == image) & ~hit)
        there = np.flatnonzero((truth.study == image) & counts)
        shared = _overlaps(boxes[wrong], truth.boxes[there], overlap)
        own = finding[wrong, None] == truth.labels[there] - 1
        kind[wrong], target = _kinds(shared, own, taken[there], limit)
        repaired[wrong] = np.where(target >= 0, there[target], -1) if len(there) else -1
    best = _best(repaired, score, taken)
    missed = counts & ~taken
    missed[repaired[best]] = False
    positives = np.bincount(truth.labels[counts] - 1, minlength=len(matched.categories))
    lost = np.bincount(truth.labels[missed] - 1, minlength=len(positives))
    unfound = np.bincount(truth.labels[counts & ~taken] - 1, minlength=len(positives))
    base = _mean_ap(finding, score, hit, positives, positives)

    def gain(repair: int) -> float:
        if KINDS[repair] == "missed":
            return _mean_ap(finding, score, hit, positives - lost, positives) - base
        mended = (kind == repair) & best
        stays = (kind != repair) | mended
        now = finding.copy()
        if KINDS[repair] == "classification":
            now[mended] = truth.labels[repaired[mended]] - 1
        return _mean_ap(now[stays], score[stays], (hit | mended)[stays], positives, positives) - base

    numbers = [int((kind == n).sum()) for n in range(len(KINDS) - 1)] + [int(missed.sum())]
    costs = tuple(ErrorCost(name, numbers[n], max(0.0, gain(n))) for n, name in enumerate(KINDS))
    only = _mean_ap(finding, np.where(hit, 1.0, 0.0), hit, positives, positives) - base
    every = _mean_ap(finding, score, hit, positives - unfound, positives) - base
    return ErrorCosts(base, costs, only, every)


def _kinds(shared: Floats, own: Flags, taken: Flags, limit: float) -> tuple[Ints, Ints]:
    """(n,) kind of each wrong detection of an image, and the box that a repair would give it, -1 for none."""
    if not shared.shape[1]:
        return np.full(len(shared), KINDS.index("background")), np.full(len(shared), -1)
    same, other = shared * own, shared * ~own
    best_same, best_other = same.max(axis=1), other.max(axis=1)
    local = (best_same >= BACKGROUND) & (best_same <= limit)
    wrong_name = best_other >= limit
    double = (same * taken).max(axis=1) >= limit
    nothing = shared.max(axis=1) <= BACKGROUND
    names = ("localisation", "classification", "duplicate", "background")
    kind = np.select([local, wrong_name, double, nothing], [KINDS.index(n) for n in names], KINDS.index("both"))
    target = np.select([local, wrong_name], [same.argmax(axis=1), other.argmax(axis=1)], -1)
    return kind, target


def _best(repaired: Ints, score: Floats, taken: Flags) -> Flags:
    """Which detections a repair would make hits: the best-scored of each box that is free."""
    best = np.zeros(len(repaired), dtype=bool)
    open_to = np.flatnonzero((repaired >= 0) & ~taken[repaired]) if len(taken) else np.zeros(0, dtype=np.int64)
    order = open_to[np.argsort(-score[open_to], kind="stable")]
    _, first = np.unique(repaired[order], return_index=True)
    best[order[first]] = True
    return best


def _mean_ap(finding: Ints, score: Floats, hit: Flags, positives: Ints, listed: Ints) -> float:
    """Mean AP over the findings that have a box in ``listed``; 0 for one that has none left in ``positives``."""
    found = []
    for k in np.flatnonzero(listed):
        part = np.flatnonzero(finding == k)
        right = hit[part[np.argsort(-score[part], kind="stable")]]
        precision = np.cumsum(right) / np.arange(1, len(right) + 1)
        envelope = np.r_[np.maximum.accumulate(precision[::-1])[::-1], 0.0]
        recall = np.cumsum(right) / max(1, positives[k])
        place = np.searchsorted(recall, _RECALLS, side="left") if positives[k] else len(right)
        found.append(float(envelope[place].mean()))
    return float(np.mean(found)) if found else float("nan")


def _overlaps(found: Floats, given: Floats, overlap: Overlap) -> Floats:
    """(n, m) of boxes (xmin, ymin, xmax, ymax)."""
    corner = np.maximum(found[:, None, :2], given[None, :, :2])
    end = np.minimum(found[:, None, 2:], given[None, :, 2:])
    inside = np.clip(end - corner, 0, None).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (found, given)]
    whole = areas[0][:, None] if overlap == "iobb" else areas[0][:, None] + areas[1][None] - inside
    shared: Floats = np.where(inside > 0, inside / np.where(whole > 0, whole, 1.0), 0.0)
    return shared
