"""The charts of a page, one after another, each with identifiers of its own."""

from __future__ import annotations

from collections.abc import Callable

from markupsafe import Markup

from mmad.report import words
from mmad.report.certainty import Certainty
from mmad.report.charts import Chart, Panel, inline_svg
from mmad.report.curves import describe, overlay_panels, overlay_tops, run_panels
from mmad.report.frames import AblationFrame
from mmad.report.story import RunStory
from mmad.report.sure_curves import sure_panels


class Drawing:
    """Draws for one page. ``progress`` hears how many of how many run sections' charts are drawn, over all pages."""

    def __init__(self, runs: int, progress: Callable[[int, int], None] | None) -> None:
        self._charts = 0
        self._tops: dict[str, tuple[float | None, ...]] = {}
        self._runs = 0
        self._of = runs
        self._progress = progress

    def anew(self) -> Drawing:
        """The same for another page: its identifiers begin anew."""
        self._charts = 0
        return self

    def panels(self, panels: tuple[Panel, ...]) -> list[Markup]:
        drawn = []
        for panel in panels:
            self._charts += 1
            svg = inline_svg(Chart((panel,)), f"c{self._charts}", words.clean(describe(panel)))
            drawn.append(Markup(svg))
        return drawn

    def run(self, story: RunStory) -> list[Markup]:
        member = story.member
        best = member.best_ap.epoch if member.best_ap else None
        drawn = self.panels(run_panels(story.run, member.judged.overlap, best))
        self._runs += 1
        if self._progress is not None:
            self._progress(self._runs, self._of)
        return drawn

    def overlay(self, ablation: AblationFrame, setting: str, certainty: Certainty) -> list[Markup]:
        name = ablation.record.name
        if name not in self._tops:
            self._tops[name] = overlay_tops(ablation)
        return self.panels(
            (*overlay_panels(ablation, setting, self._tops[name]), *sure_panels(ablation, setting, certainty))
        )
