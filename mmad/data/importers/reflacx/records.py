"""Streams the CSV files of the original distributions, ``.csv`` or ``.csv.gz``, one row at a time.

The largest have hundreds of thousands of rows, of which a few thousand matter: nothing is held that is not asked for.
"""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple, TypeVar

from mmad.base.errors import DataError
from mmad.config.messages import no_such

_WHOLE = re.compile(r"(\d+)(?:\.0*)?")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_FLAGS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False, "": False}
ENDINGS = (".csv", ".csv.gz")
Record = TypeVar("Record")


class Row(NamedTuple):
    """The cells asked for, stripped, in the order asked for, and the line on which the row ends."""

    line: int
    cells: tuple[str, ...]


def find_table(root: Path, folders: Sequence[str], names: Sequence[str], option: str) -> Path:
    """The first of ``root/FOLDER/NAME.csv`` and ``.csv.gz`` that is there. Raises DataError.

    ``option`` is the word of the command line that named ``root``. A name may be a pattern (``*-metadata``).
    """
    if not root.is_dir():
        raise DataError("no such folder", where=root, hint=f"name the folder of the distribution with {option}")
    for folder in folders:
        for name in names:
            for ending in ENDINGS:
                found = sorted(path for path in (root / folder).glob(name + ending) if path.is_file())
                if found:
                    return found[-1]
    expected = " or ".join(f"{folder}/{names[0]}".removeprefix("./") + ".csv[.gz]" for folder in folders)
    raise DataError(f"holds no {expected}", where=root, hint=f"name the folder of the distribution with {option}")


def stream(path: Path, needed: Sequence[str], optional: Sequence[str] = ()) -> Iterator[Row]:
    """The rows of ``path`` that are not blank: the cells ``needed``, then ``optional`` ones, empty where not there.

    Raises DataError for a column that is missing, a row with too many or too few cells and a file that cannot be read.
    """
    try:
        with _opened(path) as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            places = _places(path, header, needed, optional)
            for row in reader:
                if not any(row):
                    continue
                if len(row) != len(header):
                    what = f"{len(row)} cells where the header has {len(header)}"
                    raise DataError(what, where=f"{path}:{reader.line_num}", hint="download the file again")
                cells = tuple("" if place is None else row[place].strip() for place in places)
                yield Row(reader.line_num, cells)
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8 text (byte {error.start})", where=path, hint="download the file again") from None
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        what = f"cannot be read: {error}"
        raise DataError(what, where=path, hint="download the file again or check that you may read it") from None


def is_blank(path: Path) -> bool:
    """Whether ``path`` holds nothing at all, not even a header. Raises DataError."""
    return next(stream_lines(path), None) is None


def stream_lines(path: Path) -> Iterator[str]:
    """The lines of ``path`` that hold something. Raises DataError."""
    try:
        with _opened(path) as file:
            yield from (line for line in file if line.strip())
    except (OSError, EOFError, zlib.error, UnicodeDecodeError):
        raise DataError("cannot be read", where=path, hint="download the file again") from None


def _opened(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _places(path: Path, header: list[str], needed: Sequence[str], optional: Sequence[str]) -> list[int | None]:
    for name in (*needed, *optional):
        if header.count(name) > 1:
            raise DataError(f"column {name!r} stands twice", where=f"{path}:1", hint="keep one of them")
        if name in needed and name not in header:
            near = no_such("column", name, header).partition(" (")[2]
            what = f"column {name!r} is missing" + (f" ({near}" if near else "")
            raise DataError(what, where=f"{path}:1", hint="take the file as it was distributed")
    return [header.index(name) if name in header else None for name in (*needed, *optional)]


def whole(text: str) -> str | None:
    """An id or a whole number without a fraction that a table's software may have added (``12345.0``), or None."""
    match = _WHOLE.fullmatch(text)
    return None if match is None else match[1].lstrip("0") or "0"


def id_of(text: str, column: str, at: str) -> str:
    """A whole number as text. Raises DataError, which does not say what stands there instead."""
    number = whole(text)
    if number is None:
        raise DataError(f"column {column!r} is not a whole number", where=at, hint="take the file as distributed")
    return number


def name_of(text: str, column: str, at: str) -> str:
    """An id that becomes part of a path: letters, digits, ``-``, ``_``, ``.``. Raises DataError."""
    if not _PLAIN_NAME.fullmatch(text):
        raise DataError(f"column {column!r} is no plain id", where=at, hint="take the file as distributed")
    return text


def flag(text: str, column: str, at: str) -> bool:
    """``True`` or ``False`` in any case, 1 or 0; nothing is False. Raises DataError."""
    if text.casefold() not in _FLAGS:
        raise DataError(f"column {column!r} is neither True nor False", where=at, hint="take the file as distributed")
    return _FLAGS[text.casefold()]


def add_once(records: dict[str, Record], key: str, record: Record, what: str, at: str) -> bool:
    """Keep ``record`` under ``key``; False if the same is there already. Raises DataError for another one."""
    known = records.setdefault(key, record)
    if known is record:
        return True
    if known != record:
        raise DataError(f"{what} {key!r} stands twice and differs", where=at, hint="keep one of the rows")
    return False
