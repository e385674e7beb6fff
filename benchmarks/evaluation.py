"""Judging detections: AP and AR against pycocotools, and a paired bootstrap with its memory.

The first figures are ratios within one run. Run it with `make bench`, or `python benchmarks/evaluation.py`.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from mmad.base.records import Detections, GroundTruth
from mmad.evaluation.coco import evaluate
from mmad.evaluation.differences import pair_sample
from mmad.evaluation.intervals import estimate
from mmad.evaluation.matching import match
from mmad.evaluation.operating_points import froc_intervals, operating_intervals
from mmad.evaluation.resampling import weigh
from mmad.training.device import peak_memory


def world(images: int, per_image: int, findings: int, seed: int) -> tuple[Detections, GroundTruth]:
    """Three true boxes per image and ``per_image`` detections around some of them."""
    rng = np.random.default_rng(0)
    studies = tuple(f"s{i}" for i in range(images))
    image = np.repeat(np.arange(images), 3)
    corner = rng.random((len(image), 2)) * 400
    boxes = np.concatenate([corner, corner + rng.random((len(image), 2)) * 100 + 5], axis=1)
    labels = rng.integers(1, findings + 1, len(image))
    truth = GroundTruth(studies, studies, tuple(map(str, range(findings))), image, boxes, labels)
    rng = np.random.default_rng(seed)
    pick = (np.repeat(np.arange(images), per_image) * 3 + rng.integers(0, 3, images * per_image)).astype(np.int64)
    guessed = boxes[pick] + rng.normal(0, 15, (len(pick), 4))
    guessed[:, 2:] = np.maximum(guessed[:, 2:], guessed[:, :2] + 1)
    return Detections(studies, image[pick], guessed, rng.random(len(pick)), labels[pick]), truth


def seconds(work: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def bootstrap() -> None:
    """1,000 paired resamples of 500 images: seconds and MiB, each printed."""
    (first, truth), (second, _) = world(500, 10, 5, 1), world(500, 10, 5, 2)
    before = peak_memory(torch.device("cpu"))
    took = seconds(lambda: pair_sample([match(first, truth)], [match(second, truth)], resamples=1000))
    print(f"{took:.3f} {(peak_memory(torch.device('cpu')) - before) / 2**20:.0f}")


def bands() -> None:
    """Intervals of AP, FROC and three operating points of 500 images of as many patients: seconds, printed."""
    matched = match(*world(500, 10, 5, 1))
    ways: dict[str, Callable[[], Any]] = {
        "AP": lambda: estimate([matched]),
        "FROC": lambda: froc_intervals(matched),
        "three operating points": lambda: operating_intervals(matched, (0.05, 0.1, 0.3)),
    }
    took = ", ".join(f"{name} {seconds(work):.2f} s" for name, work in ways.items())
    print(f"Intervals of 500 patients, each left out: {took}")


def faster(found: Detections, truth: GroundTruth) -> dict[str, Callable[[], float]]:
    """faster-coco-eval over the same boxes, where it is installed: as a whole, and from a ready index on."""
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError:
        return {}

    def rows(study: Any, boxes: Any, labels: Any) -> list[dict[str, Any]]:
        sides = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
        return [
            {"id": n, "image_id": int(i) + 1, "category_id": int(c), "bbox": b, "iscrowd": 0, "area": b[2] * b[3]}
            for n, (i, b, c) in enumerate(zip(study, sides.tolist(), labels, strict=True), 1)
        ]

    def index() -> tuple[Any, Any]:
        content = {
            "images": [{"id": i + 1, "height": 600, "width": 600} for i in range(len(truth.studies))],
            "categories": [{"id": k + 1, "name": str(k)} for k in range(len(truth.categories))],
            "annotations": rows(truth.study, truth.boxes, truth.labels),
        }
        results = rows(found.study, found.boxes, found.labels)
        for row, score in zip(results, found.scores.tolist(), strict=True):
            row["score"] = score
        coco = COCO(content)
        return coco, coco.loadRes(results)

    def judged(coco: Any, results: Any) -> float:
        judge = COCOeval_faster(coco, results, "bbox")
        judge.params.iouThrs = np.array([0.5])
        judge.params.maxDets = [1, 1, 10]
        judge.params.areaRng, judge.params.areaRngLbl = [[0, 1e10]], ["all"]
        judge.evaluate()
        judge.accumulate()
        precision = judge.eval["precision"][0, :, :, 0, -1]
        return float(precision.mean())

    ready = index()
    return {
        "faster-coco-eval": lambda: judged(*index()),
        "faster-coco-eval, its index ready": lambda: judged(*ready),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--bootstrap", action="store_true", help="only the paired bootstrap, in this process")
    options = parser.parse_args()
    if options.bootstrap:
        bootstrap()
        return
    found, truth = world(5000, 10, 5, 1)
    ways: dict[str, Callable[[], float]] = {
        "pycocotools": lambda: evaluate(found, truth).ap,
        "matching of everything at once": lambda: float(weigh(match(found, truth)).mean_ap[0]),
    }
    ways |= faster(found, truth)
    values = {name: work() for name, work in ways.items()}
    took = {name: [seconds(work) for _ in range(options.rounds)] for name, work in ways.items()}
    base = statistics.median(took["pycocotools"])
    print("AP of 5,000 images x 10 detections x 5 findings")
    for name in ways:
        median = statistics.median(took[name])
        apart = abs(values[name] - values["pycocotools"])
        print(f"  {name:34} {median * 1000:8.0f} ms   {median / base:6.3f} of pycocotools   differs by {apart:.1e}")
    run = [
        subprocess.run([sys.executable, __file__, "--bootstrap"], check=True, capture_output=True, text=True).stdout
        for _ in range(3)
    ]
    pairs = sorted(tuple(map(float, words.split())) for words in run)
    print(f"1,000 paired resamples and permutations of 500 images: {pairs[1][0]:.2f} s, {pairs[1][1]:.0f} MiB")
    bands()


if __name__ == "__main__":
    main()
