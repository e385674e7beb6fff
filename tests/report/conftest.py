"""Fixtures of the report's tests: a chart cache of their own, and worlds that are told once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from report_worlds import WHEN, World, hostile_world, patience_world

from mmad.report import charts
from mmad.report.charts import Chart, Panel, Series
from mmad.report.frames import load_frame
from mmad.report.html import render_html
from mmad.report.story import Story, tell


@pytest.fixture(scope="session")
def chart_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _cache(chart_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMAD_CACHE", str(chart_cache))


@pytest.fixture(scope="module")
def one_drawing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Every chart of the module shows one and the same real drawing: hundreds of charts in no time."""
    panel = Panel("AP (IoU)", (Series("validation", (1, 2, 3), (0.1, 0.2, 0.15)),), marks=(2,))
    drawing = charts.draw(Chart((panel,)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(charts, "_drawn", lambda chart: drawing)
        yield


@pytest.fixture(scope="session")
def world() -> World:
    return patience_world()


@pytest.fixture(scope="session")
def story(world: World) -> Story:
    return tell(load_frame(world.source), created=WHEN, database="db/mmad.sqlite")


@pytest.fixture(scope="session")
def hostile_story() -> Story:
    """A story in which every name is an attack."""
    return tell(load_frame(hostile_world().source), created=WHEN, database='"><script>window.hacked = 4</script>')


@pytest.fixture(scope="module")
def page(one_drawing: None, story: Story) -> str:
    return render_html(story)


@pytest.fixture(scope="module")
def hostile_page(one_drawing: None, hostile_story: Story) -> str:
    return render_html(hostile_story)
