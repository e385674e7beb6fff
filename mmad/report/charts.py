"""Line charts as SVG: in a page's own colours, legible in light and dark, or as a file in fixed mid-tones."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape

from mmad.report.axes import PALETTE, Across, Panel, Series, Style
from mmad.report.panel_svg import Inks, draw_panel, sample, scales, words

__all__ = ["PALETTE", "Across", "Chart", "Panel", "Series", "Style", "inline_svg", "standalone_svg"]

_PAGE = Inks(tuple(f"var(--series-{n})" for n in range(len(PALETTE))), "currentColor", "var(--grid)")
_FILE = Inks(PALETTE, "#7a808a", "#9aa0a8")
_POINTS = 72  # per inch
_LEGEND_COLUMNS = 4
_LETTER = 4.4  # pt: the mean width of a letter of 8 pt


@dataclass(frozen=True)
class Chart:
    """Panels in rows of ``columns``, with a legend or without; sizes are in inches."""

    panels: tuple[Panel, ...]
    columns: int = 1
    legend: bool = False
    width: float = 3.1
    height: float = 1.95

    @property
    def lines(self) -> tuple[Series, ...]:
        """What a legend names: the first line of each name, for further seeds are fainter."""
        found: dict[str, Series] = {}
        for series in (series for panel in self.panels for series in panel.series):
            found.setdefault(series.name, series)
        return tuple(found.values())


def inline_svg(panel: Panel, prefix: str, label: str, size: tuple[float, float] = (3.1, 1.95)) -> str:
    """One panel as an ``<svg>`` element of a page, whose identifiers start with ``prefix`` (letters, digits, ``-``).

    ``label`` is its description for those who cannot see it; ``size`` is in inches.
    """
    width, height = size[0] * _POINTS, size[1] * _POINTS
    drawn = draw_panel(panel, _PAGE, (width, height), (0, 0), f"{prefix}-clip")
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" {scales(panel, drawn)} role="img" '
        f'aria-label="{escape(label)}" style="fill:currentColor;font-size:8px">{drawn.svg}</svg>'
    )


def standalone_svg(chart: Chart) -> str:
    """The chart as a file of its own, in colours that stand out from white and from black."""
    rows = math.ceil(len(chart.panels) / chart.columns)
    size = chart.width * _POINTS, chart.height * _POINTS
    width, height = size[0] * chart.columns, size[1] * rows
    drawn = [
        draw_panel(panel, _FILE, size, (size[0] * (n % chart.columns), size[1] * (n // chart.columns)), f"clip-{n}").svg
        for n, panel in enumerate(chart.panels)
    ]
    legend, room = _legend(chart, width, height) if chart.legend else ("", 0.0)
    height += room
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}pt" height="{height:g}pt" '
        f'viewBox="0 0 {width:g} {height:g}" '
        f'style="fill:{_FILE.ink};font:8px system-ui,sans-serif;stroke-linejoin:round">'
        f"{''.join(drawn)}{legend}</svg>\n"
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
