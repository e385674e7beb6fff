"""Tables as CSV (RFC 4180, UTF-8): every figure in full, empty where nothing was measured."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from functools import lru_cache

from mmad.report.tables import Cell, Table
from mmad.report.words import clean

#: Beginnings that a spreadsheet would take for a formula.
_FORMULA = ("=", "+", "-", "@")


def as_csv(table: Table) -> str:
    """A heading and one line per row; floats as the shortest text that reads back as the same number."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([_cell(column.name) for column in table.columns])
    writer.writerows([_cell(cell) for cell in row] for row in table.rows)
    return out.getvalue()


def columns_csv(tables: list[Table]) -> str:
    """What every column of every table means, and its unit."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["file", "column", "unit", "meaning"])
    for table in tables:
        writer.writerows([f"{table.name}.csv", _cell(c.name), c.unit, c.meaning] for c in table.columns)
    return out.getvalue()


def _cell(value: Cell) -> str | int | float:
    if isinstance(value, float):
        return float(value)  # of numpy's numbers too
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return _words(value) if isinstance(value, str) else value


@lru_cache(maxsize=4096)
def _words(text: str) -> str:
    line = " ".join(clean(text).split())
    return f"'{line}" if line.startswith(_FORMULA) else line
