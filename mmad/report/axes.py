"""One pair of axes: what it shows, and its drawing in stand-in colours."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Literal

from mmad.report.words import clean

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Mid-tones of a palette that the common colour-blindnesses tell apart (after Okabe and Ito, 2008).
PALETTE: tuple[str, ...] = ("#2b7bba", "#d1661c", "#1f9e78", "#b0619b", "#8a7a12", "#5b6ee1", "#a3483d", "#5d7f8c")
STANDIN = tuple(f"#fe01{n:02x}" for n in range(len(PALETTE)))
INK, GRID = "#fe0200", "#fe0201"
_DASHES: dict[str, Any] = {"solid": "-", "dashed": (0, (4.5, 1.6)), "dotted": (0, (1.2, 1.5))}

Style = Literal["solid", "dashed", "dotted"]
#: What a panel runs along: epochs, a share from 0 to 1, or false positives per image (in doublings).
Across = Literal["epoch", "share", "rate"]


@dataclass(frozen=True)
class Series:
    """One line; a value that is None (or not finite) leaves a gap. ``colour`` counts through the palette.

    ``dots`` are values of ``x`` to mark on the line; ``band`` the lower and upper end of what is shaded around it.
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
    """One pair of axes. ``marks`` are epochs to point out, ``y_range`` fixes the axis across panels."""

    title: str
    series: tuple[Series, ...]
    marks: tuple[int, ...] = ()
    y_range: tuple[float, float] | None = None
    log: bool = False
    across: Across = "epoch"


def draw_panel(axes: Axes, panel: Panel) -> None:
    """Draws ``panel`` on ``axes``, in stand-in colours."""
    from matplotlib.ticker import MaxNLocator

    # Fixed places for title and (empty) axis labels: looking for free ones costs more than the drawing.
    axes.set_title(panel.title, fontsize=8.5, loc="left", pad=6, y=1.0, parse_math=False)
    axes.xaxis.set_label_coords(0.5, -0.1)
    axes.yaxis.set_label_coords(-0.1, 0.5)
    axes.grid(axis="y", color=GRID, linewidth=0.6, alpha=0.55)
    axes.set_axisbelow(True)
    for mark in panel.marks:
        axes.axvline(mark, color=INK, linewidth=0.7, alpha=0.55, dashes=(2, 2))
    for series in panel.series:
        name = re.sub(r"^_+", "", series.name)[:60]
        y = [math.nan if v is None or not math.isfinite(v) else v for v in series.y]
        alone = sorted({*_alone(y), *(n for n, x in enumerate(series.x) if x in series.dots)})
        colour = STANDIN[series.colour % len(STANDIN)]
        if series.band:
            low, high = zip(*series.band, strict=True)
            axes.fill_between(series.x, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(
            series.x,
            y,
            label=name,
            color=colour,
            linestyle=_DASHES[series.style],
            linewidth=1.0 if series.faint else 1.5,
            alpha=0.45 if series.faint else 1.0,
            marker="o" if alone else "",
            markevery=alone or None,
            markersize=3,
            clip_on=not alone or not _inside(y, panel.y_range),
        )
    _axes_range(axes, panel)
    if panel.across == "rate":
        _doublings(axes)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=panel.across == "epoch"))


def plot_scales(axes: Axes, panel: Panel, size: tuple[float, float]) -> str:
    """Names the panel's lines, and gives the attribute by which a page reads values off them.

    Each axis is ``[from, to, at, at, logarithmic]``: two values and their places in a drawing of ``size`` points.
    """
    lines = axes.get_lines()[len(panel.marks) :]
    for n, line in enumerate(lines):
        line.set_gid(f"line-{n}")
    box = axes.get_position()
    across = [*axes.get_xlim(), box.x0 * size[0], box.x1 * size[0]]
    up = [*axes.get_ylim(), (1 - box.y0) * size[1], (1 - box.y1) * size[1]]
    plot = {
        "x": [*(float(f"{v:.8g}") for v in across), int(axes.get_xscale() == "log")],
        "y": [*(float(f"{v:.8g}") for v in up), int(axes.get_yscale() == "log")],
        "across": panel.across,
        "names": [clean(str(line.get_label())) for line in lines],
    }
    return f'data-plot="{escape(json.dumps(plot, separators=(",", ":")))}" '


def _doublings(axes: Axes) -> None:
    """The axis in equal steps for doublings."""
    from matplotlib.ticker import FixedLocator, FuncFormatter

    axes.set_xscale("log", base=2)
    axes.minorticks_off()
    axes.xaxis.set_major_locator(FixedLocator([0.125, 0.5, 2, 8]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _alone(y: Sequence[float]) -> list[int]:
    """The points that no line leads to or from: between gaps, they show only if they are marked."""
    there = [False, *(not math.isnan(v) for v in y), False]
    return [n for n in range(len(y)) if there[n + 1] and not there[n] and not there[n + 2]]


def _inside(y: Sequence[float], y_range: tuple[float, float] | None) -> bool:
    """Whether no value leaves the axes, so that a mark on their edge may be drawn whole."""
    return y_range is None or all(y_range[0] <= v <= y_range[1] for v in y if not math.isnan(v))


def _axes_range(axes: Axes, panel: Panel) -> None:
    from matplotlib.ticker import FuncFormatter

    values = [v for s in panel.series for v in s.y if v is not None and math.isfinite(v)]
    if panel.log and values and min(values) > 0:
        axes.set_yscale("log")
        axes.minorticks_off()
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        if max(values) < 10 * min(values):
            axes.set_ylim(min(values) / 3, max(values) * 3)
    elif panel.y_range is not None:
        axes.set_ylim(*panel.y_range)
    elif values and min(values) >= 0:
        axes.set_ylim(0, (max(values) or 1) * 1.06)
    epochs = [x for s in panel.series for x in s.x]
    if panel.across == "share":
        axes.set_xlim(0, 1)
    elif epochs and min(epochs) == max(epochs):
        axes.set_xlim(min(epochs) - 1, max(epochs) + 1)
    elif epochs:
        axes.set_xlim(min(epochs), max(epochs))
