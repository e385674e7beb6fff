"""Linked pages in a real browser: moved somewhere else, offline, from page to page."""

from __future__ import annotations

from pathlib import Path

import pytest
from page_browser import MARKS, Browser
from report_fixtures import WHEN, Sample

from mmad.report.write_report import write_report

pytestmark = MARKS


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory, sample: Sample) -> Path:
    """The overview of a report of pages, in another folder than it was written to."""
    folder = tmp_path_factory.mktemp("made") / "first"
    write_report(sample.source, html=folder / "the report.html", pages=True, created=WHEN)
    return folder.rename(folder.with_name("somewhere else, #2")) / "the report.html"


@pytest.mark.parametrize("width", [1280, 390])
def test_every_page_is_silent_offline_and_no_wider_than_the_screen(browser: Browser, moved: Path, width: int) -> None:
    for page in (moved, *sorted((moved.parent / "the report_pages").iterdir())):
        browser.show(page, width=width)
        assert browser.log("browser") == []
        assert [url for url in browser.requests() if not url.startswith("data:")] == [page.as_uri()]
        assert browser.run("return document.documentElement.scrollWidth <= innerWidth")


def test_links_lead_from_page_to_page_and_back(browser: Browser, moved: Path) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    browser.show(moved)
    browser.run("[...document.querySelectorAll('.runs a')].find(a => a.textContent.startsWith('patience 20')).click()")
    assert browser.run("return location.pathname.split('/').pop()") == "ablation-patience.html"
    assert browser.run("return document.querySelector(':target').closest('article').textContent.trim()").startswith(
        "patience 20"
    )
    top = "return document.querySelector(':target').getBoundingClientRect().top"
    WebDriverWait(browser.driver, 600).until(lambda _: 0 <= browser.run(top) < 120)
    browser.run("document.querySelector('.pager .next').click()")
    assert "clinical branch help" in browser.run("return document.querySelector('h2').textContent")
    browser.run("document.querySelector('h1 a').click()")
    assert browser.run("return document.querySelector('h1').textContent").startswith("What was compared")


def test_contents_are_beside_a_page_and_mark_the_current_section(browser: Browser, moved: Path) -> None:
    browser.show(moved.parent / "the report_pages" / "ablation-patience.html")
    browser.run("document.documentElement.style.scrollBehavior = 'auto'; scrollTo(0, 4000)")
    assert abs(browser.run("return document.querySelector('.contents').getBoundingClientRect().top")) < 2
    browser.driver.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    assert browser.run("return document.querySelectorAll('.contents [aria-current]').length") == 1


def test_tables_sort_and_charts_show_values_on_a_page_too(browser: Browser, moved: Path) -> None:
    browser.show(moved.parent / "the report_pages" / "ablation-patience.html")
    browser.run("document.querySelector('.best-epochs button.sort').click()")
    assert browser.run("return document.querySelector('.best-epochs [aria-sort]').ariaSort") == "ascending"
    told = browser.run("""
        const grid = document.querySelector('figure.multiples .grid');
        grid.dispatchEvent(new KeyboardEvent('keydown', {key: 'End', bubbles: true}));
        return grid.querySelector('.readout').innerText;
    """)
    assert told.startswith("epoch 50")
