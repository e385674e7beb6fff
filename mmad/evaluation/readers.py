"""Readers against each other, and a detector against each of them, on images that several have read.

A reader gives boxes without scores, so that what one finds of another's boxes has no curve and no AP: it is a
sensitivity with false positives per image, and F1. A detector stands beside it at one score, on the same images. What
overlaps is matched as detections are (``mmad.evaluation.matching``); every box of a reader has the score 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mmad.base.records import Detections, GroundTruth
from mmad.evaluation.coco import Overlap
from mmad.evaluation.intervals import groups_of, interval_of, patients_with
from mmad.evaluation.matching import Floats, Ints, Matched, match
from mmad.evaluation.operating_points import at_least
from mmad.evaluation.resampling import Interval
from mmad.evaluation.subgroups import part_of, rate, ratio

#: Who is compared, and whose boxes are the reference, beside readers by name.
DETECTOR, OTHERS, ANY_READER = "detector", "other readers", "any reader"


@dataclass(frozen=True, eq=False)
class Readings:
    """The readings of a split, R of them.

    Args:
        truth: the boxes of each, as if it were a study of its own; its patients are those of the images.
        image: (R,) equal for readings of one image.
        sample: (R,) position of the study, among those of the split, that a detector's boxes are taken from.
        names: R names.
        readers: the names that are of readers; empty where a name is of one reading alone.
    """

    truth: GroundTruth
    image: Ints
    sample: Ints
    names: tuple[str, ...]
    readers: tuple[str, ...]


@dataclass(frozen=True)
class ReaderFigures:
    """What ``who`` finds of the boxes of ``reference``, on ``images`` that both have read.

    Args:
        who: a reader, the ``other readers`` together, or the ``detector`` (on images that another reader read, too).
        reference: a reader, or ``any reader``: each reading of an image in turn.
        images, patients, boxes: of the reference; an image counts once, boxes once for each time they are looked for.
        sensitivity: share of the boxes that are found.
        false_positives: boxes of ``who`` that find none, per image (and pair of readings).
        f1: of both.
    """

    who: str
    reference: str
    images: int
    patients: int
    boxes: int
    sensitivity: Interval
    false_positives: Interval
    f1: Interval


def reader_figures(
    readings: Readings,
    detections: Detections,
    score: float | None,
    *,
    overlap: Overlap = "iou",
    threshold: float = 0.5,
    max_detections: int = 10,
) -> tuple[ReaderFigures, ...]:
    """Each reader against each other one and against the others together, then the detector against each; then anyone.

    Args:
        detections: of the split's studies.
        score: of the detector's operating point; None leaves the detector out.
        overlap, threshold: from which overlap on a box is found, for readers and detector alike.
        max_detections: of the detector, per image and finding.
    """
    truth, names = readings.truth, np.array(readings.names, dtype=object)
    first, second = _gather(readings.image, readings.image)
    distinct = names[first] != names[second]
    first, second = first[distinct], second[distinct]
    shared = np.unique(second)
    drawn = Detections(truth.studies, truth.study, truth.boxes, np.ones(len(truth.study)), truth.labels)
    ceiling = _matched(_of_studies(drawn, first), truth, second, overlap, threshold, max(1, len(truth.study)))
    detector = None
    if score is not None:
        found = _of_studies(at_least(detections, score), readings.sample[shared])
        detector = _matched(found, truth, shared, overlap, threshold, max_detections)
    rows: list[ReaderFigures] = []

    def add(who: str, reference: str, matched: Matched, reading: Ints, chosen: np.ndarray) -> None:
        if chosen.any():
            images = len(np.unique(readings.image[reading[chosen]]))
            rows.append(_figures(who, reference, images, part_of(matched, chosen)))

    for reference in readings.readers:
        own = names[second] == reference
        others = [name for name in readings.readers if name != reference and (own & (names[first] == name)).any()]
        for name in others:
            add(name, reference, ceiling, second, own & (names[first] == name))
        if len(others) > 1:
            add(OTHERS, reference, ceiling, second, own)
        if detector is not None:
            add(DETECTOR, reference, detector, shared, names[shared] == reference)
    add(OTHERS, ANY_READER, ceiling, second, np.ones(len(second), dtype=bool))
    if detector is not None:
        add(DETECTOR, ANY_READER, detector, shared, np.ones(len(shared), dtype=bool))
    return tuple(rows)


def on_studies(detections: Detections, studies: tuple[str, ...]) -> Detections:
    """The boxes of some of the studies, in their order, without masks."""
    place = {name: n for n, name in enumerate(detections.studies)}
    found = _of_studies(detections, np.array([place[name] for name in studies], dtype=np.int64))
    return replace(found, studies=studies)


def _of_studies(detections: Detections, wanted: Ints) -> Detections:
    """The boxes of studies by position, which may stand there twice; their names are their places."""
    rows, place = _gather(detections.study, wanted)
    names = tuple(map(str, range(len(wanted))))
    return Detections(names, place, detections.boxes[rows], detections.scores[rows], detections.labels[rows])


def _gather(owner: Ints, wanted: Ints) -> tuple[Ints, Ints]:
    """Every row of each wanted owner: (rows, positions in ``wanted``), in the order of ``wanted``, then of the rows."""
    order = np.argsort(owner, kind="stable")
    start, stop = (np.searchsorted(owner[order], wanted, side=side) for side in ("left", "right"))
    size = stop - start
    place = np.repeat(np.arange(len(wanted)), size)
    within = np.arange(int(size.sum())) - np.repeat(np.cumsum(size) - size, size)
    return order[np.repeat(start, size) + within], place


def _matched(
    found: Detections, truth: GroundTruth, wanted: Ints, overlap: Overlap, threshold: float, most: int
) -> Matched:
    """``found`` matched with the readings ``wanted`` of ``truth``, one by one."""
    rows, place = _gather(truth.study, wanted)
    reference = replace(
        truth,
        studies=found.studies,
        patients=tuple(truth.patients[n] for n in wanted.tolist()),
        study=place,
        boxes=truth.boxes[rows],
        labels=truth.labels[rows],
    )
    return match(found, reference, overlap=overlap, thresholds=(threshold,), max_detections=most)


def _figures(who: str, reference: str, images: int, matched: Matched) -> ReaderFigures:
    groups = groups_of(matched.patients)
    hits, counted = (_by_image(matched, of[0]) for of in (matched.hit, matched.counted))
    boxes = matched.boxes.sum(axis=1).astype(np.float64)
    people, cases = patients_with(matched), float(boxes.sum())
    patients = len(set(matched.patients))
    return ReaderFigures(
        who,
        reference,
        images,
        patients,
        int(cases),
        interval_of(ratio(hits, boxes, groups), people, cases),
        rate(ratio(counted - hits, np.ones(len(groups)), groups), patients),
        interval_of(ratio(2 * hits, counted + boxes, groups), people, cases),
    )


def _by_image(matched: Matched, chosen: np.ndarray) -> Floats:
    return np.bincount(matched.image[chosen], minlength=len(matched.patients)).astype(np.float64)
