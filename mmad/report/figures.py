"""Line charts as SVG: in a page's own colours, legible in light and dark, or as a file in fixed mid-tones."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal, NamedTuple, overload

from markupsafe import Markup

from mmad.analysis.frames import AblationFrame, MemberFrame, RunFrame
from mmad.analysis.statistics import RunStatistics, Statistics
from mmad.base import formatting
from mmad.base.formatting import clean
from mmad.base.records import LOSS_COMPONENTS, SPLITS, Split
from mmad.report.model import RunSection, ablation_anchor

# One pair of axes: its lines, and the scales that place values in the figure.

#: Mid-tones that people with the common colour-blindnesses can distinguish (after Okabe and Ito, 2008).
PALETTE: tuple[str, ...] = ("#2b7bba", "#d1661c", "#1f9e78", "#b0619b", "#8a7a12", "#5b6ee1", "#a3483d", "#5d7f8c")

Style = Literal["solid", "dashed", "dotted"]
#: The x axis of a panel: epochs, a share from 0 to 1, or false positives per image (on a logarithmic scale).
Across = Literal["epoch", "share", "rate"]
_RATES = (0.125, 0.5, 2.0, 8.0)
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_MOST = 1e307
#: The least span of an axis: below it floats can no longer represent the steps.
_LEAST = 1e-300


@dataclass(frozen=True)
class Series:
    """One line; a value that is None (or not finite) leaves a gap. ``colour`` counts through the palette.

    ``dots`` are values of ``x`` to mark on the line; ``band`` holds the lower and upper ends of the shaded interval.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float | None, ...]
    colour: int = 0
    style: Style = "solid"
    faint: bool = False
    dots: tuple[float, ...] = ()
    band: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Panel:
    """One pair of axes. ``marks`` are epochs to mark, ``y_range`` fixes the axis across panels."""

    title: str
    series: tuple[Series, ...]
    marks: tuple[int, ...] = ()
    y_range: tuple[float, float] | None = None
    log: bool = False
    across: Across = "epoch"


@dataclass(frozen=True)
class Axis:
    """From ``low`` to ``high``, drawn from ``start`` to ``end``; ``ticks`` are the labelled values."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False
    ticks: tuple[tuple[float, str], ...] = ()

    def place(self, value: float) -> float:
        """The place of ``value``; a value that a logarithmic axis cannot show is placed at the low end."""
        (place,) = self.places((value,))
        assert place is not None
        return place

    @overload
    def places(self, values: Sequence[float]) -> list[float]: ...
    @overload
    def places(self, values: Sequence[float | None]) -> list[float | None]: ...
    def places(self, values: Sequence[float | None]) -> Sequence[float | None]:
        """The place of each of ``values``, None for None."""
        if self.log:
            low = math.log(self.low)
            scale = (self.end - self.start) / (math.log(self.high) - low)
            return [
                None if v is None else self.start + scale * (math.log(v) - low) if v > 0 else self.start for v in values
            ]
        start, low, scale = self.start, self.low, (self.end - self.start) / (self.high - self.low)
        return [None if v is None else start + scale * (v - low) for v in values]


def x_axis(panel: Panel, start: float, end: float) -> Axis:
    """The horizontal axis of the panel."""
    xs = [x for series in panel.series for x in series.x]
    low, high = (min(xs), max(xs)) if xs else (0.0, 1.0)
    if low == high:
        low, high = low - 1, high + 1
    if panel.across == "share":
        return Axis(0, 1, start, end, ticks=linear_ticks(0, 1, 5))
    if panel.across == "rate" and low > 0:
        return Axis(low, high, start, end, True, tuple((v, f"{v:g}") for v in _RATES if low <= v <= high))
    return Axis(low, high, start, end, ticks=linear_ticks(low, high, 5, whole=panel.across == "epoch"))


def y_axis(panel: Panel, start: float, end: float) -> Axis:
    """The vertical axis of the panel: it starts at 0 unless values are negative or the panel sets a range."""
    values = [v for series in panel.series for v in series.y if v is not None and math.isfinite(v)]
    if panel.log and values and min(values) > 0:
        low, high = min(values), max(values)
        room = 3.0 if high < 10 * low else (high / low if high / low < _MOST else _MOST) ** 0.05
        low, high = max(low / room, math.ulp(0.0)), min(high * room, _MOST)
        return Axis(low, high, start, end, True, decades(low, high))
    if panel.y_range is not None:
        low, high = panel.y_range
    elif values and min(values) < 0:
        low, high = max(min(values), -_MOST), min(max(values), _MOST)
        room = max(0.05 * max(high - low, abs(low) * 1e-6), _LEAST)
        low, high = low - room, high + room
    else:
        low, high = 0.0, max(min((max(values) if values else 1.0) or 1.0, _MOST) * 1.06, _LEAST)
    return Axis(low, high, start, end, ticks=linear_ticks(low, high, 6))


def linear_ticks(low: float, high: float, most: int, *, whole: bool = False) -> tuple[tuple[float, str], ...]:
    """Round values at equal steps between ``low`` and ``high``, at most ``most`` + 1, with their labels."""
    span = high - low
    power = 10.0 ** math.floor(math.log10(span / most))
    steps = [s * p for p in (power, power * 10) for s in _STEPS if not whole or (s * p >= 1 and (s * p) % 1 == 0)]
    step = next((s for s in steps if s >= span / most * (1 - 1e-9)), steps[-1] if steps else 1.0)
    first, last = math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6)
    values = [n * step for n in range(first, last + 1)]
    if step < 1e-4 or max(abs(low), abs(high)) >= 1e6:
        return tuple((v, f"{v:.3g}") for v in values)
    digits = max(0, -math.floor(math.log10(step)))
    if round(step * 10**digits, 6) % 1:  # a step of 2.5 has a digit more
        digits += 1
    return tuple((v, f"{v:.{digits}f}".replace("-", "−")) for v in values)


def decades(low: float, high: float) -> tuple[tuple[float, str], ...]:
    """The powers of ten between ``low`` and ``high``; only every second, third, … where there are many."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    step = max(1, math.ceil((last - first + 1) / 6))
    return tuple((10.0**n, f"{10.0**n:g}") for n in range(first, last + 1, step))


# One panel as SVG: axes, bands, lines, dots; written directly, because a plotting library takes thirty times as long.

DASHES = {"solid": "", "dashed": "6.75 2.4", "dotted": "1.8 2.25"}
#: Room around a panel's axes, in points.
_LEFT, _RIGHT, _ABOVE, _BELOW = 30.24, 8.64, 17.28, 17.28
_TEXT, _TITLE, _SHARE = 8, 8.5, 0.35  # share of the font size between the middle of a letter and its baseline
_NAMES = 60


@dataclass(frozen=True)
class Inks:
    """The colours of a figure: CSS values for its lines, its text and its grid."""

    series: tuple[str, ...]
    ink: str
    grid: str


@dataclass(frozen=True)
class RenderedPanel:
    """A panel's SVG elements and its axes."""

    svg: str
    x: Axis
    y: Axis


def render_panel(
    panel: Panel, inks: Inks, size: tuple[float, float], at: tuple[float, float], clip: str
) -> RenderedPanel:
    """Render ``panel`` with its upper left corner at ``at``; ``clip`` is an identifier for its clip path."""
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
    return RenderedPanel("".join(parts), x, y)


def scales(panel: Panel, rendered: RenderedPanel) -> str:
    """The attribute from which the page's script reads a panel's values.

    Each axis is ``[from, to, at, at, logarithmic]``: two values and their places in the figure, in points.
    """
    axes = {
        name: [*(float(f"{v:.12g}") for v in (a.low, a.high, a.start, a.end)), int(a.log)]
        for name, a in (("x", rendered.x), ("y", rendered.y))
    }
    plot = {**axes, "across": panel.across, "names": [clean(series.name[:_NAMES]) for series in panel.series]}
    return f'data-plot="{escape(json.dumps(plot, separators=(",", ":")))}"'


def words(text: str) -> str:
    """Foreign text, clipped and escaped for an element."""
    return escape(clean(text[:_NAMES]), quote=False)


def sample(series: Series, inks: Inks, x: float, y: float) -> str:
    """A short piece of the line for a legend."""
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
    """Horizontal grid lines, the two axes, ticks and their labels."""
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
    """The line with gaps where nothing was measured; dots mark isolated points and chosen ones."""
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
    """The points between two gaps: no line reaches them, so they are visible only as dots."""
    there = [False, *(v is not None for v in values), False]
    return {n for n in range(len(values)) if there[n + 1] and not there[n] and not there[n + 2]}


def _leaves(series: Series, y: Axis) -> bool:
    return any(v is not None and math.isfinite(v) and not y.low <= v <= y.high for v in series.y)


# Panels on a page, or as a file of their own.

_PAGE = Inks(tuple(f"var(--series-{n})" for n in range(len(PALETTE))), "currentColor", "var(--grid)")
_FILE = Inks(PALETTE, "#7a808a", "#9aa0a8")
_POINTS = 72  # per inch
_LEGEND_COLUMNS = 4
_LETTER = 4.4  # points: the mean width of a letter at 8 pt


@dataclass(frozen=True)
class Chart:
    """Panels in rows of ``columns``, with or without a legend; sizes are in inches."""

    panels: tuple[Panel, ...]
    columns: int = 1
    legend: bool = False
    width: float = 3.1
    height: float = 1.95

    @property
    def lines(self) -> tuple[Series, ...]:
        """The lines of the legend: the first of each name, because further seeds are fainter."""
        found: dict[str, Series] = {}
        for series in (series for panel in self.panels for series in panel.series):
            found.setdefault(series.name, series)
        return tuple(found.values())


def inline_svg(panel: Panel, prefix: str, label: str, size: tuple[float, float] = (3.1, 1.95)) -> str:
    """One panel as an ``<svg>`` element of a page, whose identifiers start with ``prefix`` (letters, digits, ``-``).

    ``label`` is its description for screen readers; ``size`` is in inches.
    """
    width, height = size[0] * _POINTS, size[1] * _POINTS
    rendered = render_panel(panel, _PAGE, (width, height), (0, 0), f"{prefix}-clip")
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" {scales(panel, rendered)} role="img" '
        f'aria-label="{escape(label)}" style="fill:currentColor;font-size:8px">{rendered.svg}</svg>'
    )


def standalone_svg(chart: Chart) -> str:
    """The chart as a file of its own, in colours that contrast with white and with black."""
    rows = math.ceil(len(chart.panels) / chart.columns)
    size = chart.width * _POINTS, chart.height * _POINTS
    width, height = size[0] * chart.columns, size[1] * rows
    rendered = [
        render_panel(
            panel, _FILE, size, (size[0] * (n % chart.columns), size[1] * (n // chart.columns)), f"clip-{n}"
        ).svg
        for n, panel in enumerate(chart.panels)
    ]
    legend, room = _legend(chart, width, height) if chart.legend else ("", 0.0)
    height += room
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}pt" height="{height:g}pt" '
        f'viewBox="0 0 {width:g} {height:g}" '
        f'style="fill:{_FILE.ink};font:8px system-ui,sans-serif;stroke-linejoin:round">'
        f"{''.join(rendered)}{legend}</svg>\n"
    )


def _legend(chart: Chart, width: float, top: float) -> tuple[str, float]:
    """The lines' names in columns below the panels, and the height they take."""
    lines = chart.lines
    column = 34 + _LETTER * max((len(series.name[:60]) for series in lines), default=0)
    columns = max(1, min(_LEGEND_COLUMNS, len(lines), int(width // column)))
    rows = math.ceil(len(lines) / columns)
    left = (width - columns * column) / 2
    parts = []
    for n, series in enumerate(lines):
        x, y = left + column * (n % columns), top + 0.16 * _POINTS * (n // columns) + 9
        parts.append(sample(series, _FILE, x, y - 2.8))
        parts.append(f'<text x="{x + 24:.2f}" y="{y:.2f}">{words(series.name)}</text>')
    return f'<g class="legend">{"".join(parts)}</g>', (0.14 + 0.16 * rows) * _POINTS


# Which curves a report shows: every measure of one run, and the arms of an ablation overlaid.

#: Training, validation, test: colour and line style differ, so that either alone distinguishes them.
SPLIT_LINES: dict[Split, tuple[str, int, Style]] = {
    "train": ("training", 2, "dotted"),
    "val": ("validation", 0, "solid"),
    "test": ("test", 1, "dashed"),
}
_COMPONENT_TITLES = {
    "loss_classifier": "Loss: classifier",
    "loss_box_reg": "Loss: box regression",
    "loss_objectness": "Loss: objectness",
    "loss_rpn_box_reg": "Loss: RPN box regression",
    "loss_mask": "Loss: mask",
}
#: The learned w of the loss components, distinct from one another and from every other line of a run.
_WEIGHTS: tuple[tuple[str, str, int, Style], ...] = (
    ("weight_loss_classifier", "w classifier", 4, "solid"),
    ("weight_loss_box_reg", "w box regression", 5, "dashed"),
    ("weight_loss_objectness", "w objectness", 6, "dotted"),
    ("weight_loss_rpn_box_reg", "w RPN box regression", 7, "solid"),
    ("weight_loss_mask", "w mask", 3, "dashed"),
)
OVERLAP_NAMES = {"iou": "IoU", "iobb": "IoBB"}


def run_panels(run: RunFrame, overlap: str, best_epoch: int | None) -> tuple[Panel, ...]:
    """Losses by component, AP, AR, learning rate and learned loss weights over the epochs of one run."""
    marks = () if best_epoch is None else (best_epoch,)
    panels = [Panel("Loss: total", _splits(run, "loss"), marks)]
    panels += [Panel(title, _splits(run, name), marks) for name, title in _COMPONENT_TITLES.items() if _has(run, name)]
    for figure in ("ap", "ar"):
        title = f"{figure.upper()} ({OVERLAP_NAMES.get(overlap, overlap)})"
        panels.append(Panel(title, _splits(run, f"{figure}_{overlap}"), marks))
    for figure in ("ap", "ar"):
        name = f"{figure}_mask_{overlap}"
        if _has(run, name):
            title = f"{figure.upper()} of masks ({OVERLAP_NAMES.get(overlap, overlap)})"
            panels.append(Panel(title, _splits(run, name), marks))
    rate = Series("learning rate", tuple(e.epoch for e in run.epochs), tuple(e.lr for e in run.epochs), colour=3)
    panels.append(Panel("Learning rate", (rate,), log=True))
    panels.append(Panel("Loss: as minimised", _splits(run, "objective"), marks))
    panels.append(Panel("Learned loss weights", weight_lines(run), marks))
    return tuple(p for p in panels if any(v is not None for s in p.series for v in s.y))


def weight_lines(run: RunFrame) -> tuple[Series, ...]:
    """The learned w of each loss component by epoch; empty where the weights are fixed."""
    epochs = tuple(e.epoch for e in run.epochs)
    return tuple(
        Series(label, epochs, run.curves["train", name], colour, style)
        for name, label, colour, style in _WEIGHTS
        if ("train", name) in run.curves
    )


def _has(run: RunFrame, name: str) -> bool:
    return any(name == known for _, known in run.curves)


def _splits(run: RunFrame, name: str) -> tuple[Series, ...]:
    epochs = tuple(e.epoch for e in run.epochs)
    lines = []
    for split in SPLITS:
        label, colour, style = SPLIT_LINES[split]
        if (split, name) in run.curves:
            lines.append(Series(label, epochs, run.curves[split, name], colour, style))
    return tuple(lines)


def run_chart(run: RunFrame, overlap: str, best_epoch: int | None) -> Chart:
    """All panels of a run in one figure, for viewers that show images only as files."""
    return Chart(run_panels(run, overlap, best_epoch), columns=2, legend=True)


_OVERLAID: tuple[tuple[str, Split, str], ...] = (
    ("Validation loss", "val", "loss"),
    ("Validation AP", "val", "ap"),
    ("Test AP", "test", "ap"),
)


def overlay_tops(ablation: AblationFrame) -> tuple[float | None, ...]:
    """The upper end of each overlaid panel's axis, equal across the settings; None where nothing was measured."""
    overlap = ablation.members[0].protocol.overlap
    tops: list[float | None] = []
    for _, split, measure in _OVERLAID:
        name = measure if measure == "loss" else f"{measure}_{overlap}"
        everywhere = [v for m in ablation.members for v in _values(m, split, name)]
        tops.append(_robust_top(everywhere) if everywhere else None)
    return tuple(tops)


def overlay_panels(
    ablation: AblationFrame, setting: str, tops: Sequence[float | None] | None = None
) -> tuple[Panel, ...]:
    """The arms of one setting overlaid, with a dot at the best validation AP; further seeds of an arm are fainter.

    Axes are equal across the settings of the ablation. The AP of arms evaluated under another overlap than the
    first is left out. ``tops`` is the result of ``overlay_tops`` where the caller has it already.
    """
    overlap = ablation.members[0].protocol.overlap
    panels = []
    for (title, split, measure), top in zip(_OVERLAID, tops or overlay_tops(ablation), strict=True):
        name = measure if measure == "loss" else f"{measure}_{overlap}"
        lines = tuple(
            line
            for n, arm in enumerate(ablation.arms)
            for line in _arm_lines(ablation.of(setting, arm), arm, n, split, name, overlap)
        )
        if lines:
            panels.append(Panel(title, lines, y_range=None if top is None else (0, top)))
    return tuple(panels)


def _arm_lines(
    members: Sequence[MemberFrame], arm: str, colour: int, split: Split, name: str, overlap: str
) -> list[Series]:
    style: Style = ("solid", "dashed", "dotted")[colour % 3]
    lines = []
    for k, member in enumerate(members):
        values = member.run.curves.get((split, name))
        same = name == "loss" or member.protocol.overlap == overlap
        if same and values is not None:
            epochs = tuple(e.epoch for e in member.run.epochs)
            best = () if member.best_ap is None else (member.best_ap.epoch,)
            lines.append(Series(arm, epochs, values, colour, style, faint=k > 0, dots=best))
    return lines


def _values(member: MemberFrame, split: Split, name: str) -> list[float]:
    found = member.run.curves.get((split, name), ())
    return [v for v in found if v is not None and v == v and abs(v) != float("inf")]


def _robust_top(values: list[float]) -> float:
    """An upper end for an axis that one diverging epoch does not stretch until nothing else is visible."""
    if not values:
        return 1.0
    ordered = sorted(values)
    high = ordered[min(len(ordered) - 1, int(len(ordered) * 0.98))]
    top = ordered[-1] if ordered[-1] <= 3 * high or high <= 0 else high
    return (top or 1.0) * 1.06


def components(run: RunFrame) -> tuple[str, ...]:
    """The loss components that a run reports, with the usual four first."""
    found = dict.fromkeys(name for _, name in run.curves if name.startswith("loss_"))
    return tuple(sorted(found, key=lambda n: (n not in LOSS_COMPONENTS, n)))


def describe(panel: Panel) -> str:
    """A chart in words: each line's last value and its extreme."""
    parts = []
    where = "epoch " if panel.across == "epoch" else ""
    for series in panel.series:
        points = [(x, v) for x, v in zip(series.x, series.y, strict=True) if v is not None and v == v]
        if not points:
            continue
        pick = min if "oss" in panel.title else max
        at, extreme = pick(points, key=lambda p: p[1])
        word = "lowest" if pick is min else "highest"
        last = points[-1]
        parts.append(f"{series.name} {word} {extreme:.4g} at {where}{at:g}, {last[1]:.4g} at {where}{last[0]:g}")
    return f"{panel.title}{' by epoch' if where else ''}. " + ("; ".join(parts) + "." if parts else "No values.")


# FROC, precision by recall and reliability of the arms of one setting, overlaid.

_STYLES: tuple[Style, ...] = ("solid", "dashed", "dotted")


class _Points(NamedTuple):
    """A line and, where there is one, the interval around each point."""

    x: tuple[float, ...] = ()
    y: tuple[float | None, ...] = ()
    band: tuple[tuple[float, float], ...] = ()


Line = Callable[[RunStatistics], _Points]


def statistics_panels(ablation: AblationFrame, setting: str, statistics: Statistics) -> tuple[Panel, ...]:
    """Three panels on the test split; arms have the colours of the other curves, further seeds are fainter.

    The FROC of an arm's first seed is shaded over its 95 % intervals. Runs evaluated under another protocol, or with
    another kind of checkpoint, than the setting's first are left out.
    """
    lines: tuple[tuple[str, Line, str], ...] = (
        ("Sensitivity by false positives per image", _froc, "rate"),
        ("Precision by recall", _precision, "share"),
        ("Share of hits by score", _reliability, "share"),
    )
    panels = []
    for title, line, across in lines:
        series = _series(ablation, setting, statistics, line)
        if series:
            panels.append(Panel(title, series, y_range=(0, 1), across="rate" if across == "rate" else "share"))
    return tuple(panels)


def _series(ablation: AblationFrame, setting: str, statistics: Statistics, line: Line) -> tuple[Series, ...]:
    found: list[Series] = []
    first = None
    for n, arm in enumerate(ablation.arms):
        count = 0
        for member in ablation.of(setting, arm):
            stats = statistics.run(member)
            if stats is None:
                continue
            first = first or (member.protocol, stats.kind)
            x, y, band = line(stats)
            if not x or (member.protocol, stats.kind) != first:
                continue
            found.append(Series(arm, x, y, n, _STYLES[n % 3], faint=count > 0, band=() if count else band))
            count += 1
    return tuple(found)


def _froc(stats: RunStatistics) -> _Points:
    if stats.profile is None:
        return _Points()
    ends = tuple((value.low, value.high) for value in stats.profile.froc_band.sensitivity)
    known = all(math.isfinite(end) for pair in ends for end in pair)
    return _Points(stats.profile.froc.rates, stats.profile.froc.sensitivity, ends if known else ())


def _precision(stats: RunStatistics) -> _Points:
    return _Points() if stats.curve is None else _Points(stats.curve.recall, stats.curve.precision)


def _reliability(stats: RunStatistics) -> _Points:
    if stats.profile is None:
        return _Points()
    found = stats.profile.calibration
    known = [(s, h) for s, h in zip(found.score, found.hits, strict=True) if math.isfinite(s) and math.isfinite(h)]
    return _Points(tuple(s for s, _ in known), tuple(h for _, h in known))


# The charts of a page: a row for each run and each setting.


class ChartRenderer:
    """Renders the charts of all pages. ``progress`` is called with (done, total) run sections."""

    def __init__(self, runs: int, progress: Callable[[int, int], None] | None) -> None:
        self._tops: dict[str, tuple[float | None, ...]] = {}
        self._runs = 0
        self._of = runs
        self._progress = progress

    def run(self, section: RunSection) -> list[Markup]:
        """The curves of one run."""
        best = section.member.best_ap.epoch if section.member.best_ap else None
        rendered = _render_panels(run_panels(section.run, section.member.protocol.overlap, best), section.anchor)
        self._runs += 1
        if self._progress is not None:
            self._progress(self._runs, self._of)
        return rendered

    def overlay(self, ablation: AblationFrame, setting: str, statistics: Statistics) -> list[Markup]:
        """The arms of one setting, overlaid."""
        name = ablation.record.name
        if name not in self._tops:
            self._tops[name] = overlay_tops(ablation)
        panels = (
            *overlay_panels(ablation, setting, self._tops[name]),
            *statistics_panels(ablation, setting, statistics),
        )
        return _render_panels(panels, f"{ablation_anchor(name)}-{ablation.settings.index(setting)}")


def _render_panels(panels: Sequence[Panel], prefix: str) -> list[Markup]:
    """Each panel as an ``<svg>`` element; identifiers begin with ``prefix``."""
    found = [inline_svg(panel, f"{prefix}-{n}", formatting.clean(describe(panel))) for n, panel in enumerate(panels)]
    return list(map(Markup, found))
