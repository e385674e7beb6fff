"""The page under a reader's hands: sorting, copying, values of charts, and what a screen reader meets."""

from __future__ import annotations

import itertools
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path
from urllib.parse import unquote

import pytest
from page_browser import MARKS, Browser

from mmad.config.runs import NAMING_FIELDS
from mmad.config.setup import ModelSetup
from mmad.report.run_blocks import setup_toml
from mmad.report.sections import ReportModel

pytestmark = MARKS
COLUMN = (
    "[...document.querySelectorAll('table.runs tbody:nth-of-type(1) tr:not(.group)')].map(r => r.cells[5].innerText)"
)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, drawn_page: str) -> Path:
    path = tmp_path_factory.mktemp("plain") / "index.html"
    path.write_text(drawn_page, "utf-8")
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


def test_a_table_is_copied_for_a_spreadsheet_and_for_a_paper(browser: Browser, plain: Path, model: ReportModel) -> None:
    browser.show(plain)
    browser.run("""
        window.copied = [];
        Clipboard.prototype.writeText = async t => { window.copied.push(t); };
        const pairs = document.querySelectorAll('table.pairs')[1];
        for (const b of pairs.parentElement.querySelectorAll('.copy')) b.click();
        document.querySelector('pre.toml + .tools button').click();
    """)
    tsv, tex, toml = browser.run("return window.copied")
    lines = [line.split("\t") for line in tsv.splitlines()]
    assert {len(line) for line in lines} == {len(lines[0])}
    arms = ("Test AP CXR", "Test AP CXR+Clinical", "Test AP Difference")
    assert lines[0] == ["Setting", *(f"{name}{end}" for name in arms for end in ("", " sd"))]
    compared = model.ablations[1].comparisons[0].rows[0].test_ap
    figures = [compared.reference, compared.other, compared.difference]
    exact = [x for figure in figures if figure is not None for x in (figure.mean, figure.sd)]
    assert lines[1][0] == "from scratch"
    assert [float(text) for text in lines[1][1:]] == pytest.approx(exact, abs=0.0005)
    assert not any("+" in text or "±" in text for text in lines[1])
    assert tex.startswith(r"\begin{tabular}{lrrr}")
    assert r"\multicolumn{3}{c}{Test AP}" in tex
    assert tomllib.loads(toml)["setup"] is not None
    said = "return document.querySelectorAll('table.pairs')[1].parentElement.querySelector('.copy').textContent"
    assert browser.run(said) == "Copied"


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
    shown = f"[...{charts}].filter(c => !c.closest('.log-scale'))"
    heads = browser.run(f"return {shown}.map(c => c.querySelector('.readout b').textContent)")
    assert set(heads) == {"epoch 2"}
    assert f"{run.run.epochs[1].value('val', 'loss'):.3f} validation" in browser.run(
        f"return {charts}[0].querySelector('.readout').innerText"
    )
    browser.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert browser.run("return document.querySelectorAll('.readout').length") == 0


def test_a_chart_on_a_logarithmic_scale_shows_the_values_of_its_lines(
    browser: Browser, plain: Path, model: ReportModel
) -> None:
    browser.show(plain)
    run = model.runs[0]
    box = f"{figure_of(run.anchor)}.querySelector('.log-scale')"
    browser.run(f"for (let e = {box}; e; e = e.parentElement) if (e.tagName === 'DETAILS') e.open = true")
    said = browser.run(f"""
        const svg = {box}.querySelector('svg'), room = svg.getBoundingClientRect();
        svg.dispatchEvent(new PointerEvent('pointermove',
          {{bubbles: true, clientX: room.right - 8, clientY: room.top + 20}}));
        const line = svg.querySelector('.at').getBBox(), whole = svg.viewBox.baseVal;
        return [document.querySelector('.readout').innerText, line.x - whole.x, whole.width, line.y - whole.y];
    """)
    last = run.run.epochs[-1]
    assert said[0].splitlines()[0] == f"epoch {last.epoch}"
    assert f"{last.value('val', 'loss'):.3f} validation" in said[0]
    assert 0.9 < said[1] / said[2] <= 1
    assert 0 <= said[3] < 60
    browser.run(
        f"{box}.querySelector('.grid').dispatchEvent(new KeyboardEvent('keydown', {{key: 'Home', bubbles: true}}))"
    )
    assert browser.run(f"return {box}.querySelector('.readout b').textContent") == "epoch 1"


def test_a_figure_is_printed_alone(browser: Browser, plain: Path, model: ReportModel) -> None:
    browser.show(plain)
    figure = figure_of(model.runs[0].anchor)
    browser.run(f"""
        window.print = () => {{}};
        {figure}.closest('details').open = true;
        [...{figure}.querySelectorAll('.tools button')].at(-1).click();
    """)
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    seen = browser.run(f"return [{figure}.checkVisibility(), document.querySelector('h1').checkVisibility()]")
    browser.run("dispatchEvent(new Event('afterprint'))")
    after = browser.run("return document.querySelector('h1').checkVisibility()")
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert seen == [True, False]
    assert after


def figure_of(anchor: str) -> str:
    return f"document.getElementById('{anchor}').closest('article').querySelector('figure.multiples')"


def test_a_legend_hides_and_shows_a_line_in_every_chart(browser: Browser, plain: Path, model: ReportModel) -> None:
    browser.show(plain)
    figure = figure_of(model.runs[0].anchor)
    browser.run(f"{figure}.closest('details').open = true")
    lines = f"[...{figure}.querySelectorAll('g.line[data-name=test]')]"
    seen = f"return {lines}.map(line => getComputedStyle(line).display !== 'none')"
    shown = browser.run(seen)
    assert len(shown) > 6
    assert all(shown)
    key = f"{figure}.querySelector('.keys li[data-name=test] button')"
    browser.run(f"{key}.click()")
    assert browser.run(f"return {key}.ariaPressed") == "false"
    assert not any(browser.run(seen))
    told = browser.run(f"""
        const grid = {figure}.querySelector('.grid');
        grid.dispatchEvent(new KeyboardEvent('keydown', {{key: 'End', bubbles: true}}));
        return grid.querySelector('.readout').innerText;
    """)
    assert "validation" in told
    assert "test" not in told
    browser.run(f"{key}.click()")
    assert all(browser.run(seen))


def test_a_seed_can_be_hidden_and_the_mean_stays(browser: Browser, plain: Path, model: ReportModel) -> None:
    browser.show(plain)
    section = f"document.getElementById('{model.ablations[1].anchor}').closest('section')"
    figure = f"{section}.querySelector('figure.multiples')"
    browser.run(f"{figure}.querySelector('.keys li[data-seed=\\'1\\'] button').click()")
    hidden, shown = (
        browser.run(f"""return [...{figure}.querySelectorAll('g.line')]
            .filter(line => (getComputedStyle(line).display === 'none') === arguments[0])
            .map(line => line.dataset.seed ?? '')""", gone)
        for gone in (True, False)
    )  # fmt: skip
    assert set(hidden) == {"1"}
    assert set(shown) == {"", "0", "2"}


def test_a_part_of_a_chart_is_enlarged_and_shown_whole_again(browser: Browser, plain: Path, model: ReportModel) -> None:
    browser.show(plain)
    svg = f"{figure_of(model.runs[0].anchor)}.querySelector('.chart svg')"
    view = f"return {svg}.getAttribute('viewBox').split(' ').map(Number)"
    whole, height = browser.run(view), browser.run(f"return {svg}.getBoundingClientRect().height")
    browser.run(f"""
        const svg = {svg}, box = svg.getBoundingClientRect();
        const at = (kind, x, y) => svg.dispatchEvent(new PointerEvent(kind, {{bubbles: true, button: 0, pointerId: 1,
          clientX: box.left + x * box.width, clientY: box.top + y * box.height}}));
        svg.setPointerCapture = () => {{}};
        at('pointerdown', 0.3, 0.3); at('pointermove', 0.55, 0.5); at('pointerup', 0.55, 0.5);
    """)
    part = browser.run(view)
    assert 0.1 < part[2] / whole[2] < 0.5
    assert browser.run(f"return {svg}.getBoundingClientRect().height") == pytest.approx(height, abs=1)
    browser.run(f"{svg}.dispatchEvent(new MouseEvent('dblclick', {{bubbles: true}}))")
    assert browser.run(view) == whole
    grid = f"{svg}.closest('.grid')"
    browser.run(f"{grid}.dispatchEvent(new KeyboardEvent('keydown', {{key: '+', bubbles: true}}))")
    assert browser.run(view)[2] == pytest.approx(0.8 * whole[2], abs=0.2)
    browser.run(f"{grid}.dispatchEvent(new KeyboardEvent('keydown', {{key: '0', bubbles: true}}))")
    assert browser.run(view) == whole


def test_a_figure_is_saved_as_it_is_shown(browser: Browser, plain: Path, model: ReportModel) -> None:
    """With its colours and without what is hidden; as PNG too, which the page's policy must allow."""
    browser.show(plain)
    figure = figure_of(model.runs[0].anchor)
    saved = browser.driver.execute_async_script(f"""
        const done = arguments[0], found = {{}};
        HTMLAnchorElement.prototype.click = function () {{
          found[this.download] = this.href;
          if (Object.keys(found).length === 2) done(found);
        }};
        {figure}.querySelector('.keys li[data-name=test] button').click();
        for (const button of {figure}.querySelectorAll('.tools button')) button.click();
    """)
    (svg_name, svg), (png_name, png) = sorted(saved.items(), key=lambda item: item[0].endswith("png"))
    assert svg_name.endswith(".svg")
    assert png_name.endswith(".png")
    assert png.startswith("data:image/png;base64,")
    root = ET.fromstring(unquote(svg.split(",", 1)[1]))
    strokes = {e.get("stroke") for e in root.iter("{http://www.w3.org/2000/svg}path")}
    assert browser.run("return getComputedStyle(document.querySelector('.chart path.s-c0')).stroke") in strokes
    assert any(e.get("display") == "none" for e in root.iter("{http://www.w3.org/2000/svg}g"))
    assert browser.log("browser") == []


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
