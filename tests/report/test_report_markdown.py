"""The same report as Markdown: every foreign word escaped, tables whole, charts beside."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_fixtures import WHEN, Sample
from undrawn import undrawn_markdown

from mmad.analysis.report_frame import load_frame
from mmad.report.sections import ReportModel, build_model
from mmad.report.table_model import Column, ReportTable, Shown
from mmad.report.writers.markdown import MarkdownReport, fenced, render_markdown
from mmad.report.writers.tables import as_markdown, escape


@pytest.fixture(scope="module")
def markdown(model: ReportModel) -> MarkdownReport:
    return undrawn_markdown(model)


@pytest.fixture(scope="module")
def hostile(hostile_model: ReportModel) -> MarkdownReport:
    return undrawn_markdown(hostile_model)


def without_fences(text: str) -> str:
    return re.sub(r"^(`{3,})text\n.*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)


def cells(line: str) -> int:
    return len(re.findall(r"(?<!\\)\|", line)) - 1


@pytest.mark.parametrize("which", ["markdown", "hostile"])
def test_every_row_of_a_table_has_the_heads_cells(which: str, request: pytest.FixtureRequest) -> None:
    report: MarkdownReport = request.getfixturevalue(which)
    blocks = re.findall(r"(?:^\|.*\n)+", without_fences(report.text), flags=re.MULTILINE)
    assert len(blocks) > 10
    for block in blocks:
        counts = {cells(line) for line in block.splitlines()}
        assert len(counts) == 1, block


def test_no_html_but_the_anchors_is_left(hostile: MarkdownReport) -> None:
    tags = re.findall(r"<[a-zA-Z/!][^>]*>", without_fences(hostile.text))
    assert tags
    assert all(re.fullmatch(r'<a id="run-[0-9a-f]{12}">|</a>', tag) for tag in tags)


def test_links_and_pictures_are_the_reports_own(hostile: MarkdownReport) -> None:
    targets = re.findall(r"(?<!\\)\]\(([^)]*)\)", without_fences(hostile.text))
    assert targets
    assert all(re.fullmatch(r"#run-[0-9a-f]{12}|charts/(run|ablation)-[0-9a-z-]+\.svg", t) for t in targets)


def test_markdown_has_the_same_content(markdown: MarkdownReport, model: ReportModel) -> None:
    text = markdown.text
    assert text.startswith("# Ablation report\n\n2 ablations, 17 runs: 15 finished, 1 running, 1 failed.")
    assert "epoch 10, step 31: the loss is nan" in text
    assert "WithClincal_05-16-2022" in text
    assert "[model.backbone]: 1,009,968" in text
    difference = model.ablations[0].comparisons[0].rows[0].test_ap.difference
    assert difference is not None
    assert f"| \\+{difference.mean:.3f} |" in text


def test_every_run_has_its_chart_as_a_whole_picture(markdown: MarkdownReport, model: ReportModel) -> None:
    names = [name for name, _ in markdown.charts]
    assert [name for name in names if name.startswith("run-")] == [f"{run.anchor}.svg" for run in model.runs]
    for ablation in model.ablations:
        numbers = range(1, len(ablation.frame.settings) + 1)
        of_it = {f"{ablation.anchor}-forest.svg", *(f"{ablation.anchor}-{n}.svg" for n in numbers)}
        assert of_it <= set(names)


@pytest.mark.slow
def test_a_chart_is_drawn_whole() -> None:
    sample = Sample()
    sample.ablation("a", "A", "", compare=(("CXR", "CXR+Clinical"),))
    for arm in ("CXR", "CXR+Clinical"):
        sample.member("s", arm, protocol={"epochs": 2})
    report = render_markdown(build_model(load_frame(sample.source), created=WHEN, database="x"), "charts")
    assert len(report.charts) == 4
    for _, svg in report.charts:
        assert ET.fromstring(svg).tag.endswith("}svg")


@given(st.text(max_size=80))
def test_escaped_text_is_one_line_without_live_markup(text: str) -> None:
    found = escape(text)
    assert len(found.splitlines()) <= 1
    assert not re.search(r"[<>]", found)
    assert not re.search(r"(?<!\\)(?:\\\\)*[|`*_\[\]]", found)


@given(st.text(alphabet="`ab\n", max_size=60))
def test_a_fence_is_longer_than_any_within(text: str) -> None:
    lines = fenced(text)
    fence = lines[-1]
    assert lines[0] == f"{fence}text"
    assert all(fence not in line for line in lines[1:-1])


def test_numbers_are_right_aligned() -> None:
    shown = (Shown("arm", "Arm", "text"), Shown("ap", "AP"))
    table = ReportTable.of("t", "T", [Column("arm", ""), Column("ap", "")], [("CXR", 0.5)], shown=shown)
    assert as_markdown(table) == ["T.", "", "| Arm | AP |", "| --- | ---: |", "| CXR | 0.500 |", ""]


def test_too_few_patients_are_said_and_only_shares_have_limits() -> None:
    columns = [Column(name, "") for name in ("ap", "ap_low", "ap_high", "slope", "slope_low", "slope_high", "patients")]
    rows = [(0.5, 0.4, 0.6, 0.8, -0.1, 1.7, 30), (0.5, None, None, 0.8, None, None, 4), (None,) * 6 + (4,)]
    rows.append((0.5, 0.4, 0.6, 1.0, None, None, 30))  # all patients agree
    shown = (Shown("ap", "AP", patients="patients"), Shown("slope", "Slope", "number", patients="patients"))
    grid = ReportTable.of("t", "T", columns, rows, shown=shown).grid
    assert [[cell.line for cell in row] for row in grid.rows] == [
        ["0.500 [0.400, 0.600]", "0.800 [−0.100, 1.700]"],
        ["0.500 too few patients (4)", "0.800 too few patients (4)"],
        ["–", "–"],
        ["0.500 [0.400, 0.600]", "1.000"],
    ]
