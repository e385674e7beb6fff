"""The report as one HTML file: no network, everything escaped, charts inline."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from mmad.analysis.comparison import Comparison, ComparisonTable, spread
from mmad.analysis.frames import RunFrame
from mmad.analysis.input_controls import alteration_words, meaning
from mmad.analysis.overfitting import onset_of, onset_words
from mmad.base import formatting
from mmad.base.paths import near
from mmad.report import picture_drawing, tables
from mmad.report.figures import PALETTE, SPLIT_LINES, ChartRenderer, weight_lines
from mmad.report.model import Links, PageView, ReportModel, linked, member_title, mirrored, whole
from mmad.report.picture_drawing import PanelView, Tag, place_tags
from mmad.report.pictures import PageImage, PanelBox, Pictures
from mmad.report.text import heading_figures, log_block, setup_toml

_STYLES = ("style.css", "content.css", "form.css", "pictures.css")
_SCRIPTS = ("script.js", "tables.js", "hover.js")
_DASH_ARRAYS = {"solid": "none", "dashed": "6 2.2", "dotted": "1.6 2"}


@dataclass(frozen=True)
class LegendKey:
    """One line of a legend: its name, colour and dashes."""

    name: str
    colour: int
    dashes: str


@dataclass(frozen=True)
class Strip:
    """The places of the arms' test AP on a line from 0 to 100 (small dots for seeds, large ones for means)."""

    reference: float | None
    other: float | None
    reference_seeds: tuple[float, ...]
    other_seeds: tuple[float, ...]


def render_html(model: ReportModel, progress: Callable[[int, int], None] | None = None) -> str:
    """The whole report as one page. ``progress`` is called with (done, total) run sections."""
    view = whole(model)
    return _render(model, view, Links(view.file, view.file, {}), ChartRenderer(len(model.runs), progress))


def render_pages(
    model: ReportModel, overview: str, folder: str, progress: Callable[[int, int], None] | None = None
) -> Iterator[tuple[str, str]]:
    """The report as linked pages: the ablations' pages in ``folder``, last the overview; (file, page) of each.

    A page of an ablation has no time stamp: it changes only with its content.

    Args:
        overview: the overview's file name; ``folder`` is beside it.
    """
    views, links = linked(model, overview, folder)
    charts = ChartRenderer(len(model.runs), progress)
    for view in views:
        yield view.file, _render(model, view, links.of(view.file), charts)


def _render(model: ReportModel, view: PageView, link: Links, charts: ChartRenderer) -> str:
    log = ("log.css", "log.js") if model.logbook is not None and view.overview else ()
    style, script = ("".join(map(_template, names)) for names in (_STYLES + log[:1], _SCRIPTS + log[1:]))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _environment()
        .get_template("page.html")
        .render(
            model=model,
            view=view,
            link=link,
            charts=charts,
            style=Markup(style + toggles(model.pictures)),
            script=Markup(script),
            script_hash=digest,
            palette=PALETTE,
            version=version("mmad"),
            zip=zip,
        )
    )


def run_keys(run: RunFrame) -> list[LegendKey]:
    """The legend of a run's curves: the splits, and the learned loss weights."""
    lines = [*SPLIT_LINES.values(), *((s.name, s.colour, s.style) for s in weight_lines(run))]
    return [LegendKey(name, colour, _DASH_ARRAYS[style]) for name, colour, style in lines]


def arm_keys(arms: tuple[str, ...]) -> list[LegendKey]:
    """The legend of the overlaid curves."""
    return [LegendKey(arm, n % len(PALETTE), list(_DASH_ARRAYS.values())[n % 3]) for n, arm in enumerate(arms)]


def strips(comparison: ComparisonTable) -> tuple[float, float, list[Strip]]:
    """The common scale (low, high) of a comparison's test AP, and every row's place on it."""
    means = [f.mean for row in comparison.rows for f in (row.test_ap.reference, row.test_ap.other) if f]
    single = [v for row in comparison.rows for side in _seeds(row) for v in side]
    if not means:
        return 0.0, 1.0, [Strip(None, None, (), ()) for _ in comparison.rows]
    low, high = min(means + single), max(means + single)
    low, high = max(0.0, int(low * 20) / 20), min(1.0, (int(high * 20) + 1) / 20)

    def place(value: float) -> float:
        return round(100 * (value - low) / (high - low), 2)

    rows = []
    for row in comparison.rows:
        left, right = _seeds(row)
        a, b = row.test_ap.reference, row.test_ap.other
        rows.append(
            Strip(
                place(a.mean) if a else None,
                place(b.mean) if b else None,
                tuple(map(place, left)),
                tuple(map(place, right)),
            )
        )
    return low, high, rows


def _seeds(row: Comparison) -> tuple[list[float], list[float]]:
    if len(row.seeds) < 2:
        return [], []
    left, right = (
        [value for one in side if (value := getattr(one.figures(row.kind), "test_ap", None)) is not None]
        for side in zip(*row.pairs, strict=True)
    )
    return left, right


def tags(view: PanelView, image: PageImage) -> list[tuple[Tag, PanelBox]]:
    """The tags of a panel's boxes."""
    return list(zip(place_tags(view.boxes, image.width, image.height), view.boxes, strict=True))


def toggles(pictures: Pictures) -> str:
    """One CSS rule for each finding of the longest legend: clearing its tick box hides its boxes, without a script."""
    return "".join(
        f".findings:has(.tick-{n}:not(:checked)) ~ .pair .box-{n} {{ display: none; }}\n"
        for n in range(1, pictures.most_labels + 1)
    )


#: The functions that the templates call.
_FUNCTIONS: dict[str, Callable[..., object]] = {
    function.__name__: function
    for function in (
        arm_keys,
        run_keys,
        strips,
        tags,
        alteration_words,
        heading_figures,
        log_block,
        meaning,
        member_title,
        mirrored,
        onset_of,
        onset_words,
        picture_drawing.ap_contribution_words,
        picture_drawing.box_words,
        picture_drawing.differs,
        picture_drawing.drawn_and_counted,
        picture_drawing.has_more_settings,
        picture_drawing.net_hits_words,
        picture_drawing.panels_of,
        picture_drawing.title_and_description,
        setup_toml,
        tables.best_epochs,
        tables.by_finding,
        tables.by_finding_pair,
        tables.common_parameters,
        tables.filled_bins,
        tables.froc_rows,
        tables.gap_tables,
        tables.parameters,
        tables.reasons,
        tables.statistics_rows,
        tables.tests,
        tables.tone,
        tables.verdict_summary,
        tables.verdict_words,
    )
}


@cache
def _template(name: str) -> str:
    return (files("mmad.report") / "templates" / name).read_text("utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_template),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: formatting.clean(value) if type(value) is str else value,
    )
    for name in (
        "decimal",
        "signed",
        "direction",
        "whole",
        "moment",
        "duration",
        "size",
        "clip",
        "plural",
        "short_key",
    ):
        environment.filters[name] = getattr(formatting, name)
    environment.filters["near"] = near
    environment.filters["spread"] = spread
    environment.filters["bounds"] = tables.bounds
    environment.globals.update(_FUNCTIONS)
    return environment
