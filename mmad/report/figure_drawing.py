"""Figures drawn by matplotlib: for the page in its own colours, and as files for a paper.

Equal figures give equal bytes. A page's SVG holds neither colours nor styles: its classes take the page's, light, dark
or printed. Nothing here is imported before a figure is drawn.
"""

from __future__ import annotations

import io
import json
import math
import os
import pickle
import re
import sys
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator

from mmad.base.formatting import DASH, clean, clip, level_words, plural, signed, straight, whole
from mmad.base.records import KIND_WORDS
from mmad.report.figures import (
    NARROW,
    WIDE,
    CurveFigure,
    EntriesFigure,
    FigureFile,
    FigureFormat,
    FigureTask,
    ForestFigure,
    ForestGroup,
    ForestRow,
    Panel,
    ReportFigure,
    Series,
    describe,
    describe_entries,
    describe_forest,
    notes,
    said,
)

#: Colours that people with the common colour-blindnesses can distinguish (after Okabe and Ito, 2008).
PALETTE: tuple[str, ...] = ("#1f6fb2", "#cc5a10", "#168a68", "#a5518f", "#7d6e0c", "#4d5fd3", "#953b31", "#4f7080")
_INK, _MUTED, _GRID, _UP, _DOWN, _CAUTION, _PAPER = (
    "#1d2025", "#626874", "#c9ccd1", "#1a5fa8", "#ad4510", "#8a5a00", "#ffffff",
)  # fmt: skip
#: What a colour is in the page: the class of its lines and areas (see figures.css).
_ROLES = {colour: f"c{n}" for n, colour in enumerate(PALETTE)} | {
    _INK: "ink", _MUTED: "muted", _GRID: "rule", _UP: "up", _DOWN: "down", _CAUTION: "caution", _PAPER: "paper",
}  # fmt: skip
_DASHES: Mapping[str, Any] = {"solid": "-", "dashed": (0, (4.5, 1.6)), "dotted": (0, (1.2, 1.5))}
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "mmad",
    "pdf.fonttype": 42,
    "path.simplify": False,
    "axes.unicode_minus": True,
    "font.family": "DejaVu Sans",
    "font.size": 8.0,
    "text.usetex": False,
    "text.parse_math": False,
    "text.color": _INK,
    "axes.formatter.use_mathtext": False,
}
_NO_DATES: Mapping[str, dict[str, Any]] = {
    "svg": {"Date": None, "Creator": None, "Format": None, "Type": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
}
_POINTS, _MM = 72.0, 25.4
_DPI = 300
_RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
#: Room around a panel's axes, in inches.
_LEFT, _RIGHT, _ABOVE, _BELOW = 0.6, 0.1, 0.3, 0.4
#: A panel of a page, and the columns in which they are drawn; the page puts them in as many as fit.
_CELL, _COLUMNS = (3.1, 2.1), 4
_NAMES = 60
_FAR = 1e250


def draw(task: FigureTask) -> tuple[str, ...] | bytes:
    """A figure for a page, or as a file."""
    return draw_file(task) if isinstance(task, FigureFile) else draw_page(task)


def draw_page(figure: ReportFigure) -> tuple[str, ...]:
    """The figure's SVG elements for a page: its panels, then those on logarithmic axes; a forest plot wide and narrow.

    Identifiers begin with the figure's name.
    """
    if not isinstance(figure, CurveFigure):
        return tuple(_whole_svg(figure, kind, width) for kind, width in (("wide", WIDE), ("narrow", NARROW)))
    panels = (*figure.panels, *figure.log_panels)
    with _quiet():
        drawn, places = _curves(panels, _CELL, min(_COLUMNS, len(panels)))
        parsed = _parsed(drawn)
        height = drawn.get_figheight() * _POINTS
        return tuple(
            _panel_svg(parsed, n, panel, axes, place, height, figure, _with_lines_of(panel, figure.panels))
            for n, (panel, axes, place) in enumerate(zip(panels, drawn.axes, places, strict=True))
        )


def draw_file(file: FigureFile) -> bytes:
    """The figure as a file with its legend, on white; text stays text, fonts are embedded in a PDF."""
    figure, form, width = file.figure, file.form, file.width
    with _quiet():
        if isinstance(figure, ForestFigure):
            return _saved(_forest(figure, width / _MM, _PAPER), form, figure.title)
        if isinstance(figure, EntriesFigure):
            return _saved(_entries(figure, width / _MM, _PAPER), form, figure.title)
        columns = max(1, round(width / 58)) if len(figure.panels) > 1 else 1
        columns = min(columns, len(figure.panels))
        cell = width / _MM / columns
        drawn, _ = _curves(figure.panels, (cell, max(0.72 * cell, 1.75)), columns, figure.keys)
        return _saved(drawn, form, figure.title)


@contextmanager
def _quiet() -> Iterator[None]:
    """matplotlib with the settings of a report, whatever the user's; letters that its font lacks are no warning."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        warnings.simplefilter("ignore")
        yield


def _saved(figure: Figure, form: FigureFormat, title: str = "") -> bytes:
    target = io.BytesIO()
    named = {} if form == "svg" and not title else {"Title": clean(clip(title, 200))}
    figure.savefig(target, format=form, dpi=_DPI if form == "png" else _POINTS, metadata=_NO_DATES[form] | named)
    return target.getvalue()


def _text(text: str) -> str:
    """Foreign text as one line, clipped, without marks that would turn what stands beside it."""
    return _plain(clip(text, _NAMES))


def _plain(text: str) -> str:
    return straight(clean(text))


# Panels of curves.


def _curves(
    panels: Sequence[Panel], cell: tuple[float, float], columns: int, keys: Sequence[Series] = ()
) -> tuple[Figure, list[tuple[float, float, float, float]]]:
    """The panels in rows of ``columns``, and of each its cell: left, top, width, height in points.

    Args:
        cell: width and height of a panel, in inches.
        keys: the lines of a legend below.
    """
    rows = math.ceil(len(panels) / columns)
    below, in_row = _legend_rows(keys, cell[0] * columns)
    width, height = cell[0] * columns, cell[1] * rows + 0.17 * below
    figure = Figure(figsize=(width, height), facecolor="none" if not keys else _PAPER)
    FigureCanvasAgg(figure)
    places = []
    for n, panel in enumerate(panels):
        left, top = cell[0] * (n % columns), cell[1] * (n // columns)
        box = (left + _LEFT, height - top - cell[1] + _BELOW, cell[0] - _LEFT - _RIGHT, cell[1] - _ABOVE - _BELOW)
        axes = figure.add_axes((box[0] / width, box[1] / height, box[2] / width, box[3] / height))
        axes.set_gid(f"panel-{n}")
        _draw_panel(axes, panel, (box[2], box[3]))
        places.append((left * _POINTS, top * _POINTS, cell[0] * _POINTS, cell[1] * _POINTS))
    if keys:
        handles = [Line2D([], [], color=_colour(k), linestyle=_DASHES[k.style], linewidth=1.4) for k in keys]
        legend = figure.legend(
            handles, ["."] * len(keys), loc="lower center", ncols=in_row, frameon=False, fontsize=7.5, handlelength=2.6
        )
        for text, key in zip(legend.get_texts(), keys, strict=True):
            text.set_text(_text(key.name))
    return figure, places


def _legend_rows(keys: Sequence[Series], width: float) -> tuple[int, int]:
    """Rows of a legend, and lines in a row."""
    if not keys:
        return 0, 1
    longest = 0.6 + 0.068 * max(len(_text(key.name)) for key in keys)
    in_row = max(1, min(len(keys), int(width / longest)))
    return math.ceil(len(keys) / in_row) + 1, in_row


def _colour(series: Series) -> str:
    return PALETTE[series.colour % len(PALETTE)]


def _draw_panel(axes: Axes, panel: Panel, size: tuple[float, float]) -> None:
    """Draws ``panel`` on axes of ``size`` in inches."""
    _without_frame(axes, "left", "bottom")
    axes.tick_params(axis="x", pad=5)  # clear of the lowest label of the other axis
    axes.grid(True, axis="y", color=_GRID, linewidth=0.6)
    place: Any = {"x": -0.52 / size[0], "y": 1 + 0.16 / size[1], "pad": 0}
    axes.set_title(_text(panel.title), loc="left", fontsize=8.5, color=_INK, fontweight="bold", **place)
    axes.set_xlabel(_text(panel.x_label), fontsize=7.5, color=_MUTED)
    axes.set_ylabel(_text(panel.y_label), fontsize=7.5, color=_MUTED)
    # places are given: to look for them takes matplotlib a third of the time
    axes.xaxis.set_label_coords(0.5, -0.22 / size[1])
    axes.yaxis.set_label_coords(-0.45 / size[0], 0.5)
    _scale(axes, panel)
    low, high = axes.get_ylim()
    if panel.diagonal:
        axes.plot((0, 1), (0, 1), color=_MUTED, linewidth=0.7, linestyle=_DASHES["dotted"])
    for mark in panel.marks:
        axes.axvline(mark, color=_MUTED, linewidth=0.7, linestyle=_DASHES["dotted"])
    for number, series in enumerate(panel.series):
        _draw_series(axes, panel, series, f"s{number}", low, high)
    if found := notes(panel):
        axes.text(0, 1.02, _text("; ".join(found)), transform=axes.transAxes, fontsize=6.5, color=_CAUTION, va="bottom")


def _without_frame(axes: Axes, *sides: str) -> None:
    """Only ``sides`` have a line; ticks are numbers alone, and what is drawn stands before the grid."""
    axes.patch.set_visible(False)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in sides)
        spine.set_color(_MUTED)
        spine.set_linewidth(0.7)
    axes.tick_params(length=0, labelsize=7.5, labelcolor=_MUTED, pad=3)


def _scale(axes: Axes, panel: Panel) -> None:
    """Scales, limits and ticks: linear axes from 0 unless values are negative or the panel sets a range."""
    xs = [x for series in panel.series for x in series.x]
    first, last = (min(xs), max(xs)) if xs else (0.0, 1.0)
    if panel.across == "share" and not panel.diagonal and panel.y_range is None:
        room = max(0.05 * (last - first), 0.01)
        axes.set_xlim(first - room, last + room)
        axes.xaxis.set_major_locator(FixedLocator(sorted(set(xs))))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    elif panel.across == "share":
        axes.set_xlim(0, 1)
    elif panel.across == "rate" and first > 0:
        axes.set_xscale("log")
        axes.set_xlim(first, last)
        axes.xaxis.set_major_locator(FixedLocator([rate for rate in _RATES if first <= rate <= last]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        around = 0.5 if first == last else 0.01 * (last - first)
        axes.set_xlim(first - around, last + around)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=(1, 2, 2.5, 5, 10), min_n_ticks=1))
    values = [v for s in panel.series for v in s.y if v is not None and math.isfinite(v)]
    values += [end for s in panel.series for ends in s.band for end in ends if math.isfinite(end)]
    values = [max(-_FAR, min(_FAR, v)) for v in values]
    if panel.log and (above := [v for v in values if v > 1e-250]):
        low, high = min(above), max(above)
        room = 1.6 if high < 10 * low else (high / low) ** 0.06
        axes.set_yscale("log", nonpositive="mask")
        axes.set_ylim(low / room, high * room)
        if high * room < 20 * low / room:
            axes.yaxis.set_minor_formatter(NullFormatter())
            axes.yaxis.set_major_locator(FixedLocator(_round_steps(low / room, high * room)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        return
    if panel.y_range is not None:
        axes.set_ylim(*panel.y_range)
    else:
        low, high = min([0.0, *values]), max([0.0, *values])
        if high == low:
            high = low + 1
        axes.set_ylim(low - (0.05 * (high - low) if low < 0 else 0), high + 0.06 * (high - low))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=(1, 2, 2.5, 5, 10)))
    axes.ticklabel_format(axis="y", useOffset=False)
    low, high = axes.get_ylim()
    if not 1e-3 <= max(abs(low), abs(high)) < 1e5:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.3g}".replace("-", "−")))


def _round_steps(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten between two values."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return [v for n in range(first, last + 1) for f in (1, 2, 5) if low <= (v := float(f"{f}e{n}")) <= high]


def _draw_series(axes: Axes, panel: Panel, series: Series, gid: str, low: float, high: float) -> None:
    """A line with its band and dots; values beyond the axis are cut there and marked by triangles at the edge."""
    colour, thin = _colour(series), bool(series.seed)
    clipped = panel.y_range is not None or panel.log
    far = high + (high - low) if not panel.log else high * 1e3
    near = low - (high - low) if not panel.log else low / 1e3

    def shown(v: float | None) -> float:
        return math.nan if v is None or not math.isfinite(v) or (panel.log and v <= 0) else max(near, min(far, v))

    y = [shown(v) for v in series.y]
    for stretch in _stretches([shown(a) + shown(b) for a, b in series.band]):
        x = series.x[stretch]
        ends = [(shown(a), shown(b)) for a, b in series.band[stretch]]
        outline = [
            *zip(x, (b for _, b in ends), strict=True),
            *reversed(list(zip(x, (a for a, _ in ends), strict=True))),
        ]
        (area,) = axes.fill(*zip(*outline, strict=True), color=colour, alpha=0.15, linewidth=0, clip_on=clipped)
        area.set_gid(f"{gid} band")
    (line,) = axes.plot(
        series.x,
        y,
        color=colour,
        linestyle=_DASHES[series.style],
        linewidth=0.7 if thin else 1.4,
        alpha=0.55 if thin else None,
        drawstyle="steps-mid" if panel.steps else "default",
        clip_on=clipped,
    )
    line.set_gid(gid)
    spots = sorted(_alone(y) | {n for n, at in enumerate(series.x) if at in series.dots and not math.isnan(y[n])})
    beyond = [n for n, v in enumerate(series.y) if v is not None and (v == math.inf or v > high) and clipped]
    for places, shape, level in ((spots, "o", y), (beyond, "^", [high] * len(y))):
        if places:
            at = [series.x[n] for n in places]
            (dots,) = axes.plot(
                at, [level[n] for n in places], linestyle="none", marker=shape, markersize=2.6 if thin else 3.6,
                color=colour, markeredgewidth=0, clip_on=False,
            )  # fmt: skip
            dots.set_gid(gid)


def _stretches(values: Sequence[float]) -> list[slice]:
    """The stretches without NaN of at least two values."""
    found, start = [], 0
    for n, value in enumerate([*values, math.nan]):
        if math.isnan(value):
            if n - start > 1:
                found.append(slice(start, n))
            start = n + 1
    return found


def _alone(values: Sequence[float]) -> set[int]:
    """The points between two gaps: no line reaches them, so they are visible only as dots."""
    there = [False, *(not math.isnan(v) for v in values), False]
    return {n for n in range(len(values)) if there[n + 1] and not there[n] and not there[n + 2]}


# The forest plot.


def _forest(figure: ForestFigure, width: float, paper: str) -> Figure:
    """A row for each setting, with columns of text beside the axis; on a narrow sheet the text is above each row."""
    narrow = width < 4.5
    rows: list[ForestGroup | ForestRow] = []
    for group in figure.groups:
        rows += [group, *group.rows]
    tall = 0.36 if narrow else 0.225
    height = tall * len(rows) + 0.64
    drawn = Figure(figsize=(width, height), facecolor=paper)
    FigureCanvasAgg(drawn)
    longest = max(len(clip(row.label, _NAMES)) for group in figure.groups for row in group.rows)
    left = 0.1 if narrow else min(0.3 * width, 0.25 + 0.068 * longest)
    right = 0.1 if narrow else 3.1
    axes = drawn.add_axes((left / width, 0.58 / height, (width - left - right) / width, tall * len(rows) / height))
    axes.set_gid("panel-0")
    _without_frame(axes, "bottom")
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.yaxis.set_major_locator(NullLocator())
    reach = _reach(figure)
    axes.set_xlim(-reach[0], reach[1])
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=(1, 2, 2.5, 5, 10)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: signed(v, 3 if max(reach) < 0.02 else 2)))
    axes.grid(True, axis="x", color=_GRID, linewidth=0.5)
    axes.set_xlabel(
        f"Difference in test AP; right of 0 the second arm is higher\n{_marks(figure)}",
        fontsize=7, color=_MUTED, labelpad=3, linespacing=1.5,
    )  # fmt: skip
    place = _Legends(axes, width, left, right, narrow)
    for n, row in enumerate(rows):
        if isinstance(row, ForestGroup):
            place.heading(n, row, first=n == 0)
        else:
            place.row(n, row)
    return drawn


def _marks(figure: ForestFigure) -> str:
    """What the marks of a row mean."""
    kinds = dict.fromkeys(group.kind for group in figure.groups)
    others = (
        [KIND_WORDS[kind] for kind, _ in figure.groups[0].rows[0].others] if len(kinds) == 1 else ["others", "others"]
    )
    compared = " or ".join(KIND_WORDS[kind] for kind in kinds)
    levels = level_words(*(level for group in figure.groups for level in group.levels))
    return f"□ {compared} checkpoints, line: {levels} interval; | {others[0]}; × {others[1]}"


def _reach(figure: ForestFigure) -> tuple[float, float]:
    """How far the axis goes below and above 0; intervals that would flatten all others are cut."""
    rows = [row for group in figure.groups for row in group.rows if row.value is not None]
    points = [v for row in rows for v in (row.value, *(o for _, o in row.others)) if v is not None]
    ends = [end for row in rows for end in (row.low, row.high) if not math.isnan(end)]
    far = max(map(abs, points), default=0.0)
    limit = max(4 * sorted(map(abs, ends))[len(ends) // 2] if ends else 0.0, 1.3 * far, 1e-3)
    shown = [v for v in (*points, *ends) if abs(v) <= limit] + [v / abs(v) * limit for v in ends if abs(v) > limit]
    low, high = max(0.0, -min(shown, default=0)), max(0.0, max(shown, default=0))
    room = 0.08 * (low + high) or 0.01
    return low + room, high + room


class _Legends:
    """Writes the rows of a forest plot: labels at the left, figures at the right of its axis."""

    def __init__(self, axes: Axes, width: float, left: float, right: float, narrow: bool) -> None:
        self._axes, self._narrow = axes, narrow
        span = width - left - right
        self._at = {  # places as shares of the axis
            "label": 0.0 if narrow else (0.08 - left) / span,
            "value": 1.0 if narrow else 1 + 1.33 / span,
            "first": 1 + 1.82 / span,
            "second": 1 + 2.27 / span,
            "seeds": 1 + 2.58 / span,
            "patients": 1 + 3.03 / span,
        }

    def _write(self, column: str, y: float, text: str, colour: str = _INK, **more: Any) -> None:
        anchor = "left" if column == "label" else "right"
        self._axes.text(
            self._at[column], y, text, transform=self._axes.get_yaxis_transform(), ha=anchor, va="center",
            color=colour, fontsize=more.pop("fontsize", 7.5), clip_on=False,
            bbox={"facecolor": _PAPER, "edgecolor": "none", "pad": 0.8} if self._narrow else None, **more,
        )  # fmt: skip

    def heading(self, y: int, group: ForestGroup, *, first: bool) -> None:
        """The arms of a pair and, once, the names of the columns."""
        limit = 30 if self._narrow else 46
        arms = f"{clip(group.other, limit)} minus {clip(group.reference, limit)}"
        self._write("label", y, _plain(arms), fontweight="bold")
        if self._narrow:
            return
        others = [KIND_WORDS[kind] for kind, _ in group.rows[0].others]
        named = dict(zip(("first", "second"), others, strict=True))
        levels = level_words(*group.levels)
        named |= {"value": f"{KIND_WORDS[group.kind]} [{levels}]", "seeds": "seeds", "patients": "patients"}
        for column, name in named.items():
            self._write(column, y, name, _MUTED, fontsize=6.5)

    def row(self, y: int, row: ForestRow) -> None:
        axes, line = self._axes, y + (0.22 if self._narrow else 0.0)
        label = _text(row.label)
        self._write("label", y - (0.2 if self._narrow else 0), label)
        if row.value is None:
            axes.text(
                0.0 if self._narrow else 0.02, line, _text(row.note), transform=axes.get_yaxis_transform(),
                va="center", fontsize=7, color=_MUTED, bbox={"facecolor": _PAPER, "edgecolor": "none", "pad": 0.8},
            )  # fmt: skip
            return
        around = 0.3 if self._narrow else 0.5
        axes.plot((0, 0), (line - around, line + around), color=_INK, linewidth=0.9, solid_capstyle="butt")
        colour = (_UP if row.value > 0 else _DOWN) if row.settled else _INK
        if not math.isnan(row.low):
            low, high = axes.get_xlim()
            ends = max(low, row.low), min(high, row.high)
            axes.plot(ends, (line, line), color=colour, linewidth=1.3, solid_capstyle="butt")
            for end, limit, shape in ((row.low, low, "<"), (row.high, high, ">")):
                if (end < limit) if shape == "<" else (end > limit):
                    axes.plot((limit,), (line,), marker=shape, color=colour, markersize=4, clip_on=False)
        for (_, value), shape in zip(row.others, ("|", "x"), strict=True):
            if value is not None:
                axes.plot((value,), (line,), marker=shape, color=_MUTED, markersize=5, markeredgewidth=0.9)
        axes.plot(
            (row.value,), (line,), marker="s", markersize=5, color=colour, markeredgewidth=1.1,
            markerfacecolor=colour if row.settled else _PAPER,
        )  # fmt: skip
        self._write("value", y - (0.2 if self._narrow else 0), said(row), colour, fontsize=7 if self._narrow else 7.5)
        if self._narrow:
            return
        for column, (_, value) in zip(("first", "second"), row.others, strict=True):
            self._write(column, y, DASH if value is None else signed(value), _MUTED, fontsize=7)
        self._write("seeds", y, str(row.seeds), _MUTED, fontsize=7)
        self._write("patients", y, whole(row.patients), _MUTED, fontsize=7)


# The entries of a log.

#: The colour and shape of a mark, by its place in the legend.
_MARKS = ("o", "^", "s", "D", "v", "P", "X", "*")


def _entries(figure: EntriesFigure, width: float, paper: str) -> Figure:
    """A mark for each entry, a ring for each run that measured it, and the name of the highest of each kind."""
    narrow = width < 4.5
    columns = 2 if narrow else 3
    marks = len(figure.kinds) + any(point.measured for point in figure.points)
    rows = math.ceil(marks / columns)
    height = (2.3 if narrow else 2.6) + 0.17 * rows
    drawn = Figure(figsize=(width, height), facecolor=paper)
    FigureCanvasAgg(drawn)
    below = 0.55 + 0.17 * rows
    axes = drawn.add_axes((0.5 / width, below / height, (width - 0.6) / width, (height - below - 0.25) / height))
    axes.set_gid("panel-0")
    _without_frame(axes, "left", "bottom")
    axes.grid(True, axis="y", color=_GRID, linewidth=0.6)
    top = 1.12 * max(max((point.value, *point.measured)) for point in figure.points) or 1.0
    axes.set_ylim(0, top)
    axes.set_xlim(0, figure.entries + 1)
    axes.xaxis.set_major_locator(MaxNLocator(6 if narrow else 11, integer=True, steps=(1, 2, 5, 10)))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=(1, 2, 2.5, 5, 10)))
    axes.set_xlabel("Entry, in the order of print", fontsize=7.5, color=_MUTED, labelpad=3)
    axes.set_ylabel("Test AP", fontsize=7.5, color=_MUTED)
    if figure.inflated is not None:
        first, last = figure.inflated
        for edge in (first - 0.5, last + 0.5):
            axes.axvline(edge, color=_MUTED, linewidth=0.7, linestyle=_DASHES["dotted"])
        words = "true boxes among the proposals"
        axes.text((first + last) / 2, 1.01, words, transform=axes.get_xaxis_transform(), ha="center", va="bottom",
                  fontsize=7, color=_CAUTION)  # fmt: skip
    handles = []
    for n, kind in enumerate(figure.kinds):
        points = [point for point in figure.points if point.kind == kind]
        look: Any = {"linestyle": "none", "marker": _MARKS[n % len(_MARKS)], "color": PALETTE[n % len(PALETTE)]}
        look |= {"markersize": 3.4 if narrow else 4.4, "markeredgewidth": 0}
        handles += axes.plot([p.place for p in points], [p.value for p in points], **look)
        best = max(points, key=lambda point: point.value)
        axes.text(best.place, best.value + 0.03 * top, _text(best.id), ha="center", fontsize=6.5, color=_MUTED)
    for point in figure.points:
        for value in point.measured:
            axes.plot((point.place, point.place), (point.value, value), color=_INK, linewidth=0.6)
            ring = axes.plot((point.place,), (value,), linestyle="none", marker="o", markersize=5, color=_INK,
                             markerfacecolor=_PAPER, markeredgewidth=1.0)  # fmt: skip
            handles = [*handles[: len(figure.kinds)], *ring]
    place: Any = {"loc": "upper left", "bbox_to_anchor": (0, -0.42 / (height - below - 0.25)), "borderaxespad": 0}
    legend = axes.legend(
        handles, ["."] * len(handles), ncols=columns, frameon=False, fontsize=7, handletextpad=0.3, columnspacing=1.2,
        labelspacing=0.35, **place,
    )  # fmt: skip
    for text, name in zip(legend.get_texts(), (*figure.kinds, "measured by a run here"), strict=False):
        text.set_text(_text(name))
    return drawn


# matplotlib's SVG as elements of a page: classes for colours, short paths, identifiers of its own.

_NAMESPACE = "{http://www.w3.org/2000/svg}"
_LINK = "{http://www.w3.org/1999/xlink}href"
_KEPT = ("stroke-width", "stroke-dasharray", "stroke-opacity", "fill-opacity", "opacity", "font-weight")
#: The size of an SVG's letters in figures.css.
_FONT = "7.5px"
#: Of most texts of a figure: the role of their colour, which figures.css gives to texts without one, and their anchor.
_TEXT, _ANCHOR = "muted", "middle"
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
#: Lines are written in tenths of a point.
_FINE = 10


@dataclass(frozen=True)
class _Drawing:
    """matplotlib's SVG: its panels by name, and the markers that they share."""

    panels: Mapping[str, ET.Element]
    shapes: Mapping[str, ET.Element]


def _parsed(figure: Figure) -> _Drawing:
    root = ET.fromstring(_saved(figure, "svg"))
    panels = {name: g for g in root.iter(f"{_NAMESPACE}g") if (name := g.get("id", "")).startswith("panel-")}
    return _Drawing(panels, {p.get("id", ""): p for d in root.iter(f"{_NAMESPACE}defs") for p in d})


def _whole_svg(figure: ForestFigure | EntriesFigure, kind: str, width: float) -> str:
    """A figure that is one pair of axes."""
    with _quiet():
        if isinstance(figure, ForestFigure):
            rows = sum(len(one.rows) for one in figure.groups)
            label = f"Forest plot: the difference in test AP of {plural(rows, 'setting')}"
            drawn, described = _forest(figure, width / _MM, "none"), describe_forest(figure)
        else:
            drawn, label, described = _entries(figure, width / _MM, "none"), figure.title, describe_entries(figure)
        parsed = _parsed(drawn)
    place = (0.0, 0.0, drawn.get_figwidth() * _POINTS, drawn.get_figheight() * _POINTS)
    return _svg(parsed, 0, place, f"{figure.name}-{kind}", label, described, css=kind)


def _panel_svg(
    parsed: _Drawing,
    number: int,
    panel: Panel,
    axes: Axes,
    place: tuple[float, float, float, float],
    height: float,
    figure: CurveFigure,
    shown: int,
) -> str:
    """One panel with the values that the page's script shows, or the name of the panel ``shown`` that has them."""
    name = f"{figure.name}-{number}"
    box = axes.get_position()
    width = axes.get_figure(root=True).get_figwidth() * _POINTS  # type: ignore[union-attr]
    edges = box.x0 * width, (1 - box.y1) * height, box.width * width, box.height * height
    named = zip(("x", "y", "width", "height"), edges, strict=True)
    box_words = " ".join(f'{key}="{round(_FINE * v)}"' for key, v in named)
    clip_path = f'<clipPath id="c-{name}"><rect {box_words}/></clipPath>'
    more = _values(panel, axes, edges) if shown == number else f' data-of="d-{figure.name}-{shown}"'
    lines = [(series.name, series.seed) for series in panel.series]
    return _svg(parsed, number, place, name, _text(panel.title), describe(panel), more, clip_path, lines)


def _with_lines_of(panel: Panel, panels: Sequence[Panel]) -> int:
    """The first of ``panels`` that shows the lines of ``panel``."""
    return next(n for n, other in enumerate(panels) if other is panel or other.series == panel.series)


def _svg(
    parsed: _Drawing,
    number: int,
    place: tuple[float, float, float, float],
    name: str,
    label: str,
    description: str,
    more: str = "",
    clip_path: str = "",
    lines: Sequence[tuple[str, str]] = (),
    css: str = "panel",
) -> str:
    body = _element(parsed.panels[f"panel-{number}"], parsed.shapes, f"c-{name}", lines)
    if f"#c-{name}" not in body:
        clip_path = ""
    x, y, width, height = (f"{v:.1f}".removesuffix(".0") for v in place)
    return (
        f'<svg class="{css}" viewBox="{x} {y} {width} {height}" role="img" text-anchor="{_ANCHOR}" '
        f'aria-label="{escape(_plain(label))}" '
        f'aria-describedby="d-{name}"{more}><desc id="d-{name}">{escape(_plain(description), quote=False)}</desc>'
        f"{clip_path}{body}</svg>"
    )


def _element(
    element: ET.Element,
    shapes: Mapping[str, ET.Element],
    clip: str,
    lines: Sequence[tuple[str, str]],
    within: bool = False,
) -> str:
    """An element of matplotlib's as one of the page.

    Only lines (``within`` one) can leave the axes and are clipped; their numbers are whole tenths, which takes a third
    less room.
    """
    tag = element.tag.removeprefix(_NAMESPACE)
    if tag == "defs":
        return ""
    attributes = _attributes(element, _FINE if within else 1)
    if within and element.get("clip-path"):
        attributes["clip-path"] = f"url(#{clip})"
    if tag == "path":
        drawn = _path(element.get("d", ""), tenths=within)
        return f'<path d="{drawn}"{_joined(attributes)}/>' if drawn else ""
    if tag == "use":
        shape = shapes[element.get(_LINK, "").removeprefix("#")]
        scale = _FINE if within else 1
        at = " ".join(_short(scale * float(element.get(name, "0"))) for name in ("x", "y"))
        more = _joined(_attributes(shape, scale) | attributes)
        return f'<path d="{_path(shape.get("d", ""), tenths=within)}" transform="translate({at})"{more}/>'
    if tag == "text":
        for name in ("x", "y"):
            attributes[name] = _short(float(element.get(name, "0")))
        if not (turn := element.get("transform", "")).startswith("rotate(-0 "):
            attributes["transform"] = _NUMBER.sub(lambda m: _short(float(m[0])), turn)
            if "translate" in turn:
                del attributes["x"], attributes["y"]
        return f"<text{_joined(attributes)}>{escape(''.join(element.itertext()), quote=False)}</text>"
    found = re.fullmatch(r"s(\d+)( band)?", element.get("id", ""))
    body = "".join(_element(child, shapes, clip, lines, within or found is not None) for child in element)
    if found and body:
        name, seed = lines[int(found[1])]
        one = f' data-seed="{escape(_text(seed))}"' if seed else ""
        return f'<g class="line" transform="scale({1 / _FINE:g})" data-name="{escape(_text(name))}"{one}>{body}</g>'
    return f"<g{_joined(attributes)}>{body}</g>" if attributes and body else body


def _attributes(element: ET.Element, scale: int = 1) -> dict[str, str]:
    """matplotlib's style as attributes, lengths times ``scale``: colours become the classes that the page colours."""
    found: dict[str, str] = {}
    classes = []
    text = element.tag.endswith("text")
    parts = (part.split(":", 1) for part in element.get("style", "").split(";") if ":" in part)
    style = {name.strip(): value.strip() for name, value in parts}
    for name, value in style.items():
        if name in ("fill", "stroke"):
            role = _ROLES.get(value.lower())
            if not (text and role == _TEXT):
                classes.append(f"{name[0]}-{role}" if role else f"{name[0]}-none")
        elif name == "font-size" and value != _FONT:
            found["font-size"] = value.removesuffix("px")
        elif name == "font":  # the short form: weight, size and family
            size = re.search(r"([\d.]+)px", value)
            found |= {"font-size": size[1] if size else "8"}
            found |= {"font-weight": "700"} if "bold" in value or "700" in value else {}
        elif name in _KEPT and value not in ("1", "start", "normal", "400"):
            short = value if "opacity" in name else _NUMBER.sub(lambda m: _short(scale * float(m[0])), value)
            found[name] = short.replace(",", " ")
    if text and "fill" not in style:
        classes.append("f-black")
    if text and (anchor := style.get("text-anchor", "start")) != _ANCHOR:
        found["text-anchor"] = anchor
    if classes:
        found["class"] = " ".join(classes)
    return found


def _joined(attributes: Mapping[str, str]) -> str:
    return "".join(f' {name}="{escape(value)}"' for name, value in attributes.items())


def _short(number: float) -> str:
    text = f"{number:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def _path(path: str, *, tenths: bool = False) -> str:
    """The path with a decimal, or in ``tenths`` without; lines by their steps, which takes half the room."""
    if re.search("[^MLz0-9.e\\s-]", path):
        scaled = _NUMBER.sub(lambda m: _short((_FINE if tenths else 1) * float(m[0])), path)
        return re.sub(" ?([A-Za-z]) ?", r"\1", " ".join(scaled.split()))
    found, before, moved = "", (0, 0), False
    for letter, x, y in re.findall(r"([MLz])\s*(?:([-\d.e]+) ([-\d.e]+))?", path):
        if letter == "z":
            found += "z"
            continue
        at = round(_FINE * float(x)), round(_FINE * float(y))
        step = at if letter == "M" else (at[0] - before[0], at[1] - before[1])
        between = "M" if letter == "M" else "l" if moved else " "
        found += between + " ".join(map(str if tenths else _tenths, step))
        before, moved = at, letter == "M"
    return re.sub(r"(\.\d+) (?=\.)", r"\1", found.replace(" -", "-"))


def _tenths(number: int) -> str:
    """``1.7``, ``-.4``, ``3`` of 17, -4, 30."""
    whole, rest = divmod(abs(number), 10)
    sign = "-" if number < 0 else ""
    return f"{sign}{whole or ''}.{rest}" if rest else f"{sign}{whole}"


def _values(panel: Panel, axes: Axes, edges: tuple[float, float, float, float]) -> str:
    """The attribute from which the page's script reads a panel's values.

    ``x`` is ``[from, to, at, at, logarithmic]``: the ends of the axis and their places in the figure, in points. A line
    has a name, a seed, its colour, its places (two for the ends of whole numbers) and its values, as many digits as are
    shown: ``-`` is not measured, nothing stands for the value before.
    """
    low, high = axes.get_xlim()
    scale = [float(f"{low:.6g}"), float(f"{high:.6g}"), round(edges[0], 1), round(edges[0] + edges[2], 1)]
    scale.append(int(panel.across == "rate"))
    ends = [round(edges[1], 1), round(edges[1] + edges[3], 1)]
    lines = [[_text(s.name), _text(s.seed), s.colour % len(PALETTE), _places(s.x), _written(s.y)] for s in panel.series]
    plot = {"x": scale, "y": ends, "across": panel.across, "lines": lines}
    text = escape(json.dumps(plot, separators=(",", ":"), ensure_ascii=False), quote=False).replace("'", "&#39;")
    return f" data-plot='{text}'"


def _places(x: Sequence[float]) -> list[float]:
    if len(x) > 2 and list(x) == [x[0] + n for n in range(len(x))]:
        return [x[0], x[-1]]
    return [float(f"{v:.6g}") for v in x]


def _written(values: Sequence[float | None]) -> str:
    """The values of a line, separated by commas; one that is written like the one before is empty."""
    found = [_value(value) for value in values]
    return ",".join("" if n and text == found[n - 1] else text for n, text in enumerate(found))


def _value(value: float | None) -> str:
    if value is None:
        return "-"
    if not math.isfinite(value):
        return str(value)
    if 0 < abs(value) < 0.01 or abs(value) >= 1e5:
        return f"{value:.1e}"
    text = f"{value:.3f}".rstrip("0").rstrip(".")
    return re.sub(r"^(-?)0(?=\.)", r"\1", text)


def _serve() -> None:
    """Draws what comes in until it ends: a helper of ``mmad.report.figure_renderer``."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    while True:
        try:
            task = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump(draw(task), answers)
        answers.flush()


if __name__ == "__main__":
    _serve()
