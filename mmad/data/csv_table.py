"""CSV files as rows of text that remember their line, so that an error can name it."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from mmad.base.errors import DataError
from mmad.data.dataset import TOML
from mmad.data.names import no_such, one_of, shown
from mmad.data.problems import Problem, Refuse, raise_first

#: What is beyond these is no table of studies; it is refused before it fills the memory.
MOST_COLUMNS = 10_000
MOST_CHARACTERS = 1 << 20  # of one line

Rows = list[tuple[int, list[str]]]


@dataclass(frozen=True)
class Table:
    """A CSV file by column, with the line of each row; cells are stripped of blanks at both ends."""

    path: Path
    lines: tuple[int, ...]
    columns: Mapping[str, Sequence[str]]

    def column(self, name: str) -> Sequence[str]:
        """The cells of one column; raises DataError for an unknown one."""
        if name not in self.columns:
            raise DataError(no_such("column", name, self.columns), where=f"{self.path}:1", mend=one_of(self.columns))
        return self.columns[name]

    def at(self, row: int) -> str:
        """``file:line`` of one row, for a message."""
        return f"{self.path}:{self.lines[row]}"


def read_table(path: Path) -> Table:
    """A CSV file by column. Raises DataError."""
    try:
        there = path.is_file()
    except OSError:  # a name too long for the file system
        there = False
    if not there:
        raise DataError("file missing", where=path, mend="name the table with its option, or put it there")
    header, rows = open_table(path)
    columns = {name: [row[i].strip() for _, row in rows] for i, name in enumerate(header)}
    return Table(path, tuple(line for line, _ in rows), columns)


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
        raise DataError("not UTF-8 text", where=at, mend="save it as UTF-8") from None
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=path, mend="save it as a plain file") from None


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
                error = DataError(what, where=f"{path}:{reader.line_num}", mend="correct the row")
                refuse(Problem("row-width", error, f"line {reader.line_num}"))
            elif row:
                rows.append((reader.line_num, row))
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"cannot be read: {error}",
            where=f"{path}:{start}",
            mend="close the quotes of this row and save it as comma-separated text",
        ) from None
    return header, rows


def _lines(file: TextIO, path: Path) -> Iterator[str]:
    number = 0
    while line := file.readline(MOST_CHARACTERS + 1):
        number += 1
        if len(line) > MOST_CHARACTERS:
            what, mend = f"a line of more than {MOST_CHARACTERS:,} characters", "a table has one short line per row"
            raise DataError(what, where=f"{path}:{number}", mend=mend)
        if "\0" in line:
            raise DataError("holds a NUL byte", where=f"{path}:{number}", mend="save it as plain UTF-8 text")
        yield line


def _check_names(path: Path, header: Sequence[str]) -> None:
    if len(header) > MOST_COLUMNS:
        what = f"{len(header):,} columns where {MOST_COLUMNS:,} are the most"
        raise DataError(what, where=f"{path}:1", mend="keep the columns that are needed")
    seen: set[str] = set()
    for name in header:
        if name in seen:
            raise DataError(f"column {shown(name)} stands twice", where=f"{path}:1", mend="keep one of them")
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
                no_such("column", name, known), where=f"{path}:1", mend=f"declare it in {TOML} or take it out"
            )
    for name in needed:
        if name not in header:
            raise DataError(
                f"column {name!r} is missing", where=f"{path}:1", mend=f"the columns are {', '.join(needed)}"
            )
