"""Imports a folder of images with a CSV table of boxes and one of subjects.

Missing values stay missing: only the training split's statistics fill them, when a detector reads them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas

from mmad.base.errors import DataError
from mmad.base.records import OnProgress, Split
from mmad.config.messages import no_such, shown
from mmad.data.column_types import parse
from mmad.data.dataset import Box, DataSet, policy_of, read_split, split_by_patient
from mmad.data.importers.common import (
    SourceImage,
    choose_cells,
    choose_labels,
    clip_box,
    copy_images,
    find_images,
    folder_name,
    header_cells,
    importing,
    study_ids,
)
from mmad.data.reader import load_dataset
from mmad.data.tables import Table, read_table
from mmad.data.writer import BoxRow, StudyRow, write_tables


@dataclass(frozen=True)
class CsvLayout:
    """Names of the tables in the folder and of their columns.

    ``sources`` (one row per image, column ``source``) is read if it is there. Without the column ``patient``
    every image is a patient of its own; without ``split`` patients are split 70/15/15.
    """

    subjects: str = "subjects.csv"
    boxes: str = "boxes.csv"
    sources: str = "provenance.csv"
    image: str = "image"
    patient: str = "patient_id"
    split: str = "split"
    source: str = "licence"
    label: str = "label"
    sides: tuple[str, str, str, str] = ("xmin", "ymin", "xmax", "ymax")
    reading: str = "reading"
    certainty: str = "certainty"


def import_csv(
    src: str | Path,
    out: str | Path,
    *,
    layout: CsvLayout | None = None,
    numeric: Sequence[str] | None = None,
    categorical: Sequence[str] | None = None,
    units: Mapping[str, str] | None = None,
    labels: Sequence[str] | None = None,
    name: str | None = None,
    licence: str | None = None,
    dicom_header: bool = False,
    progress: OnProgress | None = None,
) -> DataSet:
    """Copy the images below ``src`` with their tables into the new folder ``out``, and load it.

    DICOM images are stored as 8-bit PNG (see ``mmad.data.dicom``). ``numeric`` and ``categorical`` name the
    clinical columns (None guesses them, see ``mmad.data.column_types``); ``labels`` keeps only these, in this
    order; ``dicom_header`` adds age and sex from the headers of DICOM images where the table lacks them.
    ``progress`` hears (done, all). Raises DataError for anything missing, unknown or impossible, naming file and row.
    """
    src, layout = Path(src), layout or CsvLayout()
    if not src.is_dir():
        raise DataError("no such folder", where=src, hint="name the folder that holds the CSV files")
    subjects = read_table(src / layout.subjects)
    images = subjects.column(layout.image).tolist()
    found = find_images(src, images, subjects.at)
    if not found:
        raise DataError("holds no row", where=subjects.path, hint="a data set needs at least one image")
    reserved = {layout.image, layout.patient, layout.split, "study", "patient", "width", "height"}
    cells = choose_cells(subjects.frame, numeric, categorical, reserved, str(subjects.path), units)
    if dicom_header:
        cells = cells.beside(header_cells(found, subjects.frame.columns.tolist()), str(subjects.path))
    sources = _sources(src, layout)
    patients = _patients(subjects, layout)
    splits = _splits(subjects, layout, patients)
    ids = study_ids(images)
    chosen, boxes = _boxes(src, layout, found, ids, labels)
    rows = [
        StudyRow(
            ids[image],
            found[image].stored,
            found[image].width,
            found[image].height,
            patient,
            split,
            row,
            sources.get(image, ""),
        )
        for image, patient, split, row in zip(images, patients, splits, cells.rows(), strict=True)
    ]
    with importing(Path(out)) as folder:
        copy_images(found, folder, progress)
        write_tables(
            folder,
            name=name or folder_name(src),
            labels=chosen,
            numeric=cells.numeric,
            categorical=cells.categorical,
            licence=licence or "; ".join(sorted(set(sources.values()))) or "not stated",
            split_policy=policy_of(patients, splits),
            studies=rows,
            boxes=boxes,
        )
    return load_dataset(out)


def _patients(subjects: Table, layout: CsvLayout) -> list[str]:
    if layout.patient not in subjects.frame and layout.patient == CsvLayout.patient:
        return [PurePosixPath(image).stem for image in subjects.column(layout.image)]
    patients = subjects.column(layout.patient).tolist()
    for row, patient in enumerate(patients):
        if not patient:
            raise DataError(f"column {layout.patient!r} is empty", where=subjects.at(row), hint="every image needs one")
    return patients


def _splits(subjects: Table, layout: CsvLayout, patients: Sequence[str]) -> list[Split]:
    if layout.split not in subjects.frame and layout.split == CsvLayout.split:
        return split_by_patient(patients)
    return [read_split(word, subjects.at(row)) for row, word in enumerate(subjects.column(layout.split))]


def _sources(src: Path, layout: CsvLayout) -> dict[str, str]:
    if not (src / layout.sources).is_file() and layout.sources == CsvLayout.sources:
        return {}
    table = read_table(src / layout.sources)
    return dict(zip(table.column(layout.image), table.column(layout.source), strict=True))


def _boxes(
    src: Path,
    layout: CsvLayout,
    found: Mapping[str, SourceImage],
    ids: Mapping[str, str],
    wanted: Sequence[str] | None,
) -> tuple[tuple[str, ...], list[BoxRow]]:
    """The labels in order, and the boxes that have one of them."""
    table = read_table(src / layout.boxes)
    owners, names = table.column(layout.image).tolist(), table.column(layout.label).tolist()
    labels = choose_labels(tuple(dict.fromkeys(names)), wanted, str(table.path))
    if not labels:
        raise DataError("holds no box", where=table.path, hint="a detector needs boxes to learn from")
    sides = zip(*(table.column(side).tolist() for side in layout.sides), strict=True)
    empty = pandas.Series("", index=table.frame.index)
    readings, certainties = (table.frame.get(name, empty).tolist() for name in (layout.reading, layout.certainty))
    boxes = []
    rows = zip(owners, names, sides, readings, certainties, strict=True)
    for row, (image, label, cells, reading, certainty) in enumerate(rows):
        at = table.at(row)
        if image not in found:
            raise DataError(no_such("image", image, found), where=at, hint=f"give it a row in {layout.subjects}")
        if not label:
            raise DataError(f"column {layout.label!r} is empty", where=at, hint="say what the box shows")
        if label in labels:
            size = found[image].width, found[image].height
            box = clip_box(_sides(cells, at, image), size, at, image)
            boxes.append(BoxRow(ids[image], reading or "1", box, label, certainty))
    return labels, boxes


def _sides(cells: Sequence[str], where: str, image: str) -> Box:
    numbers = [number for number in map(parse, cells) if number is not None]
    if len(numbers) < len(cells):
        what = f"box of {shown(image)} has a side that is not a number"
        raise DataError(what, where=where, hint="correct the row")
    return numbers[0], numbers[1], numbers[2], numbers[3]
