"""Writing reports: whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from report_fixtures import WHEN, ListSource, Sample

from mmad.base.errors import ReportError
from mmad.report.write_report import write_report


@pytest.fixture
def small() -> ListSource:
    sample = Sample()
    sample.ablation("a", "A", "", compare=(("CXR", "CXR+Clinical"),))
    for arm in ("CXR", "CXR+Clinical"):
        sample.member("s", arm, protocol={"epochs": 3})
    return sample.source


@pytest.mark.slow
def test_both_forms_are_written_and_counted(small: ListSource, tmp_path: Path) -> None:
    html, markdown = tmp_path / "deep" / "r.html", tmp_path / "deep" / "r.md"
    heard: list[tuple[int, int]] = []
    report = write_report(small, html=html, markdown=markdown, created=WHEN, progress=lambda *step: heard.append(step))
    assert (report.ablations, report.runs, report.unfinished) == (1, 2, 0)
    assert heard == [(1, 2), (2, 2)]
    assert html.read_text("utf-8").startswith("<!doctype html>")
    shown = {p.name for p in (tmp_path / "deep" / "r_charts").iterdir()}
    assert len(shown) == 4  # both runs, the arms overlaid, and the forest plot
    assert all(f"r_charts/{name}" in markdown.read_text("utf-8") for name in shown)
    assert {p.name for p in html.parent.iterdir()} == {"r.html", "r.md", "r_charts"}


@pytest.mark.usefixtures("_undrawn")
def test_charts_of_an_earlier_report_are_removed(small: ListSource, tmp_path: Path) -> None:
    write_report(small, markdown=tmp_path / "r.md", created=WHEN)
    (tmp_path / "r_charts" / "run-000000000000.svg").write_text("old")
    (tmp_path / "r_charts" / "mine.txt").write_text("keep")
    write_report(small, markdown=tmp_path / "r.md", created=WHEN)
    assert not (tmp_path / "r_charts" / "run-000000000000.svg").exists()
    assert (tmp_path / "r_charts" / "mine.txt").exists()


@pytest.mark.usefixtures("_undrawn")
def test_a_full_disk_leaves_the_earlier_report(
    small: ListSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.html"
    path.write_text("older")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ReportError, match=r"r\.html: cannot be written \(No space left on device\); choose another"):
        write_report(small, html=path, created=WHEN)
    assert path.read_text() == "older"
    assert [p.name for p in tmp_path.iterdir()] == ["r.html"]


@pytest.mark.usefixtures("_undrawn")
def test_a_place_that_cannot_be_written_is_named(small: ListSource, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ReportError, match=r"file/r\.html: cannot be written"):
        write_report(small, html=tmp_path / "file" / "r.html", created=WHEN)


@pytest.mark.slow
def test_the_report_never_imports_torch() -> None:
    code = "import sys, mmad.report.write_report, mmad.cli.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
