"""The charts of a page: a row of them per run and per setting."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from markupsafe import Markup

from mmad.report import words
from mmad.report.certainty import Certainty
from mmad.report.charts import Panel, inline_svg
from mmad.report.curves import describe, overlay_panels, overlay_tops, run_panels
from mmad.report.frames import AblationFrame
from mmad.report.story import RunStory, ablation_anchor
from mmad.report.sure_curves import sure_panels


class Drawing:
    """Draws for all pages. ``progress`` hears how many of how many run sections' charts are drawn."""

    def __init__(self, runs: int, progress: Callable[[int, int], None] | None) -> None:
        self._tops: dict[str, tuple[float | None, ...]] = {}
        self._runs = 0
        self._of = runs
        self._progress = progress

    def run(self, story: RunStory) -> list[Markup]:
        """The curves of one run."""
        best = story.member.best_ap.epoch if story.member.best_ap else None
        drawn = _drawn(run_panels(story.run, story.member.judged.overlap, best), story.anchor)
        self._runs += 1
        if self._progress is not None:
            self._progress(self._runs, self._of)
        return drawn

    def overlay(self, ablation: AblationFrame, setting: str, certainty: Certainty) -> list[Markup]:
        """The arms of one setting over one another."""
        name = ablation.record.name
        if name not in self._tops:
            self._tops[name] = overlay_tops(ablation)
        panels = (*overlay_panels(ablation, setting, self._tops[name]), *sure_panels(ablation, setting, certainty))
        return _drawn(panels, f"{ablation_anchor(name)}-{ablation.settings.index(setting)}")


def _drawn(panels: Sequence[Panel], prefix: str) -> list[Markup]:
    """Every panel as an ``<svg>`` element; identifiers begin with ``prefix``."""
    found = [inline_svg(panel, f"{prefix}-{n}", words.clean(describe(panel))) for n, panel in enumerate(panels)]
    return list(map(Markup, found))
