"""Line charts as SVG: drawn by matplotlib, kept by content, coloured by the page that shows them.

A chart is drawn with stand-in colours. Inlined in a page they become CSS variables and ``currentColor``, so
that one drawing is legible in light and dark; as a file of its own they become fixed mid-tones.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from mmad.base.files import write_atomically
from mmad.base.paths import cache_folder

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Raised when the drawing changes, so that no older drawing is taken from the cache.
DRAWING = 7
#: Mid-tones of a palette that the common colour-blindnesses tell apart (after Okabe and Ito, 2008).
PALETTE: tuple[str, ...] = ("#2b7bba", "#d1661c", "#1f9e78", "#b0619b", "#8a7a12", "#5b6ee1", "#a3483d", "#5d7f8c")
_STANDIN = tuple(f"#fe01{n:02x}" for n in range(len(PALETTE)))
_INK, _GRID = "#fe0200", "#fe0201"
_INK_FIXED, _GRID_FIXED = "#7a808a", "#9aa0a8"
_DASHES: dict[str, Any] = {"solid": "-", "dashed": (0, (4.5, 1.6)), "dotted": (0, (1.2, 1.5))}
_LEGEND_COLUMNS = 4

Style = Literal["solid", "dashed", "dotted"]


@dataclass(frozen=True)
class Series:
    """One line; a value that is None (or not finite) leaves a gap. ``colour`` counts through the palette."""

    name: str
    x: tuple[int, ...]
    y: tuple[float | None, ...]
    colour: int = 0
    style: Style = "solid"
    faint: bool = False


@dataclass(frozen=True)
class Panel:
    """One pair of axes. ``marks`` are epochs to point out, ``y_range`` fixes the axis across panels."""

    title: str
    series: tuple[Series, ...]
    marks: tuple[int, ...] = ()
    y_range: tuple[float, float] | None = None
    log: bool = False


@dataclass(frozen=True)
class Chart:
    """Panels in rows of ``columns``, with a legend or without; sizes are in inches."""

    panels: tuple[Panel, ...]
    columns: int = 1
    legend: bool = False
    width: float = 3.1
    height: float = 1.95

    @property
    def content(self) -> str:
        """SHA-256 of everything that decides the drawing."""
        text = json.dumps([DRAWING, asdict(self)], sort_keys=True)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def inline_svg(chart: Chart, prefix: str, label: str) -> str:
    """The chart as an ``<svg>`` element whose identifiers start with ``prefix`` (letters, digits, ``-``).

    ``label`` is its description for those who cannot see it.
    """
    svg = _drawn(chart)
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    used = set(re.findall(r"url\(#([^)]+)\)|href=\"#([^\"]+)\"", svg))
    names = {name for pair in used for name in pair if name}
    svg = re.sub(r' id="([^"]+)"', lambda m: f' id="{prefix}-{m[1]}"' if m[1] in names else "", svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", svg)
    svg = re.sub(r'(?:xlink:)?href="#([^"]+)"', rf'href="#{prefix}-\1"', svg)
    for n, colour in enumerate(_STANDIN):
        svg = svg.replace(colour, f"var(--series-{n})")
    svg = svg.replace(_INK, "currentColor").replace(_GRID, "var(--grid)")
    svg = _slim(svg)
    svg = re.sub(
        r'<svg [^>]*viewBox="([^"]+)"[^>]*>', rf'<svg viewBox="\1" role="img" aria-label="{_quoted(label)}">', svg
    )
    return svg.strip()


def standalone_svg(chart: Chart) -> str:
    """The chart as a file of its own, in colours that stand out from white and from black."""
    svg = _drawn(chart)
    for standin, colour in zip(_STANDIN, PALETTE, strict=True):
        svg = svg.replace(standin, colour)
    svg = svg.replace("font-family: inherit", "font-family: system-ui, sans-serif")
    return svg.replace(_INK, _INK_FIXED).replace(_GRID, _GRID_FIXED)


def _slim(svg: str) -> str:
    """The same picture in fewer characters: two decimals, no empty groups, no invisible background."""
    svg = re.sub(r' transform="rotate\(-0 [^)]*\)"', "", svg)
    svg = re.sub(r"<[^>]+>", lambda tag: re.sub(r"\d+\.\d{3,}", lambda m: f"{float(m[0]):.2f}", tag[0]), svg)
    svg = re.sub(r"\s+", " ", svg)
    svg = re.sub(r'<path d="[^"]*" style="fill: none" ?/>|<defs> ?</defs>', "", svg)
    while (less := re.sub(r"<g> ?</g>|<g ?/>", "", svg)) != svg:
        svg = less
    return re.sub(r">\s+<", "><", svg)


def _quoted(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace("\\", "&#92;")


def _drawn(chart: Chart) -> str:
    """The drawing from the cache, or a new one; a cache that cannot be used is done without."""
    path = cache_folder() / "charts" / chart.content[:2] / f"{chart.content}.svg"
    with contextlib.suppress(OSError, UnicodeDecodeError):
        svg = path.read_text("utf-8")
        if svg.rstrip().endswith("</svg>"):
            return svg
    svg = draw(chart)
    with contextlib.suppress(OSError):
        write_atomically(path, svg.encode("utf-8"))
    return svg


def draw(chart: Chart) -> str:
    """Draw with matplotlib; equal charts give equal text."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    rows = math.ceil(len(chart.panels) / chart.columns)
    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": chart.content,
        "font.size": 8,
        "font.family": "sans-serif",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": _GRID,
        "axes.linewidth": 0.8,
        "axes.labelcolor": _INK,
        "text.color": _INK,
        "xtick.color": _GRID,
        "ytick.color": _GRID,
        "xtick.labelcolor": _INK,
        "ytick.labelcolor": _INK,
        "xtick.major.size": 3,
        "ytick.major.size": 0,
    }
    with matplotlib.rc_context(style), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a glyph that the measuring font lacks is drawn by the reader's font
        lines = {series.name for panel in chart.panels for series in panel.series}
        legend = 0.14 + 0.16 * math.ceil(len(lines) / _LEGEND_COLUMNS) if chart.legend else 0.0
        width, height = chart.width * chart.columns, chart.height * rows + legend
        figure = Figure(figsize=(width, height))
        FigureCanvasSVG(figure)
        # Fixed margins in inches: a layout engine would take three times as long as the drawing.
        figure.subplots_adjust(
            left=0.42 / width,
            right=1 - 0.12 / width,
            top=1 - 0.24 / height,
            bottom=(0.24 + legend) / height,
            wspace=0.5 / (chart.width - 0.5),
            hspace=0.5 / (chart.height - 0.5),
        )
        for n, panel in enumerate(chart.panels):
            _panel(figure.add_subplot(rows, chart.columns, n + 1), panel)
        if chart.legend:
            drawn = {line.get_label(): line for axes in figure.axes for line in axes.get_lines()}
            named = {name: line for name, line in drawn.items() if not str(name).startswith("_")}
            box = figure.legend(
                named.values(),
                map(str, named),
                loc="lower center",
                ncols=_LEGEND_COLUMNS,
                frameon=False,
                fontsize=8,
            )
            for text in box.get_texts():
                text.set_parse_math(False)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return re.sub(r"font-family: [^;\"]+", "font-family: inherit", buffer.getvalue())


def _panel(axes: Axes, panel: Panel) -> None:
    from matplotlib.ticker import MaxNLocator

    # Fixed places for title and (empty) axis labels: looking for free ones costs more than the drawing.
    axes.set_title(panel.title, fontsize=8.5, loc="left", pad=6, y=1.0, parse_math=False)
    axes.xaxis.set_label_coords(0.5, -0.1)
    axes.yaxis.set_label_coords(-0.1, 0.5)
    axes.grid(axis="y", color=_GRID, linewidth=0.6, alpha=0.55)
    axes.set_axisbelow(True)
    for mark in panel.marks:
        axes.axvline(mark, color=_INK, linewidth=0.7, alpha=0.55, dashes=(2, 2))
    for series in panel.series:
        name = re.sub(r"^_+", "", series.name)[:60]
        y = [math.nan if v is None or not math.isfinite(v) else v for v in series.y]
        alone = _alone(y)
        axes.plot(
            series.x,
            y,
            label=name,
            color=_STANDIN[series.colour % len(_STANDIN)],
            linestyle=_DASHES[series.style],
            linewidth=1.0 if series.faint else 1.5,
            alpha=0.45 if series.faint else 1.0,
            marker="o" if alone else "",
            markevery=alone or None,
            markersize=3,
            clip_on=not alone or not _inside(y, panel.y_range),
        )
    _axes_range(axes, panel)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))


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
    if epochs and min(epochs) == max(epochs):
        axes.set_xlim(min(epochs) - 1, max(epochs) + 1)
    elif epochs:
        axes.set_xlim(min(epochs), max(epochs))
