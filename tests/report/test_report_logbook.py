"""The entries of logs in the report: whole, with the runs beside them, light, harmless, and found by their words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from page_browser import MARKS, Browser, open_browser
from page_parser import Page
from report_fixtures import HOSTILE, WHEN, Sample

from mmad.analysis.frames import load_frame
from mmad.experiment_log.parser import read_log_file
from mmad.experiment_log.shipped import SHIPPED, SOURCE_SHA256, entries, later_entries
from mmad.report.build import write_report
from mmad.report.model import Logbook, ReportModel, anchor_of, build_model, logbook_of
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
    return render_html(replace(model, logbook=book))


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
    (chapter,) = book.chapters
    assert chapter.name == SHIPPED
    assert len(chapter.entries) == len(entries()) + len(later_entries())
    assert chapter.entries[0].notes == ("of e001",)
    assert set(book.anchors.values()) <= {one.anchor for one in chapter.entries}


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
    assert sum("log-e069" in (a.get("href") or "") for a in parsed.all("a")) == 1  # from documented beside measured


def test_runs_are_shown_beside_the_entry_they_mirror(model: ReportModel, book: Logbook) -> None:
    (chapter,) = book.chapters
    pages = {p.id: p for p in chapter.entries}
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
    assert sum(p.runs for p in chapter.entries) == len(patience.frame.members)


def test_a_queued_run_is_named_without_figures() -> None:
    sample = Sample()
    sample.ablation("a", "A", "")
    sample.member("s", "CXR", status="queued", done=0, documented="e069")
    found = logbook_of(build_model(load_frame(sample.source), created=WHEN, database="x"), [])
    assert found is not None
    (page,) = [p for p in found.chapters[0].entries if p.runs]
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
    assert [len(c.entries) for c in book.chapters] == [109, 1]
    (own,) = book.chapters[1].entries
    assert (own.heading, own.figures, own.runs) == ("Slower", "(best_v=0.4100)", 1)
    assert [p.measured[0].figures[0][1] for p in own.results] != [None]
    text = Page(render_html(replace(model, logbook=book))).text
    assert "it became worse" in text
    assert "ModelSetup(lr=0.0001)" in text


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
        assert before == "bdi"


@pytest.mark.parametrize(("log", "id"), [("documented", "e030"), ("<b>", "e001"), ("a/../b", "<script>")])
def test_an_anchor_is_safe_and_unique(log: str, id: str) -> None:
    assert re.fullmatch(r"log-[a-z0-9_-]+", anchor_of(log, id))
    assert anchor_of(log, id) != anchor_of("other", id)


def test_it_is_light(model: ReportModel, page: str) -> None:
    assert len(page.encode()) - len(render_html(model).encode()) < 400_000
    assert "details.entry" not in render_html(model)  # neither its script nor its style


def test_linked_pages_have_the_log_only_on_the_overview(model: ReportModel, book: Logbook) -> None:
    pages = dict(render_pages(replace(model, logbook=book), "index.html", "index_pages"))
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
        store.add_ablation(load_ablation(tmp_path / "one.toml", data=DataSource("d", "d", "5f" * 32)))
        write_report(store, html=tmp_path / "r.html")
        assert "details.entry" not in (tmp_path / "r.html").read_text("utf-8")
        plain = {"id": "e001", "line": 1, "line_end": 2, "sections": [], "heading": "## Mine"}
        store.put_log("mine", "mine.md", "0" * 64, {"sha256": "0" * 64, "lines": 2}, [plain])
        write_report(store, html=tmp_path / "r.html")
        assert 'id="log-mine--e001"' in (tmp_path / "r.html").read_text("utf-8")
        write_report(store, html=tmp_path / "r.html", log=False)
        assert 'id="log-mine--e001"' not in (tmp_path / "r.html").read_text("utf-8")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    yield from open_browser(tmp_path_factory.mktemp("profile"))


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
