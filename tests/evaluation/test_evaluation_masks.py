"""AP and AR of masks equal pycocotools' own, and masks come back from their file as they were."""

from __future__ import annotations

import contextlib
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from evaluation_samples import sample_split
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from random_search import examples

from mmad.base.errors import EvaluationError
from mmad.base.records import Detections, GroundTruth, Masks
from mmad.detector.roi_heads import filled_boxes
from mmad.evaluation.coco import evaluate, scores_by_overlap
from mmad.evaluation.coco_summary import coco_set
from mmad.evaluation.detections_file import read_detections, write_detections
from mmad.evaluation.masks import filled_box
from mmad.evaluation.matching import match
from mmad.evaluation.operating_points import at_least
from mmad.evaluation.resampling import weigh

# pycocotools' own decoding, which the program never asks for
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
SIDE = 24
NAMES = "AP AP50 AP75 AP_small AP_medium AP_large AR@1 AR@10 AR@100 AR_small AR_medium AR_large".split()  # noqa: SIM905


def cells_of(box: np.ndarray, side: int) -> np.ndarray:
    """A box in cells, filled: those whose centres lie in it."""
    centre = np.arange(side) + 0.5
    down, across = ((centre >= box[k]) & (centre < box[k + 2]) for k in (1, 0))
    return down[:, None] & across[None, :]


def encoded(cells: np.ndarray) -> dict[str, Any]:
    return mask.encode(np.asfortranarray(cells.astype(np.uint8)))


def masked(seed: int, **how: Any) -> tuple[Detections, GroundTruth]:
    """A split whose detections have masks: boxes with holes bitten out of them, some empty, some the whole image."""
    found, truth = sample_split(seed, **how)
    rng = np.random.default_rng(seed)
    extent = rng.integers(40, 400, (len(found.studies), 2)).astype(float)
    runs = []
    for box, image in zip(found.boxes, found.study, strict=True):
        cells = cells_of(box * np.tile(SIDE / extent[image], 2) * rng.choice([1.0, 3.0]), SIDE)
        cells &= rng.random(cells.shape) < rng.choice([0.5, 0.9, 1.0])
        kind = rng.random()
        cells = np.zeros_like(cells) if kind < 0.05 else np.ones_like(cells) if kind > 0.95 else cells
        runs.append(encoded(cells)["counts"])
    truth = replace(truth, boxes=truth.boxes * rng.choice([1.0, 3.0], (len(truth.boxes), 1)))
    return replace(found, masks=Masks(SIDE, extent, tuple(runs))), truth


class Dense(COCOeval):
    """pycocotools' evaluation with overlaps counted from whole arrays of cells."""

    overlap = "iou"

    def computeIoU(self, imgId: int, catId: int) -> Any:
        if self.overlap == "iou":
            return super().computeIoU(imgId, catId)
        truth, found = self._gts[imgId, catId], self._dts[imgId, catId]
        if not truth or not found:
            return []
        order = np.argsort([-d["score"] for d in found], kind="mergesort")[: self.params.maxDets[-1]]
        mine = [mask.decode(found[i]["segmentation"]).astype(bool) for i in order]
        shared = [[(a & mask.decode(t["segmentation"]).astype(bool)).sum() for t in truth] for a in mine]
        return np.array(shared, dtype=float) / np.maximum(1, [a.sum() for a in mine])[:, None]


def theirs(found: Detections, truth: GroundTruth, overlap: str) -> Dense:
    assert found.masks is not None
    assert truth.ignore is not None
    extent = found.masks.extent
    scale = (extent / SIDE).prod(axis=1)
    rows = []
    for n, (image, box, label, crowd) in enumerate(
        zip(truth.study, truth.boxes, truth.labels, truth.ignore, strict=True), 1
    ):
        cells = cells_of(box * np.tile(SIDE / extent[image], 2), SIDE)
        rows.append(
            {
                "id": n, "image_id": int(image) + 1, "category_id": int(label), "iscrowd": int(crowd),
                "segmentation": encoded(cells), "area": float(cells.sum() * scale[image]),
            }
        )  # fmt: skip
    results = [
        {
            "image_id": int(image) + 1, "category_id": int(label), "score": float(score),
            "segmentation": {"size": [SIDE, SIDE], "counts": run},
        }
        for image, label, score, run in zip(found.study, found.labels, found.scores, found.masks.runs, strict=True)
    ]  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": i + 1, "height": SIDE, "width": SIDE} for i in range(len(truth.studies))],
            "categories": [{"id": k + 1} for k in range(len(truth.categories))],
            "annotations": rows,
        }
        coco.createIndex()
        loaded = coco.loadRes(results) if results else COCO()
        for row in loaded.dataset.get("annotations", []):
            row["area"] = float(row["area"]) * scale[row["image_id"] - 1]
        judge = Dense(coco, loaded, "segm")
        judge.overlap = overlap
    return judge


def run(judge: Dense) -> Dense:
    with contextlib.redirect_stdout(io.StringIO()):
        judge.evaluate()
        judge.accumulate()
    return judge


def means(values: np.ndarray) -> float:
    return float(values[values > -1].mean()) if (values > -1).any() else float("nan")


@pytest.mark.slow
@examples(30)
@given(st.integers(0, 2**31), st.sampled_from(["iou", "iobb"]), st.sampled_from([1, 3, 10]))
def test_ap_and_ar_equal_pycocotools(seed: int, overlap: Any, most: int) -> None:
    found, truth = masked(seed, images=6, per_image=6)
    if not len(found.labels):
        return
    judge = theirs(found, truth, overlap)
    judge.params.iouThrs, judge.params.maxDets = np.array([0.5]), [most]
    judge.params.areaRng, judge.params.areaRngLbl = [[0, 1e10]], ["all"]
    run(judge)
    expected = means(judge.eval["precision"]), means(judge.eval["recall"])
    own = evaluate(found, truth, overlap=overlap, max_detections=most, on="masks")
    weighed = weigh(match(found, truth, overlap=overlap, max_detections=most, on="masks"))
    assert (own.ap, own.ar) == pytest.approx(expected, abs=1e-12, nan_ok=True)
    assert (weighed.mean_ap[0], weighed.mean_ar[0]) == pytest.approx(expected, abs=1e-12, nan_ok=True)


@pytest.mark.slow
@examples(15)
@given(st.integers(0, 2**31), st.sampled_from(["iou", "iobb"]))
def test_the_coco_set_equals_pycocotools(seed: int, overlap: Any) -> None:
    found, truth = masked(seed, images=8, per_image=8)
    if not len(found.labels):
        return
    judge = run(theirs(found, truth, overlap))
    with contextlib.redirect_stdout(io.StringIO()):
        judge.summarize()
    own = coco_set(found, truth, overlap=overlap, on="masks").figures
    for name, value in zip(NAMES, judge.stats, strict=True):
        assert own[name.replace("_", " ")] == pytest.approx(value if value > -1 else np.nan, abs=1e-12, nan_ok=True)


@examples(100)
@given(
    st.lists(st.floats(-4, 30), min_size=4, max_size=4) | st.lists(st.integers(0, 24), min_size=4, max_size=4),
)
def test_a_filled_box_is_the_target_of_the_training(corners: list[float]) -> None:
    box = np.array(corners, dtype=np.float64)
    drawn = filled_boxes(torch.from_numpy(box)[None], SIDE)[0].numpy()
    kept = filled_box(box, SIDE)
    assert np.array_equal(mask.decode(kept).astype(bool), drawn)
    assert mask.area(kept) == drawn.sum()


def test_masks_come_back_from_their_file(tmp_path: Path) -> None:
    found, truth = masked(3)
    write_detections(tmp_path / "d.npz", found)
    back = read_detections(tmp_path / "d.npz")
    assert back.masks is not None
    assert found.masks is not None
    assert (back.masks.side, back.masks.runs) == (SIDE, found.masks.runs)
    assert np.array_equal(back.masks.extent, found.masks.extent)
    assert scores_by_overlap(back, truth)["mask_iou"] == scores_by_overlap(found, truth)["mask_iou"]
    assert set(scores_by_overlap(back, truth)) == {"iou", "iobb", "mask_iou", "mask_iobb"}
    with np.load(tmp_path / "d.npz") as archive:
        assert archive["format"].tolist() == [2]


def test_without_masks_a_file_has_the_first_layout(tmp_path: Path) -> None:
    found, truth = sample_split(3)
    write_detections(tmp_path / "d.npz", found)
    with np.load(tmp_path / "d.npz") as archive:
        assert archive["format"].tolist() == [1]
        assert set(archive.files) == {"study", "boxes", "scores", "labels", "studies", "format", "sha256"}
    assert read_detections(tmp_path / "d.npz").masks is None
    assert set(scores_by_overlap(found, truth)) == {"iou", "iobb"}
    with pytest.raises(EvaluationError, match="no masks are kept"):
        evaluate(found, truth, on="masks")


def test_masks_stay_with_their_detections(tmp_path: Path) -> None:
    found, _ = masked(4)
    kept = at_least(found, 0.5)
    assert found.masks is not None
    assert kept.masks is not None
    assert kept.masks.runs == tuple(r for r, s in zip(found.masks.runs, found.scores, strict=True) if s >= 0.5)
    for broken in (found.masks.runs[1:], (*found.masks.runs, b"")):
        with pytest.raises(EvaluationError, match="masks of"):
            write_detections(tmp_path / "d.npz", replace(found, masks=replace(found.masks, runs=broken)))
    flat = replace(found.masks, extent=found.masks.extent * 0)
    with pytest.raises(EvaluationError, match="without extent"):
        write_detections(tmp_path / "d.npz", replace(found, masks=flat))


def test_more_masks_than_pycocotools_takes_at_once() -> None:
    found, truth = masked(5, images=120, per_image=6)
    assert len(found.labels) > 255
    assert weigh(match(found, truth, on="masks")).mean_ap[0] == pytest.approx(
        evaluate(found, truth, on="masks").ap, abs=1e-12
    )
