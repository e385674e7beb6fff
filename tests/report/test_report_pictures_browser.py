"""Pictures in a real browser: they are decoded and seen, offline, by keyboard, in the dark, on a phone, on paper."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import picture_fixtures as made
import pytest
from page_browser import MARKS, Browser
from PIL import Image

from mmad.data.phantom.generate import make_phantom
from mmad.report.writers.html import render_html
from mmad.store.store import Store

pytestmark = MARKS


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A plain page, and one on which every name is an attack."""
    folder = tmp_path_factory.mktemp("pages")
    plain = make_phantom(folder / "plain", studies=150, width=200, height=160)
    attacked = made.attacked(folder / "attacked", plain)
    found = {}
    for name, dataset, other in (("plain", plain, "CXR+Clinical"), ("hostile", attacked, made.ATTACKS[-1])):
        with Store.open(made.two_arms(folder / f"{name}-db", dataset, settings=2, other=other)) as store:
            page = render_html(made.model_of(store, made.gathered(store)))
        found[name] = folder / f"{name}.html"
        found[name].write_text(page, "utf-8")
    return found


def seen(browser: Browser, selector: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The pixels (height, width, 3) of an element, scrolled to."""
    left, top, width, height = browser.run(
        """
        document.documentElement.style.scrollBehavior = 'auto';
        const element = document.querySelector(arguments[0]);
        element.scrollIntoView({block: 'center'});
        const r = element.getBoundingClientRect();
        return [r.left, r.top, r.width, r.height];
        """,
        selector,
    )
    clip = {"x": left, "y": top, "width": width, "height": height, "scale": 1}
    clip |= {"x": left + browser.run("return scrollX"), "y": top + browser.run("return scrollY")}
    shot = browser.driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", "clip": clip})
    with Image.open(io.BytesIO(base64.b64decode(shot["data"]))) as picture:
        return np.asarray(picture.convert("RGB"))


@pytest.mark.parametrize("which", ["plain", "hostile"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_is_silent_offline_and_no_wider_than_the_screen(
    browser: Browser, pages: dict[str, Path], which: str, width: int
) -> None:
    browser.show(pages[which], width=width)
    browser.run("for (const details of document.querySelectorAll('.pair')) details.open = true")
    assert browser.log("browser") == []
    assert [url for url in browser.requests() if not url.startswith("data:")] == [pages[which].as_uri()]
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
    assert browser.run("return typeof window.hacked") == "undefined"
    assert browser.run("return document.querySelectorAll('script').length") == 1


def test_every_image_is_decoded_in_its_shape(browser: Browser, pages: dict[str, Path]) -> None:
    browser.show(pages["plain"])
    sizes = browser.driver.execute_async_script("""
        const done = arguments[0];
        const decoded = async (element) => {
          const image = new Image();
          image.src = element.href.baseVal;
          await image.decode();
          return [image.naturalWidth, image.naturalHeight];
        };
        Promise.all([...document.querySelectorAll('.store image')].map(decoded)).then(done, e => done(String(e)));
    """)
    assert sizes
    assert all(size == [200, 160] for size in sizes)


def test_all_three_panels_show_the_same_image_and_their_own_boxes(browser: Browser, pages: dict[str, Path]) -> None:
    browser.show(pages["plain"])
    browser.run("for (const g of document.querySelectorAll('.panel g')) g.style.visibility = 'hidden'")
    images = [seen(browser, f".study .panel:nth-child({n}) svg").astype(float) for n in (1, 2, 3)]
    browser.run("for (const g of document.querySelectorAll('.panel g')) g.style.visibility = ''")
    for image in images:
        inside = image[5:-5, 5:-5]
        assert inside.std() > 20
        assert np.ptp(inside, axis=2).max() < 12  # grey: no broken image, no box
        height, width = min(len(image), len(images[0])) - 4, min(image.shape[1], images[0].shape[1]) - 4
        assert np.abs(image[4:height, 4:width] - images[0][4:height, 4:width]).mean() < 6
    drawn = seen(browser, ".study .panel:nth-child(1) svg")
    assert (np.ptp(drawn.astype(float), axis=2) > 60).sum() > 50


def test_an_unticked_finding_is_gone_without_a_script(browser: Browser, pages: dict[str, Path], tmp_path: Path) -> None:
    text = pages["plain"].read_text("utf-8")
    start, end = text.index("<script>"), text.index("</script>")
    still = tmp_path / "still.html"
    still.write_text(text[:start] + text[end:].replace("</script>", "", 1), "utf-8")
    browser.show(still)
    number = browser.run("return document.querySelector('.panel g[class^=box-]').classList[0].slice(4)")
    shown = """
        return [...document.querySelectorAll(`.pair[open] .box-${arguments[0]}`)]
          .filter(e => e.getClientRects().length).length;
    """
    assert browser.run(shown, number) > 0
    browser.run("document.querySelector(`.tick-${arguments[0]}`).click()", number)
    assert browser.run(shown, number) == 0
    others = browser.run(
        "return [...document.querySelectorAll('.panel g')].filter(e => e.getClientRects().length).length"
    )
    assert others > 0
    browser.run("document.querySelector(`.tick-${arguments[0]}`).click()", number)
    assert browser.run(shown, number) > 0


def test_ticks_and_pairs_are_reached_and_used_by_keyboard(browser: Browser, pages: dict[str, Path]) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.show(pages["plain"])
    browser.run("document.querySelector('.tick-1').focus()")
    browser.driver.switch_to.active_element.send_keys(Keys.SPACE)
    assert not browser.run("return document.querySelector('.tick-1').checked")
    for _ in range(browser.run("return document.querySelectorAll('.findings input').length")):
        browser.driver.switch_to.active_element.send_keys(Keys.TAB)
    assert browser.run("return document.activeElement.tagName") == "SUMMARY"
    browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert not browser.run("return document.querySelector('.pair').open")


def test_the_accessibility_tree_names_every_picture(browser: Browser, pages: dict[str, Path]) -> None:
    browser.show(pages["plain"])
    tree = browser.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    shown = [n for n in tree if not n["ignored"] and n["role"]["value"] in ("image", "img")]
    names = [n["name"]["value"] for n in shown if ", study s" in n["name"]["value"]]
    assert len(names) == browser.run("return document.querySelectorAll('.pair[open] .panel svg').length") > 0
    assert any(name.startswith("Ground truth, study s") for name in names)
    assert any(name.startswith("CXR+Clinical, study s") and " right, " in name for name in names)
    ticks = [n["name"]["value"] for n in tree if not n["ignored"] and n["role"]["value"] == "checkbox"]
    assert len(ticks) == 5
    assert all(len(name) > 5 for name in ticks)


@pytest.mark.parametrize("dark", [False, True])
def test_words_and_boxes_have_enough_contrast(browser: Browser, pages: dict[str, Path], dark: bool) -> None:
    """Contrast of at least 4.5 to 1 for words and numbers, on the page and on a black image (WCAG 2.1, AA)."""
    browser.show(pages["plain"], dark=dark)
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
        const poor = {};
        const walker = document.createTreeWalker(document.querySelector('.pictures'), NodeFilter.SHOW_TEXT);
        while (walker.nextNode()) {
          const element = walker.currentNode.parentElement;
          if (!walker.currentNode.data.trim() || ['title', 'desc'].includes(element.tagName)) continue;
          const style = getComputedStyle(element);
          const [a, b] = [light(numbers(element.closest('svg') ? style.fill : style.color)), light(paper(element))]
            .sort((x, y) => y - x);
          if ((a + 0.05) / (b + 0.05) < 4.5) poor[element.outerHTML] = (a + 0.05) / (b + 0.05);
        }
        return poor;
    """)
    assert poor == {}


def test_on_a_phone_a_study_is_swiped_and_its_numbers_can_be_read(browser: Browser, pages: dict[str, Path]) -> None:
    browser.show(pages["plain"], width=390)
    browser.run("document.querySelector('.pair').open = true")
    box = browser.run("""
        const films = document.querySelector('.panels'), svg = films.querySelector('svg');
        const letters = 19 * svg.getBoundingClientRect().width / 512;
        return [films.scrollWidth > films.clientWidth, films.tabIndex, getComputedStyle(films).overflowX, letters];
    """)
    assert box[:3] == [True, 0, "auto"]
    assert box[3] >= 10


def test_in_print_every_study_is_whole_with_its_three_panels(browser: Browser, pages: dict[str, Path]) -> None:
    browser.show(pages["plain"])
    browser.run("dispatchEvent(new Event('beforeprint'))")
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        assert browser.run("return [...document.querySelectorAll('.pair')].every(d => d.open)")
        rows = browser.run("""
            return [...document.querySelectorAll('.study')].map(study => {
              const films = [...study.querySelectorAll('.panel')].map(f => f.getBoundingClientRect());
              return [films.length, new Set(films.map(f => Math.round(f.top))).size,
                      getComputedStyle(study).breakInside];
            });
        """)
        assert len(rows) == 8
        assert all(row == [3, 1, "avoid"] for row in rows)
        assert (np.ptp(seen(browser, ".study .panel:nth-child(2) svg").astype(float), axis=2) > 60).sum() > 50
    finally:
        browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
