"""Missing statistics are left out with a line of explanation, and a report never fails for them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import analysis_fixtures as made
import pytest
from report_fixtures import WHEN
from statistics_fixtures import FEW, model_with, pairs, two_settings, words
from undrawn import undrawn_html, undrawn_markdown

from mmad.analysis import cached_statistics as module
from mmad.analysis.comparison import NotComparable, PairStatistics
from mmad.analysis.evaluation_target import DetectionStore, evaluation_target
from mmad.analysis.report_frame import load_frame
from mmad.analysis.verdicts import FailureCachingStore, Statistics, compute_statistics
from mmad.base.errors import DataError
from mmad.config.protocol import EvaluationProtocol
from mmad.data.dataset import DataSet
from mmad.data.phantom.generate import make_phantom
from mmad.report.sections import AblationSection, ReportModel, build_model
from mmad.report.tables import reasons, threshold_tables
from mmad.report.write_report import write_report
from mmad.store.lookup import find_run
from mmad.store.store import Store


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return make_phantom(tmp_path_factory.mktemp("data") / "phantom", studies=60, image_size=64)


@pytest.fixture(scope="module")
def template(dataset: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_settings(tmp_path_factory.mktemp("made"), dataset)


@pytest.fixture
def store(template: Path, tmp_path: Path) -> Iterator[Store]:
    shutil.copytree(template.parent, tmp_path / "db")
    with Store.open(tmp_path / "db" / template.name) as opened:
        yield opened


@pytest.mark.slow
def test_without_the_data_set_cached_figures_stay_and_the_rest_gives_the_reason(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    found = compute_statistics(load_frame(store), store, data=gone, options=FEW)
    model = model_with(store, found)
    assert all(stats.difference is None and str(gone) in stats.why for stats in found.pairs.values())
    for text in (words(undrawn_html(model)), undrawn_markdown(model).text):
        assert text.count("No interval: ") == 1
        assert "Verdict" not in text
    kept = compute_statistics(load_frame(store), store, options=FEW)
    named = compute_statistics(load_frame(store), store, data=gone, options=FEW)
    assert all(stats.difference is None for stats in named.pairs.values())  # figures never stand for another folder

    def refuse(folder: Path) -> DataSet:
        raise DataError("not there", where=folder)

    monkeypatch.setattr("mmad.analysis.evaluation_target.load_dataset", refuse)
    assert compute_statistics(load_frame(store), store, options=FEW).pairs == kept.pairs


def test_a_missing_data_set_is_looked_up_once(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    looked: list[Path] = []

    def refuse(folder: Path) -> DataSet:
        looked.append(folder)
        raise DataError("not there", where=folder)

    monkeypatch.setattr("mmad.analysis.evaluation_target.load_dataset", refuse)
    found = compute_statistics(load_frame(store), store, options=FEW)
    assert len(looked) == 1
    assert {stats.why for stats in found.runs.values()} == {f"{looked[0]}: not there"}
    assert issubclass(FailureCachingStore, DetectionStore)


@pytest.mark.slow
def test_missing_detections_leave_out_one_pair_and_give_the_hint(store: Store) -> None:
    evaluation_target(store, find_run(store, "made/even/CXR/0"), FEW).file.unlink()
    model = model_with(store, compute_statistics(load_frame(store), store, options=FEW))
    assert "are not kept; make them with `mmad eval" in pairs(model)["even"].why
    assert pairs(model)["clear"].difference is not None
    assert pairs(model)["clear"].difference.family == 1  # the only pair that is left
    text = words(undrawn_html(model))
    assert "No interval for some rows: run made/even/CXR/0: its detections" in text


@pytest.mark.slow
def test_a_read_only_store_shows_cached_figures_and_computes_nothing(store: Store, template: Path) -> None:
    with Store.open(template, read_only=True) as reading:
        found = compute_statistics(load_frame(reading), reading, options=FEW)
        assert all("open for reading only" in stats.why for stats in (*found.pairs.values(), *found.runs.values()))
    kept = compute_statistics(load_frame(store), store, options=FEW)
    with Store.open(store.where, read_only=True) as reading:
        again = compute_statistics(load_frame(reading), reading, options=FEW)
    assert repr(again.pairs) == repr(kept.pairs)  # a NaN equals nothing, itself included


def test_there_is_no_interval_across_protocols(dataset: DataSet, tmp_path: Path) -> None:
    evaluation = {"CXR": EvaluationProtocol(), "CXR+Clinical": EvaluationProtocol(overlap="iobb")}
    members = [made.member(dataset, arm, 0, evaluation=evaluation[arm]) for arm in made.ARMS]
    with Store.open(tmp_path / "db" / "mmad.sqlite") as store:
        made.record(store, members)
        for one in members:
            made.finish(store, one, dataset, 0.5)
        frame = load_frame(store)
        found = compute_statistics(frame, store, options=FEW)
    assert found.pairs == {}
    assert {key[1].overlap for key in found.runs} == {"iou", "iobb"}
    model = build_model(frame, created=WHEN, database="x", statistics=found)
    tables = threshold_tables(model.ablations[0], found)
    assert [len(set(table.frame["run"])) for table in tables] == [1, 1]
    text = words(undrawn_html(model))
    assert "CXR and CXR+Clinical cannot be compared : overlap iou / iobb" in text
    assert "Verdict" not in text


def test_a_run_shared_by_both_arms_is_not_compared_with_itself(store: Store) -> None:
    frame = load_frame(store)
    (ablation,) = frame.ablations
    same = tuple(replace(m, run=ablation.of(m.record.setting, "CXR")[0].run) for m in ablation.members)
    alone = replace(ablation, members=same)
    assert compute_statistics(replace(frame, ablations=(alone,)), store, options=FEW).pairs == {}
    key = ablation.of("clear", "CXR")[0].run.key[:12]
    reasons_given = {one.reason for one in alone.comparisons if isinstance(one, NotComparable)}
    assert len(reasons_given) == len(alone.comparisons) == 2
    assert f"both are one run ({key})" in reasons_given


@pytest.mark.slow
@pytest.mark.usefixtures("_undrawn")
def test_an_unfinished_run_or_a_failing_store_does_not_fail_the_report(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.requeue([find_run(store, "made/even/CXR/0").run.key, find_run(store, "made/even/CXR/1").run.key])

    def refuse(*_: object, **__: object) -> None:
        raise DataError("broken", where="analysis")

    monkeypatch.setattr(module, "sample_of", refuse)
    heard: list[tuple[int, int]] = []
    write_report(store, html=tmp_path / "r.html", options=FEW, progress=lambda *step: heard.append(step))
    assert "No interval: <bdi>analysis: broken" in (tmp_path / "r.html").read_text("utf-8")
    assert heard == sorted(set(heard))
    assert heard[-1] == (8, 8)


def test_reasons_are_one_line() -> None:
    assert reasons(
        [
            PairStatistics(),
            PairStatistics(why="a"),
            PairStatistics(why="a"),
            PairStatistics(why="b"),
            PairStatistics(why="c"),
        ]
    ) == ("a (and 2 more reasons)")
    assert reasons([PairStatistics()]) == ""


def test_a_report_without_a_store_has_no_intervals(page: str, model: ReportModel) -> None:
    text = words(page)
    assert "Verdict" not in text
    assert "No interval for the difference of +" in text
    assert model.statistics == Statistics()
    assert isinstance(model.ablations[0], AblationSection)
