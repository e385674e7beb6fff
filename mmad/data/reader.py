"""Reads the folder of a data set; every problem is a DataError that names file, row, key and hint.

A message names rows and studies, never a clinical value: those belong to patients.
"""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmad.base.errors import DataError
from mmad.base.records import SPLITS
from mmad.config.messages import no_such, one_of
from mmad.data.acquisition import ACQUIRED, ACQUISITION, SHIFTED, Acquisition
from mmad.data.dataset import (
    BOXES,
    IMAGES,
    MEASURED,
    STUDIES,
    TOML,
    UNKNOWN,
    CategoricalColumn,
    DataSet,
    NumericColumn,
    Study,
)
from mmad.data.exclusions import EXCLUDED, EXCLUDED_COUNTS, Excluded
from mmad.data.pixels import MOST_BITS
from mmad.data.tables import Problem, Refuse, open_table, raise_first, read_number


def check_header(
    path: Path,
    header: list[str],
    needed: tuple[str, ...],
    optional: tuple[str, ...],
    *,
    hint: str = f"declare it in {TOML} or take it out",
) -> None:
    """Refuse a header with a column too many (naming the nearest, with ``hint``) or too few."""
    for name in header:
        if name not in needed and name not in optional:
            known = [n for n in (*needed, *optional) if n not in header] or [*needed, *optional]
            raise DataError(no_such("column", name, known), where=f"{path}:1", hint=hint)
    for name in needed:
        if name not in header:
            raise DataError(
                f"column {name!r} is missing", where=f"{path}:1", hint=f"the columns are {', '.join(needed)}"
            )


# Reads ``studies.csv``: one row per image, with the clinical values of its patient.


STUDY_COLUMNS = ("study", "image", "width", "height", "patient", "split")
#: Stands for a width or height that cannot be read, where that is collected and not raised.
UNKNOWN_SIDE = 0


def read_studies(
    path: Path,
    numeric: Sequence[NumericColumn],
    categorical: Sequence[CategoricalColumn],
    refuse: Refuse = raise_first,
) -> tuple[Study, ...]:
    """``studies.csv`` as records, in the order of the file.

    A row without an id, an image, a patient or a split is refused and left out; a cell that cannot be read
    is refused and missing. Raises DataError for a table that holds nothing to read.
    """
    header, rows = open_table(path, refuse)
    names = [column.name for column in numeric] + [column.name for column in categorical]
    check_header(path, header, (*STUDY_COLUMNS, *names), ("source",))
    make = _StudyRows(path, {name: i for i, name in enumerate(header)}, refuse, numeric, categorical)
    studies = [study for line, cells in rows if (study := make.study(line, cells)) is not None]
    if not studies:
        raise DataError("holds no study", where=path, hint="a data set needs at least one")
    return tuple(studies)


class ClinicalReader:
    """Reads the clinical cells of a row; what cannot be read is refused, without its value, and missing.

    A column that the table has not is missing in every row. ``of`` says what a row is of.
    """

    def __init__(
        self,
        path: Path,
        place: Mapping[str, int],
        refuse: Refuse,
        numeric: Sequence[NumericColumn],
        categorical: Sequence[CategoricalColumn],
        of: str = "study",
    ) -> None:
        self._path = path
        self._refuse = refuse
        self._of = of
        self._numeric = [(column.name, place.get(column.name)) for column in numeric]
        self._categorical = [(column, place.get(column.name), frozenset(column.values)) for column in categorical]

    def values(
        self, cells: Sequence[str], line: int, row: str
    ) -> tuple[tuple[float | None, ...], tuple[str | None, ...]]:
        """The numbers and the categories of ``row``, the id of the study or image that it is of."""
        numbers = tuple([None if i is None else self._number(cells[i], line, row, name) for name, i in self._numeric])
        values = [None if i is None else self._value(cells[i], line, row, c, k) for c, i, k in self._categorical]
        return numbers, tuple(values)

    def _number(self, text: str, line: int, row: str, column: str) -> float | None:
        if not text:
            return None
        value = read_number(text)
        if value is not None:
            return value
        hint = "leave the cell empty if it is missing"
        self.refuse("value-not-a-number", line, row, column, "is not a number", hint)
        return None

    def _value(self, text: str, line: int, row: str, column: CategoricalColumn, known: frozenset[str]) -> str | None:
        if not text or text in known:
            return text or None
        hint = f"{one_of(column.values)}, or leave the cell empty"
        self.refuse("value-unknown", line, row, column.name, f"holds a value that {TOML} does not list", hint)
        return None

    def refuse(self, code: str, line: int, row: str, column: str, what: str, hint: str) -> None:
        at = f"{self._path}:{line}"
        error = DataError(f"{self._of} {row!r}: column {column!r} {what}", where=at, hint=hint)
        self._refuse(Problem(code, error, row, column))


class _StudyRows:
    """Makes a study of each row, and refuses what is wrong in it."""

    def __init__(
        self,
        path: Path,
        place: Mapping[str, int],
        refuse: Refuse,
        numeric: Sequence[NumericColumn],
        categorical: Sequence[CategoricalColumn],
    ) -> None:
        self._path = path
        self._base = [place[name] for name in STUDY_COLUMNS]
        self._source = place.get("source")
        self._clinical = ClinicalReader(path, place, refuse, numeric, categorical)
        self._seen: dict[str, int] = {}
        self._refuse = refuse

    def study(self, line: int, cells: Sequence[str]) -> Study | None:
        """The study of one row, or None where its id, its image, its patient or its split is not known."""
        study, image, width, height, patient, split = (cells[i] for i in self._base)
        if not self._is_usable(line, study, image, patient, split):
            return None
        self._seen[study] = line
        numbers, values = self._clinical.values(cells, line, study)
        sides = self._side(width, line, study, "width"), self._side(height, line, study, "height")
        origin = cells[self._source] or None if self._source is not None else None
        return Study(study, image, *sides, patient, SPLITS[SPLITS.index(split)], numbers, values, origin)

    def _is_usable(self, line: int, study: str, image: str, patient: str, split: str) -> bool:
        at = f"{self._path}:{line}"
        if not (study and image and patient):
            name = "study" if not study else "image" if not image else "patient"
            error = DataError(f"column {name!r} is empty", where=at, hint="every study needs one")
            self._refuse(Problem("cell-empty", error, study or f"line {line}", name))
        elif study in self._seen:
            what = f"study {study!r} stands on line {self._seen[study]} too"
            self._refuse(Problem("study-twice", DataError(what, where=at, hint="give each its own id"), study))
        elif split not in SPLITS:
            what = no_such("split", split, SPLITS)
            error = DataError(what, where=f"{at}: study {study!r}", hint=one_of(SPLITS))
            self._refuse(Problem("split-unknown", error, study))
        else:
            return True
        return False

    def _side(self, text: str, line: int, study: str, column: str) -> int:
        if text.isdecimal() and len(text) <= 20 and 1 <= int(text) <= 1_000_000:
            return int(text)
        what = "is not a whole number of pixels from 1"
        self._clinical.refuse("size-not-a-number", line, study, column, what, "write the stored image's size")
        return UNKNOWN_SIDE


# Reads ``boxes.csv``: one row per box of one reading of one study.


BOX_COLUMNS = ("study", "xmin", "ymin", "xmax", "ymax", "label")
OPTIONAL_COLUMNS = ("reading", "certainty")
_SIDES = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True, eq=False)
class BoxTable:
    """The boxes as parallel arrays, as ``mmad.data.dataset.DataSet`` holds them."""

    study: NDArray[np.int64]  # (M,)
    boxes: NDArray[np.float64]  # (M, 4)
    labels: NDArray[np.int64]  # (M,)
    reading: tuple[str, ...]
    certainty: NDArray[np.float64]  # (M,)
    no_finding: tuple[tuple[int, str], ...]  # readings without a box: the study's position and the reading


def read_boxes(
    path: Path, studies: tuple[Study, ...], labels: tuple[str, ...], refuse: Refuse = raise_first
) -> BoxTable:
    """``boxes.csv``, every row checked against its study and the labels.

    A row without sides and label is a reading that found nothing. One without study, label or numbers is refused and
    left out; a box without area or outside its image is refused and kept. Raises DataError for a table that cannot be
    read.
    """
    header, rows = open_table(path, refuse)
    check_header(path, header, BOX_COLUMNS, OPTIONAL_COLUMNS)
    make = _BoxRows(path, {name: i for i, name in enumerate(header)}, refuse, studies, labels)
    lines, boxes = [], []
    for line, cells in rows:
        if (box := make.box(line, cells)) is not None:
            lines.append(line)
            boxes.append(box)
    numbers = np.array([box.numbers for box in boxes], dtype=np.float64).reshape(len(boxes), 5)
    table = BoxTable(
        study=np.array([box.study for box in boxes], dtype=np.int64),
        boxes=numbers[:, :4].copy(),
        labels=np.array([box.label for box in boxes], dtype=np.int64),
        reading=tuple(box.reading for box in boxes),
        certainty=numbers[:, 4].copy(),
        no_finding=tuple(dict.fromkeys(make.no_finding)),
    )
    _check_boxes(path, lines, table, studies, refuse)
    return table


class _Box(NamedTuple):
    study: int
    label: int
    numbers: list[float]  # the four sides and the certainty, NaN where there is none
    reading: str


class _BoxRows:
    """Makes a box of each row, and refuses what is wrong in it."""

    def __init__(
        self,
        path: Path,
        place: Mapping[str, int],
        refuse: Refuse,
        studies: Sequence[Study],
        labels: Sequence[str],
    ) -> None:
        self._path = path
        self._place = place
        self._refuse = refuse
        self._studies = {study.study: i for i, study in enumerate(studies)}
        self._labels = {label: i for i, label in enumerate(labels, 1)}
        self._strange = False
        self.no_finding: list[tuple[int, str]] = []

    def box(self, line: int, cells: Sequence[str]) -> _Box | None:
        """The box of one row, or None where its study, its label or a side is not known, or where it has none."""
        study, label = cells[self._place["study"]], cells[self._place["label"]]
        at = f"{self._path}:{line}"
        if study not in self._studies:
            # the nearest name is looked for once: in a table of another data set no row has a study
            what = no_such("study", study, () if self._strange else self._studies)
            self._strange = True
            error = DataError(what, where=at, hint="every box needs a row in studies.csv")
            self._refuse(Problem("box-without-study", error, study))
            return None
        reading = cells[self._place["reading"]] if "reading" in self._place else ""
        if not label and not any(cells[self._place[side]] for side in _SIDES):
            self.no_finding.append((self._studies[study], reading))
            return None
        if label not in self._labels:
            hint = f"{one_of(self._labels)}, or add it to {TOML}"
            error = DataError(no_such("label", label, self._labels), where=at, hint=hint)
            self._refuse(Problem("label-unknown", error, study, label))
            return None
        numbers = self._numbers(cells, at, study)
        return None if numbers is None else _Box(self._studies[study], self._labels[label], numbers, reading)

    def _numbers(self, cells: Sequence[str], at: str, study: str) -> list[float] | None:
        numbers = []
        for column in (*_SIDES, "certainty"):
            optional = column == "certainty"
            text = "" if optional and column not in self._place else cells[self._place[column]]
            number = read_number(text)
            if number is None and not (optional and not text):
                hint = "leave the cell empty if it is not known" if optional else "write pixels of the stored image"
                error = DataError(f"column {column!r} is not a number: {text!r}", where=at, hint=hint)
                self._refuse(Problem("box-not-a-number", error, study, column))
                if not optional:
                    return None
            numbers.append(math.nan if number is None else number)
        return numbers


def without_area(boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of the boxes (M, 4) have no area."""
    flat: NDArray[np.bool_] = np.any(boxes[:, 2:] <= boxes[:, :2], axis=1)
    return flat


#: The least share of the image's side that a box has to span. Less can be nothing in single precision, once the image
#: is resized and mirrored: 2 to the power of -24 is the step between two such numbers below 1.
LEAST_SHARE = 2.0**-22


def slivers(boxes: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of the boxes (M, 4) have an area that single precision may not hold, in images of ``sizes`` (M, 2)."""
    thin: NDArray[np.bool_] = np.any(boxes[:, 2:] - boxes[:, :2] <= sizes * LEAST_SHARE, axis=1)
    return thin


def below_a_pixel(dataset: DataSet, image_size: int) -> NDArray[np.bool_]:
    """Which boxes (M,) are less than one pixel wide or high once images are resized to ``image_size`` px a side."""
    sizes = np.array([(s.width, s.height) for s in dataset.studies], dtype=np.float64)[dataset.box_study]
    small: NDArray[np.bool_] = np.any((dataset.boxes[:, 2:] - dataset.boxes[:, :2]) * image_size < sizes, axis=1)
    return small


def outside(boxes: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of the boxes (M, 4) leave their image of (width, height) ``sizes`` (M, 2)."""
    beyond: NDArray[np.bool_] = np.any((boxes[:, :2] < 0) | (boxes[:, 2:] > sizes), axis=1)
    return beyond


def _check_boxes(path: Path, lines: Sequence[int], table: BoxTable, studies: Sequence[Study], refuse: Refuse) -> None:
    sides = [(study.width or math.inf, study.height or math.inf) for study in studies]
    sizes = np.array(sides, dtype=np.float64).reshape(-1, 2)[table.study]  # (M, 2)
    flat, beyond = without_area(table.boxes), outside(table.boxes, sizes)
    for i in np.flatnonzero(flat | beyond).tolist():
        study = studies[int(table.study[i])]
        box = ", ".join(f"{side:g}" for side in table.boxes[i])
        code, what = "box-degenerate", f"box ({box}) has no area"
        hint = "xmax must exceed xmin, and ymax must exceed ymin"
        if not flat[i]:
            code, what = "box-outside", f"box ({box}) leaves the image of {study.width} x {study.height} px"
            hint = "write pixels of the stored image, or clip the box"
        at = f"{path}:{lines[i]}: study {study.study!r}"
        refuse(Problem(code, DataError(what, where=at, hint=hint), study.study))


# The optional tables: where and when images were taken, and what was left out of the source.


def with_acquisition(root: Path, studies: tuple[Study, ...], refuse: Refuse = raise_first) -> tuple[Study, ...]:
    """The studies with what ``acquisition.csv`` says of them, if it is there; a refused row says nothing.

    Raises DataError for a table that cannot be read.
    """
    path = root / ACQUISITION
    if not path.is_file():
        return studies
    header, rows = open_table(path)
    check_header(path, header, ("study",), ACQUIRED, hint=f"the columns are study, {', '.join(ACQUIRED)}")
    known = {study.study for study in studies}
    taken: dict[str, Acquisition] = {}
    for line, cells in rows:
        row = dict(zip(header, cells, strict=True))
        study, year = row.pop("study"), row.get("year") or SHIFTED
        what, hint = "", "keep one row for each study"
        if study not in known or study in taken:
            what = f"study {study!r} " + ("stands twice" if study in taken else f"is not in {STUDIES}")
        elif year != SHIFTED and not (len(year) == 4 and year.isascii() and year.isdecimal()):
            what, hint = "column 'year' is no year", f"write four digits, {SHIFTED} where dates are shifted, or nothing"
        if what:
            error = DataError(what, where=f"{path}:{line}", hint=hint)
            refuse(Problem("acquisition-unreadable", error, study))
        else:
            taken[study] = Acquisition(**{name: cell or None for name, cell in row.items()})
    return tuple(replace(study, taken=taken.get(study.study, study.taken)) for study in studies)


def _read_excluded(path: Path) -> tuple[Excluded, ...]:
    """The rows of ``excluded.csv``, none where it is not there. Raises DataError."""
    if not path.is_file():
        return ()
    header, rows = open_table(path)
    check_header(
        path, header, ("reason",), EXCLUDED_COUNTS, hint=f"the columns are reason, {', '.join(EXCLUDED_COUNTS)}"
    )
    found = []
    for line, cells in rows:
        row = dict(zip(header, cells, strict=True))
        reason = row.pop("reason")
        if not reason:
            raise DataError("column 'reason' is empty", where=f"{path}:{line}", hint="say why they were left out")
        for name, cell in row.items():
            if cell and not (cell.isascii() and cell.isdecimal() and len(cell) < 16):
                what, hint = f"column {name!r} is no whole number", "leave the cell empty if it is not known"
                raise DataError(what, where=f"{path}:{line}", hint=hint)
        found.append(Excluded(reason, **{name: int(cell) if cell else None for name, cell in row.items()}))
    return tuple(found)


# The image files of a data set: that they are there, and that no path leads out of the folder.


def is_inside(image: str) -> bool:
    """Whether ``image`` is a plain relative path with forward slashes that never climbs out of its folder."""
    parts = image.split("/")
    return not (image.startswith("/") or ".." in parts or "\\" in image or ":" in parts[0] or "\0" in image)


def leads_out(inside: Path, path: Path) -> bool:
    """Whether ``path`` leads, by links, out of the resolved folder ``inside``; what leads nowhere does not."""
    try:
        return not path.resolve().is_relative_to(inside)
    except (OSError, RuntimeError):  # a ring of links
        return False


def check_images(root: Path, studies: Sequence[Study], refuse: Refuse = raise_first) -> None:
    """Refuse an image that is missing or stands outside ``root``; each folder is listed once."""
    folders = _Folders(root)
    for study in studies:
        wrong = folders.wrong(study.image)
        if wrong is not None:
            code, what, hint = wrong
            at = f"{root / STUDIES}: study {study.study!r}"
            refuse(Problem(code, DataError(f"image {study.image!r} {what}", where=at, hint=hint), study.study))


class _Folders:
    """The folders of a data set's images, each listed when it is first asked for."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._inside = root.resolve()
        self._listed: dict[str, dict[str, bool] | None] = {}

    def wrong(self, image: str) -> tuple[str, str, str] | None:
        """(code, what is wrong, hint) of the path ``image``, or None."""
        if not is_inside(image):
            return "image-outside", "path leaves the data set's folder", "write it relative to that folder"
        folder, _, name = image.rpartition("/")
        if folder not in self._listed:
            out = leads_out(self._inside, self._root / folder)
            self._listed[folder] = None if out else _files(self._root / folder)
        files = self._listed[folder]
        if files is None:
            return "image-outside", "is reached by a link out of the data set's folder", "copy the files there"
        plain = files.get(name)
        if plain is None:
            return "image-missing", "is missing", "add the file or take the row out"
        if not plain and leads_out(self._inside, self._root / image):
            return "image-outside", "is a link out of the data set's folder", "copy the file there"
        return None


def _files(folder: Path) -> dict[str, bool]:
    """Names of the files in ``folder``; True for a plain file, False for a link that is yet to be followed."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name: not entry.is_symlink() for entry in entries if _is_file(entry)}
    except OSError:  # missing, a ring of links, a name longer than any
        return {}


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a ring of links
        return False


#: What may not stand in two splits at once; ``patient`` is verified. ``documented`` is by row, as the log split.
SPLIT_POLICIES = ("patient", "image", "reading", "documented")
#: What a study is: an image with all its readings, one reading, or one reading without clinical data.
MODES = ("unified", "normal", "full")
_TOP_KEYS = ("name", "labels", "numeric", "categorical", "licence", "split_policy", "mode", "bits", "description")


@dataclass(frozen=True)
class Description:
    """What ``dataset.toml`` says."""

    name: str
    labels: tuple[str, ...]
    numeric: tuple[NumericColumn, ...]
    categorical: tuple[CategoricalColumn, ...]
    licence: str
    split_policy: str | None
    mode: str | None = None
    bits: int | None = None


def load_dataset(path: Path | str) -> DataSet:
    """Read and check the data set in the folder ``path``; raises DataError naming file, row, key and hint."""
    root = Path(path)
    check_files(root)
    description = read_description(root / TOML)
    studies = read_studies(root / STUDIES, description.numeric, description.categorical)
    check_images(root, studies)
    if description.split_policy == "patient":
        _check_patients(root / STUDIES, studies)
    table = read_boxes(root / BOXES, studies, description.labels)
    return assemble(root, description, with_acquisition(root, studies), table)


def check_files(root: Path) -> None:
    """Refuse a folder that is none or lacks one of its three tables. Raises DataError."""
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "no such data set"
        raise DataError(what, where=root, hint="make one with `mmad data phantom --out DIR` or name its folder")
    for name in (TOML, STUDIES, BOXES):
        if not (root / name).is_file():
            raise DataError(
                "file missing", where=root / name, hint=f"a data set holds {TOML}, {STUDIES}, {BOXES} and {IMAGES}/"
            )


def assemble(root: Path, description: Description, studies: tuple[Study, ...], table: BoxTable) -> DataSet:
    """The data set of what was read, and of what its source says was left out. Raises DataError."""
    return DataSet(
        root=root,
        **vars(description),
        excluded=_read_excluded(root / EXCLUDED),
        studies=studies,
        box_study=table.study,
        boxes=table.boxes,
        labels_of=table.labels,
        reading=table.reading,
        certainty=table.certainty,
        no_finding=table.no_finding,
    )


def read_description(path: Path) -> Description:
    """``dataset.toml`` as a record. Raises DataError."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"not TOML: {error}", where=path, hint="correct the file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read: {error}", where=path, hint="write it as UTF-8 text") from None
    except (RecursionError, ValueError):
        what = "is nested too deeply, or holds a number of thousands of digits"
        raise DataError(what, where=path, hint="correct the file") from None
    for key in raw:
        if key not in _TOP_KEYS:
            raise DataError(no_such("key", key, _TOP_KEYS), where=path, hint=one_of(_TOP_KEYS))
    labels = _texts(path, raw, "labels")
    numeric = tuple(_numeric(path, i, table) for i, table in enumerate(_tables(path, raw, "numeric"), 1))
    categorical = tuple(_category(path, i, table) for i, table in enumerate(_tables(path, raw, "categorical"), 1))
    names = [column.name for column in numeric] + [column.name for column in categorical]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"clinical column {name!r} is declared twice", where=path, hint="keep one of them")
        if name in (*STUDY_COLUMNS, "source"):
            raise DataError(f"clinical column {name!r} has a reserved name", where=path, hint="rename the column")
    policy = raw.get("split_policy")
    if policy is not None and policy not in SPLIT_POLICIES:
        raise DataError(no_such("split_policy", str(policy), SPLIT_POLICIES), where=path, hint=one_of(SPLIT_POLICIES))
    mode = raw.get("mode")
    if mode is not None and mode not in MODES:
        raise DataError(no_such("mode", str(mode), MODES), where=path, hint=one_of(MODES))
    bits = raw.get("bits")
    if bits is not None and (isinstance(bits, bool) or not isinstance(bits, int) or not 8 <= bits <= MOST_BITS):
        what = f"key 'bits' is not a whole number from 8 to {MOST_BITS}"
        raise DataError(what, where=path, hint="write the bits that the images use, as bits = 12")
    name, licence = _text(path, raw, "name"), _text(path, raw, "licence")
    return Description(name, labels, numeric, categorical, licence, policy, mode, bits)


def _text(path: Path, table: Mapping[str, Any], key: str, at: str = "") -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value.strip():
        found = "is missing" if key not in table else "is not a text"
        raise DataError(f"key {key!r} {found}", where=f"{path}{at}", hint=f'add {key} = "…"')
    return value


def _texts(path: Path, table: Mapping[str, Any], key: str, at: str = "") -> tuple[str, ...]:
    value = table.get(key)
    good = isinstance(value, list) and value and all(isinstance(v, str) and v.strip() for v in value)
    if not isinstance(value, list) or not good:
        raise DataError(
            f"key {key!r} is not a list of texts", where=f"{path}{at}", hint=f'write {key} = ["first", "second"]'
        )
    if len(set(value)) < len(value):
        raise DataError(f"key {key!r} names one of its entries twice", where=f"{path}{at}", hint="keep one of them")
    return tuple(value)


def _tables(path: Path, raw: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    value = raw.get(key, [])
    if not isinstance(value, list) or not all(isinstance(v, dict) for v in value):
        raise DataError(f"key {key!r} is not a list of tables", where=path, hint=f"start each column with [[{key}]]")
    return value


def _known(path: Path, table: Mapping[str, Any], known: tuple[str, ...], at: str) -> None:
    for key in table:
        if key not in known:
            raise DataError(no_such("key", key, known), where=f"{path}{at}", hint=one_of(known))


def _numeric(path: Path, number: int, table: dict[str, Any]) -> NumericColumn:
    at = f": [[numeric]] {number}"
    _known(path, table, ("name", "unit", "low", "high", "measured"), at)
    name, unit = _text(path, table, "name", at), table.get("unit", "")
    bounds = []
    for key in ("low", "high"):
        value = table.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
            raise DataError(f"key {key!r} is not a finite number", where=f"{path}{at}", hint=f"write {key} = 0.0")
        bounds.append(float(value))
    if bounds[0] >= bounds[1]:
        raise DataError("low is not below high", where=f"{path}{at}", hint="correct the range")
    return NumericColumn(name, str(unit), bounds[0], bounds[1], _measured(path, table, at))


def _measured(path: Path, table: Mapping[str, Any], at: str) -> str:
    word = str(table.get("measured", UNKNOWN))
    if word not in MEASURED:
        raise DataError(no_such("measured", word, MEASURED), where=f"{path}{at}", hint=one_of(MEASURED))
    return word


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False


def _category(path: Path, number: int, table: dict[str, Any]) -> CategoricalColumn:
    at = f": [[categorical]] {number}"
    _known(path, table, ("name", "values", "measured"), at)
    name, values = _text(path, table, "name", at), _texts(path, table, "values", at)
    return CategoricalColumn(name, values, _measured(path, table, at))


def _check_patients(path: Path, studies: tuple[Study, ...]) -> None:
    first: dict[str, Study] = {}
    for study in studies:
        other = first.setdefault(study.patient, study)
        if other.split != study.split:
            raise DataError(
                f"patient of study {study.study!r} ({study.split}) also has study {other.study!r} ({other.split})",
                where=path,
                hint=f'keep a patient in one split, or drop split_policy = "patient" from {TOML}',
            )
