"""All tables of a report, written as one CSV and one LaTeX file each."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from mmad.base.errors import ReportError
from mmad.base.files import write_atomically
from mmad.base.formatting import clean, clip
from mmad.base.paths import file_stem
from mmad.report.model import ReportModel
from mmad.report.tables import (
    Cell,
    TableContent,
    checkpoints_table,
    confusion_table,
    controls_table,
    documented_table,
    epochs_table,
    findings_table,
    froc_table,
    pair_tables,
    parameters_table,
    refused_table,
    runs_table,
    threshold_tables,
)
from mmad.report.writers.latex import as_latex

# Tables as CSV (RFC 4180, UTF-8): every figure in full precision, empty where nothing was measured.

#: First characters that a spreadsheet would read as a formula.
_FORMULA = ("=", "+", "-", "@")


def as_csv(table: TableContent) -> str:
    """A heading and one line per row; a float is the shortest text that reads back as the same number."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([_cell(column.name) for column in table.columns])
    writer.writerows([_cell(cell) for cell in row] for row in table.rows)
    return out.getvalue()


def columns_csv(tables: list[TableContent]) -> str:
    """The meaning and unit of every column of every table."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["file", "column", "unit", "meaning"])
    for table in tables:
        writer.writerows([f"{table.name}.csv", _cell(c.name), c.unit, c.meaning] for c in table.columns)
    return out.getvalue()


def _cell(value: Cell) -> str | int | float:
    if isinstance(value, float):
        return float(value)  # numpy's floats too
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


def all_tables(model: ReportModel) -> Iterator[TableContent]:
    """Every table of ``model``: for each ablation, for all runs, and for every epoch."""
    for ablation in model.ablations:
        name = ablation.frame.record.name
        yield from pair_tables(ablation, model.statistics)
        yield from refused_table(ablation)
        yield from documented_table(ablation)
        yield from parameters_table(ablation)
        yield runs_table(file_stem(name, "runs"), f"{clip(ablation.title, 120)}: runs", [ablation.frame])
        yield from checkpoints_table(ablation)
        yield from findings_table(ablation, model.statistics)
        yield from threshold_tables(ablation, model.statistics)
        yield from froc_table(ablation, model.statistics)
        yield from confusion_table(ablation, model.statistics)
        yield from controls_table(ablation, model.statistics)
    if len(model.ablations) > 1:
        yield runs_table("runs", "All runs", [a.frame for a in model.ablations])
    yield epochs_table(model)


def write_tables(
    model: ReportModel, *, csv: Path | None = None, latex: Path | None = None
) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Write the tables of ``model`` into the folders ``csv`` and ``latex``; return the files of each, in order.

    A file replaces one with its name; other files in the folders stay.

    Raises:
        ReportError: a file that cannot be written.
    """
    tables = [table for table in all_tables(model) if table.rows]
    data: list[Path] = []
    if csv is not None:
        data += [_write(csv / f"{table.name}.csv", as_csv(table), "--csv") for table in tables]
        data.append(_write(csv / "columns.csv", columns_csv(tables), "--csv"))
    printed = [t for t in tables if t.printed is not None]
    sources = (
        [] if latex is None else [_write(latex / f"{table.name}.tex", as_latex(table), "--latex") for table in printed]
    )
    return tuple(data), tuple(sources)


def _write(path: Path, text: str, option: str) -> Path:
    try:
        write_atomically(path, text.encode("utf-8"))
    except OSError as error:
        raise ReportError(
            f"cannot be written ({error.strerror or error})",
            where=path,
            hint=f"choose another folder with {option}, or make room there",
        ) from error
    return path
