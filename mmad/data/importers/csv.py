"""Imports a folder of images with a CSV table of boxes and one of subjects, or one table that is both.

Missing values stay missing: only the training split's statistics fill them, when a detector reads them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas

from mmad.base.errors import DataError
from mmad.base.records import OnProgress, Split
from mmad.config.messages import no_such, one_of, shown
from mmad.data.column_types import MISSING, ColumnChoice, ColumnOutcome, LabelMasks, choose_columns, known_word
from mmad.data.dataset import Box, DataSet, policy_of, read_split, split_by_patient
from mmad.data.exclusions import Excluded
from mmad.data.importers.common import (
    WITHOUT_PATIENT,
    ImportReport,
    SourceImage,
    acquired_columns,
    acquisitions,
    bits_of,
    choose_labels,
    clip_box,
    copy_images,
    find_images,
    folder_name,
    header_cells,
    header_patients,
    importing,
    other_labels,
    patient_column,
    scale_to_file,
    split_column,
    study_ids,
    unnamed_files,
    warn_of_names,
    warn_of_small,
)
from mmad.data.reader import load_dataset
from mmad.data.tables import Table, read_number, read_table
from mmad.data.writer import BoxRow, StudyRow, write_tables

#: What four columns of a box may be, after ``relative-`` as shares of the image's width and height.
BOX_FORMS = ("xyxy", "xywh", "cxcywh")
BOX_FORMATS = (*BOX_FORMS, *(f"relative-{form}" for form in BOX_FORMS))
#: Whose pixels the boxes are in where the table states an image size that is not the file's.
BOX_SIZES = ("stated", "file")
#: Labels of rows that say that nothing was found, whatever the user names.
NO_FINDING = ("No finding",)


@dataclass(frozen=True)
class CsvLayout:
    """Names of the tables in the folder and of their columns, and what the four columns of a box are.

    ``sources`` (one row per image, column ``source``) is read if it is there. One file may be ``subjects`` and
    ``boxes`` at once, with an image and a box in a row. Columns of well-known names are recognised where those of
    ``patient``, ``sides`` and ``reading`` are left as they stand here and are not there; without a patient every image
    is one of its own; without ``split`` patients are split 70/15/15. ``box_format`` is one of ``BOX_FORMATS`` (None:
    what the columns' names say), ``box_size`` one of ``BOX_SIZES``.
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
    box_format: str | None = None
    box_size: str | None = None

    def __post_init__(self) -> None:
        for option, word, words in (
            ("--box-format", self.box_format, BOX_FORMATS),
            ("--box-size", self.box_size, BOX_SIZES),
        ):
            if word is not None and word not in words:
                raise DataError(no_such("word", word, words), where=option, hint=one_of(words))


def import_csv(
    src: str | Path,
    out: str | Path,
    *,
    layout: CsvLayout | None = None,
    numeric: Sequence[str] | None = None,
    categorical: Sequence[str] | None = None,
    ignore: Sequence[str] = (),
    units: Mapping[str, str] | None = None,
    labels: Sequence[str] | None = None,
    no_finding: Sequence[str] = (),
    name: str | None = None,
    licence: str | None = None,
    dicom_header: bool = False,
    bits: int | None = None,
    tables: Tables | None = None,
    progress: OnProgress | None = None,
    report: ImportReport | None = None,
) -> DataSet:
    """Copy the images below ``src`` with their tables into the new folder ``out``, and load it.

    DICOM images are stored as 8-bit PNG (see ``mmad.data.dicom``). ``numeric`` and ``categorical`` name the
    clinical columns (None decides by name and content, see ``mmad.data.column_types``), ``ignore`` those to leave out;
    ``labels`` keeps only these, in this order; ``no_finding`` names labels of rows which say that nothing was found;
    ``dicom_header`` adds age and sex from the headers of DICOM images where the table lacks them; ``bits``
    are those that images of more than 8 use (None: those of the highest value of all). ``tables`` were read already.
    ``progress`` hears (done, all); ``report`` is filled with what was decided. Raises DataError for anything missing,
    unknown or impossible, naming file and row.
    """
    src, layout = Path(src), layout or CsvLayout()
    if not src.is_dir():
        raise DataError("no such folder", where=src, hint="name the folder that holds the CSV files")
    said = report if report is not None else ImportReport()
    tables = tables or _read_tables(src, layout)
    subjects = tables.subjects
    images = subjects.column(layout.image).tolist()
    found = find_images(src, images, subjects.at)
    if not found:
        raise DataError("holds no row", where=subjects.path, hint="a data set needs at least one image")
    if by_name := sum(source.by_name for source in found.values()):
        said.notes.append(f"{by_name} images were found by their file's name: the table has no path of theirs")
    sources = _sources(src, layout)
    patients, patient = _patients(subjects, layout, found, said)
    others = {layout.image, patient, *(numeric or ()), *(categorical or ()), *ignore} - {layout.split}
    split = layout.split if layout.split != CsvLayout.split else split_column(subjects.frame, others)
    if split not in (None, layout.split):
        said.notes.append(f"splits: column {split!r}, as its name or its cells say")
    splits = split_by_patient(patients) if split is None else _splits(subjects, split)
    ids = study_ids(found)
    annotated = _annotated_sizes(subjects, tables, found, layout)
    marks = _read_boxes(tables, layout, found, annotated, labels, (*NO_FINDING, *no_finding), said)
    frame = subjects.frame.drop(columns=[outcome.name for outcome in tables.varying])
    where_taken = acquired_columns(frame.columns.tolist(), (*(numeric or ()), *(categorical or ()), *ignore))
    used = _used(subjects, layout, tables, patient, split, annotated is not None)
    where_taken = {name: what for name, what in where_taken.items() if name not in used}
    used |= {name: f"the {what} of an image, which no detector reads" for name, what in where_taken.items()}
    choice = ColumnChoice(numeric, categorical, ignore, units)
    masks = _masks(marks, images)
    for column in tables.varying:
        if column.name in (*(numeric or ()), *(categorical or ())):
            raise DataError(f"column {column.name!r} {column.why}", where=subjects.path, hint="make its rows agree")
    kept_choice = ColumnChoice(numeric, categorical, [n for n in ignore if n in frame], units) if ignore else choice
    cells = choose_columns(frame, kept_choice, used, masks, str(subjects.path), subjects.at)
    said.table, said.columns = str(subjects.path), (*cells.outcomes, *tables.varying)
    if dicom_header:
        cells = cells.beside(header_cells(found, subjects.frame.columns.tolist()), str(subjects.path))
    taken = acquisitions(found.values(), frame, where_taken, dicom_header, said)
    warn_of_small(said, (mark.box for mark in marks.marks))
    warn_of_names(said, marks.labels, dict.fromkeys(patients) if patient else ())
    rows = [
        StudyRow(
            ids[image],
            found[image].stored,
            found[image].width,
            found[image].height,
            patient_id,
            split,
            row,
            sources.get(image, ""),
            at,
        )
        for image, patient_id, split, row, at in zip(images, patients, splits, cells.rows(), taken, strict=True)
    ]
    used_bits = bits_of(found, bits, said)
    with importing(Path(out)) as folder:
        copy_images(found, folder, progress)
        write_tables(
            folder,
            name=name or folder_name(src),
            labels=marks.labels,
            numeric=cells.numeric,
            categorical=cells.categorical,
            licence=licence or "; ".join(sorted(set(sources.values()))) or "not stated",
            split_policy=policy_of(patients, splits) if patient else "image",
            studies=rows,
            boxes=[BoxRow(ids[mark.image], mark.reading, mark.box, mark.label, mark.certainty) for mark in marks.marks],
            bits=used_bits,
            excluded=(tables.excluded or unnamed_files(found)) + other_labels(marks.others),
        )
    return load_dataset(out)


# The tables: one of subjects and one of boxes, or one that is both.


@dataclass(frozen=True, eq=False)
class Tables:
    """``subjects`` has a row per image. ``one`` says that ``boxes`` is the same file, with a row per box.

    ``varying`` are its columns that differ between the rows of one image, and so say nothing of the image.
    ``excluded`` is what whoever made them left out; else the files that they do not name are.
    """

    subjects: Table
    boxes: Table
    one: bool
    varying: tuple[ColumnOutcome, ...] = ()
    excluded: tuple[Excluded, ...] = ()


def _read_tables(src: Path, layout: CsvLayout) -> Tables:
    subjects, boxes = src / layout.subjects, src / layout.boxes
    if not subjects.is_file() and layout.subjects == CsvLayout.subjects and layout.boxes != CsvLayout.boxes:
        subjects = boxes
    elif not boxes.is_file() and layout.boxes == CsvLayout.boxes and layout.subjects != CsvLayout.subjects:
        boxes = subjects
    for path, option in ((subjects, "--subjects"), (boxes, "--boxes")):
        if not path.is_file():
            there = ", ".join(sorted(shown(other.name) for other in src.glob("*.csv"))[:5])
            hint = f"name the table with {option}" + (f": the folder has {there}" if there else "")
            raise DataError("file missing", where=path, hint=hint)
    if subjects != boxes:
        return Tables(read_table(subjects), read_table(boxes), one=False)
    return one_table(read_table(subjects), layout)


def one_table(table: Table, layout: CsvLayout) -> Tables:
    """A table with an image and a box in a row as both tables."""
    by_image = table.frame.groupby(table.column(layout.image), sort=False)
    several = by_image.nunique()
    varying = []
    for name in table.frame.columns.tolist():
        differs = several.index[several[name] > 1] if name != layout.image else several.index[:0]
        if len(differs):
            varying.append(ColumnOutcome(name, "ignored", f"differs between the rows of image {shown(differs[0])}"))
    first = table.frame.drop_duplicates(layout.image)
    of_boxes = _box_columns(table, layout)
    return Tables(
        replace(table, frame=first), table, one=True, varying=tuple(c for c in varying if c.name not in of_boxes)
    )


def _box_columns(table: Table, layout: CsvLayout) -> dict[str, str]:
    """Columns of the table of boxes → what they are."""
    columns = table.frame.columns.tolist()
    sides = _sides_of(columns, layout)
    found = dict.fromkeys(sides, "a side of the box")
    found |= {layout.label: "the label", layout.certainty: "the certainty of a box"}
    found |= {_reading_column(columns, layout): "the reading"}
    return {name: what for name, what in found.items() if name in columns}


#: Columns (small letters and digits alone) that say which radiologist drew a box.
_READERS = ("radid", "readerid", "reader", "radiologist", "annotator")


def _reading_column(columns: Sequence[str], layout: CsvLayout) -> str:
    if layout.reading in columns or layout.reading != CsvLayout.reading:
        return layout.reading
    plain = {_plain(name): name for name in columns}
    return next((plain[name] for name in _READERS if name in plain), layout.reading)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())


#: Names of four columns (small letters and digits alone) that published tables give a box.
_KNOWN_SIDES = (
    ("xmin", "ymin", "xmax", "ymax"),
    ("x1", "y1", "x2", "y2"),
    ("x", "y", "w", "h"),
    ("x", "y", "width", "height"),
    ("bboxx", "y", "w", "h"),
    ("xcenter", "ycenter", "width", "height"),
)


def _sides_of(columns: Sequence[str], layout: CsvLayout) -> tuple[str, str, str, str]:
    """The four columns of a box: those named, else well-known ones."""
    if all(side in columns for side in layout.sides) or layout.sides != CsvLayout.sides:
        return layout.sides
    plain = {_plain(name): name for name in reversed(columns)}
    for a, b, c, d in _KNOWN_SIDES:
        if {a, b, c, d} <= plain.keys():
            return plain[a], plain[b], plain[c], plain[d]
    return layout.sides


def _axis(side: str) -> str:
    """``x`` or ``y`` where the name of a column says one of them, else nothing."""
    plain = re.sub("max|b?box|axis|pixels?", "", _plain(side))
    across = plain == "w" or any(word in plain for word in ("x", "left", "right", "width"))
    down = plain == "h" or any(word in plain for word in ("y", "top", "bottom", "height"))
    return "" if across == down else "x" if across else "y"


_RIGHT = re.compile(r".*(max|2|right|bottom|br|lr)$")


def _box_format(sides: Sequence[str], layout: CsvLayout, where: str, report: ImportReport) -> str:
    """What the four columns are.

    Raises DataError where neither the user nor their names say it, and where these say another order of the axes.
    """
    axes = [_axis(side) for side in sides]
    if sorted(axes) == ["x", "x", "y", "y"] and axes != ["x", "y", "x", "y"]:
        (a, b), (c, d) = ([side for side, of in zip(sides, axes, strict=True) if of == axis] for axis in "xy")
        what = f"the columns {', '.join(sides)} are of the axes {', '.join(axes)}, as their names say"
        raise DataError(what, where=where, hint=f"--box-columns {a},{c},{b},{d}")
    if layout.box_format is not None:
        return layout.box_format
    a, b, c, d = map(_plain, sides)
    if _RIGHT.fullmatch(c) and _RIGHT.fullmatch(d):
        return "xyxy"
    form = ""
    if c.endswith(("w", "width")) and d.endswith(("h", "height")):
        form = "cxcywh" if any(word in a + b for word in ("cent", "cx", "mid")) else "xywh"
    if not form:
        what = f"the columns {', '.join(sides)} may be two corners, or a corner with width and height"
        raise DataError(what, where=where, hint=f"--box-format {' or '.join(BOX_FORMS[:2])}")
    words = {"xywh": "left, top, width and height", "cxcywh": "the centre, width and height"}[form]
    report.notes.append(f"boxes: {', '.join(sides)} are {words}, as their names say (--box-format {form})")
    return form


def _used(
    subjects: Table, layout: CsvLayout, tables: Tables, patient: str | None, split: str | None, sized: bool
) -> dict[str, str]:
    """Columns of the table of subjects that are something else than a clinical column → what."""
    columns = subjects.frame.columns.tolist()
    used = dict.fromkeys(("study", "patient", "width", "height"), "a name that every data set has of its own")
    used |= {layout.image: "the image"} | ({split: "the split"} if split is not None else {})
    if patient is not None and patient != layout.image:
        used[patient] = "the patient"
    if sized:
        used |= dict.fromkeys(_size_columns(columns, tables, layout) or (), "the image's size")
    if tables.one:
        used |= _box_columns(tables.boxes, layout)
    return {name: what for name, what in used.items() if name in columns}


def _masks(marks: _Findings, images: Sequence[str]) -> LabelMasks:
    """By label which images have a box of it."""
    with_box = {label: {mark.image for mark in marks.marks if mark.label == label} for label in marks.labels}
    return {label: np.array([image in has for image in images], dtype=np.bool_) for label, has in with_box.items()}


def _patients(
    subjects: Table, layout: CsvLayout, found: Mapping[str, SourceImage], report: ImportReport
) -> tuple[list[str], str | None]:
    """The patient of each image, and the column that says so."""
    columns = subjects.frame.columns.tolist()
    column: str | None = layout.patient
    if layout.patient not in columns and layout.patient == CsvLayout.patient:
        column = patient_column(columns)
    if column is None:
        of_header = header_patients(found)
        if of_header is not None:
            report.notes.append("patients: PatientID of the DICOM headers, kept as a digest")
            return of_header, "PatientID"
        report.warnings.append(WITHOUT_PATIENT)
        return list(study_ids(found).values()), None
    if column != layout.patient:
        report.notes.append(f"patients: column {column!r}, as its name says")
    patients = subjects.column(column).tolist()
    for row, patient in enumerate(patients):
        if not patient:
            raise DataError(f"column {column!r} is empty", where=subjects.at(row), hint="every image needs one")
    return patients, column


def _splits(subjects: Table, column: str) -> list[Split]:
    return [read_split(word, subjects.at(row)) for row, word in enumerate(subjects.column(column))]


def _sources(src: Path, layout: CsvLayout) -> dict[str, str]:
    if not (src / layout.sources).is_file() and layout.sources == CsvLayout.sources:
        return {}
    table = read_table(src / layout.sources)
    return dict(zip(table.column(layout.image), table.column(layout.source), strict=True))


# The size of the image on which the boxes were drawn, where the table states one.


def _size_columns(columns: Collection[str], tables: Tables, layout: CsvLayout) -> tuple[str, str] | None:
    sides = _sides_of(tables.boxes.frame.columns.tolist(), layout) if tables.one else ()
    for pair in (("image_width", "image_height"), ("width", "height")):
        if set(pair) <= set(columns) and not set(pair) & set(sides):
            return pair
    return None


def _annotated_sizes(
    subjects: Table, tables: Tables, found: Mapping[str, SourceImage], layout: CsvLayout
) -> dict[str, tuple[int, int]] | None:
    """By image the size in whose pixels its boxes are. None where the table states none.

    Raises DataError for a size that is none, and for one that is not the file's where nobody says whose pixels count.
    """
    pair = _size_columns(subjects.frame.columns.tolist(), tables, layout)
    if pair is None:
        return None
    sizes: dict[str, tuple[int, int]] = {}
    stated = zip(*(subjects.column(name).tolist() for name in pair), strict=True)
    for row, (source, words) in enumerate(zip(found.items(), stated, strict=True)):
        image, file = source
        numbers = [read_number(word) for word in words if word.casefold() not in MISSING]
        size = (file.width, file.height)
        if numbers and layout.box_size != "file":
            size = scale_to_file(numbers, file, image, subjects.at(row), scale=layout.box_size == "stated")
        sizes[image] = size
    return sizes


# The boxes, and the rows that say that nothing was found.


@dataclass(frozen=True)
class _Finding:
    """A box of one image, or, without one, a reading that found nothing."""

    image: str
    reading: str
    box: Box | None
    label: str
    certainty: str


@dataclass(frozen=True)
class _Findings:
    """``others`` counts the boxes of labels that were not chosen."""

    labels: tuple[str, ...]
    marks: list[_Finding]
    others: int


def _read_boxes(
    tables: Tables,
    layout: CsvLayout,
    found: Mapping[str, SourceImage],
    annotated: Mapping[str, tuple[int, int]] | None,
    wanted: Sequence[str] | None,
    no_finding: Sequence[str],
    report: ImportReport,
) -> _Findings:
    """The labels in order, the boxes that have one of them, and the readings that found nothing."""
    table = tables.boxes
    columns = table.frame.columns.tolist()
    sides = _sides_of(columns, layout)
    owners, names = table.column(layout.image).tolist(), table.column(layout.label).tolist()
    cells = list(zip(*(table.column(side).tolist() for side in sides), strict=True))
    form = _box_format(sides, layout, f"{table.path}:1", report)
    nothing = {name.casefold() for name in no_finding}
    rows = zip(names, cells, strict=True)
    present = [n for n, row in rows if n.casefold() not in nothing and (known_word(n) or not _is_bare(row))]
    labels = choose_labels(tuple(dict.fromkeys(present)), wanted, str(table.path))
    if not labels:
        raise DataError("holds no box", where=table.path, hint="a detector needs boxes to learn from")
    empty = pandas.Series("", index=table.frame.index)
    reading, certainty = _reading_column(columns, layout), layout.certainty
    words = (map(known_word, table.frame.get(name, empty).tolist()) for name in (reading, certainty))
    if reading != layout.reading:
        report.notes.append(f"readings: column {reading!r}, as its name says")
    _refuse_relative(form, cells, names, labels, table)
    marks: list[_Finding] = []
    elsewhere: list[_Finding] = []  # readings by their boxes of labels that are left out
    for row, (image, label, side, reader, sure) in enumerate(zip(owners, names, cells, *words, strict=True)):
        at = table.at(row)
        if image not in found:
            raise DataError(
                no_such("image", image, found), where=at, hint=f"give it a row in {tables.subjects.path.name}"
            )
        if label.casefold() in nothing or (not known_word(label) and _is_bare(side)):
            _refuse_box(side, label, at)
            marks.append(_Finding(image, reader or "1", None, "", ""))
            continue
        if not label or (wanted is None and not known_word(label)):
            what = f"column {layout.label!r} " + (f"holds {shown(label)}, a missing value" if label else "is empty")
            raise DataError(what, where=at, hint="say what the box shows, or name the labels to keep with --label")
        if label in labels:
            file = found[image]
            drawn_on = annotated[image] if annotated is not None else (file.width, file.height)
            box = _corners(_numbers(side, at, image, label), form, drawn_on, at)
            across, down = file.width / drawn_on[0], file.height / drawn_on[1]
            scaled = (box[0] * across, box[1] * down, box[2] * across, box[3] * down)
            clipped = clip_box(scaled, (file.width, file.height), at, image)
            marks.append(_Finding(image, reader or "1", clipped, label, sure))
        elif reader:
            elsewhere.append(_Finding(image, reader, None, "", ""))
    if form.startswith("relative"):
        report.notes.append("boxes: shares of the image, written as pixels of the file")
    if annotated is not None:
        scaled_images = sum(size != (found[i].width, found[i].height) for i, size in annotated.items())
        if scaled_images:
            report.notes.append(f"boxes of {scaled_images} images were scaled from the size stated to the file's")
    kept = _without_contradictions(marks, report)
    known = {(mark.image, mark.reading) for mark in kept}
    kept += [one for one in dict.fromkeys(elsewhere) if (one.image, one.reading) not in known]
    return _Findings(labels, kept, sum(label not in labels for label in present))


def _without_contradictions(marks: Sequence[_Finding], report: ImportReport) -> list[_Finding]:
    """The boxes, and once each reading that found nothing. One that says so and has boxes is named, its boxes stay."""
    with_boxes = {(mark.image, mark.reading) for mark in marks if mark.box is not None}
    bare = [(mark.image, mark.reading) for mark in marks if mark.box is None]
    wrong = [of for of in bare if of in with_boxes]
    if wrong:
        rows = (
            f"{len(wrong)} rows say that nothing was found" if len(wrong) > 1 else "a row says that nothing was found"
        )
        report.warnings.append(f"{rows} where the same reading has boxes (image {shown(wrong[0][0])}): left out")
    kept = dict.fromkeys(of for of in bare if of not in with_boxes)
    if kept:
        report.notes.append(f"{len(kept)} readings found nothing" if len(kept) > 1 else "1 reading found nothing")
    return [mark for mark in marks if mark.box is not None] + [_Finding(*of, None, "", "") for of in kept]


def _is_bare(cells: Sequence[str]) -> bool:
    """Whether a row has no side at all."""
    return all(cell.casefold() in MISSING for cell in cells)


def _refuse_box(cells: Sequence[str], label: str, where: str) -> None:
    """A row that says that nothing was found has no box, or, as some tables write it, the first pixel's."""
    if not _is_bare(cells) and [read_number(cell) for cell in cells] != [0.0, 0.0, 1.0, 1.0]:
        what = f"label {shown(label)} says that nothing was found, and there is a box"
        raise DataError(what, where=where, hint="empty its sides, or correct the label")


def _refuse_relative(
    form: str, cells: Sequence[Sequence[str]], names: Sequence[str], labels: Collection[str], table: Table
) -> None:
    """Boxes whose every side lies within 0 to 1 are shares of the image, and no pixels. Raises DataError."""
    if form.startswith("relative"):
        return
    kept = [row for row, name in zip(cells, names, strict=True) if name in labels and not _is_bare(row)]
    sides = [number for row in kept for cell in row if (number := read_number(cell)) is not None]
    if any(side != int(side) for side in sides) and all(0 <= side <= 1 for side in sides):
        what = "boxes look relative: every side lies within 0 to 1"
        raise DataError(what, where=table.path, hint=f"--box-format relative-{form}, or write pixels of the image")


def _numbers(cells: Sequence[str], where: str, image: str, label: str) -> tuple[float, float, float, float]:
    if _is_bare(cells):
        what = f"{shown(label)} of {shown(image)} has no box"
        hint = f"--no-finding {shown(label)} if nothing was found, or name the labels to keep with --label"
        raise DataError(what, where=where, hint=hint)
    numbers = [read_number(cell) for cell in cells]
    for cell, number in zip(cells, numbers, strict=True):
        if number is None:
            what = f"box of {shown(image)} has a side that is not a number: {shown(cell)}"
            raise DataError(what, where=where, hint="correct the row")
    a, b, c, d = (number for number in numbers if number is not None)
    return a, b, c, d


def _corners(numbers: Box, form: str, size: tuple[int, int], where: str) -> Box:
    """The two corners in pixels of an image of (width, height) ``size``. Raises DataError."""
    a, b, c, d = numbers
    if form.startswith("relative-"):
        if not all(-0.001 <= number <= 1.001 for number in numbers):
            what = f"box ({a:g}, {b:g}, {c:g}, {d:g}) is no share of the image"
            raise DataError(what, where=where, hint="write 0 to 1, or name another --box-format")
        a, b, c, d = a * size[0], b * size[1], c * size[0], d * size[1]
    if form.endswith("xyxy"):
        return a, b, c, d
    if c <= 0 or d <= 0:
        raise DataError(f"box of width {c:g} and height {d:g} has no area", where=where, hint="correct or drop the row")
    return (a - c / 2, b - d / 2, a + c / 2, b + d / 2) if form.endswith("cxcywh") else (a, b, a + c, b + d)
