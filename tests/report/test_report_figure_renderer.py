"""Figures are drawn once: what the store's cache holds is not drawn again, whatever draws it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from report_fixtures import WHEN, Sample

from mmad.analysis.report_frame import load_frame
from mmad.base.errors import ReportError
from mmad.report import figure_renderer
from mmad.report.figure_drawing import draw_page
from mmad.report.figure_renderer import FEW, FigureRenderer
from mmad.report.figures import CurveFigure, Panel, Series, report_figures
from mmad.report.sections import build_model
from mmad.report.write_report import write_report
from mmad.store.store import Store


def figure(n: int, value: float = 0.2) -> CurveFigure:
    line = Series("a", (1, 2), (0.1, value + n))
    return CurveFigure(f"figure-{n}", "A figure", (Panel("AP", (line,), y_label="AP"),))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the figures that are drawn in this process, which remembers none from before."""
    names: list[str] = []
    draw = figure_renderer._draw

    def counted(task: Any) -> Any:
        names.append(task.name)
        return draw(task)

    monkeypatch.setattr(figure_renderer, "_draw", counted)
    monkeypatch.setattr(figure_renderer, "_recent", {})
    return names


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figure_renderer, "_recent", {})


def test_an_unchanged_figure_is_read_and_a_changed_one_drawn_in_its_place(
    tmp_path: Path, drawn: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = [figure(n) for n in range(3)]
    with Store.open(tmp_path / "mmad.sqlite") as store, FigureRenderer(store) as renderer:
        first = renderer.page(figures)
        assert first == [draw_page(one) for one in figures]
        forget(monkeypatch)
        assert renderer.page(figures) == first
        assert drawn == ["figure-0", "figure-1", "figure-2"]
        forget(monkeypatch)
        changed = [figures[0], figure(1, 0.3), figures[2]]
        heard: list[int] = []
        assert renderer.page(changed, heard.append)[1] == draw_page(changed[1]) != first[1]
        assert drawn[3:] == ["figure-1"]
        assert heard == [1, 2, 3]
        assert len(store.analyses("figure")) == 3


def test_a_damaged_drawing_is_drawn_anew(tmp_path: Path, drawn: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with Store.open(tmp_path / "mmad.sqlite") as store, FigureRenderer(store) as renderer:
        first = renderer.page([figure(0)])
        digest = store.analyses("figure")[0].value["digest"]
        for value in ({}, {"digest": digest, "svg": "no"}, {"digest": digest, "svg": 3}):
            store.put_analysis("figure", {"figure": "figure-0"}, value)
            forget(monkeypatch)
            assert renderer.page([figure(0)]) == first
        assert len(drawn) == 4


def test_a_store_open_for_reading_is_left_alone(tmp_path: Path, drawn: list[str]) -> None:
    Store.open(tmp_path / "mmad.sqlite").close()
    with Store.open(tmp_path / "mmad.sqlite", read_only=True) as store, FigureRenderer(store) as renderer:
        assert renderer.page([figure(0)]) == renderer.page([figure(0)])
        assert store.analyses("figure") == []
    assert drawn == ["figure-0"]  # remembered by the process


@pytest.mark.slow
def test_helpers_draw_the_same_and_a_dead_one_costs_only_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figure_renderer, "usable_cores", lambda: 2)
    figures = [figure(n) for n in range(FEW)]
    with FigureRenderer() as renderer:
        first = renderer.page(figures)
        assert len(renderer._started) == 2
        renderer._started[0].kill()
        renderer._started[0].wait()
        forget(monkeypatch)
        assert renderer.page(figures) == first
        processes = list(renderer._started)
    assert all(process.returncode is not None for process in processes)
    assert first == [draw_page(one) for one in figures]


@pytest.mark.slow
def test_figures_for_a_paper_are_files_of_both_widths(tmp_path: Path) -> None:
    sample = Sample()
    sample.ablation("a", "A", "", compare=(("CXR", "CXR+Clinical"),))
    for arm in ("CXR", "CXR+Clinical"):
        sample.member("s", arm, protocol={"epochs": 3})
    report = write_report(sample.source, figures=tmp_path / "f", formats=("svg",), created=WHEN)
    model = build_model(load_frame(sample.source), created=WHEN, database="x")
    forest, arms, *runs = (one.name for one in report_figures(model))
    assert sorted(path.name for path in report.figures) == sorted(
        [f"{name}-{width}mm.svg" for name in (forest, arms) for width in (85, 174)]
        + [f"{name}-174mm.svg" for name in runs]
    )
    assert {path.name for path in (tmp_path / "f").iterdir()} == {path.name for path in report.figures}
    assert report.html is None
    with pytest.raises(ReportError, match="unknown form of a figure 'gif'"):
        write_report(sample.source, figures=tmp_path / "g", formats=("gif",), created=WHEN)  # type: ignore[arg-type]
