"""The page with intervals: sound to read for everybody, inert whatever a finding is called."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from page_parser import Page
from report_fixtures import HOSTILE, WHEN, Sample, hostile_sample, patience_sample
from undrawn import undrawn_html, undrawn_markdown

from mmad.analysis.cached_statistics import Profile
from mmad.analysis.comparison import MeasuredRun, PairStatistics
from mmad.analysis.input_controls import Alteration, Control
from mmad.analysis.overfitting import onset_of, onset_words
from mmad.analysis.report_frame import load_frame
from mmad.analysis.verdicts import RunStatistics, Statistics, finished_comparisons, pair_key
from mmad.base.records import EpochRecord
from mmad.evaluation.agreement import Drop
from mmad.evaluation.differences import Difference
from mmad.evaluation.intervals import IntervalEstimate
from mmad.evaluation.operating_points import (
    FROC_RATES,
    Calibration,
    Confusion,
    FindingFroc,
    Froc,
    FrocInterval,
    OperatingInterval,
    OperatingPoint,
    RecallCurve,
)
from mmad.evaluation.resampling import Interval
from mmad.report.sections import ReportModel, build_model
from mmad.report.writers.html import render_html
from mmad.report.writers.markdown import MarkdownReport

HALF = Interval(0.5, 0.4, 0.6)
NAN = float("nan")


def model_with(sample: Sample, labels: tuple[str, ...], why: str) -> ReportModel:
    """Every pair and run of ``sample`` with made-up statistics; every other pair lacks it for ``why``."""
    frame = load_frame(sample.source)
    estimate = IntervalEstimate(HALF, HALF, tuple((label, HALF, Interval(NAN, NAN, NAN)) for label in labels), None)
    measured = MeasuredRun(estimate, 10, 9)
    gain = Interval(0.1, 0.02, 0.2)
    findings = tuple((x, gain, gain) for x in labels)
    size = (0.0004, 1, 9, 10, 1, math.inf, math.inf, 0, 0, None, None, 0.0025, None)
    difference = Difference(gain, 0.0004, gain, 0.0004, gain, findings, *size)
    points = tuple(OperatingPoint(s, 0.5 - s, 0.5, 0.5, 0.5, NAN, 2.0) for s in (0.05, 0.1, 0.3))
    counts = np.arange((len(labels) + 1) ** 2).reshape(len(labels) + 1, -1)
    profile = Profile(
        points,
        Froc(FROC_RATES, (0.5,) * len(FROC_RATES), 0.5, ()),
        Confusion(labels, counts),
        Calibration((0.0, 1.0), (0.5,), (0.25,), (4,), 0.25),
        tuple(OperatingInterval(p.score, HALF, HALF, HALF, HALF, HALF, Interval(0.0, -0.1, 0.1)) for p in points),
        FrocInterval(HALF, (HALF,) * len(FROC_RATES), tuple(FindingFroc(x, HALF, (HALF,) * 7) for x in labels)),
    )
    control = Control(Alteration("column", labels[0]), Drop(gain, gain, (), 0.5, 0.4, 5))
    stats = RunStatistics("best_ap", measured, profile, RecallCurve((0.0, 1.0), (1.0, 0.0)), (control,), why)
    keys = [pair_key(one) for ablation in frame.ablations for one in finished_comparisons(ablation)]
    pairs = {
        key: PairStatistics(measured, measured, difference=difference) if n % 2 == 0 else PairStatistics(why=why)
        for n, key in enumerate(keys)
    }
    runs = {(m.run.key, m.protocol): stats for a in frame.ablations for m in a.members if m.run.finished}
    return build_model(frame, created=WHEN, database="x", statistics=Statistics(pairs, runs))


@pytest.fixture(scope="module")
def statistics_model() -> ReportModel:
    sample = patience_sample()
    with_a_rise(sample.source.epochs[sample.source.run_list[0].key])
    return model_with(sample, ("Atelectasis", "Consolidation"), "data: not there")


def with_a_rise(epochs: list[EpochRecord]) -> None:
    """The validation loss falls to epoch 20 and then rises, while the training loss falls."""
    for n, row in enumerate(epochs):
        losses = {"train": 2 - 0.02 * n, "val": 1 + 0.02 * abs(n - 19)}
        metrics = tuple(
            replace(m, value=losses[m.split]) if m.name == "loss" and m.split in losses else m for m in row.metrics
        )
        epochs[n] = replace(row, metrics=metrics)


@pytest.fixture(scope="module")
def statistics_markdown(statistics_model: ReportModel) -> MarkdownReport:
    return undrawn_markdown(statistics_model)


@pytest.fixture(scope="module")
def statistics_page(statistics_model: ReportModel) -> str:
    return undrawn_html(statistics_model)


@pytest.fixture(scope="module")
def hostile_statistics_model() -> ReportModel:
    return model_with(hostile_sample(), HOSTILE, HOSTILE[2] + HOSTILE[4])


@pytest.fixture(scope="module")
def hostile_statistics_page(hostile_statistics_model: ReportModel) -> str:
    return undrawn_html(hostile_statistics_model)


@pytest.fixture(scope="module")
def drawn_statistics_page(statistics_model: ReportModel) -> str:
    return render_html(statistics_model)


@pytest.fixture(scope="module")
def drawn_hostile_statistics_page(hostile_statistics_model: ReportModel) -> str:
    return render_html(hostile_statistics_model)


DRAWN_HOSTILE = pytest.param("drawn_hostile_statistics_page", marks=pytest.mark.slow)


@pytest.mark.parametrize(
    "which",
    [
        "statistics_page",
        "hostile_statistics_page",
        pytest.param("drawn_statistics_page", marks=pytest.mark.slow),
        DRAWN_HOSTILE,
    ],
)
def test_it_is_sound(which: str, request: pytest.FixtureRequest) -> None:
    text: str = request.getfixturevalue(which)
    page = Page(text)  # checks that elements nest
    names = [a["id"] for _, a in page.tags if "id" in a]
    assert len(names) == len(set(names))
    assert all((a.get("href") or "#")[1:] in {"", *names} for a in page.all("a"))
    assert len(page.all("table")) == len(page.all("caption"))
    assert all(a.get("scope") in ("col", "row", "colgroup", "rowgroup") for a in page.all("th"))
    assert len(page.all("script")) == 1
    assert page.all("img") == []
    assert not [name for _, a in page.tags for name in a if name.startswith("on")]
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))


@pytest.mark.parametrize("which", ["hostile_statistics_page", DRAWN_HOSTILE])
def test_names_cannot_change_the_direction_of_the_text(which: str, request: pytest.FixtureRequest) -> None:
    page: str = request.getfixturevalue(which)
    for before in re.findall(r"<(\w+)[^<>]*>[^<>]*\u202e", page):
        assert before in ("bdi", "pre", "template")


def test_every_row_of_a_table_is_as_wide_as_its_head(statistics_page: str) -> None:
    for table in re.findall(r"<table.*?</table>", statistics_page, flags=re.DOTALL):
        head, *bodies = re.split(r"</thead>", table)
        width = _width(re.findall(r"<tr.*?</tr>", head, flags=re.DOTALL)[0])
        for row in re.findall(r"<tr.*?</tr>", bodies[0], flags=re.DOTALL):
            assert _width(row) == width, re.sub(r"\s+", " ", row)


def _width(row: str) -> int:
    cells = re.findall(r"<t[hd]([^>]*)>", row)
    return sum(int(found[1]) if (found := re.search(r'colspan="(\d+)"', cell)) else 1 for cell in cells)


def test_a_verdict_its_tests_and_missing_ones_are_shown_once(
    statistics_page: str, statistics_model: ReportModel, statistics_markdown: MarkdownReport
) -> None:
    text = Page(statistics_page).text
    said = "differ by +0.100 [+0.020, +0.200] test AP on such patients; one seed says nothing about the arms."
    assert f"These two networks {said}" in text
    assert "[+0.020, +0.200]" in text
    assert text.count("No interval for some rows: data: not there") == 1  # the one comparison that has both
    markdown = statistics_markdown.text.replace("\\", "")
    assert "| not settled | < 0.001 |" in markdown.replace("&lt;", "<")
    assert "Some figures are missing: data: not there" in markdown


def test_what_could_not_be_measured_is_a_dash_and_has_no_brackets(statistics_page: str) -> None:
    assert [
        cell for cell in re.findall(r"<td.*?</td>", statistics_page, flags=re.DOTALL) if re.search(r"\bnan\b", cell)
    ] == []


def test_markdown_has_a_chart_of_every_setting_that_has_curves(
    statistics_model: ReportModel, statistics_markdown: MarkdownReport
) -> None:
    markdown = statistics_markdown
    ablation = statistics_model.ablations[0]
    names = [name for name, _ in markdown.charts if name.startswith(ablation.anchor)]
    numbers = range(1, len(ablation.frame.settings) + 1)
    assert names == [f"{ablation.anchor}-forest.svg", *(f"{ablation.anchor}-{n}.svg" for n in numbers)]
    assert all(f"(charts/{name})" in markdown.text for name in names)


def test_an_onset_is_shown_below_the_curves_of_its_run(
    statistics_page: str, statistics_model: ReportModel, statistics_markdown: MarkdownReport
) -> None:
    found = [words for model_with in statistics_model.runs if (words := onset_of(model_with.run)) is not None]
    assert found
    text, markdown = Page(statistics_page).text, statistics_markdown.text
    for turn in found:
        assert f"Overfitting: {onset_words(turn)}." in text
        assert f"Overfitting: {onset_words(turn)}." in markdown


def test_final_checkpoints_have_no_interval_of_best_ones() -> None:
    sample = Sample()
    sample.ablation("a", "A", "", compare=(("CXR", "CXR+Clinical"),))
    for arm in ("CXR", "CXR+Clinical"):
        sample.member("s", arm, protocol={"epochs": 3}, setup={"use_early_stop_model": False})
    model = model_with(sample, ("Atelectasis",), "")
    runs = {key: replace(stats, profile=None, controls=()) for key, stats in model.statistics.runs.items()}
    model = replace(model, statistics=Statistics({}, runs))
    assert "[0.400, 0.600]" not in Page(undrawn_html(model)).text
