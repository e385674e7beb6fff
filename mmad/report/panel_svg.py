"""One panel as SVG: axes, bands, lines, dots; written directly, for a drawing library takes thirty times as long."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from mmad.report.axes import Axis, Panel, Series, x_axis, y_axis
from mmad.report.words import clean

DASHES = {"solid": "", "dashed": "6.75 2.4", "dotted": "1.8 2.25"}
#: Room around a panel's axes, in points.
_LEFT, _RIGHT, _ABOVE, _BELOW = 30.24, 8.64, 17.28, 17.28
_TEXT, _TITLE, _SHARE = 8, 8.5, 0.35  # of a letter's size, from its middle down to its line
_NAMES = 60


@dataclass(frozen=True)
class Inks:
    """The colours of a drawing: CSS values of its lines, its words and its grid."""

    series: tuple[str, ...]
    ink: str
    grid: str


@dataclass(frozen=True)
class Drawn:
    """A panel's elements, and the axes they stand on."""

    svg: str
    x: Axis
    y: Axis


def draw_panel(panel: Panel, inks: Inks, size: tuple[float, float], at: tuple[float, float], clip: str) -> Drawn:
    """Draws ``panel`` with its upper left corner at ``at``; ``clip`` is an identifier that it may use."""
    left, top = at[0] + _LEFT, at[1] + _ABOVE
    right, bottom = at[0] + size[0] - _RIGHT, at[1] + size[1] - _BELOW
    x, y = x_axis(panel, left, right), y_axis(panel, bottom, top)
    frame = edge = ""
    if panel.y_range is not None and any(_leaves(series, y) for series in panel.series):
        box = f'x="{left:.2f}" y="{top:.2f}" width="{right - left:.2f}" height="{bottom - top:.2f}"'
        frame, edge = f'<clipPath id="{clip}"><rect {box}/></clipPath>', f' clip-path="url(#{clip})"'
    parts = [
        frame,
        f'<text x="{left:.2f}" y="{top - 6:.2f}" style="font-size:{_TITLE}px">{words(panel.title)}</text>',
        _grid(x, y, inks, left, right, top, bottom),
        *(_mark(x.place(mark), inks, top, bottom) for mark in panel.marks),
        f"<g{edge}>",
        *(_band(series, x, y, _colour(series, inks)) for series in panel.series if series.band),
        *(_line(n, series, x, y, _colour(series, inks)) for n, series in enumerate(panel.series)),
        "</g>",
    ]
    return Drawn("".join(parts), x, y)


def scales(panel: Panel, drawn: Drawn) -> str:
    """The attribute by which a page reads values off a panel.

    Each axis is ``[from, to, at, at, logarithmic]``: two values and their places in the drawing, in points.
    """
    axes = {
        name: [*(float(f"{v:.12g}") for v in (a.low, a.high, a.start, a.end)), int(a.log)]
        for name, a in (("x", drawn.x), ("y", drawn.y))
    }
    plot = {**axes, "across": panel.across, "names": [clean(series.name[:_NAMES]) for series in panel.series]}
    return f'data-plot="{escape(json.dumps(plot, separators=(",", ":")))}"'


def words(text: str) -> str:
    """Foreign text, cut and harmless in an element."""
    return escape(clean(text[:_NAMES]), quote=False)


def sample(series: Series, inks: Inks, x: float, y: float) -> str:
    """A short piece of the line, for a legend."""
    return f'<path d="M{x:.2f} {y:.2f} {x + 18:.2f} {y:.2f}" style="{_stroke(series, _colour(series, inks))}"/>'


def _colour(series: Series, inks: Inks) -> str:
    return inks.series[series.colour % len(inks.series)]


def _stroke(series: Series, colour: str) -> str:
    dashes = DASHES[series.style]
    faint = ";stroke-opacity:.45" if series.faint else ""
    return (
        f"fill:none;stroke:{colour};stroke-width:{1 if series.faint else 1.5}{faint}"
        f"{f';stroke-dasharray:{dashes}' if dashes else ''}"
    )


def _grid(x: Axis, y: Axis, inks: Inks, left: float, right: float, top: float, bottom: float) -> str:
    """Level lines, the two axes, ticks and their names."""
    level = "".join(f"M{left:.2f} {y.place(v):.2f}H{right:.2f}" for v, _ in y.ticks)
    ticks = "".join(f"M{x.place(v):.2f} {bottom:.2f}v3" for v, _ in x.ticks)
    down = "".join(
        f'<text x="{left - 3.5:.2f}" y="{y.place(v) + _SHARE * _TEXT:.2f}">{escape(name)}</text>' for v, name in y.ticks
    )
    along = "".join(f'<text x="{x.place(v):.2f}" y="{bottom + 13:.2f}">{escape(name)}</text>' for v, name in x.ticks)
    return (
        f'<path d="{level}" style="stroke:{inks.grid};stroke-width:.6;stroke-opacity:.55"/>'
        f'<path d="M{left:.2f} {top:.2f}V{bottom:.2f}H{right:.2f}{ticks}" '
        f'style="fill:none;stroke:{inks.grid};stroke-width:.8"/>'
        f'<g style="text-anchor:end">{down}</g><g style="text-anchor:middle">{along}</g>'
    )


def _mark(at: float, inks: Inks, top: float, bottom: float) -> str:
    style = f"stroke:{inks.ink};stroke-width:.7;stroke-opacity:.55;stroke-dasharray:1.4 1.4"
    return f'<path d="M{at:.2f} {bottom:.2f}V{top:.2f}" style="{style}"/>'


def _band(series: Series, x: Axis, y: Axis, colour: str) -> str:
    known = [(at, *ends) for at, ends in zip(series.x, series.band, strict=True) if all(map(math.isfinite, ends))]
    if not known:
        return ""
    there = [f"{x.place(at):.2f} {y.place(high):.2f}" for at, _, high in known]
    back = [f"{x.place(at):.2f} {y.place(low):.2f}" for at, low, _ in reversed(known)]
    return f'<path class="band" d="M{" ".join(there + back)}Z" style="fill:{colour};fill-opacity:.15"/>'


def _line(number: int, series: Series, x: Axis, y: Axis, colour: str) -> str:
    """The line with a gap wherever nothing was measured, and dots where it could not be seen or is to be marked."""
    values = [v if v is not None and math.isfinite(v) else None for v in series.y]
    along = [f"{at:.2f}" for at in x.places(series.x)]
    down = [None if at is None else f"{at:.2f}" for at in y.places(values)]
    way, before = [], None
    for left, level in zip(along, down, strict=True):
        if level is not None:
            way.append(f"{left} {level}" if before is not None else f"M{left} {level}")
        before = level
    marked = _alone(values) | {n for n, at in enumerate(series.x) if at in series.dots and values[n] is not None}
    dots = [f'<circle cx="{along[n]}" cy="{down[n]}" r="1.6" style="fill:{colour}"/>' for n in sorted(marked)]
    return f'<g data-s="{number}"><path d="{" ".join(way)}" style="{_stroke(series, colour)}"/>{"".join(dots)}</g>'


def _alone(values: Sequence[float | None]) -> set[int]:
    """The points that no line leads to or from: between gaps, they show only if they are marked."""
    there = [False, *(v is not None for v in values), False]
    return {n for n in range(len(values)) if there[n + 1] and not there[n] and not there[n + 2]}


def _leaves(series: Series, y: Axis) -> bool:
    return any(v is not None and math.isfinite(v) and not y.low <= v <= y.high for v in series.y)
