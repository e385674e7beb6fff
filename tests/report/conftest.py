"""Fixtures of the report's tests: samples whose reports are built once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from page_browser import Browser, open_browser
from report_fixtures import WHEN, Sample, hostile_sample, patience_sample
from undrawn import Undrawn, undrawn_html

from mmad.analysis.report_frame import load_frame
from mmad.report import write_report as report_module
from mmad.report.sections import ReportModel, build_model
from mmad.report.writers.html import render_html


@pytest.fixture(scope="session")
def sample() -> Sample:
    return patience_sample()


@pytest.fixture(scope="session")
def model(sample: Sample) -> ReportModel:
    return build_model(load_frame(sample.source), created=WHEN, database="db/mmad.sqlite")


@pytest.fixture(scope="session")
def hostile_model() -> ReportModel:
    """A report in which every name is an attack."""
    return build_model(
        load_frame(hostile_sample().source), created=WHEN, database='"><script>window.hacked = 4</script>'
    )


@pytest.fixture(scope="session")
def page(model: ReportModel) -> str:
    """The report without its figures."""
    return undrawn_html(model)


@pytest.fixture(scope="session")
def hostile_page(hostile_model: ReportModel) -> str:
    """The report of attacks without its figures."""
    return undrawn_html(hostile_model)


@pytest.fixture(scope="session")
def drawn_page(model: ReportModel) -> str:
    """The report with its figures, which take seconds to draw."""
    return render_html(model)


@pytest.fixture(scope="session")
def drawn_hostile_page(hostile_model: ReportModel) -> str:
    """The report of attacks with its figures."""
    return render_html(hostile_model)


@pytest.fixture
def _undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let reports be written without their figures."""
    monkeypatch.setattr(report_module, "FigureRenderer", Undrawn)


@pytest.fixture(scope="session")
def _chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    yield from open_browser(tmp_path_factory.mktemp("profile"))


@pytest.fixture
def browser(_chromium: Browser) -> Iterator[Browser]:
    """The browser of all tests of this process. It leaves the last page of each: a live one asks for the next build."""
    yield _chromium
    _chromium.driver.get("about:blank")
