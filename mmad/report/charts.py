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
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmad.base.files import write_atomically
from mmad.base.paths import cache_folder
from mmad.report.axes import GRID, INK, PALETTE, STANDIN, Across, Panel, Series, Style, draw_panel, plot_scales

if TYPE_CHECKING:
    from matplotlib.lines import Line2D

__all__ = ["PALETTE", "Across", "Chart", "Panel", "Series", "Style", "draw", "inline_svg", "standalone_svg"]

#: Raised when the drawing changes, so that no older drawing is taken from the cache.
DRAWING = 11
_INK_FIXED, _GRID_FIXED = "#7a808a", "#9aa0a8"
_LEGEND_COLUMNS = 4


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
        text = json.dumps([DRAWING, vars(self)], sort_keys=True, default=vars)
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
    svg = re.sub(r' id="line-(\d+)"', r' data-s="\1"', svg)
    svg = re.sub(r' id="([^"]+)"', lambda m: f' id="{prefix}-{m[1]}"' if m[1] in names else "", svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", svg)
    svg = re.sub(r'(?:xlink:)?href="#([^"]+)"', rf'href="#{prefix}-\1"', svg)
    for n, colour in enumerate(STANDIN):
        svg = svg.replace(colour, f"var(--series-{n})")
    svg = svg.replace(INK, "currentColor").replace(GRID, "var(--grid)")
    plot = re.search(r' data-plot="[^"]*"', svg)
    scales = plot[0].replace("\\", "\\\\") if plot else ""
    svg = _slim(svg)
    svg = re.sub(
        r'<svg [^>]*viewBox="([^"]+)"[^>]*>',
        rf'<svg viewBox="\1"{scales} role="img" aria-label="{_quoted(label)}">',
        svg,
        count=1,
    )
    return svg.strip()


def standalone_svg(chart: Chart) -> str:
    """The chart as a file of its own, in colours that stand out from white and from black."""
    svg = _drawn(chart)
    for standin, colour in zip(STANDIN, PALETTE, strict=True):
        svg = svg.replace(standin, colour)
    svg = svg.replace("font-family: inherit", "font-family: system-ui, sans-serif")
    return svg.replace(INK, _INK_FIXED).replace(GRID, _GRID_FIXED)


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
    content = chart.content
    path = cache_folder() / "charts" / content[:2] / f"{content}.svg"
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
        "axes.edgecolor": GRID,
        "axes.linewidth": 0.8,
        "axes.labelcolor": INK,
        "text.color": INK,
        "xtick.color": GRID,
        "ytick.color": GRID,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "xtick.major.size": 3,
        "ytick.major.size": 0,
        "path.simplify": False,  # the page reads values off the lines
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
            draw_panel(figure.add_subplot(rows, chart.columns, n + 1), panel)
        if chart.legend:
            drawn: dict[object, Line2D] = {}
            for line in (line for axes in figure.axes for line in axes.get_lines()):
                drawn.setdefault(line.get_label(), line)  # the first of a name: further seeds are fainter
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
        alone = chart.panels[0] if len(chart.panels) == 1 else None
        scales = plot_scales(figure.axes[0], alone, (72 * width, 72 * height)) if alone else ""
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = re.sub(r"font-family: [^;\"]+", "font-family: inherit", buffer.getvalue())
    return svg.replace("<svg ", f"<svg {scales}", 1)
