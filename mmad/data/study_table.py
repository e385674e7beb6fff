"""Reads ``studies.csv``: one row per image, with the clinical values of its patient."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmad.base.errors import DataError
from mmad.base.records import SPLITS
from mmad.data.csv_table import check_header, open_table
from mmad.data.dataset import TOML, CategoricalColumn, NumericColumn, Study
from mmad.data.names import no_such, one_of
from mmad.data.problems import Problem, Refuse, raise_first

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
        raise DataError("holds no study", where=path, mend="a data set needs at least one")
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
            error = DataError(f"column {name!r} is empty", where=at, mend="every study needs one")
            self._refuse(Problem("cell-empty", error, study or f"line {line}", name))
        elif study in self._seen:
            what = f"study {study!r} stands on line {self._seen[study]} too"
            self._refuse(Problem("study-twice", DataError(what, where=at, mend="give each its own id"), study))
        elif split not in SPLITS:
            what = no_such("split", split, SPLITS)
            error = DataError(what, where=f"{at}: study {study!r}", mend=one_of(SPLITS))
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
        mend = "leave the cell empty if it is missing"
        self._refuse_cell("value-not-a-number", line, study, column, "is not a number", mend)
        return None

    def _value(self, text: str, line: int, study: str, column: CategoricalColumn, known: frozenset[str]) -> str | None:
        text = text.strip()
        if not text or text in known:
            return text or None
        mend = f"{one_of(column.values)}, or leave the cell empty"
        self._refuse_cell("value-unknown", line, study, column.name, f"holds a value that {TOML} does not list", mend)
        return None

    def _side(self, text: str, line: int, study: str, column: str) -> int:
        if text.isdecimal() and len(text) <= 20 and 1 <= int(text) <= 1_000_000:
            return int(text)
        what = "is not a whole number of pixels from 1"
        self._refuse_cell("size-not-a-number", line, study, column, what, "write the stored image's size")
        return UNKNOWN_SIDE

    def _refuse_cell(self, code: str, line: int, study: str, column: str, what: str, mend: str) -> None:
        at = f"{self._path}:{line}"
        error = DataError(f"study {study!r}: column {column!r} {what}", where=at, mend=mend)
        self._refuse(Problem(code, error, study, column))
