"""The audit's warnings are shown once beside the pairs, separate from the warnings of a training."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from report_fixtures import Sample
from undrawn import undrawn_html, undrawn_markdown

from mmad.analysis.report_frame import load_frame
from mmad.data.audit.findings import MARK
from mmad.report.sections import ReportModel, build_model


@pytest.fixture
def model() -> ReportModel:
    sample = Sample()
    sample.ablation("one", "One", "")
    for arm in ("CXR", "CXR+Clinical"):
        key = sample.member("default", arm)
        sample.source.warned[key] = [
            "a training's own",
            f"{MARK}patient-across-splits: 3 patients stand <b>in</b> more than one split",
            f"{MARK}value-missing: 'age' is missing",
        ]
    return build_model(load_frame(sample.source), created=datetime(2026, 1, 1, tzinfo=UTC), database="db")


def test_each_warning_once_and_a_mark_for_patients_in_several_splits(model: ReportModel) -> None:
    (ablation,) = model.ablations
    assert ablation.audit == (
        "patient-across-splits: 3 patients stand <b>in</b> more than one split",
        "value-missing: 'age' is missing",
    )
    assert "patients in several splits" in [badge.text for badge in ablation.badges[0]]
    assert "patients in several splits" in [badge.text for badge in model.legend]
    assert [section.run.warnings for section in model.runs] == [("a training's own",)] * 2


def test_both_forms_show_them(model: ReportModel) -> None:
    page = undrawn_html(model)
    assert "2 audit warnings on the data" in page
    assert "stand &lt;b&gt;in&lt;/b&gt; more" in page
    text = undrawn_markdown(model).text
    assert "2 audit warnings on the data:" in text
    assert text.count("value\\-missing: 'age' is missing") == 1
