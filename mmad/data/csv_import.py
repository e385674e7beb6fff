"""Imports a folder of images with a CSV table of boxes and one of subjects.

Missing values stay missing: only the training split's statistics fill them, when a detector reads them.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image

from mmad.base.errors import DataError
from mmad.base.records import Split
from mmad.data.csv_columns import choose_categorical, choose_numeric, parse
from mmad.data.csv_table import open_table
from mmad.data.dataset import IMAGES, DataSet, load_dataset
from mmad.data.image_files import is_inside
from mmad.data.names import no_such, one_of
from mmad.data.splits import policy_of, read_split, split_by_patient
from mmad.data.writing import BoxRow, StudyRow, new_folder, write_tables

Progress = Callable[[int, int], None]
Box = tuple[float, float, float, float]
#: A box may overshoot its image by this much (rounding after a resize) and is clipped.
_SLACK_PX = 1.0


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


@dataclass(frozen=True)
class _Table:
    """A CSV file by column, with the line of each row."""

    path: Path
    lines: tuple[int, ...]
    columns: Mapping[str, Sequence[str]]

    def column(self, name: str) -> Sequence[str]:
        if name not in self.columns:
            raise DataError(no_such("column", name, self.columns), where=f"{self.path}:1", mend=one_of(self.columns))
        return self.columns[name]

    def at(self, row: int) -> str:
        return f"{self.path}:{self.lines[row]}"


def import_csv(
    src: Path,
    out: Path,
    *,
    layout: CsvLayout | None = None,
    numeric: Sequence[str] | None = None,
    categorical: Sequence[str] | None = None,
    units: Mapping[str, str] | None = None,
    labels: Sequence[str] | None = None,
    name: str | None = None,
    licence: str | None = None,
    progress: Progress | None = None,
) -> DataSet:
    """Copy the images below ``src`` with their tables into the new folder ``out``, and load it.

    ``numeric`` and ``categorical`` name the clinical columns (None guesses them, see
    :mod:`mmad.data.csv_columns`); ``labels`` keeps only these, in this order. ``progress`` hears
    (done, all). Raises DataError for anything missing, unknown or impossible, naming file and row.
    """
    layout = layout or CsvLayout()
    if not src.is_dir():
        raise DataError("no such folder", where=src, mend="name the folder that holds the CSV files")
    subjects = _read(src / layout.subjects)
    images = subjects.column(layout.image)
    sizes = _image_sizes(src, subjects, images)
    reserved = {layout.image, layout.patient, layout.split, "study", "patient", "width", "height"}
    where = str(subjects.path)
    numbers = choose_numeric(subjects.columns, numeric, reserved, where, units or {})
    taken = reserved | {column.name for column in numbers}
    values = choose_categorical(subjects.columns, categorical, taken, where)
    sources = _sources(src, layout)
    patients = _patients(subjects, layout)
    splits = _splits(subjects, layout, patients)
    chosen, boxes = _boxes(src, layout, images, sizes, labels)
    ids = _study_ids(images)
    names = [column.name for column in numbers] + [column.name for column in values]
    rows = [
        StudyRow(
            ids[image],
            _stored(image),
            *sizes[image],
            patients[i],
            splits[i],
            tuple(subjects.columns[column][i] for column in names),
            sources.get(image, ""),
        )
        for i, image in enumerate(images)
    ]
    stated = licence or "; ".join(sorted(set(sources.values()))) or "not stated"
    with new_folder(out) as folder:
        for done, image in enumerate(images, 1):
            target = folder / _stored(image)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(src / image, target)
            if progress is not None:
                progress(done, len(images))
        write_tables(
            folder,
            name=name or src.resolve().name,
            labels=chosen,
            numeric=numbers,
            categorical=values,
            licence=stated,
            split_policy=policy_of(patients, splits),
            studies=rows,
            boxes=[BoxRow(ids[image], reading, box, label, sure) for image, reading, box, label, sure in boxes],
        )
        _check(folder, out)
    return load_dataset(out)


def _check(folder: Path, out: Path) -> None:
    """Refuses what the reader would refuse before it gets its name; the message names it as it would be called."""
    try:
        load_dataset(folder)
    except DataError as error:
        where = (error.where or "").replace(str(folder), str(out))
        raise DataError(error.what, where=where, mend=f"correct it in the source: {error.mend}") from None


def _read(path: Path) -> _Table:
    if not path.is_file():
        raise DataError("file missing", where=path, mend="name the table with its option, or put it there")
    header, rows = open_table(path)
    columns = {name: [row[i].strip() for _, row in rows] for i, name in enumerate(header)}
    return _Table(path, tuple(line for line, _ in rows), columns)


def _image_sizes(src: Path, subjects: _Table, images: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Width and height of every image; refuses one twice, one missing, one outside and one that is none."""
    sizes: dict[str, tuple[int, int]] = {}
    inside = src.resolve()
    for row, image in enumerate(images):
        at = subjects.at(row)
        if image in sizes:
            raise DataError(f"image {image!r} has a row already", where=at, mend="keep one row per image")
        if not is_inside(image) or not (src / image).resolve().is_relative_to(inside):
            raise DataError(f"image path {image!r} leaves the folder", where=at, mend="write it relative to the folder")
        try:
            with Image.open(src / image) as opened:
                sizes[image] = opened.size
        except FileNotFoundError:
            raise DataError(f"image {image!r} is missing", where=at, mend="add the file or drop the row") from None
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            raise DataError(f"image {image!r} cannot be decoded", where=at, mend="replace it or drop the row") from None
    if not sizes:
        raise DataError("holds no row", where=subjects.path, mend="a data set needs at least one image")
    return sizes


def _patients(subjects: _Table, layout: CsvLayout) -> list[str]:
    if layout.patient not in subjects.columns and layout.patient == CsvLayout.patient:
        return [PurePosixPath(image).stem for image in subjects.column(layout.image)]
    patients = list(subjects.column(layout.patient))
    for row, patient in enumerate(patients):
        if not patient:
            raise DataError(f"column {layout.patient!r} is empty", where=subjects.at(row), mend="every image needs one")
    return patients


def _splits(subjects: _Table, layout: CsvLayout, patients: Sequence[str]) -> list[Split]:
    if layout.split not in subjects.columns and layout.split == CsvLayout.split:
        return split_by_patient(patients)
    return [read_split(word, subjects.at(row)) for row, word in enumerate(subjects.column(layout.split))]


def _sources(src: Path, layout: CsvLayout) -> dict[str, str]:
    if not (src / layout.sources).is_file() and layout.sources == CsvLayout.sources:
        return {}
    table = _read(src / layout.sources)
    return dict(zip(table.column(layout.image), table.column(layout.source), strict=True))


def _boxes(
    src: Path,
    layout: CsvLayout,
    images: Sequence[str],
    sizes: Mapping[str, tuple[int, int]],
    wanted: Sequence[str] | None,
) -> tuple[tuple[str, ...], list[tuple[str, str, Box, str, str]]]:
    """The labels in order, and per box (image, reading, box, label, certainty)."""
    table = _read(src / layout.boxes)
    owners, found = table.column(layout.image), table.column(layout.label)
    present = tuple(dict.fromkeys(found))
    for label in wanted or ():
        if label not in present:
            raise DataError(no_such("label", label, present), where=table.path, mend=one_of(present))
    labels = tuple(dict.fromkeys(wanted)) if wanted else present
    if not labels:
        raise DataError("holds no box", where=table.path, mend="a detector needs boxes to learn from")
    sides = [table.column(side) for side in layout.sides]
    empty = [""] * len(owners)
    readings, certainties = table.columns.get(layout.reading, empty), table.columns.get(layout.certainty, empty)
    boxes = []
    for row, (image, label) in enumerate(zip(owners, found, strict=True)):
        if image not in sizes:
            raise DataError(
                no_such("image", image, images), where=table.at(row), mend=f"give it a row in {layout.subjects}"
            )
        if label in labels:
            box = _clipped([side[row] for side in sides], sizes[image], table.at(row), image)
            boxes.append((image, readings[row] or "1", box, label, certainties[row]))
    return labels, boxes


def _clipped(cells: Sequence[str], size: tuple[int, int], at: str, image: str) -> Box:
    numbers = [parse(cell) for cell in cells]
    if any(number is None for number in numbers):
        raise DataError(f"box of {image!r} has a side that is not a number", where=at, mend="correct the row")
    xmin, ymin, xmax, ymax = (float(number) for number in numbers if number is not None)
    width, height = size
    if min(xmin, ymin) < -_SLACK_PX or xmax > width + _SLACK_PX or ymax > height + _SLACK_PX:
        raise DataError(
            f"box ({', '.join(cells)}) leaves the image {image!r} of {width} x {height} px",
            where=at,
            mend="write pixels of the stored image",
        )
    box = (max(xmin, 0.0), max(ymin, 0.0), min(xmax, float(width)), min(ymax, float(height)))
    if box[2] <= box[0] or box[3] <= box[1]:
        raise DataError(f"box ({', '.join(cells)}) has no area", where=at, mend="correct or drop the row")
    return box


def _study_ids(images: Sequence[str]) -> dict[str, str]:
    """File names without their ending, or whole paths where two files share a name."""
    stems = {image: PurePosixPath(image).stem for image in images}
    if len(set(stems.values())) == len(stems):
        return stems
    return {image: image.replace("/", "-") for image in images}


def _stored(image: str) -> str:
    path = PurePosixPath(image)
    return str(path if path.parts[0] == IMAGES else PurePosixPath(IMAGES) / path)
