"""Reads the folder of a data set; every problem is a DataError that names file, row, key and hint.

A message names rows and studies, never a clinical value: those belong to patients.
"""

from __future__ import annotations

import csv
import math
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TextIO

import numpy as np
from numpy.typing import NDArray

from mmad.base.errors import DataError
from mmad.base.records import SPLITS
from mmad.config.messages import no_such, one_of, shown
from mmad.data.dataset import BOXES, IMAGES, STUDIES, TOML, CategoricalColumn, DataSet, NumericColumn, Study

# What becomes of a problem found while a data set is read: raised at once, or collected to be told with the others.
#
# The reading functions hand every problem to a ``Refuse``. The loader raises the first; the audit collects
# them all, and each function then goes on without the row or the cell that cannot be used.


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong. Those with one ``code`` and ``of`` (a column, a label) are told together.

    ``row`` is the id of the study it is about, as far as there is one.
    """

    code: str
    error: DataError
    row: str = ""
    of: str = ""


class Refuse(Protocol):
    """Hears of a problem and either raises its error or returns."""

    def __call__(self, problem: Problem, /) -> None: ...


def raise_first(problem: Problem) -> None:
    """The loader's way: the first problem is the end of it. Raises DataError."""
    raise problem.error


# CSV files as rows of text that remember their line, so that an error can name it.


#: What is beyond these is no table of studies; it is refused before it fills the memory.
MOST_COLUMNS = 10_000
MOST_CHARACTERS = 1 << 20  # of one line

Rows = list[tuple[int, list[str]]]


@dataclass(frozen=True)
class CsvTable:
    """A CSV file by column, with the line of each row; cells are stripped of blanks at both ends."""

    path: Path
    lines: tuple[int, ...]
    columns: Mapping[str, Sequence[str]]

    def column(self, name: str) -> Sequence[str]:
        """The cells of one column; raises DataError for an unknown one."""
        if name not in self.columns:
            raise DataError(no_such("column", name, self.columns), where=f"{self.path}:1", hint=one_of(self.columns))
        return self.columns[name]

    def at(self, row: int) -> str:
        """``file:line`` of one row, for a message."""
        return f"{self.path}:{self.lines[row]}"


def read_table(path: Path) -> CsvTable:
    """A CSV file by column. Raises DataError."""
    try:
        there = path.is_file()
    except OSError:  # a name too long for the file system
        there = False
    if not there:
        raise DataError("file missing", where=path, hint="name the table with its option, or put it there")
    header, rows = open_table(path)
    columns = {name: [row[i].strip() for _, row in rows] for i, name in enumerate(header)}
    return CsvTable(path, tuple(line for line, _ in rows), columns)


def open_table(path: Path, refuse: Refuse = raise_first) -> tuple[list[str], Rows]:
    """A CSV file as (header, [(line number, cells)]); blank lines are left out.

    A row with too many or too few cells is refused and left out. Raises DataError for a file that is no table.
    What is wrong is met in the order of the file, so that a hostile file costs no more time than the rows before it.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _parsed(file, path, refuse)
    except UnicodeDecodeError:
        at = f"{path}:{_undecodable_line(path)}"
        raise DataError("not UTF-8 text", where=at, hint="save it as UTF-8") from None
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=path, hint="save it as a plain file") from None


def _parsed(file: TextIO, path: Path, refuse: Refuse) -> tuple[list[str], Rows]:
    reader = csv.reader(_lines(file, path), strict=True)
    start, rows = 1, Rows()
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_names(path, header)
        start = reader.line_num + 1
        for row in reader:
            if row and len(row) != len(header):
                what = f"{len(row)} cells where the header has {len(header)}"
                error = DataError(what, where=f"{path}:{reader.line_num}", hint="correct the row")
                refuse(Problem("row-width", error, f"line {reader.line_num}"))
            elif row:
                rows.append((reader.line_num, row))
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"cannot be read: {error}",
            where=f"{path}:{start}",
            hint="close the quotes of this row and save it as comma-separated text",
        ) from None
    return header, rows


def _lines(file: TextIO, path: Path) -> Iterator[str]:
    number = 0
    while line := file.readline(MOST_CHARACTERS + 1):
        number += 1
        if len(line) > MOST_CHARACTERS:
            what, hint = f"a line of more than {MOST_CHARACTERS:,} characters", "a table has one short line per row"
            raise DataError(what, where=f"{path}:{number}", hint=hint)
        if "\0" in line:
            raise DataError("holds a NUL byte", where=f"{path}:{number}", hint="save it as plain UTF-8 text")
        yield line


def _check_names(path: Path, header: Sequence[str]) -> None:
    if len(header) > MOST_COLUMNS:
        what = f"{len(header):,} columns where {MOST_COLUMNS:,} are the most"
        raise DataError(what, where=f"{path}:1", hint="keep the columns that are needed")
    seen: set[str] = set()
    for name in header:
        if name in seen:
            raise DataError(f"column {shown(name)} stands twice", where=f"{path}:1", hint="keep one of them")
        seen.add(name)


def _undecodable_line(path: Path) -> int:
    """The first line that is not UTF-8; ends of lines are LF here, which never stands inside a character."""
    with path.open("rb") as file:
        number = 1
        while line := file.readline(4 * MOST_CHARACTERS):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                break
            number += 1
    return number


def check_header(path: Path, header: list[str], needed: tuple[str, ...], optional: tuple[str, ...]) -> None:
    """Refuse a header with a column too many (naming the nearest) or too few."""
    for name in header:
        if name not in needed and name not in optional:
            known = [n for n in (*needed, *optional) if n not in header] or [*needed, *optional]
            raise DataError(
                no_such("column", name, known), where=f"{path}:1", hint=f"declare it in {TOML} or take it out"
            )
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
    table = _Table(path, {name: i for i, name in enumerate(header)}, refuse, numeric, categorical)
    studies = [study for line, cells in rows if (study := table.study(line, cells)) is not None]
    if not studies:
        raise DataError("holds no study", where=path, hint="a data set needs at least one")
    return tuple(studies)


class _Table:
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
        self._numeric = [(column.name, place[column.name]) for column in numeric]
        self._categorical = [(column, place[column.name], frozenset(column.values)) for column in categorical]
        self._seen: dict[str, int] = {}
        self._refuse = refuse

    def study(self, line: int, cells: Sequence[str]) -> Study | None:
        """The study of one row, or None where it cannot be told which, whose or where it is."""
        study, image, width, height, patient, split = (cells[i].strip() for i in self._base)
        if not self._is_usable(line, study, image, patient, split):
            return None
        self._seen[study] = line
        numbers = tuple([self._number(cells[i], line, study, name) for name, i in self._numeric])
        values = tuple([self._value(cells[i], line, study, column, known) for column, i, known in self._categorical])
        sides = self._side(width, line, study, "width"), self._side(height, line, study, "height")
        origin = cells[self._source].strip() or None if self._source is not None else None
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

    def _number(self, text: str, line: int, study: str, column: str) -> float | None:
        if not (text and (text := text.strip())):
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if math.isfinite(value):
            return value
        hint = "leave the cell empty if it is missing"
        self._refuse_cell("value-not-a-number", line, study, column, "is not a number", hint)
        return None

    def _value(self, text: str, line: int, study: str, column: CategoricalColumn, known: frozenset[str]) -> str | None:
        text = text.strip()
        if not text or text in known:
            return text or None
        hint = f"{one_of(column.values)}, or leave the cell empty"
        self._refuse_cell("value-unknown", line, study, column.name, f"holds a value that {TOML} does not list", hint)
        return None

    def _side(self, text: str, line: int, study: str, column: str) -> int:
        if text.isdecimal() and len(text) <= 20 and 1 <= int(text) <= 1_000_000:
            return int(text)
        what = "is not a whole number of pixels from 1"
        self._refuse_cell("size-not-a-number", line, study, column, what, "write the stored image's size")
        return UNKNOWN_SIDE

    def _refuse_cell(self, code: str, line: int, study: str, column: str, what: str, hint: str) -> None:
        at = f"{self._path}:{line}"
        error = DataError(f"study {study!r}: column {column!r} {what}", where=at, hint=hint)
        self._refuse(Problem(code, error, study, column))


# Reads ``boxes.csv``: one row per box of one reading of one study.


BOX_COLUMNS = ("study", "xmin", "ymin", "xmax", "ymax", "label")
OPTIONAL_COLUMNS = ("reading", "certainty")
_SIDES = ("xmin", "ymin", "xmax", "ymax")
_COLUMNS = (*_SIDES, "certainty")


@dataclass(frozen=True, eq=False)
class BoxTable:
    """The boxes as parallel arrays, as ``mmad.data.dataset.DataSet`` holds them."""

    study: NDArray[np.int64]  # (M,)
    boxes: NDArray[np.float64]  # (M, 4)
    labels: NDArray[np.int64]  # (M,)
    reading: tuple[str, ...]
    certainty: NDArray[np.float64]  # (M,)


def read_boxes(
    path: Path, studies: tuple[Study, ...], labels: tuple[str, ...], refuse: Refuse = raise_first
) -> BoxTable:
    """``boxes.csv``, every row checked against its study and the labels.

    A row without study, label or numbers is refused and left out; a box without area or outside its image is
    refused and kept. Raises DataError for a table that cannot be read.
    """
    header, rows = open_table(path, refuse)
    check_header(path, header, BOX_COLUMNS, OPTIONAL_COLUMNS)
    place = {name: i for i, name in enumerate(header)}
    position = {study.study: i for i, study in enumerate(studies)}
    number = {label: i for i, label in enumerate(labels, 1)}
    strangers: set[str] = set()
    rows = [row for row in rows if _is_known(path, row, place, position, number, strangers, refuse)]
    sides = [place[name] for name in _SIDES] + ([place["certainty"]] if "certainty" in place else [])
    read = [_numbers(path, row, sides, row[1][place["study"]].strip(), refuse) for row in rows]
    rows = [row for row, values in zip(rows, read, strict=True) if values is not None]
    cells = np.array([values for values in read if values is not None], dtype=np.float64).reshape(len(rows), len(sides))
    boxes, certainty = cells[:, :4].copy(), cells[:, 4].copy() if cells.shape[1] > 4 else np.full(len(rows), np.nan)
    owner = np.array([position[row[place["study"]].strip()] for _, row in rows], dtype=np.int64)
    label = np.array([number[row[place["label"]].strip()] for _, row in rows], dtype=np.int64)
    _check_boxes(path, [line for line, _ in rows], boxes, owner, studies, refuse)
    reading = [row[place["reading"]].strip() for _, row in rows] if "reading" in place else [""] * len(rows)
    return BoxTable(owner, boxes, label, tuple(reading), certainty)


Row = tuple[int, list[str]]


def _is_known(
    path: Path,
    row: Row,
    place: Mapping[str, int],
    studies: Mapping[str, int],
    labels: Mapping[str, int],
    strangers: set[str],
    refuse: Refuse,
) -> bool:
    line, cells = row
    study, label = cells[place["study"]].strip(), cells[place["label"]].strip()
    if study in studies and label in labels:
        return True
    at = f"{path}:{line}"
    if study not in studies:
        what = no_such("study", study, () if strangers else studies)  # the nearest of the first is looked for alone
        strangers.add(study)
        error = DataError(what, where=at, hint="every box needs a row in studies.csv")
        refuse(Problem("box-without-study", error, study))
    else:
        hint = f"{one_of(labels)}, or add it to {TOML}"
        refuse(Problem("label-unknown", DataError(no_such("label", label, labels), where=at, hint=hint), study, label))
    return False


def _numbers(path: Path, row: Row, places: Sequence[int], study: str, refuse: Refuse) -> list[float] | None:
    """The numbers of a row: four sides and, where ``places`` has a fifth, the certainty (NaN where there is none).

    None for a box that cannot be read.
    """
    line, cells = row
    numbers = []
    for column, i in zip(_COLUMNS, places, strict=False):
        optional = column == "certainty"
        text = cells[i].strip()
        number = _finite(text)
        if number is None and not (optional and not text):
            hint = "leave the cell empty if it is not known" if optional else "write pixels of the stored image"
            error = DataError(f"column {column!r} is not a number: {text!r}", where=f"{path}:{line}", hint=hint)
            refuse(Problem("box-not-a-number", error, study, column))
            if not optional:
                return None
        numbers.append(math.nan if number is None else number)
    return numbers


def _finite(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def without_area(boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of the boxes (M, 4) have no area."""
    flat: NDArray[np.bool_] = np.any(boxes[:, 2:] <= boxes[:, :2], axis=1)
    return flat


def outside(boxes: NDArray[np.float64], sizes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of the boxes (M, 4) leave their image of (width, height) ``sizes`` (M, 2)."""
    beyond: NDArray[np.bool_] = np.any((boxes[:, :2] < 0) | (boxes[:, 2:] > sizes), axis=1)
    return beyond


def _check_boxes(
    path: Path,
    lines: Sequence[int],
    boxes: NDArray[np.float64],
    owner: NDArray[np.int64],
    studies: tuple[Study, ...],
    refuse: Refuse,
) -> None:
    sides = [(study.width or math.inf, study.height or math.inf) for study in studies]
    sizes = np.array(sides, dtype=np.float64).reshape(-1, 2)[owner]  # (M, 2)
    flat, beyond = without_area(boxes), outside(boxes, sizes)
    for i in np.flatnonzero(flat | beyond):
        study = studies[int(owner[i])]
        shown = ", ".join(f"{side:g}" for side in boxes[i])
        at = f"{path}:{lines[int(i)]}: study {study.study!r}"
        if flat[i]:
            hint = "xmax must exceed xmin, and ymax must exceed ymin"
            refuse(Problem("box-degenerate", DataError(f"box ({shown}) has no area", where=at, hint=hint), study.study))
            continue
        what = f"box ({shown}) leaves the image of {study.width} x {study.height} px"
        hint = "write pixels of the stored image, or clip the box"
        refuse(Problem("box-outside", DataError(what, where=at, hint=hint), study.study))


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
_TOP_KEYS = ("name", "labels", "numeric", "categorical", "licence", "split_policy", "mode", "description")


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


def load_dataset(path: Path | str) -> DataSet:
    """Read and check the data set in the folder ``path``; raises DataError naming file, row, key and hint."""
    return read_folder(Path(path))


def read_folder(root: Path) -> DataSet:
    """The data set in ``root``, checked. Raises DataError."""
    check_files(root)
    description = read_description(root / TOML)
    studies = read_studies(root / STUDIES, description.numeric, description.categorical)
    check_images(root, studies)
    if description.split_policy == "patient":
        _check_patients(root / STUDIES, studies)
    table = read_boxes(root / BOXES, studies, description.labels)
    return assemble(root, description, studies, table)


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
    """The data set of what was read."""
    return DataSet(
        root=root,
        name=description.name,
        labels=description.labels,
        numeric=description.numeric,
        categorical=description.categorical,
        licence=description.licence,
        split_policy=description.split_policy,
        mode=description.mode,
        studies=studies,
        box_study=table.study,
        boxes=table.boxes,
        labels_of=table.labels,
        reading=table.reading,
        certainty=table.certainty,
    )


def read_description(path: Path) -> Description:
    """``dataset.toml`` as a record. Raises DataError."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
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
    name, licence = _text(path, raw, "name"), _text(path, raw, "licence")
    return Description(name, labels, numeric, categorical, licence, policy, mode)


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
    _known(path, table, ("name", "unit", "low", "high"), at)
    name, unit = _text(path, table, "name", at), table.get("unit", "")
    bounds = []
    for key in ("low", "high"):
        value = table.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
            raise DataError(f"key {key!r} is not a finite number", where=f"{path}{at}", hint=f"write {key} = 0.0")
        bounds.append(float(value))
    if bounds[0] >= bounds[1]:
        raise DataError("low is not below high", where=f"{path}{at}", hint="correct the range")
    return NumericColumn(name, str(unit), bounds[0], bounds[1])


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False


def _category(path: Path, number: int, table: dict[str, Any]) -> CategoricalColumn:
    at = f": [[categorical]] {number}"
    _known(path, table, ("name", "values"), at)
    return CategoricalColumn(_text(path, table, "name", at), _texts(path, table, "values", at))


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
