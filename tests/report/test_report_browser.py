"""The page in a real browser: silent, inert, offline, legible on a desk and on a phone."""

from __future__ import annotations

from pathlib import Path

import pytest
from page_browser import MARKS, Browser

from mmad.report.sections import ReportModel

pytestmark = MARKS


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, drawn_page: str) -> Path:
    path = tmp_path_factory.mktemp("plain") / "index.html"
    path.write_text(drawn_page, "utf-8")
    return path


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory, drawn_hostile_page: str) -> Path:
    path = tmp_path_factory.mktemp("hostile") / "index.html"
    path.write_text(drawn_hostile_page, "utf-8")
    return path


@pytest.mark.parametrize("which", ["plain", "hostile"])
@pytest.mark.parametrize("width", [1280, 375])
def test_the_page_is_silent_offline_and_no_wider_than_the_screen(
    browser: Browser, which: str, width: int, request: pytest.FixtureRequest
) -> None:
    path: Path = request.getfixturevalue(which)
    browser.show(path, width=width)
    assert browser.log("browser") == []
    assert [url for url in browser.requests() if not url.startswith("data:")] == [path.as_uri()]
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth")


def test_hostile_names_stay_words(browser: Browser, hostile: Path) -> None:
    browser.show(hostile)
    assert browser.run("return typeof window.hacked") == "undefined"
    assert browser.run("return document.querySelectorAll('script').length") == 1
    assert browser.run("return document.querySelectorAll('img').length") == 0
    assert "<script>window.hacked = 1</script>" in browser.run("return document.body.innerText")


def test_the_policy_stops_a_script_that_got_in_all_the_same(browser: Browser, plain: Path, tmp_path: Path) -> None:
    """The second lock: an injected handler and script do not run."""
    injected = tmp_path / "injected.html"
    bad = "<main><script>window.hacked = 5</script><img src='x' onerror='window.hacked = 6'>"
    injected.write_text(plain.read_text("utf-8").replace("<main", bad + "<main", 1), "utf-8")
    browser.show(injected)
    assert browser.run("return typeof window.hacked") == "undefined"
    assert any("Content Security Policy" in entry["message"] for entry in browser.log("browser"))


def test_contents_are_open_beside_the_text_and_link_into_it(browser: Browser, plain: Path, model: ReportModel) -> None:
    browser.show(plain)
    assert browser.run("return document.querySelector('.contents details').open")
    browser.run("document.documentElement.style.scrollBehavior = 'auto'")
    for anchor in (model.ablations[1].anchor, f"{model.ablations[0].anchor}-runs"):
        browser.run("document.querySelector(`.contents a[href='#${arguments[0]}']`).click()", anchor)
        top = browser.run("return document.getElementById(arguments[0]).getBoundingClientRect().top", anchor)
        assert 0 <= top < 120


def test_contents_fold_on_a_phone_and_fold_again_after_a_choice(
    browser: Browser, plain: Path, model: ReportModel
) -> None:
    browser.show(plain, width=390)
    assert not browser.run("return document.querySelector('.contents details').open")
    browser.run("document.querySelector('.contents summary').click()")
    assert browser.run("return document.querySelector('.contents details').open")
    browser.run("document.querySelector(`.contents a[href='#${arguments[0]}']`).click()", model.ablations[1].anchor)
    assert not browser.run("return document.querySelector('.contents details').open")


def test_a_link_to_a_run_opens_it(browser: Browser, plain: Path, model: ReportModel) -> None:
    browser.show(plain)
    browser.run("document.documentElement.style.scrollBehavior = 'auto'")
    anchor = model.runs[5].anchor
    assert not browser.run("return document.getElementById(arguments[0]).checkVisibility()", anchor)
    browser.run("document.querySelector(`table.runs a[href='#${arguments[0]}']`).click()", anchor)
    browser.run_async("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    assert browser.run("return document.getElementById(arguments[0]).closest('details').open", anchor)
    assert 0 <= browser.run("return document.getElementById(arguments[0]).getBoundingClientRect().top", anchor) < 200


def test_words_filter_the_runs(browser: Browser, plain: Path) -> None:
    browser.show(plain)
    field = browser.driver.find_element("id", "words-runs")
    field.send_keys("VECTOR scratch")
    shown = browser.run(
        "return [...document.querySelectorAll('table.runs tbody tr:not(.group)')].filter(r => !r.hidden)"
        ".map(r => r.cells[0].innerText)"
    )
    assert shown == [f"from scratch · CXR+Clinical (vector) · seed {seed}" for seed in range(3)]
    assert browser.run("return document.querySelector('#runs ~ .find [role=status]').textContent") == "3 of 17"


def test_wide_tables_scroll_inside_their_box_by_keyboard_too(browser: Browser, plain: Path) -> None:
    """Tables stack on a phone; one that nevertheless is too wide (a narrow one here) scrolls and is a stop."""
    browser.show(plain, width=1280)
    browser.run("""
        document.querySelector('table.runs').style.maxWidth = 'none';
        document.querySelector('table.runs').style.width = '200rem';
        dispatchEvent(new Event('resize'));
    """)
    wide = browser.run("""
        return [...document.querySelectorAll('.scroll')].filter(box => box.scrollWidth > box.clientWidth)
          .map(box => [box.tabIndex, box.getAttribute('role'), !!box.getAttribute('aria-label'),
                       getComputedStyle(box).overflowX])
    """)
    assert wide == [[0, "group", True, "auto"]]


@pytest.mark.parametrize("dark", [False, True])
def test_text_has_enough_contrast(browser: Browser, plain: Path, dark: bool) -> None:
    """Contrast of at least 4.5 to 1 for every word of the page and its charts (WCAG 2.1, level AA)."""
    browser.show(plain, dark=dark)
    poor = browser.run("""
        const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
          .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
          .reduce((sum, v, n) => sum + v * [0.2126, 0.7152, 0.0722][n], 0);
        const numbers = text => (text.match(/[\\d.]+/g) || []).map(Number);
        const paper = element => {
          for (let e = element; e; e = e.parentElement) {
            const found = numbers(getComputedStyle(e).backgroundColor);
            if (found.length === 3 || found[3] > 0.5) return found;
          }
          return [255, 255, 255];
        };
        const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
        const poor = {};
        while (walker.nextNode()) {
          const element = walker.currentNode.parentElement;
          if (!walker.currentNode.data.trim() || ['SCRIPT', 'STYLE'].includes(element.tagName)) continue;
          const style = getComputedStyle(element);
          const ink = element.closest('svg') ? style.fill : style.color;
          const [a, b] = [light(numbers(ink)), light(paper(element))].sort((x, y) => y - x);
          const contrast = (a + 0.05) / (b + 0.05);
          if (contrast < 4.5) poor[element.className + ' ' + element.tagName] = contrast;
        }
        return poor;
    """)
    assert poor == {}


def test_the_dark_page_is_dark_and_lines_follow(browser: Browser, plain: Path) -> None:
    colours = []
    for dark in (False, True):
        browser.show(plain, dark=dark)
        colours.append(
            browser.run("""
            const line = document.querySelector('.chart path.s-c0');
            return [getComputedStyle(document.body).backgroundColor, getComputedStyle(line).stroke]
        """)
        )
    assert colours[0][0] != colours[1][0]
    assert colours[0][1] != colours[1][1]


def test_the_first_tab_stop_skips_the_contents(browser: Browser, plain: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.show(plain)
    browser.driver.switch_to.active_element.send_keys(Keys.TAB)
    assert browser.run("return document.activeElement.className") == "skip"
    assert browser.run("return document.activeElement.getBoundingClientRect().left >= 0")
    browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert browser.run("return document.activeElement.id") == "main"


def test_printing_unfolds_results_and_ablations_and_leaves_the_runs(browser: Browser, plain: Path) -> None:
    browser.show(plain)
    browser.run("dispatchEvent(new Event('beforeprint'))")
    assert browser.run(
        "return [...document.querySelectorAll('main details:not(.run details):not(.methods)')].every(d => d.open)"
    )
    assert not browser.run("return [...document.querySelectorAll('.run details')].some(d => d.open)")
