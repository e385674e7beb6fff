"""A table written down: CSV, Markdown, and for the terminal.

The page has it from ``templates/table.html``. Every writer reads a ``ReportTable`` and adds nothing to it.
"""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.text import Text

from mmad.base.errors import ReportError
from mmad.base.files import write_atomically
from mmad.base.formatting import clean
from mmad.base.terminal import TerminalColumn, fitted_table, least_width
from mmad.report.table_model import Grid, ReportTable
from mmad.report.writers.latex import as_latex

if TYPE_CHECKING:
    from rich.console import Console

# CSV (RFC 4180, UTF-8): every figure in full precision, empty where nothing was measured.

#: First characters that a spreadsheet would read as a formula.
_FORMULA = ("=", "+", "-", "@")


def as_csv(table: ReportTable) -> str:
    """A heading and one line per row; a float is the shortest text that reads back as the same number."""
    names = [column.name for column in table.exported]
    heads = [_one_line(name) for name in names]
    return table.frame[names].map(_raw).to_csv(index=False, header=heads, lineterminator="\n")


def columns_csv(tables: Iterable[ReportTable]) -> str:
    """The meaning and unit of every column of every table."""
    rows = [(f"{t.name}.csv", _one_line(c.name), c.unit, c.meaning) for t in tables for c in t.exported]
    return pd.DataFrame(rows, columns=["file", "column", "unit", "meaning"]).to_csv(index=False, lineterminator="\n")


def _raw(value: Any) -> str | int | float:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return "nan" if value != value else float(value)  # numpy's floats too
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return _one_line(value) if isinstance(value, str) else int(value)


@lru_cache(maxsize=4096)
def _one_line(text: str) -> str:
    line = " ".join(clean(text).split())
    return f"'{line}" if line.startswith(_FORMULA) else line


# Markdown.


def escape(text: str) -> str:
    """Foreign text as plain text on one line: no markup, no HTML, no cell border."""
    line = " ".join(clean(text).split())
    return re.sub(
        r"([\\`*_{}\[\]()#+|~$!-])", r"\\\1", line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    )


def as_markdown(table: ReportTable) -> list[str]:
    """Title, note, the table with its figures right-aligned, footnotes, and an empty line; sections repeat the head."""
    grid = table.grid
    said = " ".join(filter(None, (f"{table.title}.", table.note)))
    lines = [escape(said), ""]
    for title, rows in grid.sections:
        lines += [f"**{escape(title)}**", ""] if title else []
        rule = ["---:" if head.number else "---" for head in grid.heads]
        body = [[escape(cell.line) for cell in row] for row in rows]
        lines += [f"| {' | '.join(cells)} |" for cells in ([escape(h.words) for h in grid.heads], rule, *body)]
        lines.append("")
    lines += [f"- {escape(text)}" for text in table.footnotes]
    return [*lines, ""] if table.footnotes else lines


# The terminal.


def print_table(out: Console, table: ReportTable, title: str = "") -> None:
    """The table below its title; where the terminal is too narrow, intervals stand below their figures.

    Where that is too wide as well, figures that find no room stand in a table of their own below the others.
    """
    out.print(Text(title or table.title, style="bold"))
    grid = table.grid
    bounded = any(len(head.parts) > 1 for head in grid.heads)
    figures = (n for n, head in enumerate(grid.heads) if head.number and len(head.parts) > bounded)
    lead = next(figures, len(grid.heads))
    between, groups = " ", [list(range(len(grid.heads)))]
    if _width(grid, between, groups[0]) > out.width:
        between = "\n"
        fixed, groups = list(range(lead)), []
        for n in range(lead, len(grid.heads)):
            if groups and _width(grid, between, [*groups[-1], n]) <= out.width:
                groups[-1].append(n)
            else:
                groups.append([*fixed, n])
    for group in groups or [list(range(lead))]:
        out.print(fitted_table(*_terminal(grid, between, group), out.width))


def _width(grid: Grid, between: str, group: Sequence[int]) -> int:
    """The least width of the columns ``group`` that breaks neither a word nor a figure."""
    return least_width(*_terminal(grid, between, group))


def _terminal(grid: Grid, between: str, group: Sequence[int]) -> tuple[list[TerminalColumn], list[list[Text]]]:
    """Columns and rows for the terminal; a section's title stands in a row of its own."""
    rows: list[list[Text]] = []
    for name, section in grid.sections:
        if name:
            rows.append([Text(name, style="bold"), *[Text()] * (len(group) - 1)])
        rows += [[Text(between.join((row[n].text, *row[n].beside))) for n in group] for row in section]
    columns = []
    for place, head in enumerate(grid.heads[n] for n in group):
        words = between.join(filter(None, (head.group, head.text)))
        if head.number and between == "\n":  # as narrow as its figures, if words allow it
            room = max((len(line) for row in rows for line in row[place].plain.split("\n")), default=1)
            lines = (textwrap.wrap(part, max(room, 8), break_long_words=False) for part in words.split("\n"))
            words = "\n".join(itertools.chain.from_iterable(lines))
        columns.append(TerminalColumn(words, right=head.number, wraps=not head.number))
    return columns, rows


# The files.


def write_tables(
    tables: Iterable[ReportTable], *, csv: Path | None = None, latex: Path | None = None
) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Write tables into the folders ``csv`` and ``latex``; return the files of each, in order.

    A file replaces one with its name; other files in the folders stay.

    Raises:
        ReportError: a file that cannot be written.
    """
    data: list[Path] = []
    sources: list[Path] = []
    explained: list[ReportTable] = []
    for table in tables:
        if csv is not None:
            data.append(_write(csv / f"{table.name}.csv", as_csv(table), "--csv"))
            explained.append(table)
        if latex is not None and table.shown:
            sources.append(_write(latex / f"{table.name}.tex", as_latex(table), "--latex"))
    if csv is not None:
        data.append(_write(csv / "columns.csv", columns_csv(explained), "--csv"))
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
