"""Figures as data: what each shows, what it cannot show and says, and the forest plot."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from report_fixtures import Sample

from mmad.analysis.comparison import PairStatistics, ReaderDifference
from mmad.analysis.report_frame import AblationFrame, load_frame
from mmad.analysis.verdicts import Statistics, pair_key
from mmad.base.records import EpochRecord, Metric
from mmad.evaluation.differences import Decision, Difference, Goal
from mmad.evaluation.resampling import Interval
from mmad.report.figures import (
    MOST_EPOCHS,
    Panel,
    Series,
    arms_figure,
    describe,
    describe_forest,
    forest_figure,
    notes,
    overlay_panels,
    report_figures,
    robust_top,
    run_figure,
    run_panels,
    said,
)
from mmad.report.sections import ReportModel
from mmad.report.tables import pairs_table, reader_verdicts_table
from mmad.report.writers.latex import as_latex

PANEL = Panel("AP (IoU)", (Series("validation", (1, 2, 3), (0.1, 0.2, 0.15)),), marks=(2,))


def ablation_of(sample: Sample) -> AblationFrame:
    return load_frame(sample.source).ablations[0]


def one_run(epochs: int = 8) -> tuple[Sample, str]:
    sample = Sample()
    sample.ablation("a", "A", "")
    return sample, sample.member("s", "CXR", protocol={"epochs": epochs})


def with_value(epoch: EpochRecord, value: float) -> EpochRecord:
    """The epoch with another validation loss."""
    metrics = (replace(m, value=value) if (m.split, m.name) == ("val", "loss") else m for m in epoch.metrics)
    return replace(epoch, metrics=tuple(metrics))


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
    assert all(p.marks == (7,) for p in panels[:-1])
    assert panels[-1].steps


def test_every_axis_is_labelled(model: ReportModel) -> None:
    for figure in report_figures(model):
        for panel in getattr(figure, "panels", ()):
            assert panel.x_label, panel.title
            assert panel.y_label, panel.title


def test_losses_come_again_on_a_logarithmic_axis(model: ReportModel) -> None:
    figure = run_figure(model.runs[0])
    assert figure is not None
    (loss,) = figure.log_panels
    assert (loss.title, loss.log, loss.series) == ("Loss: total, logarithmic", True, figure.panels[0].series)


def learned(*names: str) -> Sample:
    """A run of three epochs that learned a w for each of ``names``."""
    sample, key = one_run(3)
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
    minimised, weights = run_panels(load_frame(sample.source).runs[0], "iou", 2)[-2:]
    assert (minimised.title, weights.title) == ("Loss: as minimised", "Learned loss weights")
    assert [s.name for s in minimised.series] == ["training"]
    assert minimised.series[0].y == (3.0, 1.5, 1.0)
    assert [s.name for s in weights.series] == ["w classifier", "w RPN box regression", "w mask"]
    assert weights.series[0].y == (1.0, 0.5, 1 / 3)


def test_training_and_validation_loss_and_both_ap_share_axes_across_settings(sample: Sample) -> None:
    ablation = ablation_of(sample)
    first, second = overlay_panels(ablation, "patience 5"), overlay_panels(ablation, "patience 30")
    assert [p.title for p in first] == ["Training loss", "Validation loss", "Validation AP", "Test AP"]
    assert [p.y_range for p in first] == [p.y_range for p in second]
    assert first[0].y_range == first[1].y_range
    assert first[2].y_range == first[3].y_range
    assert [s.name for s in first[2].series] == ["CXR", "CXR+Clinical"]
    assert len(second[2].series[1].x) == 17


def test_several_seeds_have_a_mean_a_band_and_thin_lines(model: ReportModel) -> None:
    section = model.ablations[1]
    figure = arms_figure(section, "from scratch", Statistics())
    assert figure is not None
    ap = next(p for p in figure.panels if p.title == "Validation AP")
    *seeds, mean = ap.series[:4]
    assert [s.seed for s in seeds] == ["0", "1", "2"]
    assert (mean.seed, mean.name) == ("", "CXR")
    values = [s.y[4] for s in seeds]
    assert mean.y[4] == pytest.approx(sum(v for v in values if v is not None) / 3)
    assert mean.band[4] == (min(values), max(values))  # type: ignore[type-var]
    assert figure.seeds == ("0", "1", "2")
    assert [key.name for key in figure.keys] == ["CXR", "CXR+Clinical", "CXR+Clinical (vector)"]
    assert [len(s.dots) for s in seeds] == [1, 1, 1]


def test_the_mean_ends_with_the_first_seed_that_ends() -> None:
    sample = Sample()
    sample.ablation("a", "A", "")
    for seed, done in ((0, 6), (1, 4)):
        sample.member("s", "CXR", seed=seed, protocol={"epochs": 6}, done=done, status="running")
    mean = overlay_panels(ablation_of(sample), "s")[0].series[-1]
    assert mean.x == (1, 2, 3, 4)


@pytest.mark.parametrize("epochs", [8, 200])
def test_an_exploding_epoch_does_not_flatten_the_other_curves_and_is_said(epochs: int) -> None:
    sample, key = one_run(epochs)
    sample.source.epochs[key][-1] = with_value(sample.source.epochs[key][-1], 1e9)
    frame = load_frame(sample.source)
    for panel in (overlay_panels(frame.ablations[0], "s")[1], run_panels(frame.runs[0], "iou", None)[0]):
        assert panel.y_range is not None
        assert panel.y_range[1] < 10
        assert notes(panel) == (f"1 value above the axis, up to 1e+09 (epoch {epochs})",)
        assert "1 value above the axis" in describe(panel)


def test_losses_that_fall_far_are_all_shown() -> None:
    values = [5.0 * math.exp(-n / 3) + 0.1 for n in range(60)]
    assert robust_top(values) > max(values)
    assert robust_top([1.0, 1.0, 1.1, 1e3, 1e6]) == pytest.approx(1.06 * 1.1)
    assert robust_top([math.nan]) == 1.0


def test_epochs_of_nan_are_said() -> None:
    sample, key = one_run()
    rows = sample.source.epochs[key]
    for n in (2, 3, 6):
        rows[n] = with_value(rows[n], math.nan)
    panel = run_panels(load_frame(sample.source).runs[0], "iou", None)[0]
    assert notes(panel) == ("NaN at epochs 3 to 4, 7",)
    assert notes(PANEL) == ()


def test_many_epochs_become_means_with_their_range() -> None:
    sample, _ = one_run(1000)
    panel = run_panels(load_frame(sample.source).runs[0], "iou", None)[0]
    line = panel.series[0]
    assert len(line.x) <= MOST_EPOCHS
    assert panel.x_label == "Epoch (means of 7, their range shaded)"
    values = load_frame(sample.source).runs[0].curves["train", "loss"][:7]
    assert line.band[0] == (min(values), max(values))  # type: ignore[type-var]
    assert line.y[0] == pytest.approx(sum(v for v in values if v is not None) / 7)


def test_a_panel_is_described_in_words() -> None:
    assert describe(PANEL) == "AP (IoU) by epoch. validation highest 0.2 at epoch 2, 0.15 at epoch 3."


def difference(value: float, low: float, high: float) -> Difference:
    ap = Interval(value, low, high)
    return Difference(ap, 0.04, ap, 0.04, ap, (), 0.04, 5, 120, 150, 1, 4.0, 4.0, 0, 4, 0.02, 4e-4, 0.0, None)


def test_the_forest_has_a_row_for_each_setting_with_interval_and_other_checkpoints(model: ReportModel) -> None:
    section = model.ablations[0]
    (table,) = section.comparisons
    first = table.rows[0]
    assert first.test_ap.difference is not None
    found = PairStatistics(difference=difference(first.test_ap.difference.mean, 0.004, 0.05))
    figure = forest_figure(section, Statistics(pairs={pair_key(first): found}))
    assert figure is not None
    (group,) = figure.groups
    assert (group.reference, group.other, group.kind) == ("CXR", "CXR+Clinical", "best_ap")
    assert [row.label for row in group.rows] == [f"patience {n}" for n in (5, 10, 20, 30)]
    row, second, unfinished, _ = group.rows
    assert (row.low, row.high, row.patients, row.settled) == (0.004, 0.05, 120, True)
    assert math.isnan(second.low)
    assert not second.settled
    assert unfinished.value is None
    assert "failed at epoch 9" in unfinished.note
    kinds = dict(row.others)
    (a, b) = first.pairs[0]
    assert kinds["final"] == pytest.approx(b.results.final.test_ap - a.results.final.test_ap)  # type: ignore[union-attr,operator]
    assert set(kinds) == {"best_ar", "final"}
    assert said(row).endswith("[+0.004, +0.050]")
    assert "patience 5, CXR+Clinical minus CXR: +0.0" in describe_forest(figure)
    assert found.difference is not None
    decided = Decision(Goal(alpha=0.2), found.difference.ap, 0.8, 0.04)
    wide = PairStatistics(difference=replace(found.difference, decision=decided))
    registered = forest_figure(section, Statistics(pairs={pair_key(first): wide}))
    assert registered is not None
    assert registered.groups[0].rows[0].label == "patience 5 (80 %)"
    assert (group.levels, registered.groups[0].levels) == ({0.95}, {0.8})
    for level, head in ((0.8, " [80 %]"), (0.95, "")):
        one = pairs_table([(first, wide if level == 0.8 else found)])
        assert [name.text for name in one.grid.heads if "Difference" in name.text] == [f"Difference{head}"]
        assert one.frame["test_ap_difference_level"].tolist() == [level]
    assert r"& 80 \% interval" in as_latex(pairs_table([(first, wide)]))
    both = pairs_table([(first, wide), (table.rows[1], found)])
    assert "Difference [80 % or 95 %]" in [name.text for name in both.grid.heads]
    assert [row[3].interval for row in both.grid.rows] == ["[+0.004, +0.050] (80 %)", "[+0.004, +0.050]"]
    readers = ReaderDifference("R1", 3, difference=wide.difference), ReaderDifference("R2", 4, why="read no study")
    unknown = replace(difference(math.nan, math.nan, math.nan), decision=decided)
    nothing = ReaderDifference("R3", 5, difference=unknown)
    asked = replace(wide, by_reader=(*readers, nothing))
    told = reader_verdicts_table([(replace(first, statistics=asked), asked)])
    assert "Difference [80 %]" in [name.text for name in told.grid.heads]
    line = "The sign of the difference is the same under 1 of 3 readers, the verdict (higher) under 1."
    assert replace(first, statistics=asked).readers_line == line
    unsaid = replace(asked, difference=None)
    assert replace(first, statistics=unsaid).readers_line == line.replace(
        "1 of 3 readers, the verdict (higher) under 1", "0 of 3 readers"
    )
    assert told.frame["ap_difference_level"].tolist()[0] == 0.8
    assert told.frame["sign_holds"].tolist() == [True, None, None]
    assert told.frame["verdict_holds"].tolist() == [True, False, False]
    assert told.frame["missing"].tolist() == [None, "read no study", "nothing to find: drew no box of these images"]


def test_an_ablation_of_one_arm_has_no_forest() -> None:
    from report_fixtures import WHEN

    from mmad.report.sections import build_model

    sample, _ = one_run()
    alone = build_model(load_frame(sample.source), created=WHEN, database="x")
    assert forest_figure(alone.ablations[0], Statistics()) is None


def test_names_of_figures_are_unique_and_safe_in_files_and_pages(
    model: ReportModel, hostile_model: ReportModel
) -> None:
    for one in (model, hostile_model):
        names = [figure.name for figure in report_figures(one)]
        assert len(set(names)) == len(names)
        assert all(name.replace("-", "").replace(".", "").isalnum() and name.isascii() for name in names)
