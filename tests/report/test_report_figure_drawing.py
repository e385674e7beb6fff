"""How figures are drawn: equal bytes for equal figures, the page's colours, and files for a paper."""

from __future__ import annotations

import html
import itertools
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

from mmad.analysis.verdicts import Statistics
from mmad.report.figure_drawing import PALETTE, draw_file, draw_page
from mmad.report.figures import (
    NARROW,
    WIDE,
    CurveFigure,
    FigureFile,
    FigureFormat,
    Panel,
    Series,
    arms_figure,
    forest_figure,
    run_figure,
)
from mmad.report.sections import ReportModel

LINE = Series("validation", (1, 2, 3), (0.1, 0.2, 0.15))
PANEL = Panel("AP (IoU)", (LINE,), y_label="AP", marks=(2,))
CUT = replace(PANEL, y_range=(0, 0.18))


def drawn(*panels: Panel, name: str = "c1") -> tuple[str, ...]:
    return draw_page(CurveFigure(name, "A figure", panels))


def words(svg: str) -> list[str]:
    return ["".join(e.itertext()) for e in ET.fromstring(svg).iter("text")]


def values(svg: str) -> Any:
    return json.loads(ET.fromstring(svg).attrib["data-plot"])


@pytest.mark.slow
def test_equal_figures_are_drawn_equal_to_the_byte() -> None:
    again = Panel("AP (IoU)", (Series("validation", (1, 2, 3), (0.1, 0.2, 0.15)),), y_label="AP", marks=(2,))
    assert drawn(PANEL) == drawn(again)
    assert drawn(PANEL) != drawn(replace(PANEL, marks=(3,)))
    for form in ("svg", "pdf", "png"):
        file = FigureFile(CurveFigure("c1", "A figure", (PANEL,)), form, WIDE)  # type: ignore[arg-type]
        assert draw_file(file) == draw_file(file)


def test_a_page_gives_its_colours_and_fonts_by_classes() -> None:
    (svg,) = drawn(PANEL)
    root = ET.fromstring(svg)
    assert (root.attrib["role"], root.attrib["aria-label"]) == ("img", "AP (IoU)")
    described = root.find(f".//*[@id='{root.attrib['aria-describedby']}']")
    assert described is not None
    assert described.text == "AP (IoU) by epoch. validation highest 0.2 at epoch 2, 0.15 at epoch 3."
    assert 's-c0"' in svg
    assert not re.search(r"#[0-9a-f]{6}|style|font-family|https?:", svg)
    assert {"AP (IoU)", "Epoch", "AP"} <= set(words(svg))


def test_figures_of_a_page_share_no_identifier() -> None:
    found = [set(re.findall(r' id="([^"]+)"', "".join(drawn(CUT, CUT, name=name)))) for name in ("c1", "c2")]
    assert len(found[0]) == 4
    assert not found[0] & found[1]
    for svg in drawn(CUT):
        assert set(re.findall(r"url\(#([^)]+)\)", svg)) <= set(re.findall(r' id="([^"]+)"', svg))


@pytest.mark.slow
@given(st.text(max_size=80))
@examples(10)
@example("$x_1$")
@example("$\\frac{$")
@example("_hidden")
@example("<b>&\"'")
@example("\u05d0\u6f22")
@example("\x00\x1b[31m\ud800")
def test_any_name_is_drawn_as_text(name: str) -> None:
    panel = Panel(name, (replace(LINE, name=name),), y_label=name)
    (svg,) = drawn(panel)
    root = ET.fromstring(svg)
    assert len(root.findall(".//g[@class='line']")) >= 1
    assert root.find(".//script") is None
    ET.fromstring(draw_file(FigureFile(CurveFigure("c1", name, (panel,)), "svg", WIDE)))


def test_the_values_that_the_script_shows_are_in_the_page() -> None:
    late = Series("b", (1, 2, 3), (None, math.nan, 123456.0), seed="1")
    (svg,) = drawn(replace(PANEL, series=(LINE, late)))
    plot = values(svg)
    assert plot["lines"] == [
        ["validation", "", 0, [1, 3], ".1,.2,.15"],
        ["b", "1", 0, [1, 3], "-,nan,1.2e+05"],
    ]
    low, high, left, right, log = plot["x"]
    assert log == 0
    path = next(e for e in ET.fromstring(svg).iter("g") if e.get("data-name") == "validation")[0].attrib["d"]
    first, *steps = (float(x) for x in re.findall(r"-?\d*\.?\d+", path)[::2])
    places = [tenths / 10 for tenths in itertools.accumulate(steps, initial=first)]
    assert places == pytest.approx([left + (x - low) / (high - low) * (right - left) for x in (1, 2, 3)], abs=0.1)


@pytest.mark.parametrize(
    "y",
    [(None, None, None), (math.nan, 0.5, math.inf), (0.0, 0.0, 0.0), (-1.0, 2.0, 3.0), (1e-300, 1e300, 1.0)],
)
@pytest.mark.parametrize("log", [False, True])
def test_odd_values_never_break_a_figure(y: tuple[float | None, ...], log: bool) -> None:
    (svg,) = drawn(Panel("Loss", (Series("a", (1, 2, 3), y),), log=log))
    words = re.compile(r"""data-plot='[^']*'|aria-\w+="[^"]*"|<desc.*?</desc>""")
    assert not re.search(r"[\" ](nan|inf)\b", words.sub("", svg))


@given(st.lists(st.floats(-1e6, 1e6) | st.none() | st.just(math.nan), min_size=1, max_size=40), st.booleans())
@examples(10)
@example([2.2250738585072014e-308], False)
@example([27910.0, 1.637553802502324e-276], True)
def test_any_curve_is_drawn(found: list[float | None], log: bool) -> None:
    (svg,) = drawn(Panel("Loss", (Series("a", tuple(range(1, len(found) + 1)), tuple(found)),), log=log))
    assert [v == "-" for v in written(svg)] == [v is None for v in found]


def written(svg: str) -> list[str]:
    """The values of the first line of a panel; an empty one is the one before."""
    filled: list[str] = []
    for value in values(svg)["lines"][0][4].split(","):
        filled.append(value or filled[-1])
    return filled


def test_a_page_has_values_with_the_digits_that_it_shows() -> None:
    y = (0.5476, 0.5476, -0.25, 12.0, 0.0, 0.0014, 3e7, None, math.nan, math.inf)
    (svg,) = drawn(Panel("Loss", (Series("a", tuple(range(1, 11)), y),)))
    assert written(svg) == [".548", ".548", "-.25", "12", "0", "1.4e-03", "3.0e+07", "-", "nan", "inf"]
    assert values(svg)["lines"][0][4].startswith(".548,,-.25")


def test_a_panel_on_a_logarithmic_scale_names_the_one_with_its_values() -> None:
    losses = tuple(Panel(name, (Series(name, (1, 2), (0.5, 0.25)),)) for name in ("Loss", "Other"))
    figure = CurveFigure("c1", "A figure", losses, (replace(losses[1], log=True, y_range=None),))
    *_, again = draw_page(figure)
    assert ET.fromstring(again).attrib["data-of"] == "d-c1-1"


def dots(*y: float | None, **panel: Any) -> int:
    (svg,) = drawn(Panel("AP", (Series("test", tuple(range(1, len(y) + 1)), y),), **panel))
    return svg.count("translate(")


def test_a_single_epoch_is_a_visible_point_on_an_axis_of_one_epoch() -> None:
    assert dots(0.3) == 1
    (svg,) = drawn(Panel("AP", (Series("test", (1,), (0.3,)),), y_label=""))
    assert [w for w in words(svg) if w.isdigit()] == ["1"]


@pytest.mark.parametrize(
    ("y", "marked"), [((0.1, 0.2, 0.3), 0), ((0.1, None, 0.3, 0.4), 1), ((None, 0.1, None, 0.2, None), 2)]
)
def test_a_point_between_gaps_is_marked(y: tuple[float | None, ...], marked: int) -> None:
    assert dots(*y) == marked


def test_a_value_beyond_the_axis_is_marked_at_its_edge_and_said() -> None:
    assert dots(0.1, 0.2, 5.0, y_range=(0, 0.3)) == 1
    (svg,) = drawn(Panel("Loss", (Series("a", (1, 2, 3), (0.1, 0.2, 5.0)),), y_range=(0, 0.3)))
    assert "1 value above the axis, up to 5 (epoch 3)" in words(svg)
    assert "clip-path" in svg


def test_tick_labels_keep_their_decimals_and_rates_their_places() -> None:
    rate = Panel("Learning rate", (Series("lr", (1, 2, 3), (1e-3, 1e-3, 1e-4)),), log=True, steps=True)
    froc = Panel("FROC", (Series("CXR", (0.125, 0.5, 2.0, 8.0), (0.1, 0.2, 0.3, 0.4)),), across="rate", y_range=(0, 1))
    first, second = drawn(rate, froc)
    assert {"0.001", "0.0001"} <= set(words(first))
    assert {"0.125", "0.5", "2", "8"} <= set(words(second))


def test_single_seeds_can_be_told_from_the_mean(model: ReportModel) -> None:
    figure = arms_figure(model.ablations[1], "from scratch", Statistics())
    assert figure is not None
    groups = list(ET.fromstring(draw_page(figure)[0]).iter("g"))
    seeds = {g.get("data-seed") for g in groups if g.get("class") == "line"}
    assert seeds == {None, "0", "1", "2"}


def test_a_forest_plot_is_drawn_wide_and_narrow_with_all_its_settings(model: ReportModel) -> None:
    figure = forest_figure(model.ablations[0], Statistics())
    assert figure is not None
    wide, narrow = draw_page(figure)
    for svg in (wide, narrow):
        assert {"patience 5", "patience 10", "patience 20", "patience 30"} <= set(words(svg))
        assert any(word.startswith("Difference in test AP") for word in words(svg))
    assert {"best AR", "final", "seeds", "patients"} <= set(words(wide))


@pytest.mark.parametrize(("form", "begin"), [("pdf", b"%PDF"), ("png", b"\x89PNG"), ("svg", b"<?xml")])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_a_file_has_the_asked_width_and_fixed_colours(
    model: ReportModel, form: FigureFormat, begin: bytes, width: float
) -> None:
    figure = run_figure(model.runs[0])
    assert figure is not None
    content = draw_file(FigureFile(replace(figure, panels=figure.panels[:2]), form, width))
    assert content.startswith(begin)
    if form == "svg":
        text = content.decode()
        assert float(ET.fromstring(text).attrib["width"].removesuffix("pt")) == pytest.approx(width / 25.4 * 72)
        assert PALETTE[0] in text
        assert "var(" not in text
        assert all(name in html.unescape(text) for name in ("Loss: total", "training", "validation", "Epoch"))
    if form == "pdf":
        assert b"/Subtype /Type0" in content or b"/Type42" in content or b"/FontFile2" in content
        assert b"CreationDate" not in content
