"""The report as HTML: no network, everything escaped, figures inline."""

from __future__ import annotations

import base64
import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from unicodedata import bidirectional

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from mmad.analysis.overfitting import onset_of, onset_words
from mmad.analysis.report_frame import CheckpointResult
from mmad.analysis.verdicts import Statistics
from mmad.base import formatting
from mmad.base.paths import file_stem, near
from mmad.report import picture_drawing, tables
from mmad.report.badges import Badge, legend
from mmad.report.figure_renderer import FigureRenderer
from mmad.report.figures import CurveFigure, ReportFigure, entries_figure, section_figures
from mmad.report.methods import methods_of, reference
from mmad.report.picture_drawing import PanelView, Tag, place_tags
from mmad.report.pictures import PageImage, PanelBox
from mmad.report.run_blocks import heading_figures, log_block, setup_toml
from mmad.report.sections import (
    AblationSection,
    Links,
    LogView,
    PageForm,
    PageView,
    Part,
    ReportModel,
    RunSection,
    layout,
    lead,
)
from mmad.report.table_model import ReportTable
from mmad.report.writers.latex import tabular

#: Classes of Unicode's bidirectional algorithm of letters and marks that are not written from left to right.
_TURNING = frozenset(("R", "AL", "AN", "RLE", "RLO", "RLI", "LRE", "LRO", "LRI", "FSI", "PDF", "PDI"))
_STYLES = ("style.css", "form.css", "figures.css", "pictures.css")
_SCRIPTS = ("script.js", "tables.js", "figures.js")


@dataclass(frozen=True)
class PageFigure:
    """A drawn figure: its SVG elements, and the second ones of its losses on logarithmic axes."""

    figure: ReportFigure
    panels: tuple[Markup, ...]
    log_panels: tuple[Markup, ...]


class SectionFigures:
    """The figures of one ablation, drawn together before it is rendered; None for what has nothing to show."""

    def __init__(
        self,
        section: AblationSection,
        statistics: Statistics,
        renderer: FigureRenderer,
        progress: Callable[[float], None] = lambda share: None,
    ) -> None:
        figures = list(section_figures(section, statistics))
        drawn = renderer.page(figures, lambda done: progress(done / len(figures)))
        self._found = {figure.name: _page_figure(figure, svg) for figure, svg in zip(figures, drawn, strict=True)}

    def forest(self, section: AblationSection) -> PageFigure | None:
        return self._found.get(f"{section.anchor}-forest")

    def arms(self, section: AblationSection, setting: str) -> PageFigure | None:
        return self._found.get(f"{section.anchor}-{section.frame.settings.index(setting) + 1}")

    def run(self, section: RunSection) -> PageFigure | None:
        return self._found.get(section.anchor)


class LogFigures:
    """The charts of experiment logs' entries."""

    def __init__(self, model: ReportModel, renderer: FigureRenderer) -> None:
        logs = model.logbook.logs if model.logbook is not None else ()
        figures = [figure for log in logs if (figure := entries_figure(log)) is not None]
        drawn = renderer.page(figures)
        self._found = {figure.name: _page_figure(figure, svg) for figure, svg in zip(figures, drawn, strict=True)}

    def log(self, log: LogView) -> PageFigure | None:
        return self._found.get(file_stem(log.name, "log"))


def _page_figure(figure: ReportFigure, svg: Sequence[str]) -> PageFigure:
    panels = len(figure.panels) if isinstance(figure, CurveFigure) else len(svg)
    elements = tuple(map(Markup, svg))
    return PageFigure(figure, elements[:panels], elements[panels:])


@dataclass(frozen=True)
class Section:
    """One ablation as HTML, and what the overview has to know of it.

    Args:
        anchor: of the ablation.
        result: its block among the results.
        parts: its section on each of its pages; on one in a report of one file.
        badges: all its marks.
        finals: whether arms are compared by their final checkpoints.
        findings: of the legend of its pictures; ``studies`` shown there, ``pictured``: whether it has such a part.
        outcomes: of each member the best-AP, best-AR and final checkpoint, without the figures of each finding.
    """

    anchor: str
    result: str
    parts: tuple[str, ...]
    badges: tuple[Badge, ...]
    finals: bool
    findings: int
    studies: int
    pictured: bool
    outcomes: tuple[tuple[CheckpointResult | None, ...], ...]


def render_section(
    model: ReportModel,
    section: AblationSection,
    form: PageForm,
    links: Links,
    figures: SectionFigures,
    *,
    alone: bool,
) -> Section:
    """Render one ablation of ``model``.

    Args:
        links: of the whole report.
        alone: whether the report has no other ablation.
    """
    views, _ = layout(replace(model, ablations=(section,)), form)
    pictures = model.pictures.of(section.frame)

    def rendered(template: str, view: PageView, part: Part | None = None) -> str:
        words = {"ablation": section, "figures": figures, "part": part, "alone": alone}
        return _environment().get_template(template).render(_context(model, view, links.of(view.file)) | words)

    def stripped(outcome: CheckpointResult | None) -> CheckpointResult | None:
        return None if outcome is None else replace(outcome, val_classes=(), test_classes=())

    return Section(
        anchor=section.anchor,
        result=rendered("result.html", views[-1]),
        parts=tuple(rendered("ablation.html", view, part) for view in views for part in view.parts),
        badges=section.legend,
        finals=section.finals,
        findings=len(pictures.labels),
        studies=pictures.studies,
        pictured=bool(pictures.shown),
        outcomes=tuple(tuple(map(stripped, (m.best_ap, m.best_ar, m.final))) for m in section.frame.members),
    )


def assemble(
    model: ReportModel,
    form: PageForm,
    sections: Iterable[Section],
    renderer: FigureRenderer,
    complete: Callable[[ReportModel, Sequence[Section]], ReportModel] = lambda model, sections: model,
) -> Iterator[tuple[str, str]]:
    """The pages of a report, (file, page) of each, last the overview; a page follows its section.

    Args:
        model: of which the ablations' titles, runs and members are used.
        sections: of its ablations, in their order.
        renderer: draws the charts of experiment logs.
        complete: gives the model what the overview shows beside them, once they are all there.
    """
    views, links = layout(model, form)
    known: dict[str, Section] = {}
    for ablation, section in zip(model.ablations, sections, strict=True):
        for view in views[:-1]:
            if view.parts[0].ablation is ablation:
                yield view.file, _page(model, view, links.of(view.file), {section.anchor: section}, None)
        known[section.anchor] = replace(section, parts=()) if form.folder else section
    model = complete(model, tuple(known.values()))
    yield views[-1].file, _page(model, views[-1], links, known, LogFigures(model, renderer))


def render_html(model: ReportModel, renderer: FigureRenderer | None = None) -> str:
    """The whole report of a model as one page; ``renderer`` as of ``render_pages``."""
    ((_, page),) = render_pages(model, PageForm(), renderer)
    return page


def render_pages(
    model: ReportModel, form: PageForm, renderer: FigureRenderer | None = None
) -> Iterator[tuple[str, str]]:
    """The pages of ``assemble``. A linked one of an ablation has no time stamp: it changes only with its content.

    Args:
        renderer: draws the figures; None for one without a cache.
    """
    _, links = layout(model, form)

    def sections(drawing: FigureRenderer) -> Iterator[Section]:
        for section in model.ablations:
            figures = SectionFigures(section, model.statistics, drawing)
            yield render_section(model, section, form, links, figures, alone=len(model.ablations) == 1)

    with contextlib.nullcontext(renderer) if renderer is not None else FigureRenderer() as drawing:
        yield from assemble(model, form, sections(drawing), drawing)


class RunProgress:
    """Says how many of all ``runs`` are done."""

    def __init__(self, runs: int, progress: Callable[[int, int], None] | None) -> None:
        self._runs, self._before, self._said, self._progress = runs, 0, 0, progress

    def of(self, runs: int, begin: float = 0, end: float = 1) -> Callable[[float], None]:
        """Hears which share is done of a step that takes the next ``runs`` from ``begin`` to ``end``, both shares."""
        return lambda share: self._say(self._before + int((begin + (end - begin) * share) * runs))

    def end(self, runs: int) -> None:
        """They are done."""
        self._before += runs
        self._say(self._before)

    def _say(self, done: int) -> None:
        if self._progress is not None and done > self._said:
            self._progress(done, self._runs)
        self._said = max(done, self._said)


def table_page(table: ReportTable) -> str:
    """A table as a page of its own, without network or script."""
    style = "".join(map(_template, _STYLES[:2]))
    page = _environment().get_template("table_page.html")
    return page.render(table=table, style=Markup(style), places={}, link=str)


def _page(
    model: ReportModel, view: PageView, link: Links, sections: Mapping[str, Section], figures: LogFigures | None
) -> str:
    log = ("log.css", "log.js") if model.logbook is not None and view.overview else ()
    style, script = ("".join(map(_template, names)) for names in (_STYLES + log[:1], _SCRIPTS + log[1:]))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    words = {
        "sections": sections,
        "figures": figures,
        "legend": legend(badge for section in sections.values() for badge in section.badges),
        "lead": lead(any(section.finals for section in sections.values())),
        "style": Markup(style + toggles(max((section.findings for section in sections.values()), default=0))),
        "script": Markup(script),
        "script_hash": digest,
        "version": version("mmad"),
    }
    return _environment().get_template("page.html").render(_context(model, view, link) | words)


def _context(model: ReportModel, view: PageView, link: Links) -> dict[str, object]:
    """What every template of a page may use."""
    entries: dict[str, str] = {}
    if model.logbook is not None:
        entries = {one.anchor: one.anchor for log in model.logbook.logs for one in log.entries} | model.logbook.anchors
    places = {anchor: anchor for anchor in model.anchors.values()} | entries
    return {"model": model, "view": view, "link": link, "places": places}


def meanings(badges: Iterable[Badge]) -> list[tuple[str, list[Badge]]]:
    """Marks that mean the same, together."""
    found: dict[str, list[Badge]] = {}
    for badge in badges:
        found.setdefault(badge.meaning, []).append(badge)
    return list(found.items())


def tags(view: PanelView, image: PageImage) -> list[tuple[Tag, PanelBox]]:
    """The tags of a panel's boxes."""
    return list(zip(place_tags(view.boxes, image.width, image.height), view.boxes, strict=True))


def isolated(text: str) -> Markup:
    """Foreign text; in an element of its own where it could turn the direction of what stands beside it."""
    written = Markup.escape(formatting.clean(text))
    turns = not text.isascii() and any(bidirectional(letter) in _TURNING for letter in text)
    return Markup("<bdi>{}</bdi>").format(written) if turns else written


def toggles(findings: int) -> str:
    """One CSS rule for each finding of a legend: clearing its tick box hides its boxes, without a script."""
    return "".join(
        f".findings:has(.tick-{n}:not(:checked)) ~ .pair .box-{n} {{ display: none; }}\n"
        for n in range(1, findings + 1)
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
        tables.benefit_table,
        tables.best_epochs_table,
        tables.studied_tables,
        tables.documented_table,
        tables.gap_view,
        tables.log_table,
        tables.missing_by_arm_table,
        tables.pair_tables,
        tables.parameters_table,
        tables.protocol_words,
        tables.reasons,
        tables.run_tables,
        tables.trials_table,
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
    environment.filters["isolated"] = isolated
    environment.filters["latex"] = tabular
    environment.globals.update(_FUNCTIONS)
    return environment
