"""CSV files as rows of text that remember their line, so that an error can name it."""

from __future__ import annotations

import csv
from pathlib import Path

from mmad.base.errors import DataError
from mmad.data.dataset import TOML
from mmad.data.names import no_such
from mmad.data.problems import Problem, Refuse, raise_first


def open_table(path: Path, refuse: Refuse = raise_first) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """A CSV file as (header, [(line number, cells)]); blank lines are left out.

    A row with too many or too few cells is refused and left out. Raises DataError for a file that is no table.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            rows = [(reader.line_num, row) for row in reader if row]
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8 text (byte {error.start})", where=path, mend="save it as UTF-8") from None
    except (OSError, csv.Error) as error:
        raise DataError(f"cannot be read: {error}", where=path, mend="save it as comma-separated text") from None
    for name in header:
        if header.count(name) > 1:
            raise DataError(f"column {name!r} stands twice", where=f"{path}:1", mend="keep one of them")
    for line, row in rows:
        if len(row) != len(header):
            what = f"{len(row)} cells where the header has {len(header)}"
            broken = DataError(what, where=f"{path}:{line}", mend="correct the row")
            refuse(Problem("row-width", broken, f"line {line}"))
    return header, [(line, row) for line, row in rows if len(row) == len(header)]


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
