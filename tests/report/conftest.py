"""Fixtures of the report's tests: worlds that are told once."""

from __future__ import annotations

import pytest
from report_worlds import WHEN, World, hostile_world, patience_world

from mmad.report.frames import load_frame
from mmad.report.html import render_html
from mmad.report.story import Story, tell


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
def page(story: Story) -> str:
    return render_html(story)


@pytest.fixture(scope="module")
def hostile_page(hostile_story: Story) -> str:
    return render_html(hostile_story)
