"""How long a report of twelve runs is on a screen, how many stops it has for a keyboard, and whether its tables fit."""

from __future__ import annotations

from pathlib import Path

import analysis_fixtures as made
import pytest
from page_browser import MARKS, Browser
from statistics_fixtures import FEW

from mmad.data.phantom.generate import make_phantom
from mmad.report.write_report import write_report
from mmad.store.store import Store

pytestmark = MARKS
SCREEN, SCREENS, STOPS = 900, 15, 150
TOO_WIDE = """
    return [...document.querySelectorAll('.scroll')]
      .filter(e => e.checkVisibility() && e.scrollWidth > e.clientWidth + 1)
      .map(e => `${e.getAttribute('aria-label')}: ${e.scrollWidth} in ${e.clientWidth}`)
"""
OPEN = "for (const details of document.querySelectorAll('main details')) details.open = true"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three settings of two arms and two seeds each, with everything that a report can show of them, and the log."""
    folder = tmp_path_factory.mktemp("twelve")
    dataset = make_phantom(folder / "phantom", studies=60, image_size=64)
    members = [
        made.member(dataset, arm, seed, setting, lr=lr)
        for setting, lr in (("lr 0.01", 1e-2), ("lr 0.001", 1e-3), ("lr 0.0001", 1e-4))
        for arm in made.ARMS
        for seed in (0, 1)
    ]
    with Store.open(folder / "db" / "mmad.sqlite") as store:
        made.record(store, members)
        for n, member in enumerate(members):
            made.finish(store, member, dataset, made.SKILLS[member.arm] - 0.02 * n)
        write_report(store, html=folder / "index.html", options=FEW, log=True)
    return folder / "index.html"


def test_twelve_runs_are_read_on_few_screens_with_few_stops(browser: Browser, page: Path) -> None:
    browser.show(page, width=1280)
    assert browser.run("return document.documentElement.scrollHeight") <= SCREEN * SCREENS
    stops = browser.run("""
        return [...document.querySelectorAll('a[href], button, input, summary, [tabindex]')]
          .filter(e => e.tabIndex >= 0 && e.checkVisibility()).length
    """)
    assert stops <= STOPS
    assert len(browser.run("return [...document.querySelectorAll('.contents a')].map(a => a.textContent)")) < 12


def test_the_entries_of_the_log_are_one_stop_that_the_arrow_keys_go_along(browser: Browser, page: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.show(page, width=1280)
    browser.run("document.querySelector('details.entry summary').focus()")
    for key, entry in ((Keys.ARROW_DOWN, 1), (Keys.ARROW_DOWN, 2), (Keys.ARROW_UP, 1), (Keys.HOME, 0)):
        browser.driver.switch_to.active_element.send_keys(key)
        place = "[...document.querySelectorAll('details.entry summary')].indexOf(document.activeElement)"
        assert browser.run(f"return {place}") == entry
    stops = "return [...document.querySelectorAll('details.entry summary')].filter(e => e.tabIndex === 0).length"
    assert browser.run(stops) == 1


@pytest.mark.parametrize("width", [1280, 1920, 390])
def test_no_table_is_wider_than_its_room(browser: Browser, page: Path, width: int) -> None:
    browser.show(page, width=width)
    assert browser.run(TOO_WIDE) == []
    browser.run(OPEN)
    wide = browser.run(TOO_WIDE)
    assert wide == [] or (width == 390 and all("Confusion" in one for one in wide))
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth")


def test_a_row_of_the_results_is_a_block_on_a_phone(browser: Browser, page: Path) -> None:
    browser.show(page, width=390)
    words = browser.run("return document.querySelector('table.pairs tbody tr').innerText").split()
    assert words[:2] == ["lr", "0.01"]
    cell = "document.querySelector('table.pairs tbody td:nth-child(4)')"
    shown = browser.run(f"const box = {cell}.getBoundingClientRect(); return [box.left, box.right, innerWidth]")
    assert 0 <= shown[0] < shown[1] <= shown[2]
    assert browser.run(f"return getComputedStyle({cell}, '::before').content") == '"Test AP Difference"'
