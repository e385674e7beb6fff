"""COCO files and tables small enough to be made for each test, and what two equal data sets have in common."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmad.data.dataset import DataSet

WIDTH, HEIGHT = 40, 20


def draw(path: Path, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    """A small grey image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, 7).save(path)


def coco(**changes: Any) -> dict[str, Any]:
    """Four images, five annotations: two boxes, polygons alone, a crowd, a box beyond the edge by less than 1 px."""
    polygon = [[2, 3, 12, 3, 12, 9.5], [4, 1, 5, 1, 5, 2]]
    whole: dict[str, Any] = {
        "images": [
            {"id": 11, "file_name": "a/one.png", "width": WIDTH, "height": HEIGHT},
            {"id": 12, "file_name": "a/two.png", "width": WIDTH, "height": HEIGHT},
            {"id": 13, "file_name": "b/three.png"},
            {"id": 14, "file_name": "b/four.png"},
        ],
        "categories": [{"id": 7, "name": "Opacity", "supercategory": "finding"}, {"id": 3, "name": "Effusion"}],
        "annotations": [
            {"id": 1, "image_id": 11, "category_id": 7, "bbox": [1, 2, 10, 10.5]},
            {"id": 2, "image_id": 12, "category_id": 3, "segmentation": polygon, "bbox": []},
            {"id": 3, "image_id": 12, "category_id": 3, "iscrowd": 1, "segmentation": {"counts": [1], "size": [1, 1]}},
            {"id": 4, "image_id": 13, "category_id": 7, "bbox": [30, 10, 10.6, 10]},
            {"image_id": 13, "category_id": 3, "bbox": [0.5, 0.25, 3, 3], "segmentation": []},
        ],
        "licenses": [{"id": 1, "name": "CC BY 4.0", "url": "x"}],
    }
    return {**whole, **changes}


def write_world(folder: Path, content: Any = None) -> tuple[Path, Path]:
    """The annotation file and the folder of its images."""
    for image in coco()["images"]:
        draw(folder / "pics" / image["file_name"])
    file = folder / "ann.json"
    file.write_text(json.dumps(coco() if content is None else content), encoding="utf-8")
    return file, folder / "pics"


def write_csv(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Rows as CSV, cells quoted where they need it."""
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows(rows)
    path.write_bytes(text.getvalue().encode())


def check_equal(one: DataSet, other: DataSet) -> None:
    """Field by field, numbers exactly."""
    for field in ("name", "labels", "numeric", "categorical", "licence", "split_policy", "mode", "studies", "reading"):
        assert getattr(one, field) == getattr(other, field), field
    for field in ("box_study", "boxes", "labels_of"):
        assert np.array_equal(getattr(one, field), getattr(other, field)), field
    assert np.array_equal(one.certainty, other.certainty, equal_nan=True)
