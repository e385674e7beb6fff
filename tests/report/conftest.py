"""Fixtures of the report's tests: worlds that are told once."""

from __future__ import annotations

import pytest
from report_worlds import WHEN, World, hostile_world, patience_world

from mmad.analysis.frames import load_frame
from mmad.report.model import ReportModel, build_model
from mmad.report.writers.html import render_html


@pytest.fixture(scope="session")
def world() -> World:
    return patience_world()


@pytest.fixture(scope="session")
def story(world: World) -> ReportModel:
    return build_model(load_frame(world.source), created=WHEN, database="db/mmad.sqlite")


@pytest.fixture(scope="session")
def hostile_story() -> ReportModel:
    """A story in which every name is an attack."""
    return build_model(
        load_frame(hostile_world().source), created=WHEN, database='"><script>window.hacked = 4</script>'
    )


@pytest.fixture(scope="module")
def page(story: ReportModel) -> str:
    return render_html(story)


@pytest.fixture(scope="module")
def hostile_page(hostile_story: ReportModel) -> str:
    return render_html(hostile_story)
