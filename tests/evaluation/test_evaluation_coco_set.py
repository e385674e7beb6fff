"""COCO's summary against pycocotools' own."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from evaluation_samples import sample_split
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmad.base.records import Detections, GroundTruth
from mmad.evaluation.coco_summary import coco_set

NAMES = "AP AP50 AP75 AP_small AP_medium AP_large AR@1 AR@10 AR@100 AR_small AR_medium AR_large".split()  # noqa: SIM905 - as COCO prints them


def theirs(found: Detections, truth: GroundTruth) -> dict[str, float]:
    def rows(study: np.ndarray, boxes: np.ndarray, labels: np.ndarray) -> list[dict]:
        return [
            {"id": n, "image_id": int(i) + 1, "category_id": int(c), "bbox": [*b[:2], *(b[2:] - b[:2])], "iscrowd": 0}
            | {"area": float(np.prod(b[2:] - b[:2]))}
            for n, (i, b, c) in enumerate(zip(study, boxes, labels, strict=True), 1)
        ]

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": i + 1} for i in range(len(truth.studies))],
            "categories": [{"id": k + 1} for k in range(len(truth.categories))],
            "annotations": rows(truth.study, truth.boxes, truth.labels),
        }
        for row, crowd in zip(coco.dataset["annotations"], truth.ignore, strict=True):
            row["iscrowd"] = int(crowd)
        coco.createIndex()
        results = rows(found.study, found.boxes, found.labels)
        for row, score in zip(results, found.scores, strict=True):
            row["score"] = float(score)
        judge = COCOeval(coco, coco.loadRes(results), "bbox")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return {name.replace("_", " "): float(v) for name, v in zip(NAMES, judge.stats, strict=True)}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_the_summary_equals_pycocotools(seed: int, scale: float) -> None:
    found, truth = sample_split(seed, images=15, per_image=8)
    found = Detections(found.studies, found.study, found.boxes * scale, found.scores, found.labels)
    truth = GroundTruth(
        truth.studies,
        truth.patients,
        truth.categories,
        truth.study,
        truth.boxes * scale,
        truth.labels,
        truth.ignore,
    )
    expected, mine = theirs(found, truth), coco_set(found, truth).figures
    assert set(mine) == set(expected)
    for name, value in expected.items():
        assert (np.isnan(mine[name]) and value == -1) or abs(mine[name] - value) < 1e-12, name


def test_sizes_by_share_of_the_image_do_not_depend_on_its_pixels() -> None:
    found, truth = sample_split(2, images=15)

    def figures(scale: float) -> dict[str, float]:
        grown = Detections(found.studies, found.study, found.boxes * scale, found.scores, found.labels)
        extent = np.full((len(truth.studies), 2), 100.0 * scale)
        rows = truth.study, truth.boxes * scale, truth.labels, truth.ignore
        return coco_set(grown, GroundTruth(truth.studies, truth.patients, truth.categories, *rows, extent)).figures

    small, large = figures(1.0), figures(10.0)
    shares = [name for name in small if "%" in name]
    assert sorted(shares) == sorted(f"{a} {s}" for s in ("below 1 %", "1 to 10 %", "above 10 %") for a in ("AP", "AR"))
    assert [small[name] for name in shares] == pytest.approx([large[name] for name in shares], nan_ok=True)
    assert small["AP small"] != large["AP small"]
    # by hand: the same as COCO's sizes where the limits are the same pixels
    areas = (truth.boxes[:, 2:] - truth.boxes[:, :2]).prod(axis=1)
    assert np.isnan(small["AP below 1 %"]) == (not (areas[~truth.ignore] <= 100).any())


def test_per_class_and_the_other_overlap() -> None:
    found, truth = sample_split(1, images=15)
    summary = coco_set(found, truth, overlap="iobb")
    assert [label for label, _, _ in summary.per_class] == list(truth.categories)
    assert summary.figures["AP50"] == pytest.approx(np.mean([ap50 for _, _, ap50 in summary.per_class]))
    assert summary.figures["AP"] != coco_set(found, truth).figures["AP"]
