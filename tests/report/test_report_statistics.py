"""Intervals, verdicts and thresholds in the report: the store's figures, and one line why where there are none."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import analysis_fixtures as made
import numpy as np
import pytest
from statistics_fixtures import FEW, model_with, pairs, two_settings, words
from undrawn import undrawn_html, undrawn_markdown

from mmad.analysis.evaluation_target import DetectionStore, evaluation_target
from mmad.analysis.input_controls import Alteration, _subject
from mmad.analysis.report_frame import load_frame
from mmad.analysis.verdicts import compare_ablation, compute_statistics
from mmad.base.formatting import bounds, decimal, interval, signed
from mmad.base.json_values import to_json_value
from mmad.config.protocol import EvaluationProtocol
from mmad.data.dataset import DataSet
from mmad.data.phantom.generate import make_phantom
from mmad.evaluation.agreement import drop
from mmad.evaluation.resampling import Interval
from mmad.report.tables import pair_tables, statistics_rows, threshold_tables
from mmad.store.lookup import find_run
from mmad.store.store import Store


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return make_phantom(tmp_path_factory.mktemp("data") / "phantom", studies=160, image_size=64)


@pytest.fixture(scope="module")
def template(dataset: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_settings(tmp_path_factory.mktemp("made"), dataset)


@pytest.fixture(scope="module")
def computed(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same store after its statistics were computed: they are in its cache."""
    folder = tmp_path_factory.mktemp("computed") / "db"
    shutil.copytree(template.parent, folder)
    with Store.open(folder / template.name) as opened:
        compute_statistics(load_frame(opened), opened, options=FEW)
    return folder / template.name


@pytest.fixture
def store(template: Path, tmp_path: Path) -> Iterator[Store]:
    shutil.copytree(template.parent, tmp_path / "db")
    with Store.open(tmp_path / "db" / template.name) as opened:
        yield opened


@pytest.fixture
def known(computed: Path, tmp_path: Path) -> Iterator[Store]:
    """A store with cached statistics."""
    shutil.copytree(computed.parent, tmp_path / "db")
    with Store.open(tmp_path / "db" / computed.name) as opened:
        yield opened


@pytest.mark.slow
def test_every_figure_of_a_pair_is_what_mmad_compare_finds(store: Store) -> None:
    model = model_with(store, compute_statistics(load_frame(store), store, options=FEW))
    contrasts, refused = compare_ablation(store, DetectionStore(), "made", FEW)
    assert refused == []
    page, markdown = words(undrawn_html(model)), undrawn_markdown(model).text.replace("\\", "")
    sentences = {one.setting: one.sentence for one in contrasts}
    for contrast in contrasts:
        setting, stats = contrast.setting, pairs(model)[contrast.setting]
        assert contrast.statistics is not None
        assert stats == replace(contrast.statistics, agreement=None)
        assert stats.difference is not None
        for measure in ("ap", "ar"):
            for value in (getattr(stats.reference.estimate, measure), getattr(stats.other.estimate, measure)):
                shown = f"{decimal(value.value)} {bounds(value.low, value.high, over='2 seeds')}"
                assert all(shown in re.sub(r" ± [0-9.]+", "", text) for text in (page, markdown))
            value = getattr(stats.difference, measure)
            shown = f"{signed(value.value)} {bounds(value.low, value.high, sign=True, over='2 seeds')}"
            assert all(shown in re.sub(r" ± [0-9.]+", "", text) for text in (page, markdown))
        for text in (page, markdown):
            assert sentences[setting] in text


def test_the_interval_belongs_to_the_figure_beside_it(known: Store) -> None:
    model = model_with(known, compute_statistics(load_frame(known), known, options=FEW))
    (comparison,) = model.ablations[0].comparisons
    for row in comparison.rows:
        stats = pairs(model)[row.setting]
        assert row.test_ap.difference is not None
        assert stats.difference is not None
        assert stats.difference.ap.value == pytest.approx(row.test_ap.difference.mean, abs=1e-6)


def test_the_words_of_the_verdicts(known: Store) -> None:
    model = model_with(known, compute_statistics(load_frame(known), known, options=FEW))
    (ablation,) = model.ablations
    rows_of = statistics_rows(model.statistics, ablation.comparisons[0])
    found = {row.setting: row.judgement for row, _ in rows_of}
    clear, even = found["clear"], found["even"]
    assert clear is not None
    assert even is not None
    assert (clear.word, clear.tone, clear.reasons) == ("higher", "up", ("seed_variance_borrowed",))
    assert clear.sentence.endswith("; seed variance borrowed from 1 pair (2 df).")
    assert (even.word, even.tone) == ("not settled", "even")
    assert even.sentence.startswith("Not settled: CXR+Clinical differs from CXR by ")
    said = "CXR+Clinical against CXR on test AP, of 2 settings: 1 higher, 1 not settled."
    assert ablation.headlines == (said,)
    table, *_ = pair_tables(ablation, 0, model.statistics)
    heads = [head.text for head in table.grid.heads]
    rows = [dict(zip(heads, row, strict=True)) for row in table.grid.rows]
    assert [row["Verdict"].text for row in rows] == ["higher", "not settled"]
    assert [row["Difference"].tone for row in rows] == ["diff up", "diff even"]  # colour where it is settled alone
    assert table.footnotes == (f"clear: {clear.sentence}", f"even: {even.sentence}")


def test_the_thresholds_confusion_and_findings_of_every_run_are_shown(known: Store) -> None:
    frame = load_frame(known)
    model = model_with(known, compute_statistics(frame, known, options=FEW), frame)
    page, markdown = words(undrawn_html(model)), undrawn_markdown(model).text.replace("\\", "")
    ablation = model.ablations[0]
    (table,) = threshold_tables(ablation, model.statistics)
    assert len(table.frame) == 8 * 3
    for _, rows in table.frame.groupby("run", sort=False):
        assert list(rows["score"]) == [0.05, 0.1, 0.3]
        assert list(rows["ap_gap"]) == pytest.approx([ap - rows["ap"].iloc[0] for ap in rows["ap"]])
        last = rows.iloc[-1]
        ap, gap = (Interval(*(last[f"{name}{end}"] for end in ("", "_low", "_high"))) for name in ("ap", "ap_gap"))
        assert f"| {interval(ap)} | {interval(gap, sign=True)} |" in markdown
        assert f"{interval(ap)} {interval(gap, sign=True)}" in page
    stats = model.statistics.run(ablation.frame.members[0])
    assert stats is not None
    assert stats.profile is not None
    assert stats.curve is not None
    assert stats.measured is not None
    assert np.mean(stats.curve.precision) == pytest.approx(stats.measured.estimate.ap.value)
    row = stats.profile.confusion.counts[0].tolist()
    assert f"{stats.profile.confusion.labels[0]} {' '.join(map(str, row))}" in page
    assert f"| {stats.profile.confusion.labels[0]} | {' | '.join(map(str, row))} |" in markdown
    for _, ap, _ in pairs(model)["clear"].difference.per_class:  # type: ignore[union-attr]
        assert interval(ap, sign=True) in markdown
        assert interval(ap, sign=True) in page


@pytest.mark.slow
def test_a_second_report_computes_nothing(store: Store, monkeypatch: pytest.MonkeyPatch, dataset: DataSet) -> None:
    first = compute_statistics(load_frame(store), store, options=FEW)
    count = len(store.analyses())
    monkeypatch.setattr(DetectionStore, "matched", lambda self, target: pytest.fail("computed again"))
    again = compute_statistics(load_frame(store), store, options=FEW)
    assert repr(again.pairs) == repr(first.pairs)  # a NaN equals nothing, itself included
    assert len(store.analyses()) == count


def test_cached_controls_are_shown_unless_they_are_of_another_checkpoint(known: Store) -> None:
    target = evaluation_target(known, find_run(known, "made/clear/CXR+Clinical/0"), FEW)
    detections = DetectionStore()
    cost = drop(detections.matched(target), [detections.matched(target)], resamples=20)
    age, image = Alteration("column", "age"), Alteration("image")
    for alteration in (image, age):
        known.put_analysis("control", _subject(target, alteration, 5, FEW), to_json_value(cost))
    stale = _subject(target, Alteration("records"), 5, FEW) | {"weights": ["d" * 64]}
    known.put_analysis("control", stale, to_json_value(cost))
    model = model_with(known, compute_statistics(load_frame(known), known, options=FEW))
    (member,) = [m for m in model.ablations[0].frame.of("clear", "CXR+Clinical") if m.record.seed == 0]
    stats = model.statistics.run(member)
    assert stats is not None
    assert [c.alteration for c in stats.controls] == [age, image]
    for text in (words(undrawn_html(model)), undrawn_markdown(model).text):
        assert "age shuffled" in text
        assert "no reliance on age is seen" in text
        assert "clinical records shuffled" not in text


def test_a_threshold_that_training_did_not_evaluate_gets_its_figure_with_the_interval(
    dataset: DataSet, tmp_path: Path
) -> None:
    asked = EvaluationProtocol(threshold=0.75)
    members = [made.member(dataset, arm, 0, evaluation=asked) for arm in made.ARMS]
    with Store.open(tmp_path / "db" / "mmad.sqlite") as store:
        made.record(store, members)
        for one in members:
            made.finish(store, one, dataset, made.SKILLS[one.arm])
        frame = load_frame(store)
        model = model_with(store, compute_statistics(frame, store, options=FEW), frame)
    stats = pairs(model)["default"]
    (row,) = model.ablations[0].comparisons[0].rows
    assert row.test_ap.reference is None
    assert stats.reference is not None
    value = stats.reference.estimate.ap
    assert f"{decimal(value.value)} [{decimal(value.low)}, {decimal(value.high)}]" in words(undrawn_html(model))
