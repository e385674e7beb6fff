"""One table: its raw values, what each column means, and which columns are shown how.

A table exists once. ``mmad.report.tables`` makes them, ``mmad.report.writers`` writes them as HTML, Markdown, LaTeX,
CSV and for the terminal. A figure ``ap`` with a deviation or an interval has columns ``ap_sd``, ``ap_low`` and
``ap_high`` of its own; ``0.614 [0.512, 0.701]`` is composed where it is displayed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any, Literal

import pandas as pd

from mmad.base.formatting import DASH, bounds, clip, decimal, duration, level_words, p_value, plural, signed, whole
from mmad.evaluation.intervals import LEAST_PATIENTS
from mmad.evaluation.resampling import LEVEL

Value = str | int | float | bool | datetime | None
Row = Sequence[Value]
Kind = Literal["text", "figure", "difference", "number", "whole", "at least", "seconds", "p", "field"]

#: The unit of AP, AR, precision, recall and every other figure in [0, 1].
FRACTION = "fraction"
#: Ends of the names of the columns beside a figure's own.
SD, LOW, HIGH = "_sd", "_low", "_high"


@dataclass(frozen=True)
class Column:
    """One column of raw values; a name that begins with ``_`` serves the display and is not exported."""

    name: str
    meaning: str
    unit: str = ""


@dataclass(frozen=True)
class Shown:
    """One displayed column.

    Args:
        column: of raw values; a deviation and an interval beside it are displayed with it.
        kind: of a figure: ``figure`` and ``difference`` are of shares from 0 to 1, ``number`` has no limits.
        group: a heading above several columns.
        below: a column whose text stands below, in small letters.
        anchor: a column with the place in the page that the text leads to.
        tone: a column with the class of the cell, its colour.
        patients: a column with the patients that the figure rests on, said where they are too few for an interval.
        once: whether a figure is displayed once, where others stand side by side (``across``).
        level: a column with the level of the interval, where it may be another than 95 %: the heading names it.
    """

    column: str
    head: str
    kind: Kind = "figure"
    group: str = ""
    digits: int = 3
    below: str = ""
    anchor: str = ""
    tone: str = ""
    patients: str = ""
    once: bool = False
    level: str = ""


@dataclass(frozen=True)
class Cell:
    """One displayed cell: its text, what stands beside it, its colour and where it leads."""

    text: str
    spread: str = ""
    interval: str = ""
    below: str = ""
    tone: str = ""
    anchor: str = ""

    @property
    def beside(self) -> tuple[str, ...]:
        return tuple(filter(None, (self.spread, self.interval, self.below)))

    @property
    def line(self) -> str:
        """Everything on one line."""
        return " ".join((self.text, *self.beside))


@dataclass(frozen=True)
class Head:
    """The heading of a displayed column.

    ``parts`` are the ends of the names of its raw values, ``level`` that of its intervals in words.
    """

    text: str
    group: str
    number: bool
    parts: tuple[str, ...]
    level: str

    @property
    def words(self) -> str:
        """Both headings on one line."""
        return f"{self.group} {self.text}".strip()


@dataclass(frozen=True)
class Grid:
    """A table as it is displayed; ``sections`` are runs of rows under a title (empty: none)."""

    heads: tuple[Head, ...]
    sections: tuple[tuple[str, tuple[tuple[Cell, ...], ...]], ...]

    @property
    def rows(self) -> Iterator[tuple[Cell, ...]]:
        return (row for _, rows in self.sections for row in rows)

    @property
    def grouped(self) -> bool:
        return any(head.group for head in self.heads)

    @property
    def upper(self) -> list[tuple[Head, int]]:
        """The first row of headings: the first head under each, and how many there are."""
        found: list[tuple[Head, int]] = []
        for head in self.heads:
            if head.group and found and found[-1][0].group == head.group:
                found[-1] = (found[-1][0], found[-1][1] + 1)
            else:
                found.append((head, 1))
        return found


def _over(row: Mapping[str, Any]) -> str:
    """What the figures of a row are means of: its folds where it has them, else its seeds; empty for one run."""
    counts = ((row.get("folds_done"), "fold"), (row.get("seeds"), "seed"))
    return next((plural(count, noun) for count, noun in counts if isinstance(count, int) and count > 1), "")


@dataclass(frozen=True, eq=False)
class ReportTable:
    """One table of the report.

    Args:
        name: of its file, without the suffix.
        title: what it shows; ``subject`` of which ablation.
        columns: of ``rows``, in order.
        rows: the raw values, one for every column.
        shown: how it is displayed; empty where it is only exported.
        note: what a reader has to know about all of it; ``conditions``: under what its figures were obtained.
        footnotes: what a reader may want to know about single rows; ``footing`` says what they are.
        across: a column whose values become headings: each stands above the figures of its rows.
        section: a column whose values become titles between the rows.
        brief: a column that says of each row whether it is displayed.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    subject: str = ""
    shown: tuple[Shown, ...] = ()
    note: str = ""
    conditions: str = ""
    footnotes: tuple[str, ...] = ()
    footing: str = "What is missing"
    across: str = ""
    section: str = ""
    brief: str = ""

    @classmethod
    def of(cls, name: str, title: str, columns: Sequence[Column], rows: Iterable[Row], **more: Any) -> ReportTable:
        """The table of ``rows``, each with a value for every column."""
        return cls(name, title, tuple(columns), tuple(rows), **more)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The raw values with the names of their columns."""
        return pd.DataFrame(list(self.rows), columns=[column.name for column in self.columns], dtype=object)

    @property
    def kind(self) -> str:
        """The name without ablation and number: ``pairs`` of ``NAME--pairs-1``."""
        return self.name.rsplit("--", 1)[-1].rstrip("-0123456789")

    @property
    def full_title(self) -> str:
        return f"{self.subject}: {self.title}" if self.subject else self.title

    @property
    def exported(self) -> tuple[Column, ...]:
        return tuple(column for column in self.columns if not column.name.startswith("_"))

    def without(self, *columns: str) -> ReportTable:
        """The same table, displayed without some columns."""
        return replace(self, shown=tuple(one for one in self.shown if one.column not in columns))

    @cached_property
    def grid(self) -> Grid:
        """The table as it is displayed."""
        names = [column.name for column in self.columns]
        rows = [dict(zip(names, row, strict=True)) for row in self.rows]
        if self.brief:
            rows = [row for row in rows if row[self.brief]]
        heads, cells = self._across(rows) if self.across else self._plain(rows)
        if not self.section:
            return Grid(heads, (("", tuple(cells.values())),))
        found: dict[str, list[tuple[Cell, ...]]] = {}
        for place, row in cells.items():
            found.setdefault(str(rows[place][self.section]), []).append(row)
        return Grid(heads, tuple((clip(title), tuple(part)) for title, part in found.items()))

    def _plain(self, rows: Sequence[Mapping[str, Any]]) -> tuple[tuple[Head, ...], dict[int, tuple[Cell, ...]]]:
        heads = tuple(self._head(one) for one in self.shown)
        return heads, {n: tuple(self._cell(one, row) for one in self.shown) for n, row in enumerate(rows)}

    def _across(self, rows: Sequence[Mapping[str, Any]]) -> tuple[tuple[Head, ...], dict[int, tuple[Cell, ...]]]:
        """Rows that agree in the displayed words become one, with their figures side by side."""
        words = [one for one in self.shown if one.kind == "text" or one.once]
        figures = [one for one in self.shown if one not in words]
        values = list(dict.fromkeys(row[self.across] for row in rows))
        lines: dict[tuple[Any, ...], tuple[int, dict[Any, Mapping[str, Any]]]] = {}
        for n, row in enumerate(rows):
            key = tuple(row[name] for one in words for name in filter(None, (one.column, one.anchor)))
            lines.setdefault((*key, row[self.section] if self.section else None), (n, {}))[1][row[self.across]] = row
        heads = [self._head(one) for one in words]
        for value in values:
            for one in figures:
                name = "mean" if value is None else f"{value:g}" if isinstance(value, float) else clip(str(value), 60)
                single = len(figures) == 1
                heads.append(replace(self._head(one), text=name if single else one.head, group="" if single else name))
        cells = {
            n: (
                *(self._cell(one, rows[n]) for one in words),
                *(self._cell(one, found.get(value, {})) for value in values for one in figures),
            )
            for n, found in lines.values()
        }
        return tuple(heads), cells

    def _head(self, one: Shown) -> Head:
        words, levels = one.kind in ("text", "field"), self._levels(one)
        level = level_words(*levels)
        text = clip(one.head, 60) + ("" if levels == {LEVEL} else f" [{level}]")
        return Head(text, clip(one.group, 60), not words, ("", *self._ends[one.column]), level)

    def _levels(self, one: Shown) -> set[float]:
        """The levels of the intervals of a displayed column."""
        places = [n for n, column in enumerate(self.columns) if column.name == one.level]
        found = {row[n] for row in self.rows for n in places}
        return {level for level in found if isinstance(level, float)} or {LEVEL}

    @cached_property
    def _ends(self) -> dict[str, tuple[str, ...]]:
        """For each displayed column the ends of the names of the columns beside it that hold anything."""
        beside = {one.column + end for one in self.shown for end in (SD, LOW, HIGH)}
        places = {column.name: n for n, column in enumerate(self.columns) if column.name in beside}
        held = {name for name, n in places.items() if any(row[n] is not None and row[n] == row[n] for row in self.rows)}
        return {one.column: tuple(end for end in (SD, LOW, HIGH) if one.column + end in held) for one in self.shown}

    def _cell(self, one: Shown, row: Mapping[str, Any]) -> Cell:
        value = row.get(one.column)
        ends = {end: row.get(one.column + end) for end in self._ends[one.column]}
        low, high = ends.get(LOW), ends.get(HIGH)
        text, within = display(value, one.kind, one.digits), ""
        if text != DASH:
            sign, limits = one.kind == "difference", one.kind != "number"
            within = bounds(low, high, sign=sign, digits=one.digits, over=_over(row), limits=limits)
            people = row.get(one.patients) if one.patients else None
            few = isinstance(people, int) and people < LEAST_PATIENTS
            within = within or (f"too few patients ({people})" if few else "")
            if (level := row.get(one.level, LEVEL)) != LEVEL and within and len(self._levels(one)) > 1:
                within += f" ({level_words(level)})"
        return Cell(
            text,
            spread="" if ends.get(SD) is None else f"± {decimal(ends[SD], one.digits)}",
            interval=within,
            below=clip(str(row.get(one.below) or ""), 160) if one.below else "",
            tone=str(row.get(one.tone) or "") if one.tone else "",
            anchor=str(row.get(one.anchor) or "") if one.anchor else "",
        )


def display(value: Value, kind: Kind, digits: int = 3) -> str:
    """A value as text; a dash for what was not measured."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "" if kind == "text" else DASH
    if isinstance(value, str) or kind == "text":
        return clip(str(value), 200)
    if kind == "field":
        return f"{value:g}" if isinstance(value, float) else clip(str(value), 40)
    number = float(value)  # type: ignore[arg-type]
    if kind == "whole":
        return whole(int(number))
    if kind == "at least":
        return f"≥ {number:g}"
    if kind == "seconds":
        return duration(number)
    if kind == "p":
        return p_value(number)
    return signed(number, digits) if kind == "difference" else decimal(number, digits)
