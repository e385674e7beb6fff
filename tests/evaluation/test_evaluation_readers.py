"""Readers against each other and a detector against them: counts by hand, and intervals by patient."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from mmad.base.records import Detections, GroundTruth
from mmad.evaluation.readers import ANY_READER, DETECTOR, OTHERS, ReaderFigures, Readings, on_studies, reader_figures

#: Boxes by place: overlapping those of no other place.
PLACES = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10], [60, 0, 70, 10]], dtype=np.float64)
#: (image, reader, label of the box at each place; 0: none there). Image 2 was read by one alone.
READ = [
    (0, "A", (1, 1, 0, 0)),
    (0, "B", (1, 0, 1, 0)),
    (0, "C", (0, 0, 0, 0)),  # C found nothing
    (1, "A", (2, 0, 0, 0)),
    (1, "B", (2, 1, 0, 0)),
    (2, "A", (1, 1, 1, 1)),
]


def readings(readers: tuple[str, ...] = ("A", "B", "C"), patients: tuple[str, ...] = ("p", "q", "r")) -> Readings:
    rows = [(n, place, label) for n, (*_, labels) in enumerate(READ) for place, label in enumerate(labels) if label]
    image = np.array([image for image, *_ in READ])
    truth = GroundTruth(
        tuple(map(str, range(len(READ)))),
        tuple(patients[n] for n in image.tolist()),
        ("Nodule", "Mass"),
        np.array([n for n, *_ in rows]),
        PLACES[[place for _, place, _ in rows]],
        np.array([label for *_, label in rows]),
    )
    return Readings(truth, image, image, tuple(name for _, name, _ in READ), readers)


def detections(*found: tuple[int, int, int, float]) -> Detections:
    """(image, place, label, score) of each box."""
    image, place, label, score = (np.array(column) for column in zip(*found, strict=True))
    return Detections(("x", "y", "z"), image, PLACES[place] + 1.0, score.astype(np.float64), label)


FOUND = detections((0, 0, 1, 0.9), (0, 3, 1, 0.8), (0, 2, 1, 0.2), (1, 0, 2, 0.9), (2, 0, 1, 0.9))


def counted(one: ReaderFigures) -> tuple[int, int, float, float, float]:
    return one.images, one.boxes, one.sensitivity.value, one.false_positives.value, one.f1.value


def test_each_pair_is_counted_on_the_images_that_both_read() -> None:
    found = {(one.who, one.reference): counted(one) for one in reader_figures(readings(), FOUND, 0.5)}
    # images, boxes looked for, sensitivity, false positives per image, F1 = 2 hits / (boxes of both)
    assert found["A", "B"] == (2, 4, 2 / 4, 1 / 2, 2 * 2 / (3 + 4))
    assert found["B", "A"] == (2, 3, 2 / 3, 2 / 2, 2 * 2 / (3 + 4))
    assert found["C", "A"] == (1, 2, 0.0, 0.0, 0.0)
    assert found["A", "C"][:2] == (1, 0)
    assert math.isnan(found["A", "C"][2])
    assert found["A", "C"][3] == 2.0
    # image 0 stands for B and for C: 2 + 2 + 1 boxes, 1 + 0 + 1 hits, 1 + 0 + 1 false, over three pairs of readings
    assert found[OTHERS, "A"] == (2, 5, 2 / 5, 2 / 3, 2 * 2 / (4 + 5))
    # above 0.5 two boxes on image 0, one of which A drew, and one on image 1; image 2 nobody else read
    assert found[DETECTOR, "A"] == (2, 3, 2 / 3, 1 / 2, 2 * 2 / (3 + 3))
    assert found[DETECTOR, "C"][3] == 2.0
    # every reading in turn: 2 + 2 + 0 + 1 + 2 boxes, of which 1 + 1 + 0 + 1 + 1 are found
    assert found[DETECTOR, ANY_READER] == (2, 7, 4 / 7, (1 + 1 + 2) / 5, 2 * 4 / (8 + 7))
    assert found[OTHERS, ANY_READER][:2] == (2, 11)


def test_without_names_of_readers_all_readings_are_taken_together() -> None:
    whole, named = reader_figures(readings(()), FOUND, 0.5), reader_figures(readings(), FOUND, 0.5)
    assert [(one.who, one.reference) for one in whole] == [(OTHERS, ANY_READER), (DETECTOR, ANY_READER)]
    assert [counted(one) for one in whole] == [counted(one) for one in named if one.reference == ANY_READER]
    alone = replace(readings(), image=np.arange(len(READ)), sample=np.zeros(len(READ), dtype=np.int64))
    assert reader_figures(alone, FOUND, 0.5) == ()


def test_no_score_leaves_the_detector_out_and_the_overlap_decides() -> None:
    assert DETECTOR not in {one.who for one in reader_figures(readings(), FOUND, None)}
    # boxes 1 px beside: 81 of 119 px are shared
    strict = {(one.who, one.reference): one for one in reader_figures(readings(), FOUND, 0.5, threshold=0.7)}
    assert strict[DETECTOR, "A"].sensitivity.value == 0.0
    assert strict["A", "B"].sensitivity.value == 0.5


def test_intervals_are_over_patients_and_few_have_none() -> None:
    rng = np.random.default_rng(0)
    count = 40
    image = np.repeat(np.arange(count), 2)
    there = rng.random((count, 2)) < 0.7  # each reader sees the one finding with this chance
    study = np.flatnonzero(there.ravel())
    truth = GroundTruth(
        tuple(map(str, range(2 * count))), tuple(str(n // 2) for n in image.tolist()), ("Nodule",), study,
        np.repeat(PLACES[:1], len(study), axis=0), np.ones(len(study), dtype=np.int64),
    )  # fmt: skip
    many = Readings(truth, image, image, ("A", "B") * count, ("A", "B"))
    nothing = Detections(tuple(map(str, range(count))), study[:0], PLACES[:0], np.zeros(0), study[:0])
    one = {(one.who, one.reference): one for one in reader_figures(many, nothing, 0.5)}["A", "B"]
    assert one.sensitivity.value == pytest.approx(there.all(axis=1).sum() / there[:, 1].sum())
    assert (one.patients, one.sensitivity.low < one.sensitivity.value < one.sensitivity.high) == (20, True)
    # the jackknife over 20 patients, by hand
    by_patient = np.stack([there.all(axis=1), there[:, 1]]).reshape(2, 20, 2).sum(axis=2).astype(float)
    without = (by_patient[0].sum() - by_patient[0]) / (by_patient[1].sum() - by_patient[1])
    error = math.sqrt(19 / 20 * ((without - without.mean()) ** 2).sum())
    assert (by_patient[1] > 0).sum() == 19
    p, half = one.sensitivity.value, 2.100922 * error  # t of 18 degrees of freedom: B drew boxes of 19 patients
    assert one.sensitivity.low == pytest.approx(1 / (1 + (1 - p) / p * math.exp(half / (p * (1 - p)))), abs=1e-4)
    few = {(one.who, one.reference): one for one in reader_figures(readings(), FOUND, 0.5)}["A", "B"]
    assert math.isnan(few.sensitivity.low)
    assert math.isnan(few.f1.high)


def test_detections_of_some_studies_keep_their_order() -> None:
    some = on_studies(FOUND, ("z", "x"))
    assert (some.studies, some.study.tolist()) == (("z", "x"), [0, 1, 1, 1])
    assert some.scores.tolist() == [0.9, 0.9, 0.8, 0.2]
