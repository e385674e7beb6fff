"""FROC, precision, reliability and thresholds of the arms: the store's points, one protocol in a panel."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from report_fixtures import Sample

from mmad.analysis.cached_statistics import Profile
from mmad.analysis.report_frame import AblationFrame, load_frame
from mmad.analysis.verdicts import RunKey, RunStatistics, Statistics
from mmad.config.protocol import EvaluationProtocol
from mmad.evaluation.operating_points import (
    FROC_RATES,
    Calibration,
    Confusion,
    Froc,
    FrocInterval,
    OperatingInterval,
    OperatingPoint,
    RecallCurve,
)
from mmad.evaluation.resampling import Interval
from mmad.report.figures import describe, overlay_panels, statistics_panels

ROWS = tuple(OperatingPoint(score, 0.5 - score, 0.5, 0.5, 0.5, 0.5, 3.0) for score in (0.05, 0.1))


def stats(level: float) -> RunStatistics:
    froc = Froc(FROC_RATES, tuple(level for _ in FROC_RATES), level, ())
    reliability = Calibration((0.0, 0.5, 1.0), (0.25, math.nan), (level, math.nan), (4, 0), 0.1)
    around = Interval(level, level - 0.05, level + 0.05)
    band = FrocInterval(around, tuple(around for _ in FROC_RATES), ())
    points = tuple(
        OperatingInterval(row.score, *(Interval(0.5, 0.4, 0.6) for _ in range(5)), Interval(0, 0, 0)) for row in ROWS
    )
    confused = Confusion(("a",), np.zeros((2, 2), dtype=np.int64))
    profile = Profile(ROWS, froc, confused, reliability, points, band)
    return RunStatistics("best_ap", profile=profile, curve=RecallCurve((0.0, 0.5, 1.0), (1.0, level, 0.0)))


@pytest.fixture(scope="module")
def ablation() -> AblationFrame:
    sample = Sample()
    sample.ablation("a", "A", "")
    for arm in ("CXR", "CXR+Clinical"):
        for seed in (0, 1):
            evaluation = EvaluationProtocol(overlap="iobb" if (arm, seed) == ("CXR+Clinical", 1) else "iou")
            sample.member("s", arm, seed=seed, evaluation=evaluation, protocol={"epochs": 4})
    return load_frame(sample.source).ablations[0]


def known(ablation: AblationFrame) -> Mapping[RunKey, RunStatistics]:
    return {(m.run.key, m.protocol): stats(0.1 * (n + 1)) for n, m in enumerate(ablation.members)}


def test_the_panels_hold_the_stores_points_their_mean_and_one_protocol(ablation: AblationFrame) -> None:
    froc, precision, reliability, thresholds = statistics_panels(ablation, "s", Statistics(runs=known(ablation)))
    assert [(s.name, s.seed) for s in froc.series] == [("CXR", "0"), ("CXR", "1"), ("CXR", ""), ("CXR+Clinical", "")]
    assert [s.y[0] for s in froc.series] == pytest.approx([0.1, 0.2, 0.15, 0.3])
    assert froc.series[0].x == FROC_RATES
    assert froc.series[2].band[0] == pytest.approx((0.1, 0.2))  # from the lowest seed to the highest
    assert froc.series[3].band[0] == pytest.approx((0.25, 0.35))  # of one seed: the 95 % interval
    assert all(s.band == () for s in froc.series[:2])
    assert precision.series[1].y == (1.0, 0.2, 0.0)
    assert reliability.series[3].y == (0.30000000000000004, None)  # a bin without a detection has no point
    assert reliability.diagonal
    assert thresholds.series[3].x == (0.05, 0.1)
    assert thresholds.series[3].dots == (0.05, 0.1)
    assert thresholds.series[3].band == ((0.4, 0.6), (0.4, 0.6))
    assert all(panel.y_range == (0, 1) for panel in (froc, precision, reliability))


def test_final_checkpoints_are_not_drawn_beside_best_ones(ablation: AblationFrame) -> None:
    runs = dict(known(ablation))
    last = ablation.members[1]
    runs[last.run.key, last.protocol] = replace(runs[last.run.key, last.protocol], kind="final")
    froc, *_ = statistics_panels(ablation, "s", Statistics(runs=runs))
    assert [s.name for s in froc.series] == ["CXR", "CXR+Clinical"]


def test_without_statistics_there_is_no_panel(ablation: AblationFrame) -> None:
    assert statistics_panels(ablation, "s", Statistics()) == ()
    assert (
        statistics_panels(ablation, "s", Statistics(runs={k: RunStatistics("best_ap") for k in known(ablation)})) == ()
    )


def test_they_are_described_in_words(ablation: AblationFrame) -> None:
    precision = statistics_panels(ablation, "s", Statistics(runs=known(ablation)))[1]
    assert describe(precision) == (
        "Precision by recall. CXR highest 1 at 0, 0 at 1; CXR+Clinical highest 1 at 0, 0 at 1."
    )


def test_the_best_epoch_is_a_dot_on_every_line(ablation: AblationFrame) -> None:
    best = ablation.members[0].best_ap
    assert best is not None
    for panel in overlay_panels(ablation, "s"):
        assert panel.series[0].dots == (best.epoch,)
