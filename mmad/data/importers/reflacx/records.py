"""Reads the tables of the original distributions, ``.csv`` or ``.csv.gz``, and the kinds of cell they have.

The largest have hundreds of thousands of rows, of which a few thousand matter: nothing is held that is not asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pandas

from mmad.base.errors import DataError
from mmad.data.tables import open_table, read_table

_WHOLE = re.compile(r"(\d+)(?:\.0*)?")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_FLAGS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False, "": False}
ENDINGS = (".csv", ".csv.gz")
Record = TypeVar("Record")


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


def records(
    path: Path, columns: Sequence[str], keep: Callable[[pandas.DataFrame], pandas.Series[bool]] | None = None
) -> Iterator[tuple[str, ...]]:
    """Of each row of ``path`` that is not blank, and for which ``keep`` holds, its place and the cells of ``columns``.

    Raises DataError for a column that is missing, a row with too many or too few cells and a file that cannot be read.
    """
    with _as_distributed():
        frame = read_table(path, columns, keep).frame
    for line, *cells in frame[(frame != "").any(axis=1)].itertuples(name=None):
        yield f"{path}:{line}", *cells


def whole(text: str) -> str | None:
    """An id or a whole number without a fraction that a table's software may have added (``12345.0``), or None."""
    match = _WHOLE.fullmatch(text)
    return None if match is None else match[1].lstrip("0") or "0"


def among(
    column: str, wanted: Collection[str], identity: Callable[[str], str | None] = whole
) -> Callable[[pandas.DataFrame], pandas.Series[bool]]:
    """Keeps the rows whose ``column`` holds one of the ids ``wanted``."""
    return lambda frame: frame[column].map(identity).isin(wanted)


def is_blank(path: Path) -> bool:
    """Whether ``path`` holds nothing at all, not even a header. Raises DataError."""
    with _as_distributed():
        header, rows = open_table(path)
        return not any(header) and next(rows, None) is None


@contextmanager
def _as_distributed() -> Iterator[None]:
    """Nobody corrects these files by hand."""
    try:
        yield
    except DataError as error:
        raise DataError(error.what, where=error.where, hint="take the file as it was distributed") from None


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
