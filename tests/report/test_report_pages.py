"""Linked pages: every link leads somewhere, only what changed is written, only what was written is removed."""

from __future__ import annotations

import itertools
import re
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import pytest
from page_parser import Page
from report_fixtures import WHEN, Sample
from undrawn import Undrawn

from mmad.analysis.report_frame import load_frame
from mmad.report import write_report as report_module
from mmad.report.figure_renderer import FigureRenderer
from mmad.report.sections import PageForm, ReportModel, ablation_anchor, build_model, linked
from mmad.report.write_report import write_report
from mmad.report.writers.html import render_pages

LATER = WHEN.replace(year=2023)


def pages_of(model: ReportModel, renderer: FigureRenderer | None = None) -> dict[str, Page]:
    """The pages, without figures unless another renderer draws them."""
    form = PageForm("the report.html", "the report_pages")
    return {file: Page(text) for file, text in render_pages(model, form, renderer=renderer or Undrawn())}


def few_of(model: ReportModel, renderer: FigureRenderer | None = None) -> dict[str, Page]:
    """The pages of a report whose ablations are split after three runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linked, "__defaults__", (3,))
        return pages_of(model, renderer)


@pytest.fixture(scope="module")
def few(model: ReportModel) -> dict[str, Page]:
    return few_of(model)


@pytest.fixture(scope="module")
def plain(model: ReportModel) -> dict[str, Page]:
    return pages_of(model)


@pytest.fixture(scope="module")
def hostile(hostile_model: ReportModel) -> dict[str, Page]:
    return pages_of(hostile_model)


@pytest.fixture(scope="module")
def drawn(model: ReportModel) -> dict[str, Page]:
    return pages_of(model, FigureRenderer())


@pytest.fixture(scope="module")
def drawn_few(model: ReportModel) -> dict[str, Page]:
    return few_of(model, FigureRenderer())


@pytest.fixture(scope="module")
def drawn_hostile(hostile_model: ReportModel) -> dict[str, Page]:
    return pages_of(hostile_model, FigureRenderer())


DRAWN = [pytest.param(name, marks=pytest.mark.slow) for name in ("drawn", "drawn_few", "drawn_hostile")]


@pytest.mark.parametrize("which", ["plain", "few", "hostile", *DRAWN])
def test_every_link_leads_to_an_identifier_of_its_page(which: str, request: pytest.FixtureRequest) -> None:
    pages: dict[str, Page] = request.getfixturevalue(which)
    names = {file: Counter(a["id"] for _, a in page.tags if a.get("id")) for file, page in pages.items()}
    crossing = 0
    for file, page in pages.items():
        assert max(names[file].values()) == 1
        for attributes in page.all("a"):
            target, _, anchor = (attributes["href"] or "").partition("#")
            assert not target.startswith("/")
            assert ":" not in target
            at = (Path("x") / file).parent / unquote(target) if target else Path("x") / file
            where = Path(*_walk(at.parts)).relative_to("x").as_posix()
            assert anchor in names[where], (file, attributes["href"])
            crossing += bool(target)
    assert crossing > len(pages)


def _walk(parts: tuple[str, ...]) -> list[str]:
    way: list[str] = []
    for part in parts:
        if part == "..":
            way.pop()
        else:
            way.append(part)
    return way


def test_each_run_is_shown_once_and_each_ablation_begins_on_a_page_of_its_name(
    plain: dict[str, Page], few: dict[str, Page], model: ReportModel
) -> None:
    assert list(plain) == [
        "the report_pages/ablation-patience.html", "the report_pages/ablation-quickstart.html", "the report.html",
    ]  # fmt: skip
    assert len(few) == 3 + 3 + 1
    for pages in (plain, few):
        shown = Counter(
            a["id"] for page in pages.values() for _, a in page.tags if (a.get("id") or "").startswith("run-")
        )
        assert shown == Counter(run.anchor for run in model.runs)
    first = few["the report_pages/ablation-patience.html"].text
    second = few["the report_pages/ablation-patience.2.html"].text
    assert "ReduceLROnPlateau patience : runs 4 to 6" in second
    assert "Best epochs and overfitting" in first
    assert "Best epochs and overfitting" not in second


def test_the_curves_of_a_setting_are_on_the_page_of_its_first_run(model: ReportModel) -> None:
    found = [(p.settings, len(p.runs)) for v in linked(model, "i.html", "p", 3)[0] for p in v.parts]
    assert found[:3] == [(("patience 5", "patience 10"), 3), (("patience 20",), 3), (("patience 30",), 2)]
    assert found[3:] == [(("from scratch",), 3), ((), 3), ((), 3)]


@pytest.mark.parametrize("which", ["plain", "few", *DRAWN[:2]])
def test_headings_descend_on_every_page_and_nothing_is_fetched(which: str, request: pytest.FixtureRequest) -> None:
    pages: dict[str, Page] = request.getfixturevalue(which)
    for page in pages.values():
        levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(b <= a + 1 for a, b in itertools.pairwise(levels))
        assert len(page.all("script")) == 1
        assert [a["href"] for a in page.all("link")] == ["data:,"]
        assert not [a for _, a in page.tags if "src" in a]


@pytest.mark.slow
def test_the_overview_has_the_results_and_every_run_but_no_curve(drawn: dict[str, Page], model: ReportModel) -> None:
    overview = drawn["the report.html"]
    for run in model.runs:
        assert run.title in overview.text
    classes = [a.get("class") for a in overview.all("svg") if a.get("role") == "img"]
    assert classes == ["wide", "narrow"] * len(model.ablations)  # forest plots alone


@pytest.mark.parametrize("name", ["patience", "Patience", "a b", "a-b", "x" * 300, "", "../up", "äöü", "con"])
def test_every_name_gives_a_unique_file(name: str) -> None:
    anchor = ablation_anchor(name)
    assert re.fullmatch(r"ablation-[a-z0-9-]{1,60}", anchor)
    assert anchor not in {ablation_anchor(other) for other in ("other", name + "!", name.swapcase() + "x")}


def sample_of(*levels: float) -> Sample:
    sample = Sample()
    for n, level in enumerate(levels):
        sample.ablation(f"a{n}", f"A {n}", "", compare=(("CXR", "CXR+Clinical"),))
        for arm in ("CXR", "CXR+Clinical"):
            sample.member("s", arm, protocol={"epochs": 3}, level=level)
    return sample


@pytest.mark.usefixtures("_undrawn")
def test_only_pages_that_changed_are_written_again(tmp_path: Path) -> None:
    page, beside = tmp_path / "r.html", tmp_path / "r_pages"
    sample = sample_of(0.4, 0.5)
    report = write_report(sample.source, html=page, pages=True, created=WHEN)
    assert report.pages == 2
    assert {p.name for p in beside.iterdir()} == {"ablation-a0.html", "ablation-a1.html"}
    before = {p: (p.stat().st_mtime_ns, p.stat().st_ino, p.read_bytes()) for p in (page, *beside.iterdir())}
    key = sample.source.ablation_list[1].members[0].key
    sample.source.warned[key] = ["something new"]
    write_report(sample.source, html=page, pages=True, created=LATER)
    after = {p: (p.stat().st_mtime_ns, p.stat().st_ino, p.read_bytes()) for p in (page, *beside.iterdir())}
    changed = {p.name for p in before if before[p] != after[p]}
    assert changed == {"r.html", "ablation-a1.html"}


@pytest.mark.usefixtures("_undrawn")
def test_old_pages_are_removed_and_other_files_stay(tmp_path: Path) -> None:
    page, beside = tmp_path / "r.html", tmp_path / "r_pages"
    write_report(sample_of(0.4, 0.5).source, html=page, pages=True, created=WHEN)
    (beside / "mine.html").write_text("<!doctype html><p>mine</p>")
    (beside / "notes.txt").write_text("keep")
    write_report(sample_of(0.4).source, html=page, pages=True, created=WHEN)
    assert {p.name for p in beside.iterdir()} == {"ablation-a0.html", "mine.html", "notes.txt"}
    write_report(sample_of(0.4).source, html=page, pages=False, created=WHEN)
    assert {p.name for p in beside.iterdir()} == {"mine.html", "notes.txt"}
    shutil.rmtree(beside)
    write_report(sample_of(0.4).source, html=page, pages=True, created=WHEN)
    write_report(sample_of(0.4).source, html=page, created=WHEN)
    assert not beside.exists()


@pytest.mark.usefixtures("_undrawn")
def test_many_runs_become_pages_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_module, "RUNS_IN_ONE_FILE", 3)
    source = sample_of(0.4, 0.5).source
    assert write_report(source, html=tmp_path / "r.html", created=WHEN).pages == 2
    assert write_report(source, html=tmp_path / "r.html", pages=False, created=WHEN).pages == 0
    assert write_report(source, html=tmp_path / "r.html", ablations=["a0"], created=WHEN).pages == 0


def test_a_page_of_an_ablation_has_no_time_stamp(model: ReportModel, sample: Sample) -> None:
    later = build_model(load_frame(sample.source), created=LATER, database=model.database)
    now, then = (list(render_pages(one, PageForm("i.html", "p"), renderer=Undrawn())) for one in (model, later))
    assert now[:-1] == then[:-1]
    assert now[-1] != then[-1]


def test_an_ablation_whose_runs_are_shown_elsewhere_links_there() -> None:
    sample = sample_of(0.4)
    first = sample.source.ablation_list[0]
    again = tuple(replace(m, ablation="b") for m in first.members)
    sample.source.ablation_list.append(replace(first, name="b", title="B", members=again))
    pages = pages_of(build_model(load_frame(sample.source), created=WHEN, database="x"))
    hrefs = {a["href"] for a in pages["the report_pages/ablation-b.html"].all("a")}
    assert any(re.fullmatch(r"ablation-a0\.html#run-[0-9a-f]{12}", h or "") for h in hrefs)
