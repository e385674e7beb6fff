"""AP and AR: pycocotools' own figures for IoU, hand-computed ones for IoBB, and clear refusals."""

from __future__ import annotations

import contextlib
import io
import math
from dataclasses import replace

import numpy as np
import pytest
from evaluation_samples import sample_split
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from random_search import examples

from mmad.base.errors import EvaluationError
from mmad.base.records import Detections, GroundTruth
from mmad.evaluation.coco import ClassScore, evaluate
from mmad.evaluation.matching import match

FINDINGS = ("Atelectasis", "Consolidation", "Pulmonary edema")


def truth_of(*rows: tuple[int, tuple[float, float, float, float], int], studies: int = 1) -> GroundTruth:
    """Ground truth from (study, box, label) rows."""
    names = tuple(f"study-{n}" for n in range(studies))
    return GroundTruth(
        studies=names,
        patients=names,
        categories=FINDINGS,
        study=np.array([r[0] for r in rows], dtype=np.int64),
        boxes=np.array([r[1] for r in rows], dtype=np.float64).reshape(-1, 4),
        labels=np.array([r[2] for r in rows], dtype=np.int64),
    )


def found(*rows: tuple[int, tuple[float, float, float, float], float, int], studies: int = 1) -> Detections:
    """Detections from (study, box, score, label) rows."""
    return Detections(
        studies=tuple(f"study-{n}" for n in range(studies)),
        study=np.array([r[0] for r in rows], dtype=np.int64),
        boxes=np.array([r[1] for r in rows], dtype=np.float64).reshape(-1, 4),
        scores=np.array([r[2] for r in rows], dtype=np.float64),
        labels=np.array([r[3] for r in rows], dtype=np.int64),
    )


def plain_pycocotools(
    detections: Detections, truth: GroundTruth, threshold: float, most: int
) -> tuple[float, float, list[tuple[float | None, float | None]]]:
    """What pycocotools says when it is fed COCO files in the ordinary way."""
    crowd = truth.ignore if truth.ignore is not None else np.zeros(len(truth.labels), bool)

    def wide(box: np.ndarray) -> list[float]:
        x0, y0, x1, y1 = box.tolist()
        return [x0, y0, x1 - x0, y1 - y0]

    gt = COCO()
    gt.dataset = {
        "images": [{"id": n + 1} for n in range(len(truth.studies))],
        "categories": [{"id": n + 1, "name": name} for n, name in enumerate(truth.categories)],
        "annotations": [
            {
                "id": n + 1,
                "image_id": int(truth.study[n]) + 1,
                "category_id": int(truth.labels[n]),
                "bbox": wide(truth.boxes[n]),
                "area": wide(truth.boxes[n])[2] * wide(truth.boxes[n])[3],
                "iscrowd": int(crowd[n]),
            }
            for n in range(len(truth.labels))
        ],
        "info": {},
    }
    results = [
        {
            "image_id": int(detections.study[n]) + 1,
            "category_id": int(detections.labels[n]),
            "bbox": wide(detections.boxes[n]),
            "score": float(detections.scores[n]),
        }
        for n in range(len(detections.scores))
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        gt.createIndex()
        if results:
            dt = gt.loadRes(results)
        else:
            dt = COCO()
            dt.dataset = {**gt.dataset, "annotations": []}
            dt.createIndex()
        judge = COCOeval(gt, dt, "bbox")
        judge.params.iouThrs = np.array([threshold])
        judge.params.maxDets = [most]
        judge.params.areaRng = [[0, 1e10]]
        judge.params.areaRngLbl = ["all"]
        judge.evaluate()
        judge.accumulate()
    precision, recall = judge.eval["precision"], judge.eval["recall"]
    mean = [float(a[a > -1].mean()) if (a > -1).any() else math.nan for a in (precision, recall)]
    each = [
        (float(precision[0, :, k, 0, 0].mean()), float(recall[0, k, 0, 0])) if recall[0, k, 0, 0] > -1 else (None, None)
        for k in range(len(truth.categories))
    ]
    return mean[0], mean[1], each


coordinate = st.integers(0, 12).map(lambda n: n / 2)  # a coarse grid makes equal overlaps common


@st.composite
def rows(draw: st.DrawFn, studies: int, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    count = draw(st.integers(0, most))
    study = draw(st.lists(st.integers(0, studies - 1), min_size=count, max_size=count))
    corner = draw(st.lists(st.tuples(coordinate, coordinate), min_size=count, max_size=count))
    size = draw(st.lists(st.tuples(st.integers(1, 8), st.integers(1, 8)), min_size=count, max_size=count))
    label = draw(st.lists(st.integers(1, len(FINDINGS)), min_size=count, max_size=count))
    low = np.array(corner, dtype=np.float64).reshape(-1, 2)
    boxes = np.concatenate([low, low + np.array(size, dtype=np.float64).reshape(-1, 2)], axis=1)
    return np.array(study, dtype=np.int64), boxes, np.array(label, dtype=np.int64)


@st.composite
def splits(draw: st.DrawFn) -> tuple[Detections, GroundTruth]:
    studies = draw(st.integers(1, 5))
    names = tuple(f"study-{n}" for n in range(studies))
    at, boxes, labels = draw(rows(studies, 12))
    ignore = np.array(draw(st.lists(st.booleans(), min_size=len(labels), max_size=len(labels))), dtype=bool)
    truth = GroundTruth(names, names, FINDINGS, at, boxes, labels, draw(st.sampled_from([None, ignore])))
    at, boxes, labels = draw(rows(studies, 30))
    score = st.integers(0, 6).map(lambda n: n / 6)  # few values make equal scores common
    scores = np.array(draw(st.lists(score, min_size=len(labels), max_size=len(labels))), dtype=np.float64)
    return Detections(names, at, boxes, scores, labels), truth


@pytest.mark.slow
@examples(75)
@given(splits(), st.sampled_from([0.3, 0.5, 0.75, 1.0]), st.sampled_from([1, 2, 10]))
def test_equals_a_plain_run_of_pycocotools(sample: tuple[Detections, GroundTruth], threshold: float, most: int) -> None:
    detections, truth = sample
    scores = evaluate(detections, truth, threshold=threshold, max_detections=most)
    ap, ar, each = plain_pycocotools(detections, truth, threshold, most)
    assert scores.ap == pytest.approx(ap, abs=1e-12, nan_ok=True)
    assert scores.ar == pytest.approx(ar, abs=1e-12, nan_ok=True)
    for own, (class_ap, class_ar) in zip(scores.per_class, each, strict=True):
        assert own.ap == pytest.approx(class_ap, abs=1e-12)
        assert own.ar == pytest.approx(class_ar, abs=1e-12)


@pytest.mark.slow
@examples(30)
@given(splits())
def test_iobb_never_finds_less_than_iou(sample: tuple[Detections, GroundTruth]) -> None:
    """Intersection over the detection is at least intersection over the union, so one box per study and finding
    that hits under IoU hits under IoBB too."""
    detections, truth = sample
    first = np.array([n for n in range(len(truth.labels)) if n == _first(truth.study, truth.labels, n)], dtype=np.int64)
    alone = replace(truth, study=truth.study[first], boxes=truth.boxes[first], labels=truth.labels[first], ignore=None)
    iou, iobb = evaluate(detections, alone), evaluate(detections, alone, overlap="iobb")
    for a, b in zip(iou.per_class, iobb.per_class, strict=True):
        assert (a.ar is None) == (b.ar is None)
        assert a.ar is None or b.ar is None or b.ar >= a.ar - 1e-12


def _first(study: np.ndarray, labels: np.ndarray, n: int) -> int:
    return int(np.flatnonzero((study == study[n]) & (labels == labels[n]))[0])


@examples(20)
@given(splits(), st.randoms(use_true_random=False))
def test_the_order_in_which_studies_are_listed_by_the_detector_does_not_matter(sample, random) -> None:  # type: ignore[no-untyped-def]
    detections, truth = sample
    order = list(range(len(detections.studies)))
    random.shuffle(order)
    place = np.argsort(order)
    shuffled = replace(
        detections, studies=tuple(detections.studies[n] for n in order), study=place[detections.study].astype(np.int64)
    )
    assert repr(evaluate(shuffled, truth)) == repr(evaluate(detections, truth))


def test_a_small_box_inside_a_finding_is_a_hit_under_iobb_only() -> None:
    truth = truth_of((0, (0, 0, 100, 100), 1))
    inside = found((0, (40, 40, 60, 60), 0.9, 1))
    assert evaluate(inside, truth).ap == 0.0
    assert evaluate(inside, truth, overlap="iobb").ap == pytest.approx(1.0)
    assert evaluate(inside, truth, overlap="iobb").ar == 1.0


def test_iobb_divides_by_the_area_of_the_detection() -> None:
    truth = truth_of((0, (0, 0, 10, 10), 1))
    # Half of the detection lies in the finding: 50 of 100 px; just under it: 50 of 110.
    assert evaluate(found((0, (5, 0, 15, 10), 0.9, 1)), truth, overlap="iobb").ar == 1.0
    assert evaluate(found((0, (5, 0, 16, 10), 0.9, 1)), truth, overlap="iobb").ar == 0.0
    # A detection that swallows the finding has 100 of 400 px in it, however perfect its recall.
    assert evaluate(found((0, (0, 0, 20, 20), 0.9, 1)), truth, overlap="iobb").ar == 0.0


def test_under_iobb_a_finding_is_still_matched_once_only() -> None:
    """Crowd boxes may be matched again and again; borrowing their overlap must not borrow that."""
    truth = truth_of((0, (0, 0, 100, 100), 1))
    twice = found((0, (10, 10, 30, 30), 0.9, 1), (0, (50, 50, 70, 70), 0.8, 1))
    scores = evaluate(twice, truth, overlap="iobb")
    assert scores.ar == 1.0
    assert scores.ap == pytest.approx(1.0)  # the second is a false hit, but ranks below full recall
    worse = found((0, (200, 200, 220, 220), 0.95, 1), (0, (10, 10, 30, 30), 0.9, 1))
    assert evaluate(worse, truth, overlap="iobb").ap == pytest.approx(0.5)


def test_an_ignored_box_neither_counts_nor_punishes_under_iobb() -> None:
    truth = truth_of((0, (0, 0, 10, 10), 1), (0, (50, 50, 90, 90), 1))
    ignoring = replace(truth, ignore=np.array([False, True]))
    hits = found((0, (60, 60, 70, 70), 0.99, 1), (0, (70, 70, 80, 80), 0.98, 1), (0, (0, 0, 10, 10), 0.5, 1))
    assert evaluate(hits, ignoring, overlap="iobb").ap == pytest.approx(1.0)
    assert evaluate(hits, truth, overlap="iobb").ap < 1.0


def test_only_the_best_detections_of_a_study_and_finding_count() -> None:
    truth = truth_of((0, (0, 0, 10, 10), 1))
    many = found(*((0, (200.0 + n, 200, 210 + n, 210), 0.9, 1) for n in range(10)), (0, (0, 0, 10, 10), 0.1, 1))
    assert evaluate(many, truth, max_detections=10).ar == 0.0
    assert evaluate(many, truth, max_detections=11).ar == 1.0


def test_a_finding_without_ground_truth_is_left_out_of_the_mean() -> None:
    truth = truth_of((0, (0, 0, 10, 10), 1))
    scores = evaluate(found((0, (0, 0, 10, 10), 0.9, 1), (0, (0, 0, 10, 10), 0.9, 2)), truth)
    assert scores.ap == pytest.approx(1.0)
    assert scores.per_class[1] == ClassScore("Consolidation", None, None)


@pytest.mark.parametrize("studies", [0, 3])
def test_without_any_ground_truth_there_is_no_figure(studies: int) -> None:
    scores = evaluate(found(studies=studies), truth_of(studies=studies))
    assert math.isnan(scores.ap)
    assert math.isnan(scores.ar)
    assert all(c.ap is None and c.ar is None for c in scores.per_class)


def test_no_detections_at_all_score_nothing() -> None:
    scores = evaluate(found(studies=2), truth_of((1, (0, 0, 10, 10), 2), studies=2))
    assert (scores.ap, scores.ar) == (0.0, 0.0)


def test_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    evaluate(found((0, (0, 0, 1, 1), 0.5, 1)), truth_of((0, (0, 0, 1, 1), 1)))
    assert capsys.readouterr() == ("", "")


BOX = (0.0, 0.0, 5.0, 5.0)


@pytest.mark.parametrize(
    ("detections", "words"),
    [
        (found((1, BOX, math.nan, 1), studies=2), "score that is not finite, the first in study 'study-1'"),
        (found((0, (0, 0, math.inf, 5), 0.5, 1), studies=2), "box that is not finite, the first in study 'study-0'"),
        (found((0, BOX, 0.5, 4), studies=2), "label 4 of 3 findings"),
        (found((0, BOX, 0.5, 0), studies=2), "label 0 of 3 findings"),
        (found((2, BOX, 0.5, 1), studies=2), "study position 2 of 2 studies"),
        (found(studies=1), "1 studies were never looked at, the first 'study-1'"),
        (found(studies=3), "1 studies without ground truth, the first 'study-2'"),
        (replace(found(studies=2), studies=("study-0", "study-0")), "a study is listed twice"),
        (replace(found((0, BOX, 0.5, 1), studies=2), labels=np.array([], dtype=np.int64)), "shape (0,), expected (1,)"),
    ],
)
def test_what_cannot_be_judged_is_refused_by_name(detections: Detections, words: str) -> None:
    with pytest.raises(EvaluationError) as caught:
        evaluate(detections, truth_of((0, BOX, 1), studies=2))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "protocol", [{"overlap": "giou"}, {"threshold": 0.0}, {"threshold": math.nan}, {"max_detections": 0}]
)
def test_an_impossible_protocol_is_refused(protocol: dict[str, object]) -> None:
    with pytest.raises(EvaluationError, match=next(iter(protocol))):
        evaluate(found(), truth_of(), **protocol)  # type: ignore[arg-type]


def test_a_true_box_that_is_not_finite_is_refused() -> None:
    found, truth = sample_split(1)
    boxes = truth.boxes.copy()
    boxes[2, 1] = np.nan
    broken = GroundTruth(truth.studies, truth.patients, truth.categories, truth.study, boxes, truth.labels)
    name = truth.studies[truth.study[2]]
    for judge in (evaluate, match):
        with pytest.raises(EvaluationError, match=f"1 true boxes that are not finite, the first in study '{name}'"):
            judge(found, broken)
