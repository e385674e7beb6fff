"""The page under a reader's hands: sorting, copying, values of charts, and what a screen reader meets."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from page_browser import MARKS, Browser, open_browser

from mmad.config.runs import NAMING_FIELDS
from mmad.config.setup import ModelSetup
from mmad.report.model import ReportModel
from mmad.report.text import setup_toml
from mmad.report.writers.html import render_html

pytestmark = MARKS
COLUMN = (
    "[...document.querySelectorAll('table.runs tbody:nth-of-type(1) tr:not(.group)')].map(r => r.cells[5].innerText)"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    yield from open_browser(tmp_path_factory.mktemp("profile"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, model: ReportModel) -> Path:
    path = tmp_path_factory.mktemp("plain") / "index.html"
    path.write_text(render_html(model), "utf-8")
    return path


def test_a_table_is_sorted_by_click_and_by_keyboard_and_says_so(browser: Browser, plain: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.show(plain)
    head = "document.querySelector('table.runs thead th:nth-child(6)')"
    browser.run(f"{head}.querySelector('button').click()")
    up = browser.run(f"return {COLUMN}")
    assert up == sorted(up)
    assert browser.run(f"return {head}.getAttribute('aria-sort')") == "ascending"
    browser.run(f"{head}.querySelector('button').focus()")
    browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert browser.run(f"return {COLUMN}") == sorted(up, reverse=True)
    assert browser.run("return document.querySelectorAll('[aria-sort]').length") == 1
    assert browser.run("return document.querySelector('table.runs tbody').rows[0].className") == "group"


def test_a_table_is_copied_for_a_spreadsheet_and_for_a_paper(browser: Browser, plain: Path) -> None:
    browser.show(plain)
    browser.run("""
        window.copied = [];
        Clipboard.prototype.writeText = async t => { window.copied.push(t); };
        for (const b of document.querySelector('table.pairs').parentElement.querySelectorAll('.copy')) b.click();
        document.querySelector('pre.toml + .tools button').click();
    """)
    tsv, tex, toml = browser.run("return window.copied")
    lines = [line.split("\t") for line in tsv.splitlines()]
    assert {len(line) for line in lines} == {len(lines[0])}
    assert lines[0] == ["Setting", "Test AP CXR", "Test AP CXR+Clinical", "Test AP Difference"]
    assert tex.startswith(r"\begin{tabular}{lrrr}")
    assert r"\multicolumn{3}{c}{Test AP}" in tex
    assert tomllib.loads(toml)["setup"] is not None
    assert browser.run("return document.querySelector('.copy').textContent") == "Copied"


def test_a_chart_shows_its_values_by_pointer_and_by_arrow_keys(
    browser: Browser, plain: Path, model: ReportModel
) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.show(plain)
    run = model.runs[0]
    browser.run("document.getElementById(arguments[0]).closest('details').open = true", run.anchor)
    charts = f"document.getElementById('{run.anchor}').closest('article').querySelectorAll('.chart')"
    browser.run(f"""
        const ap = [...{charts}].find(c => c.querySelector('svg').getAttribute('aria-label').startsWith('AP ('));
        const box = ap.querySelector('svg').getBoundingClientRect();
        ap.querySelector('svg').dispatchEvent(new PointerEvent('pointermove',
          {{bubbles: true, clientX: box.right - 8, clientY: box.top + 20}}));
    """)
    last = run.run.epochs[-1]
    section = browser.run("return document.querySelector('.readout').innerText").splitlines()
    value = last.value("val", "ap_iou")
    assert section[0] == f"epoch {last.epoch}"
    assert f"{value:.3f} validation" in section
    browser.run(f"{charts}[0].closest('.grid').focus()")
    browser.driver.switch_to.active_element.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    heads = browser.run(f"return [...{charts}].map(c => c.querySelector('.readout b').textContent)")
    assert set(heads) == {"epoch 2"}
    assert f"{run.run.epochs[1].value('val', 'loss'):.3f} validation" in browser.run(
        f"return {charts}[0].querySelector('.readout').innerText"
    )
    browser.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert browser.run("return document.querySelectorAll('.readout').length") == 0


def test_headings_landmarks_tables_and_charts_are_named(browser: Browser, plain: Path) -> None:
    browser.show(plain)
    levels = browser.run("return [...document.querySelectorAll('h1, h2, h3, h4')].map(h => +h.tagName[1])")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    names = browser.run("""
        return [...document.querySelectorAll('main, nav, header, footer, section')].map(e => [e.tagName,
          e.getAttribute('aria-label') || document.getElementById(e.getAttribute('aria-labelledby'))?.innerText])
    """)
    sections = [name for tag, name in names if tag == "SECTION"]
    assert all(sections)
    assert len(set(sections)) == len(sections)
    assert browser.run("return document.querySelectorAll('thead th:not([scope]), tbody th:not([scope])').length") == 0
    assert browser.run("return [...document.querySelectorAll('table')].every(t => t.caption)")
    assert browser.run("return [...document.querySelectorAll('[data-plot]')].every(s => s.getAttribute('aria-label'))")
    ids = browser.run("return [...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(set(ids)) == len(ids)


def test_every_stop_shows_that_it_is_focused(browser: Browser, plain: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.show(plain)
    for _ in range(25):
        browser.driver.switch_to.active_element.send_keys(Keys.TAB)
        width = browser.run("return getComputedStyle(document.activeElement).outlineWidth")
        assert width != "0px"


def test_in_print_no_table_is_wider_than_the_page(browser: Browser, plain: Path) -> None:
    browser.show(plain)
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    size = {"width": 1030, "height": 700, "deviceScaleFactor": 1, "mobile": False}  # A4 across, less its margins
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.run("dispatchEvent(new Event('beforeprint'))")
    cut = browser.run("""
        return [...document.querySelectorAll('main table, main pre, main .chart')]
          .filter(e => e.getBoundingClientRect().right > innerWidth + 1)
          .map(e => e.className + e.innerText.slice(0, 40))
    """)
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert cut == []


def test_a_setup_reads_back_from_its_toml(model: ReportModel) -> None:
    for section in model.runs:
        setup = ModelSetup(**tomllib.loads(setup_toml(section.member.setup))["setup"])
        assert setup.model_dump(mode="json", exclude=set(NAMING_FIELDS)) == section.member.setup
