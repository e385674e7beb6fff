"""Reports without figures, for what they say beside them: drawing takes most of a report's time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mmad.report.figure_renderer import FigureRenderer
from mmad.report.figures import CurveFigure, FigureFile, ReportFigure
from mmad.report.sections import ReportModel
from mmad.report.writers.html import render_html
from mmad.report.writers.markdown import MarkdownReport, render_markdown


class Undrawn(FigureRenderer):
    """Leaves every figure empty."""

    def page(self, figures: Sequence[ReportFigure], progress: object = None) -> list[tuple[str, ...]]:
        return [("",) * (len((*f.panels, *f.log_panels)) if isinstance(f, CurveFigure) else 2) for f in figures]

    def files(self, files: Sequence[FigureFile]) -> Iterator[bytes]:
        return iter([b""] * len(files))


def undrawn_html(model: ReportModel) -> str:
    return render_html(model, renderer=Undrawn())


def undrawn_markdown(model: ReportModel) -> MarkdownReport:
    return render_markdown(model, "charts", Undrawn())
