"""Charts: the same figure for the same content, in the page's colours."""

from __future__ import annotations

import json
import math
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from random_search import examples
from report_fixtures import Sample

from mmad.analysis.frames import load_frame
from mmad.base.records import Metric
from mmad.report.figures import (
    PALETTE,
    Chart,
    Panel,
    Series,
    describe,
    inline_svg,
    linear_ticks,
    overlay_panels,
    run_chart,
    run_panels,
    standalone_svg,
    x_axis,
    y_axis,
)
from mmad.report.writers.html import run_keys

PANEL = Panel("AP (IoU)", (Series("validation", (1, 2, 3), (0.1, 0.2, 0.15)),), marks=(2,))
CUT = Panel("AP (IoU)", (Series("validation", (1, 2, 3), (0.1, 0.2, 0.15)),), y_range=(0, 0.18))


def test_equal_charts_are_drawn_equal_to_the_byte() -> None:
    again = Panel("AP (IoU)", (Series("validation", (1, 2, 3), (0.1, 0.2, 0.15)),), marks=(2,))
    assert inline_svg(PANEL, "c1", "x") == inline_svg(again, "c1", "x")
    assert standalone_svg(Chart((PANEL,))) == standalone_svg(Chart((again,)))
    assert inline_svg(PANEL, "c1", "x") != inline_svg(replace(PANEL, marks=(3,)), "c1", "x")


def test_an_inlined_chart_takes_the_pages_colours_and_fonts() -> None:
    svg = inline_svg(PANEL, "c1", "AP by epoch")
    root = ET.fromstring(svg)
    assert root.attrib["aria-label"] == "AP by epoch"
    assert "var(--series-0)" in svg
    assert "currentColor" in svg
    assert not re.search(r"#[0-9a-f]{6}|<style|font-family|https?:", svg)
    assert "AP (IoU)" in "".join(root.itertext())


def test_tick_labels_keep_their_decimals() -> None:
    rate = Series("learning rate", (1, 2, 3), (1e-3, 1e-3, 1e-4))
    words = list(ET.fromstring(inline_svg(Panel("Learning rate", (rate,), log=True), "c1", "x")).itertext())
    assert "0.001" in words
    assert "0.0001" in words


def test_two_inlined_charts_share_no_identifier() -> None:
    found = [set(re.findall(r' id="([^"]+)"', inline_svg(CUT, prefix, "x"))) for prefix in ("c1", "c2")]
    assert found[0]
    assert not found[0] & found[1]
    for prefix, names in zip(("c1", "c2"), found, strict=True):
        svg = inline_svg(CUT, prefix, "x")
        assert set(re.findall(r"url\(#([^)]+)\)", svg)) <= names


@given(st.text(max_size=60))
@examples(30)
def test_any_description_stays_inside_its_attribute(label: str) -> None:
    label = charts_safe(label)
    assert ET.fromstring(inline_svg(PANEL, "c1", label)).attrib["aria-label"].split() == label.split()


def charts_safe(text: str) -> str:
    from mmad.base.formatting import clean

    return clean(text)


def test_a_file_of_its_own_has_fixed_colours() -> None:
    svg = standalone_svg(Chart((PANEL,)))
    ET.fromstring(svg)
    assert PALETTE[0] in svg
    assert "var(" not in svg
    assert "currentColor" not in svg


@pytest.mark.parametrize(
    "y",
    [
        (None, None, None),
        (math.nan, 0.5, math.inf),
        (None, 0.5, None),
        (0.0, 0.0, 0.0),
        (-1.0, 2.0, 3.0),
        (1e-300, 1e300, 1.0),
    ],
)
@pytest.mark.parametrize("log", [False, True])
def test_odd_values_leave_gaps_and_never_break_a_chart(y: tuple[float | None, ...], log: bool) -> None:
    svg = inline_svg(Panel("Loss", (Series("a", (1, 2, 3), y),), log=log), "c1", "x")
    assert ET.fromstring(svg).tag.endswith("svg")
    assert not re.search(r"\b(nan|inf)\b", svg)


@pytest.mark.parametrize("name", ["$x_1$", "$\\frac{$", "_hidden", "<b>&", "\u05d0\u6f22", "\x00"])
def test_foreign_names_in_a_legend_are_text(name: str) -> None:
    svg = standalone_svg(Chart((Panel("AP", (Series(name, (1, 2), (0.1, 0.2)),)),), legend=True))
    assert ET.fromstring(svg).tag.endswith("svg")


def marks(y: tuple[float | None, ...], **panel: Any) -> list[tuple[float, float]]:
    """Where a chart of ``y`` over 1, 2, … draws dots, in points from the upper left."""
    svg = inline_svg(Panel("AP", (Series("test", tuple(range(1, len(y) + 1)), y),), **panel), "c1", "x")
    return [(float(x), float(y)) for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', svg)]


def test_a_single_epoch_is_a_visible_point() -> None:
    assert len(marks((0.3,))) == 1


@pytest.mark.parametrize(
    ("y", "marked"),
    [
        ((0.1, 0.2, 0.3), 0),
        ((0.1, None, 0.3, 0.4), 1),
        ((0.1, 0.2, None, math.nan, 0.4, None, 0.5, 0.6), 1),
        ((None, 0.1, None, 0.2, None), 2),
        ((None, 0.1, 0.2, None), 0),
    ],
)
def test_a_point_between_gaps_is_marked(y: tuple[float | None, ...], marked: int) -> None:
    assert len(marks(y)) == marked


def test_lines_are_clipped_only_where_values_leave_the_axes() -> None:
    def clipped(**panel: Any) -> bool:
        return "clip-path" in inline_svg(
            Panel("AP", (Series("test", (1, 2, 3, 4), (0.1, 0.2, None, 0.4)),), **panel), "c1", "x"
        )

    assert not clipped()
    assert not clipped(y_range=(0, 0.5))
    assert clipped(y_range=(0, 0.3))


@given(
    st.lists(st.floats(-1e6, 1e6) | st.none() | st.just(math.nan), min_size=1, max_size=40),
    st.booleans(),
)
@example([2.2250738585072014e-308], False)
@example([-1.5837336781419123e-302], False)
@example([27910.0, 1.637553802502324e-276], True)
@example([2.225073858507203e-309], True)
@examples(60)
def test_a_page_reads_every_value_back_off_the_line(values: list[float | None], log: bool) -> None:
    epochs = tuple(range(1, len(values) + 1))
    svg = inline_svg(Panel("Loss", (Series("a", epochs, tuple(values)),), log=log), "c1", "x")
    root = ET.fromstring(svg)
    plot = json.loads(root.attrib["data-plot"])
    line = next(e for e in root.iter() if e.get("data-s") == "0")[0].attrib["d"]
    pairs = re.findall(r"(-?[\d.]+) (-?[\d.]+)", line)
    found = [(back(plot["x"], float(x)), back(plot["y"], float(y))) for x, y in pairs]
    known = [(x, v) for x, v in zip(epochs, values, strict=True) if v is not None and math.isfinite(v)]
    assert [round(x) for x, _ in found] == [x for x, _ in known]
    low, high = plot["y"][:2]
    for (_, read), (_, value) in zip(found, known, strict=True):
        if plot["y"][4]:
            assert abs(math.log(read) - math.log(value)) < 1e-3 * (math.log(high) - math.log(low))
        else:
            assert abs(read - value) < 1e-3 * (high - low)


def back(axis: list[float], place: float) -> float:
    """As the page's script reads it."""
    low, high, start, end, log = axis
    share = (place - start) / (end - start)
    return low ** (1 - share) * high**share if log else low + share * (high - low)


@given(st.floats(-1e5, 1e5), st.floats(1e-3, 1e5), st.integers(3, 8), st.booleans())
def test_ticks_are_few_and_round_and_lie_within(low: float, span: float, most: int, whole: bool) -> None:
    if whole:
        low, span = float(round(low)), float(max(1, round(span)))
    found = linear_ticks(low, low + span, most, whole=whole)
    values = [v for v, _ in found]
    assert len(values) <= most + 1
    assert all(low - 1e-5 * span <= v <= low + span + 1e-5 * span for v in values)
    assert len({name for _, name in found}) == len(found)
    if whole:
        assert all(v == round(v) for v in values)
    if span >= 1e-2 * abs(low):
        assert len(values) >= 1


def test_axes_start_at_zero_unless_a_range_is_given() -> None:
    up = Series("a", (1, 2, 3), (0.1, 0.2, 0.3))
    assert y_axis(Panel("AP", (up,)), 100, 0).low == 0
    assert y_axis(Panel("AP", (up,), y_range=(0, 1)), 100, 0).high == 1
    assert y_axis(Panel("Loss", (replace(up, y=(-1, 0, 1)),)), 100, 0).low < -1
    assert [name for _, name in x_axis(Panel("AP", (up,)), 0, 1).ticks] == ["1", "2", "3"]
    rate = replace(up, x=(0.125, 1, 8))
    assert [name for _, name in x_axis(Panel("FROC", (rate,), across="rate"), 0, 1).ticks] == ["0.125", "0.5", "2", "8"]


def test_a_run_shows_losses_by_component_ap_ar_and_rate(sample: Sample) -> None:
    run = load_frame(sample.source).runs[0]
    panels = run_panels(run, "iobb", 7)
    assert [p.title for p in panels] == [
        "Loss: total", "Loss: classifier", "Loss: box regression", "Loss: objectness", "Loss: RPN box regression",
        "AP (IoBB)", "AR (IoBB)", "Learning rate",
    ]  # fmt: skip
    assert [s.name for s in panels[0].series] == ["training", "validation", "test"]
    assert panels[5].series[1].y[6] == run.epochs[6].value("val", "ap_iobb")
    assert len({(s.colour, s.style) for s in panels[0].series}) == 3


def learned(*names: str) -> Sample:
    """A run of three epochs that learned a w for each of ``names``."""
    sample = Sample()
    sample.ablation("a", "A", "")
    key = sample.member("s", "CXR", protocol={"epochs": 3})
    sample.source.epochs[key] = [
        replace(
            e,
            metrics=(
                *e.metrics,
                Metric("train", "objective", 3.0 / e.epoch),
                *(Metric("train", f"weight_{name}", 1.0 / e.epoch) for name in names),
            ),
        )
        for e in sample.source.epochs[key]
    ]
    return sample


def test_learned_loss_weights_have_a_panel_and_names_of_their_own() -> None:
    sample = learned("loss_classifier", "loss_rpn_box_reg", "loss_mask")
    run = load_frame(sample.source).runs[0]
    minimised, weights = run_panels(run, "iou", 2)[-2:]
    assert (minimised.title, weights.title) == ("Loss: as minimised", "Learned loss weights")
    assert [s.name for s in minimised.series] == ["training"]
    assert minimised.series[0].y == (3.0, 1.5, 1.0)
    assert [s.name for s in weights.series] == ["w classifier", "w RPN box regression", "w mask"]
    assert weights.series[0].y == (1.0, 0.5, 1 / 3)
    keys = run_keys(run)
    assert [key.name for key in keys] == ["training", "validation", "test", *(s.name for s in weights.series)]
    assert len({(key.colour, key.dashes) for key in keys}) == 6
    assert "w RPN box regression" in "".join(ET.fromstring(standalone_svg(run_chart(run, "iou", 2))).itertext())


def test_fixed_loss_weights_have_none(sample: Sample) -> None:
    assert [key.name for key in run_keys(load_frame(sample.source).runs[0])] == ["training", "validation", "test"]


def test_a_legend_of_several_lines_gets_the_room_it_needs() -> None:
    few, many = ([Series(f"line {n}", (1, 2), (0.1, 0.2)) for n in range(count)] for count in (4, 9))

    def height(series: list[Series]) -> float:
        chart = Chart((Panel("AP", tuple(series)),) * 2, columns=2, legend=True)
        return float(ET.fromstring(standalone_svg(chart)).attrib["height"][:-2])

    assert height(many) == pytest.approx(height(few) + 2 * 0.16 * 72)


def test_the_sheet_of_a_run_names_its_panels_and_lines(sample: Sample) -> None:
    sheet = run_chart(load_frame(sample.source).runs[0], "iou", 7)
    words = "".join(ET.fromstring(standalone_svg(sheet)).itertext())
    for title in ("Loss: total", "AP (IoU)", "Learning rate", "training", "validation", "test"):
        assert title in words


def test_overlaid_arms_share_their_axes_across_settings(sample: Sample) -> None:
    ablation = load_frame(sample.source).ablations[0]
    first, second = overlay_panels(ablation, "patience 5"), overlay_panels(ablation, "patience 30")
    assert [p.title for p in first] == ["Validation loss", "Validation AP", "Test AP"]
    assert [p.y_range for p in first] == [p.y_range for p in second]
    assert [s.name for s in first[1].series] == ["CXR", "CXR+Clinical"]
    assert len(second[1].series[1].x) == 17


def test_an_exploding_epoch_does_not_flatten_the_other_curves() -> None:
    sample = Sample()
    sample.ablation("a", "A", "")
    key = sample.member("s", "CXR", protocol={"epochs": 200})
    last = sample.source.epochs[key][-1]
    exploded = tuple(replace(m, value=1e9) if (m.split, m.name) == ("val", "loss") else m for m in last.metrics)
    sample.source.epochs[key][-1] = replace(last, metrics=exploded)
    loss = overlay_panels(load_frame(sample.source).ablations[0], "s")[0]
    assert loss.y_range is not None
    assert loss.y_range[1] < 10


def test_a_chart_is_described_in_words() -> None:
    assert describe(PANEL) == "AP (IoU) by epoch. validation highest 0.2 at epoch 2, 0.15 at epoch 3."


def test_a_legend_shows_the_first_line_of_a_name_not_a_fainter_one() -> None:
    lines = tuple(Series("CXR", (1, 2), (0.1, 0.2 + n), faint=n > 0) for n in range(2))
    whole = standalone_svg(Chart((Panel("AP", lines),), legend=True))
    legend = whole[whole.index('class="legend"') :]
    assert legend.count("CXR") == 1
    assert "stroke-opacity" not in legend
    assert "stroke-opacity:.45" in whole


def test_a_dot_marks_its_point_and_a_share_runs_from_0_to_1() -> None:
    plain = Series("CXR", (1, 2, 3), (0.1, 0.3, 0.2))
    marked, bare = (inline_svg(Panel("AP", (s,)), "c1", "x") for s in (replace(plain, dots=(2,)), plain))
    assert marked.count("<circle") == bare.count("<circle") + 1
    share = inline_svg(Panel("Precision", (Series("CXR", (0.4, 0.5), (0.1, 0.2)),), across="share"), "c1", "x")
    assert all(f">{tick}<" in share for tick in ("0.0", "0.4", "1.0"))
