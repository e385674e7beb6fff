"""The report as HTML: no network, everything escaped, figures inline."""

from __future__ import annotations

import base64
import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.resources import files

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from mmad.analysis.overfitting import onset_of, onset_words
from mmad.base import formatting
from mmad.base.paths import file_stem, near
from mmad.report import picture_drawing, table_writers, tables
from mmad.report.badges import Badge
from mmad.report.figures import (
    CurveFigure,
    ReportFigure,
    arms_figure,
    entries_figure,
    forest_figure,
    run_figure,
)
from mmad.report.methods import methods_of, reference
from mmad.report.model import AblationSection, Links, LogView, PageView, ReportModel, RunSection, linked, whole
from mmad.report.picture_drawing import PanelView, Tag, place_tags
from mmad.report.pictures import PageImage, PanelBox, Pictures
from mmad.report.rendering import FigureRenderer
from mmad.report.table import ReportTable
from mmad.report.text import heading_figures, log_block, setup_toml

_STYLES = ("style.css", "form.css", "figures.css", "pictures.css")
_SCRIPTS = ("script.js", "tables.js", "figures.js")


@dataclass(frozen=True)
class PageFigure:
    """A drawn figure: its SVG elements, and the second ones of its losses on logarithmic axes."""

    figure: ReportFigure
    panels: tuple[Markup, ...]
    log_panels: tuple[Markup, ...]


class PageFigures:
    """The figures of one page, drawn together before it is rendered; None for what has nothing to show."""

    def __init__(self, model: ReportModel, view: PageView, renderer: FigureRenderer, runs: RunProgress) -> None:
        figures = list(_figures(model, view))
        drawn = renderer.page(figures, lambda done: runs.page(done / max(1, len(figures)), view))
        self._found = {figure.name: _page_figure(figure, svg) for figure, svg in zip(figures, drawn, strict=True)}

    def forest(self, section: AblationSection) -> PageFigure | None:
        return self._found.get(f"{section.anchor}-forest")

    def arms(self, section: AblationSection, setting: str) -> PageFigure | None:
        return self._found.get(f"{section.anchor}-{section.frame.settings.index(setting) + 1}")

    def run(self, section: RunSection) -> PageFigure | None:
        return self._found.get(section.anchor)

    def log(self, log: LogView) -> PageFigure | None:
        return self._found.get(file_stem(log.name, "log"))


class RunProgress:
    """Says how many runs of all pages are drawn."""

    def __init__(self, model: ReportModel, progress: Callable[[int, int], None] | None) -> None:
        self._whole, self._before, self._said, self._progress = len(model.runs), 0, 0, progress

    def page(self, share: float, view: PageView) -> None:
        """``share`` of the page is drawn."""
        runs = sum(len(part.runs) for part in view.parts)
        done = self._before + int(share * runs)
        if self._progress is not None and done > self._said:
            self._progress(done, self._whole)
        self._said = done
        if share >= 1:
            self._before += runs


def _figures(model: ReportModel, view: PageView) -> Iterator[ReportFigure]:
    """What the page shows, in its order."""
    found: list[ReportFigure | None] = []
    if view.overview:
        found += [forest_figure(section, model.statistics) for section in model.ablations]
    for part in view.parts:
        found += [arms_figure(part.ablation, setting, model.statistics) for setting in part.settings]
        found += [run_figure(section) for section in part.runs]
    if view.overview and model.logbook is not None:
        found += [entries_figure(log) for log in model.logbook.logs]
    yield from (figure for figure in found if figure is not None)


def _page_figure(figure: ReportFigure, svg: Sequence[str]) -> PageFigure:
    panels = len(figure.panels) if isinstance(figure, CurveFigure) else len(svg)
    elements = tuple(map(Markup, svg))
    return PageFigure(figure, elements[:panels], elements[panels:])


def render_html(
    model: ReportModel,
    progress: Callable[[int, int], None] | None = None,
    renderer: FigureRenderer | None = None,
) -> str:
    """The whole report as one page.

    Args:
        progress: is called with (done, total) runs whose figures are drawn.
        renderer: draws the figures; None for one without a cache.
    """
    view = whole(model)
    with contextlib.nullcontext(renderer) if renderer is not None else FigureRenderer() as drawing:
        figures = PageFigures(model, view, drawing, RunProgress(model, progress))
    return _render(model, view, Links(view.file, view.file, {}), figures)


def render_pages(
    model: ReportModel,
    overview: str,
    folder: str,
    progress: Callable[[int, int], None] | None = None,
    renderer: FigureRenderer | None = None,
) -> Iterator[tuple[str, str]]:
    """The report as linked pages: the ablations' pages in ``folder``, last the overview; (file, page) of each.

    A page of an ablation has no time stamp: it changes only with its content.

    Args:
        overview: the overview's file name; ``folder`` is beside it.
        progress, renderer: as of ``render_html``.
    """
    views, links = linked(model, overview, folder)
    runs = RunProgress(model, progress)
    with contextlib.nullcontext(renderer) if renderer is not None else FigureRenderer() as drawing:
        for view in views:
            figures = PageFigures(model, view, drawing, runs)
            yield view.file, _render(model, view, links.of(view.file), figures)


def table_page(table: ReportTable) -> str:
    """A table as a page of its own, without network or script."""
    style = "".join(map(_template, _STYLES[:2]))
    page = _environment().get_template("table_page.html")
    return page.render(table=table, style=Markup(style), places={}, link=str)


def _render(model: ReportModel, view: PageView, link: Links, figures: PageFigures) -> str:
    log = ("log.css", "log.js") if model.logbook is not None and view.overview else ()
    style, script = ("".join(map(_template, names)) for names in (_STYLES + log[:1], _SCRIPTS + log[1:]))
    entries: dict[str, str] = {}
    if model.logbook is not None:
        entries = {one.anchor: one.anchor for log in model.logbook.logs for one in log.entries} | model.logbook.anchors
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _environment()
        .get_template("page.html")
        .render(
            model=model,
            view=view,
            link=link,
            places={anchor: anchor for anchor in model.anchors.values()} | entries,
            figures=figures,
            style=Markup(style + toggles(model.pictures)),
            script=Markup(script),
            script_hash=digest,
            version=version("mmad"),
        )
    )


def meanings(badges: Iterable[Badge]) -> list[tuple[str, list[Badge]]]:
    """Marks that mean the same, together."""
    found: dict[str, list[Badge]] = {}
    for badge in badges:
        found.setdefault(badge.meaning, []).append(badge)
    return list(found.items())


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
        meanings,
        tags,
        heading_figures,
        log_block,
        methods_of,
        reference,
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
        tables.against_tables,
        tables.all_runs_table,
        tables.best_epochs_table,
        tables.documented_table,
        tables.gap_view,
        tables.log_table,
        tables.pair_tables,
        tables.parameters_table,
        tables.protocol_words,
        tables.reasons,
        tables.run_tables,
        tables.statistics_rows,
        tables.threshold_tables,
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
    for name in ("decimal", "signed", "whole", "moment", "duration", "size", "clip", "plural", "short_key"):
        environment.filters[name] = getattr(formatting, name)
    environment.filters["near"] = near
    environment.filters["tsv"] = table_writers.as_tsv
    environment.filters["latex"] = table_writers.tabular
    environment.globals.update(_FUNCTIONS)
    return environment
