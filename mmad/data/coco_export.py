"""Writes a data set as one COCO detection file; what COCO has no key for stands under keys of our own."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path

from mmad.base.errors import DataError
from mmad.base.files import write_atomically
from mmad.data.dataset import DataSet, Study
from mmad.data.importers.coco import written_form
from mmad.data.tables import number_text


def export_coco(dataset: DataSet, out: Path) -> None:
    """Write ``dataset`` to the new file ``out``; the images stay where they are, named relative to their folder.

    ``import_coco(out, dataset.root, …)`` gives the same data set again, every number exactly. Raises DataError
    when ``out`` is there already or cannot be written.
    """
    text = json.dumps(coco_of(dataset), allow_nan=False)
    try:
        if out.is_symlink() or out.exists():
            raise DataError("exists already", where=out, hint="name a new file or remove this one first")
        write_atomically(out, text.encode())
    except OSError as error:
        hint = "free some space or name another file"
        raise DataError(f"cannot be written: {error.strerror or error}", where=out, hint=hint) from None


def coco_of(dataset: DataSet) -> dict[str, object]:
    """The data set in COCO's form; ids count from 1 in the order of the tables."""
    bare: dict[int, list[str]] = {}
    for position, reading in dataset.no_finding:
        bare.setdefault(position, []).append(reading)
    return {
        "info": {"description": dataset.name, "mmad": written_form(dataset)},
        "licenses": [{"id": 1, "name": dataset.licence}],
        "images": [_image(dataset, i, study, bare.get(i)) for i, study in enumerate(dataset.studies)],
        "annotations": [_annotation(dataset, i) for i in range(len(dataset.boxes))],
        "categories": [{"id": i, "name": label} for i, label in enumerate(dataset.labels, 1)],
    }


def _image(dataset: DataSet, position: int, study: Study, bare: list[str] | None) -> dict[str, object]:
    columns = [column.name for column in dataset.numeric] + [column.name for column in dataset.categorical]
    values = [None if number is None else _number(number) for number in study.numeric] + list(study.categorical)
    entry: dict[str, object] = {
        "id": position + 1,
        "file_name": study.image,
        "width": study.width,
        "height": study.height,
        "license": 1,
        "study": study.study,
        "patient": study.patient,
        "split": study.split,
        "clinical": {name: value for name, value in zip(columns, values, strict=True) if value is not None},
    }
    entry = {**entry, "no_finding": bare} if bare else entry
    entry = entry if study.source is None else {**entry, "source": study.source}
    return {**entry, **{name: word for name, word in asdict(study.taken).items() if word}}


def _annotation(dataset: DataSet, position: int) -> dict[str, object]:
    xmin, ymin, xmax, ymax = (float(side) for side in dataset.boxes[position])
    width, height = xmax - xmin, ymax - ymin
    entry: dict[str, object] = {
        "id": position + 1,
        "image_id": int(dataset.box_study[position]) + 1,
        "category_id": int(dataset.labels_of[position]),
        "bbox": [_number(side) for side in (xmin, ymin, width, height)],
        "area": _number(width * height),
        "iscrowd": 0,
        "reading": dataset.reading[position],
    }
    if (xmin + width, ymin + height) != (xmax, ymax):
        entry["corner"] = [_number(xmax), _number(ymax)]
    certainty = float(dataset.certainty[position])
    return entry if math.isnan(certainty) else {**entry, "certainty": _number(certainty)}


def _number(value: float) -> int | float:
    """A whole number without the point, as a person would write it."""
    return int(value) if value.is_integer() and "e" not in number_text(value) and value != 0 else float(value)
