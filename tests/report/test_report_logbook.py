"""The entries of logs in the report: whole, with the runs beside them, light, harmless, and found by their words."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from page_browser import MARKS, Browser
from page_parser import Page
from report_fixtures import HOSTILE, WHEN, Sample
from undrawn import Undrawn, undrawn_html

from mmad.analysis.report_frame import load_frame
from mmad.experiment_log.parser import read_log_file
from mmad.experiment_log.shipped import SHIPPED, SOURCE_SHA256, entries, later_entries
from mmad.report.figure_drawing import draw_file, draw_page
from mmad.report.figures import FigureFile, entries_figure
from mmad.report.sections import Logbook, PageForm, ReportModel, anchor_of, build_model, logbook_of
from mmad.report.tables import log_table
from mmad.report.write_report import write_report
from mmad.report.writers.html import render_html, render_pages
from mmad.store.measurements import LogRecord
from mmad.store.store import Store


@pytest.fixture(scope="module")
def book(model: ReportModel) -> Logbook:
    found = logbook_of(model, [])
    assert found is not None
    return found


@pytest.fixture(scope="module")
def page(model: ReportModel, book: Logbook) -> str:
    return undrawn_html(replace(model, logbook=book))


def imported(entry: dict[str, Any], name: str = "mine") -> LogRecord:
    plain = {"line": 1, "line_end": 2, "sections": [], "heading": None} | entry
    return LogRecord(name, "mine.md", "0" * 64, {"sha256": "0" * 64, "lines": 2}, (plain,), WHEN)


def bare(documented: str | None = None) -> ReportModel:
    sample = Sample()
    sample.ablation("a", "A", "")
    sample.member("s", "CXR", protocol={"epochs": 2}, documented=documented)
    return build_model(load_frame(sample.source), created=WHEN, database="x")


def test_it_is_shown_where_it_belongs() -> None:
    assert logbook_of(bare(), []) is None
    assert logbook_of(bare("e069"), []) is not None
    assert logbook_of(bare("e069"), [], show=False) is None
    assert logbook_of(bare(), [], show=True) is not None
    assert logbook_of(bare(), [imported({"id": "e001"})]) is not None
    assert logbook_of(bare("e999"), []) is None


@pytest.mark.slow
def test_the_shipped_logs_own_file_is_shown_once_with_its_words(model: ReportModel) -> None:
    whole = [
        {"id": one.id, "heading": one.heading, "notes": [{"line": 1, "text": f"of {one.id}"}]} for one in entries()
    ]
    content = {"sha256": SOURCE_SHA256, "lines": 2, "name": "experiment-log"}
    record = LogRecord("experiment-log", "x.md", SOURCE_SHA256, content, tuple(whole), WHEN)
    book = logbook_of(model, [record], True)
    assert book is not None
    (log,) = book.logs
    assert log.name == SHIPPED
    assert len(log.entries) == len(entries()) + len(later_entries())
    assert log.entries[0].notes == ("of e001",)
    assert set(book.anchors.values()) <= {one.anchor for one in log.entries}


def test_every_entry_is_shown_with_what_it_prints(page: str, book: Logbook) -> None:
    parsed = Page(page)
    anchors = [d["id"] for d in parsed.all("details") if d.get("class") == "entry"]
    assert anchors == [f"log-{entry.id}" for entry in (*entries(), *later_entries())]
    assert book.entries == 109
    text = parsed.text
    for entry in (*entries(), *later_entries()):
        for result in entry.results.values():
            assert f"{result.test_ap:.4f}" in text
        for figure in (figure for group in entry.figures for figure in group.figures):
            assert figure.printed in text
        assert all(f"{count:,}" in text for count in entry.params.values())
    known = {a["id"] for _, a in parsed.tags if a.get("id")}
    assert {a["href"][1:] for a in parsed.all("a") if (a["href"] or "").startswith("#")} <= known  # type: ignore[index]
    assert sum("log-e069" in (a.get("href") or "") for a in parsed.all("a")) == 2  # from two tables


def test_runs_are_shown_beside_the_entry_they_mirror(model: ReportModel, book: Logbook) -> None:
    (log,) = book.logs
    pages = {p.id: p for p in log.entries}
    patience = model.ablations[0]
    for member in patience.frame.members:
        page = pages[member.record.documented or ""]
        assert page.runs == 1
        for printed in page.results:
            kind = {"Best AP": "best_ap", "Best AR": "best_ar", "Final": "final"}[printed.kind]
            outcome = member.outcome(kind)  # type: ignore[arg-type]
            assert len(printed.measured) == (outcome is not None)
            for beside in printed.measured:
                assert outcome is not None
                assert beside.anchor == model.anchors[member.run.key]
                assert beside.epoch == outcome.epoch
                assert [v for v, _ in beside.figures] == [
                    outcome.val_ap, outcome.val_ar, outcome.test_ap, outcome.test_ar,
                ]  # fmt: skip
                for (value, less), documented in zip(beside.figures, printed.figures, strict=True):
                    assert value is not None
                    assert less == pytest.approx(value - documented)
                assert [b.text for b in beside.badges][:2] == ["IoU ≥ 0.5", "clean proposals"]
    assert sum(p.runs for p in log.entries) == len(patience.frame.members)


def test_a_queued_run_is_named_without_figures() -> None:
    sample = Sample()
    sample.ablation("a", "A", "")
    sample.member("s", "CXR", status="queued", done=0, documented="e069")
    found = logbook_of(build_model(load_frame(sample.source), created=WHEN, database="x"), [])
    assert found is not None
    (page,) = [p for p in found.logs[0].entries if p.runs]
    assert (page.id, [status for *_, status in page.others]) == ("e069", ["queued"])
    assert not any(printed.measured for printed in page.results)


@pytest.mark.slow
def test_an_imported_log_is_a_chapter_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "my log.md"
    path.write_text(
        "## Slower (best_v=0.4100)\nModelSetup(lr=0.0001)\n[model]: 1,040,729\nBest AP validation model has been saved "
        "to: [val_ar_0_6100_ap_0_4100_test_ar_0_5200_ap_0_3521_epoch26_WithoutClincal_04-28-2023 12-05-57_slow]\n"
        "it became worse\n"
    )
    log = read_log_file(path)
    content, found = log.to_json()
    record = LogRecord(log.name, str(path), log.sha256, content, tuple(found), WHEN)
    model = bare(f"{log.name}/e001")
    book = logbook_of(model, [record])
    assert book is not None
    assert [len(c.entries) for c in book.logs] == [109, 1]
    (own,) = book.logs[1].entries
    assert (own.heading, own.figures, own.runs) == ("Slower", "(best_v=0.4100)", 1)
    assert [p.measured[0].figures[0][1] for p in own.results] != [None]
    text = Page(undrawn_html(replace(model, logbook=book))).text
    assert "it became worse" in text
    assert "ModelSetup(lr=0.0001)" in text


TEXT = """# Of many things

It began with a question.

## First chapter

### Slower (best_v=0.4100)
ModelSetup(lr=0.0001, use_clinical=True)
[val_ar_0_6100_ap_0_4100_test_ar_0_5200_ap_0_3521_epoch26_WithClincal_04-28-2023 12-05-57_slow]

### Faster
ModelSetup(lr=0.1)

## Second chapter

### Depth

#### One more
ModelSetup(lr=0.01)
[val_ar_0_6100_ap_0_4100_test_ar_0_5200_ap_0_2000_epoch26_WithoutClincal_04-28-2023 12-05-57_slow]

## Evaluation

Q: Why is it slow?

E1: A higher rate.

L1: It is faster.

|   |one|two|
|---|---|---|
|score|0.1|0.2|
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> LogRecord:
    path = tmp_path_factory.mktemp("log") / "mine.md"
    path.write_text(TEXT)
    log = read_log_file(path)
    content, found = log.to_json()
    return LogRecord(log.name, str(path), log.sha256, content, tuple(found), WHEN)


def test_chapters_and_what_stands_between_entries_are_as_printed(own: LogRecord) -> None:
    book = logbook_of(bare(), [own])
    assert book is not None
    _, log = book.logs
    printed = [
        (
            chapter.title,
            [getattr(p, "id", None) or getattr(p, "label", None) or type(p).__name__ for p in chapter.parts],
        )
        for chapter in log.chapters
    ]
    assert printed == [
        ("", ["LogHeading", "LogText"]),
        ("First chapter", ["e001", "e002"]),
        ("Second chapter", ["LogHeading", "e003"]),
        ("Evaluation", ["Q", "E1", "L1", "LossTable"]),
    ]
    text = Page(undrawn_html(replace(bare(), logbook=book))).text
    assert (
        text.index("Evaluation") < text.index("Why is it slow?") < text.index("It is faster.") < text.index("score 0.1")
    )


@pytest.mark.slow
def test_entries_form_a_table_and_a_chart_in_the_order_of_print(model: ReportModel, book: Logbook) -> None:
    (log,) = book.logs
    table = log_table(log)
    assert list(dict.fromkeys(table.frame["entry"])) == [one.id for one in (*entries(), *later_entries())]
    by_entry = table.frame.set_index("entry")
    e070 = by_entry.loc["e070"]
    assert (e070["chapter"], e070["arm"], e070["era"], e070["proposals"]) == (
        "10 patience", "CXR+Clinical", "A", "with true boxes",
    )  # fmt: skip
    assert (e070["test_ap"], e070["measured_by"]) == (0.6069, "IoU ≥ 0.5, clean proposals")
    assert 0 < e070["measured_test_ap"] < 1
    assert by_entry["era"].to_dict() | {"e082": "B", "e094": "C", "n001": "C", "e068": "", "e002": ""} == (
        by_entry["era"].to_dict()
    )
    assert {by_entry["proposals"][id] for id in ("e076", "e077", "e020")} == {"with true boxes", "sampled", ""}
    assert len(list(table.grid.rows)) == sum(bool(one.results) for one in log.entries)
    figure = entries_figure(log)
    assert figure is not None
    assert figure.inflated == (21, 76)
    assert [point.id for point in figure.points] == [one.id for one in log.entries if one.results]
    measured = {point.id: point.measured for point in figure.points if point.measured}
    assert measured == {
        one: (value,) for one, value in by_entry["measured_test_ap"].to_dict().items() if value == value and value
    }
    assert draw_page(figure) == draw_page(figure)
    assert all("e058" in svg for svg in draw_page(figure))
    assert draw_file(FigureFile(figure, "pdf", 85.0)).startswith(b"%PDF")
    assert [one.id for one in log.highest] == ["e058", "n001", "e019"]


@pytest.mark.slow
def test_text_of_a_log_is_escaped() -> None:
    attack = HOSTILE[0] + HOSTILE[1] + HOSTILE[4]
    figures = {"epoch": 1, "val_ap": 0.1, "val_ar": 0.1, "test_ap": 0.1, "test_ar": 0.1, "stamp": ""}
    entry = {
        "id": attack, "heading": attack, "sections": [attack, attack],
        "setup": {"form": "repr", "line": 1, "fields": {attack: attack}}, "inferred": {attack: attack},
        "params": {attack: 1}, "results": {attack: figures}, "notes": [{"line": 1, "text": attack}],
        "losses": {"weights": {attack: attack}, "scope": "entry", "line": 1},
        "figures": [{"raw": attack, "line": 1, "figures": []}],
    }  # fmt: skip
    model = bare()
    page = render_html(replace(model, logbook=logbook_of(model, [imported(entry, attack)])))
    parsed = Page(page)
    assert len(parsed.all("script")) == 1
    assert parsed.all("img") == []
    assert parsed.text.count("window.hacked = 1") >= 9
    for before in re.findall(r"<(\w+)[^<>]*>[^<>]*\u202e", page):
        assert before in ("bdi", "template")


@pytest.mark.parametrize(("log", "id"), [("documented", "e030"), ("<b>", "e001"), ("a/../b", "<script>")])
def test_an_anchor_is_safe_and_unique(log: str, id: str) -> None:
    assert re.fullmatch(r"log-[a-z0-9_-]+", anchor_of(log, id))
    assert anchor_of(log, id) != anchor_of("other", id)


def test_it_is_light(model: ReportModel, book: Logbook, page: str) -> None:
    without = undrawn_html(model)
    figure = entries_figure(book.logs[0])
    assert figure is not None
    drawn = "".join(draw_page(figure))
    assert len(page.encode()) - len(without.encode()) + len(drawn.encode()) < 400_000
    assert "details.entry" not in without  # neither its script nor its style


def test_linked_pages_have_the_log_only_on_the_overview(model: ReportModel, book: Logbook) -> None:
    form = PageForm("index.html", "index_pages")
    pages = dict(render_pages(replace(model, logbook=book), form, renderer=Undrawn()))
    assert [name for name, text in pages.items() if 'id="log-e030"' in text] == ["index.html"]
    other = next(text for name, text in pages.items() if name != "index.html")
    assert 'href="../index.html#log"' in other
    assert all("../index.html#log-e" in h or "log-" not in h for h in re.findall(r'href="([^"]+)"', other))


def test_the_store_s_logs_are_read(tmp_path: Path) -> None:
    from mmad.config.load import load_ablation
    from mmad.config.runs import DataSource

    (tmp_path / "one.toml").write_text(
        'title = "One"\n[setup]\npretrained = false\n[arms.CXR]\nuse_clinical = false\n[[settings]]\nname = "s"\n'
        "[protocol]\nepochs = 1\n"
    )
    with Store.open(tmp_path / "db.sqlite") as store:
        store.add_ablation(load_ablation(tmp_path / "one.toml").on(DataSource("d", "d", "5f" * 32)))
        write_report(store, html=tmp_path / "r.html")
        assert "details.entry" not in (tmp_path / "r.html").read_text("utf-8")
        plain = {"id": "e001", "line": 1, "line_end": 2, "sections": [], "heading": "## Mine"}
        store.put_log("mine", "mine.md", "0" * 64, {"sha256": "0" * 64, "lines": 2}, [plain])
        write_report(store, html=tmp_path / "r.html")
        assert 'id="log-mine--e001"' in (tmp_path / "r.html").read_text("utf-8")
        write_report(store, html=tmp_path / "r.html", log=False)
        assert 'id="log-mine--e001"' not in (tmp_path / "r.html").read_text("utf-8")


@pytest.mark.slow
@MARKS[1]
def test_words_find_entries_by_keyboard(browser: Browser, page: str, tmp_path: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    path = tmp_path / "index.html"
    path.write_text(page, "utf-8")
    browser.show(path)
    assert browser.log("browser") == []
    shown = "return [...document.querySelectorAll('details.entry')].filter((e) => !e.hidden).map((e) => e.id)"
    field = browser.driver.find_element("id", "log-words")
    field.send_keys("reduceLROnPlateau_patience=10 0.3713")
    assert browser.run(shown) == ["log-e069"]
    assert (
        browser.run("return document.querySelector('.logbook .find [role=status]').textContent") == "1 of 109 entries"
    )
    field.send_keys(Keys.ENTER)
    browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert browser.run("return document.getElementById('log-e069').open")
    browser.run("location.hash = '#log-e070'")
    browser.driver.execute_async_script("setTimeout(arguments[0], 200)")
    assert browser.run("return document.getElementById('log-e070').open")
    assert len(browser.run(shown)) == 109
    field.send_keys("no entry has these words")
    assert browser.run(shown) == []
    field.send_keys(Keys.ESCAPE)
    assert len(browser.run(shown)) == 109
    assert [url for url in browser.requests() if not url.startswith("data:")] == [path.as_uri()]


@pytest.mark.slow
@MARKS[1]
def test_without_the_script_the_list_is_whole(browser: Browser, page: str, tmp_path: Path) -> None:
    path = tmp_path / "index.html"
    path.write_text(re.sub(r"<script>.*</script>", "", page, flags=re.DOTALL), "utf-8")
    browser.show(path, width=1280)
    count = "return [...document.querySelectorAll('details.entry')].filter((e) => e.checkVisibility()).length"
    assert browser.run(count) == 109
    assert not browser.run("return document.querySelector('.logbook .find').checkVisibility()")


@pytest.mark.slow
@MARKS[1]
def test_entries_are_sorted_by_any_column(browser: Browser, page: str, tmp_path: Path) -> None:
    path = tmp_path / "index.html"
    path.write_text(page, "utf-8")
    browser.show(path, width=1280)
    first = "return document.querySelector('table.entries tbody th').textContent.trim().slice(0, 4)"
    assert browser.run(first) == "e019"
    browser.run("document.querySelector('table.entries').closest('details').open = true")
    press = (
        "[...document.querySelectorAll('table.entries thead button')].find((b) => b.textContent === 'Test AP').click()"
    )
    browser.run(press)
    assert browser.run(first) == "e024"
    browser.run(press)
    assert browser.run(first) == "e058"
