"""CSV tables, ``.csv`` or ``.csv.gz``: those of a data set and those that importers take in, read by one reader.

``open_table`` checks a file row by row and knows on which line each row ends; ``read_table`` holds the rows as a pandas
frame of text. ``pandas.read_csv`` takes no part: it fills a short row without a word, joins what follows a closing
quote, and forgets on which line of the file a row stands, which every message here names.
"""

from __future__ import annotations

import csv
import gzip
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from mmad.base.errors import DataError
from mmad.config.messages import no_such, one_of, shown

if TYPE_CHECKING:
    import pandas

#: What is beyond these is no table of studies; it is refused before it fills the memory.
MOST_COLUMNS = 10_000
MOST_CHARACTERS = 1 << 20  # of one line
#: Rows that are made into a frame at once: before a filter sees them they take the memory of text in lists.
_CHUNK = 10_000

#: The line on which a row ends, and its cells, without blanks at both ends.
NumberedRow = tuple[int, list[str]]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a data set. Those with one ``code`` and ``of`` (a column, a label) are one finding.

    ``row`` is the id of the study it is about, as far as there is one.
    """

    code: str
    error: DataError
    row: str = ""
    of: str = ""


class Refuse(Protocol):
    """Hears of a problem and either raises its error, as the loader does, or collects it, as the audit does.

    Where it returns, the row or the cell that cannot be used is left out.
    """

    def __call__(self, problem: Problem, /) -> None: ...


def raise_first(problem: Problem) -> None:
    """The loader's way: the first problem is the end of it. Raises DataError."""
    raise problem.error


@dataclass(frozen=True, eq=False)
class Table:
    """A CSV file: all cells are text, empty where missing, and the index of a row is its line."""

    path: Path
    frame: pandas.DataFrame

    def column(self, name: str) -> pandas.Series[str]:
        """The cells of one column; raises DataError for an unknown one."""
        if name not in self.frame:
            columns = self.frame.columns.tolist()
            raise DataError(no_such("column", name, columns), where=f"{self.path}:1", hint=one_of(columns))
        return self.frame[name]

    def at(self, row: int) -> str:
        """``file:line`` of the row at a position, for a message."""
        return f"{self.path}:{self._lines[row]}"

    @cached_property
    def _lines(self) -> list[int]:
        return self.frame.index.tolist()


def read_table(
    path: Path,
    columns: Sequence[str] | None = None,
    keep: Callable[[pandas.DataFrame], pandas.Series[bool]] | None = None,
) -> Table:
    """The table at ``path``: all its columns, or ``columns``; the rows for which ``keep`` holds, or all of them.

    The file is read in chunks, so that memory grows with what is kept. Raises DataError.
    """
    import pandas

    header, rows = open_table(path)
    for name in columns or ():
        if name not in header:
            near = no_such("column", name, header).partition(" (")[2]
            what = f"column {name!r} is missing" + (f" ({near}" if near else "")
            raise DataError(what, where=f"{path}:1", hint=one_of(header))
    frames = []
    for lines, cells in _chunks(rows):
        frame = pandas.DataFrame(cells, index=lines, columns=header, dtype="str")
        frame = frame if columns is None else frame[list(columns)]
        frames.append(frame if keep is None else frame[keep(frame)])
    return Table(path, _without_unnamed(path, pandas.concat(frames)))


def _without_unnamed(path: Path, frame: pandas.DataFrame) -> pandas.DataFrame:
    """Without the columns that commas at the end of each line make. Raises DataError where two hold something."""
    if (frame.columns == "").sum() < 2:
        return frame
    filled = [i for i, name in enumerate(frame.columns) if name or bool((frame.iloc[:, i] != "").any())]
    kept = frame.iloc[:, filled]
    if (kept.columns == "").sum() > 1:
        raise DataError("several columns have no name", where=f"{path}:1", hint="name them")
    return kept


def _chunks(rows: Iterator[NumberedRow]) -> Iterator[tuple[list[int], list[list[str]]]]:
    """The lines and the cells of a few rows at a time; of no row where there is none."""
    chunk = list(islice(rows, _CHUNK))
    while True:
        yield [line for line, _ in chunk], [cells for _, cells in chunk]
        if not (chunk := list(islice(rows, _CHUNK))):
            return


def open_table(path: Path, refuse: Refuse = raise_first) -> tuple[list[str], Iterator[NumberedRow]]:
    """The header of a CSV file, and its rows as they are read; blank lines are left out.

    A row with too many or too few cells is refused and left out. Raises DataError for a file that is no table, also
    while its rows are read: what is wrong is met in the order of the file, so that a hostile file costs no more time
    than the rows before it.
    """
    rows = _rows(path, refuse)
    return next(rows)[1], rows


def _rows(path: Path, refuse: Refuse) -> Iterator[NumberedRow]:
    """The header, and every row."""
    try:
        if not path.is_file():
            raise DataError("file missing", where=path, hint="put it there")
        with _opened(path) as file:
            yield from _parsed(file, path, refuse)
    except UnicodeDecodeError:
        at = f"{path}:{_undecodable_line(path)}"
        raise DataError("not UTF-8 text", where=at, hint="save it as UTF-8") from None
    except (OSError, EOFError, zlib.error) as error:
        what = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        raise DataError(what, where=path, hint="save it as a plain file") from None


def _opened(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _parsed(file: IO[str], path: Path, refuse: Refuse) -> Iterator[NumberedRow]:
    reader = csv.reader(_lines(file, path), strict=True)
    start = 1
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_names(path, header)
        yield 1, header
        start = reader.line_num + 1
        for row in reader:
            if row and len(row) != len(header):
                what = f"{len(row)} cells where the header has {len(header)}"
                error = DataError(what, where=f"{path}:{reader.line_num}", hint="correct the row")
                refuse(Problem("row-width", error, f"line {reader.line_num}"))
            elif row:
                yield reader.line_num, [cell.strip() for cell in row]
            start = reader.line_num + 1
    except csv.Error as error:
        raise DataError(
            f"cannot be read: {error}",
            where=f"{path}:{start}",
            hint="close the quotes of this row and save it as comma-separated text",
        ) from None


def _lines(file: IO[str], path: Path) -> Iterator[str]:
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
    for mark, word in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(header) == 1 and mark in header[0]:
            what, hint = f"is separated by {word}", "save it as comma-separated text, with points in its numbers"
            raise DataError(what, where=f"{path}:1", hint=hint)
    seen: set[str] = set()
    for name in filter(None, header):  # several columns without a name are let pass, if nothing is in them
        if name in seen:
            raise DataError(f"column {shown(name)} stands twice", where=f"{path}:1", hint="keep one of them")
        seen.add(name)


def _undecodable_line(path: Path) -> int:
    """The first line that is not UTF-8; ends of lines are LF here, which never stands inside a character."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        number = 1
        while line := file.readline(4 * MOST_CHARACTERS):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                break
            number += 1
    return number


# The numbers in cells.


def read_number(text: str) -> float | None:
    """A finite number, or None. Digits are those of ASCII, and nothing stands between them: ``3_6`` is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and text.isascii() and "_" not in text else None


def number_text(value: float) -> str:
    """The shortest text that ``read_number`` reads as exactly ``value``; a whole number without its ``.0``."""
    return repr(float(value)).removesuffix(".0")
