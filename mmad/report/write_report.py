"""Making a report: read the store, build the model, write it as HTML, Markdown or tables in one piece."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import get_args

from mmad.analysis.evaluation_target import EvaluationOptions
from mmad.analysis.report_frame import ReportSource, load_records, with_measured
from mmad.analysis.verdicts import compute_statistics
from mmad.base.clock import now
from mmad.base.errors import ReportError
from mmad.base.files import write_atomically
from mmad.report.against import Against, report_against
from mmad.report.crate import write_crate
from mmad.report.figure_renderer import FigureRenderer
from mmad.report.figures import NARROW, WIDE, CurveFigure, FigureFile, FigureFormat, report_figures
from mmad.report.methods import render_methods
from mmad.report.paper import ABLATION, paper_tables
from mmad.report.pictures import check_number
from mmad.report.provenance import Provenance
from mmad.report.section_cache import ModelMaker, ModelOptions, make_sections, with_outcomes
from mmad.report.sections import PAGE_MARK, Logbook, PageForm, ReportModel, logbook_of
from mmad.report.table_model import ReportTable
from mmad.report.tables import all_tables
from mmad.report.watch import live
from mmad.report.writers.html import RunProgress, Section, assemble, table_page
from mmad.report.writers.latex import as_latex
from mmad.report.writers.markdown import render_markdown
from mmad.report.writers.tables import as_csv, write_tables
from mmad.store.store import Store

#: A report of more runs than this is written as linked pages by default.
RUNS_IN_ONE_FILE = 300


@dataclass(frozen=True)
class Report:
    """What was written: ``html``, ``markdown``, ``methods`` and ``against`` are None, ``csv``, ``latex`` and
    ``figures`` and ``crate`` empty where not requested.

    ``pages`` counts the linked pages beside the overview, 0 where the HTML is one file.
    """

    html: Path | None
    markdown: Path | None
    ablations: int
    runs: int
    unfinished: int
    pages: int = 0
    csv: tuple[Path, ...] = ()
    latex: tuple[Path, ...] = ()
    figures: tuple[Path, ...] = ()
    methods: Path | None = None
    against: Against | None = None
    crate: tuple[Path, ...] = ()


def write_report(
    source: ReportSource,
    *,
    html: Path | None = None,
    markdown: Path | None = None,
    pages: bool | None = None,
    csv: Path | None = None,
    latex: Path | None = None,
    figures: Path | None = None,
    formats: Sequence[FigureFormat] = ("pdf",),
    methods: Path | None = None,
    crate: Path | None = None,
    ablations: Sequence[str] = (),
    database: str = "",
    created: datetime | None = None,
    data: Path | None = None,
    options: EvaluationOptions | None = None,
    pictures: int | None = None,
    log: bool | None = None,
    against: str | None = None,
    every: float | None = None,
    provenance: Provenance = "brief",
    by: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Write the report of ``source``: ``mmad.write_report`` says what its arguments mean, and what it raises.

    Args:
        database: what the page says the figures are from.
        created: the moment on the page; None for now.
        options: number of resamples and seed of the intervals.
    """
    check_number(pictures)
    if unknown := [form for form in formats if form not in get_args(FigureFormat)]:
        raise ReportError(f"unknown form of a figure {unknown[0]!r}", where="--format", hint="choose pdf, svg or png")
    if provenance not in get_args(Provenance):
        raise ReportError(f"unknown {provenance!r}", where="provenance", hint="choose brief or full")
    records = load_records(source, ablations, data)
    asked = ModelOptions(data, options, pictures, provenance, tuple(dict.fromkeys(by)))
    maker = ModelMaker(source, records, asked, created=created or now(), database=database)
    beside: Against | None = None
    if against is not None and maker.store is not None:
        frame = with_measured(source, records)
        statistics = compute_statistics(frame, maker.store, data=data, options=options)
        beside = report_against(frame, statistics, maker.store, against, data=data, options=options)
    outline = replace(maker.outline, against=beside)
    logs = [] if maker.store is None else maker.store.logs()
    many = len(outline.runs) > RUNS_IN_ONE_FILE if pages is None else pages
    written = 0
    drawn: tuple[Path, ...] = ()
    crated: tuple[Path, ...] = ()
    data_files: tuple[Path, ...] = ()
    sources: tuple[Path, ...] = ()
    with FigureRenderer(maker.store) as renderer:
        if html is not None:
            form = PageForm(html.name, f"{html.stem}_pages") if many else PageForm()
            entries = partial(logbook_of, records=logs, show=log)
            written = _write_html(_pages(maker, outline, form, renderer, entries, progress), html, form, every)
        if markdown or csv or latex or figures or methods or crate:
            said = None if html else progress
            model = maker.model(records, pages=many, progress=_of_runs(outline, said))
            model = replace(model, against=beside, logbook=logbook_of(model, logs, log))
            if markdown is not None:
                _write_markdown(model, markdown, renderer)
            if figures is not None:
                drawn = _write_figures(model, figures, formats, renderer)
            if crate is not None:
                crated = write_crate(model, crate, renderer)
            if methods is not None:
                _write(methods, render_methods(model).encode("utf-8"))
            data_files, sources = write_tables(all_tables(model) if csv or latex else (), csv=csv, latex=latex)
    counts = (len(outline.ablations), len(outline.runs), len(outline.attention))
    return Report(html, markdown, *counts, written, data_files, sources, drawn, methods, beside, crated)


def _pages(
    maker: ModelMaker,
    outline: ReportModel,
    form: PageForm,
    renderer: FigureRenderer,
    entries: Callable[[ReportModel], Logbook | None],
    progress: Callable[[int, int], None] | None,
) -> Iterator[tuple[str, str]]:
    """The pages of ``assemble``, with the ``entries`` of experiment logs."""
    outline = replace(outline, logbook=entries(outline))

    def complete(model: ReportModel, sections: Sequence[Section]) -> ReportModel:
        model = with_outcomes(model, sections)
        return replace(model, logbook=entries(model))

    return assemble(outline, form, make_sections(maker, outline, form, renderer, progress), renderer, complete)


def _of_runs(outline: ReportModel, progress: Callable[[int, int], None] | None) -> Callable[[float], None]:
    """Hears a share and says how many of all runs that is."""
    return RunProgress(len(outline.runs), progress).of(len(outline.runs))


def _write_markdown(model: ReportModel, markdown: Path, renderer: FigureRenderer) -> None:
    """Write the text and, in a folder beside it, what it shows; remove what an earlier report showed there."""
    charts = markdown.parent / f"{markdown.stem}_charts"
    page = render_markdown(model, charts.name, renderer)
    shown_there = dict(page.charts) | dict(page.pictures)
    for name, content in shown_there.items():
        _write(charts / name, content)
    _write(markdown, page.text.encode("utf-8"))
    _forget_older(charts, set(shown_there))


def _write_figures(
    model: ReportModel, folder: Path, formats: Sequence[FigureFormat], renderer: FigureRenderer
) -> tuple[Path, ...]:
    """Every figure in every form, as wide as two columns of a journal; those of ablations also as wide as one."""
    files = []
    for figure in report_figures(model):
        runs = isinstance(figure, CurveFigure) and figure.name.startswith("run-")
        for width in (WIDE,) if runs else (WIDE, NARROW):
            files += [FigureFile(figure, form, width) for form in formats]
    names = [f"{file.figure.name}-{file.width:.0f}mm.{file.form}" for file in files]
    for name, content in zip(names, renderer.files(files), strict=True):
        _write(folder / name, content)
    return tuple(folder / name for name in names)


def write_paper(store: Store, stem: Path, *, ablation: str = ABLATION) -> tuple[ReportTable, tuple[Path, ...]]:
    """Write the published table as ``stem``.html, .tex and .csv, and those by finding and clinical columns beside it.

    Returns:
        The first table and all files.

    Raises:
        ReportError: as ``paper_table``, or a file that cannot be written.
    """
    tables = paper_tables(store, ablation=ablation)
    files: list[Path] = []
    for table in tables:
        name = stem.name + table.name.removeprefix("paper")
        for ending, text in ((".html", table_page(table)), (".tex", as_latex(table)), (".csv", as_csv(table))):
            files.append(stem.with_name(name + ending))
            _write(files[-1], text.encode("utf-8"))
    return tables[0], tuple(files)


def _write(path: Path, content: bytes) -> None:
    try:
        write_atomically(path, content)
    except OSError as error:
        raise ReportError(
            f"cannot be written ({error.strerror or error})",
            where=path,
            hint="choose another place with --out, or make room there",
        ) from error


def _write_html(pages: Iterable[tuple[str, str]], html: Path, form: PageForm, every: float | None) -> int:
    """Write one file, or pages and then the overview; remove pages of an earlier report that are no longer needed."""
    folder = html.parent / f"{html.stem}_pages"
    written_pages = set()
    for file, page in pages:
        content = (live(page, every) if every else page).encode("utf-8")
        if form.folder:
            _write_changed(html.parent / file, content)
            written_pages.add(html.parent / file)
        else:
            _write(html, content)
    _forget_pages(folder, written_pages)
    return max(0, len(written_pages) - 1)


def _write_changed(path: Path, content: bytes) -> None:
    """Write ``content`` unless the file already holds it."""
    with contextlib.suppress(OSError):
        if path.stat().st_size == len(content) and path.read_bytes() == content:
            return
    _write(path, content)


def _forget_pages(folder: Path, written_pages: set[Path]) -> None:
    """Remove other pages (known by their mark) of an earlier report from ``folder``, and the folder once empty."""
    for path in folder.glob("*.html"):
        with contextlib.suppress(OSError):
            if path not in written_pages and _is_page(path):
                path.unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()  # refuses where anything is left


def _is_page(path: Path) -> bool:
    with path.open("rb") as file:
        return PAGE_MARK in file.read(4000)


def _forget_older(folder: Path, written: set[str]) -> None:
    """Remove charts and pictures of an earlier report that the new one does not show."""
    if not folder.is_dir():
        return
    for path in (*folder.glob("*.svg"), *folder.glob("*.jpg")):
        if path.name not in written:
            path.unlink(missing_ok=True)
