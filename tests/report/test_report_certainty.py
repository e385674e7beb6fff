"""Intervals, verdicts and thresholds in the report: the store's figures, and one line why where there are none."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import analysis_worlds as made
import numpy as np
import pytest
from report_worlds import WHEN

from mmad.base.errors import DataError
from mmad.data.dataset import DataSet
from mmad.data.phantom import make_phantom
from mmad.evaluation.controls import drop
from mmad.report import certainty as module
from mmad.report.build import write_report
from mmad.report.certainty import Certainty, Patient, SurePair, look_into
from mmad.report.contrasts import contrasts_of
from mmad.report.controls import Alteration, _subject
from mmad.report.evidence import bounds, by_finding_pair, gap_tables, reasons, settled, sure_rows, tone, verdict_words
from mmad.report.frames import ReportFrame, load_frame
from mmad.report.html import render_html
from mmad.report.judged import Archive, How, judge
from mmad.report.keeping import to_plain
from mmad.report.markdown import render_markdown
from mmad.report.story import AblationStory, Story, tell
from mmad.report.verdicts import interval, verdict
from mmad.report.words import decimal, signed
from mmad.spec.protocol import EvaluationProtocol
from mmad.store.find import find_run
from mmad.store.gateway import Store

FEW = How(resamples=60)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return make_phantom(tmp_path_factory.mktemp("data") / "phantom", studies=60, image_size=64)


@pytest.fixture(scope="module")
def template(dataset: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two settings: one whose second arm is far better, one whose arms are equally good."""
    database = tmp_path_factory.mktemp("made") / "db" / "mmad.sqlite"
    skills = {
        ("clear", "CXR"): 0.1,
        ("clear", "CXR+Clinical"): 0.95,
        ("even", "CXR"): 0.5,
        ("even", "CXR+Clinical"): 0.5,
    }
    members = {
        (setting, arm, seed): made.member(dataset, arm, seed, setting, lr=1e-3 if setting == "clear" else 1e-4)
        for setting, arm in skills
        for seed in (0, 1)
    }
    with Store.open(database) as store:
        made.record(store, list(members.values()))
        for (setting, arm, _), member in members.items():
            made.finish(store, member, dataset, skills[setting, arm])
    return database


@pytest.fixture
def store(template: Path, tmp_path: Path) -> Iterator[Store]:
    shutil.copytree(template.parent, tmp_path / "db")
    with Store.open(tmp_path / "db" / template.name) as opened:
        yield opened


def told(store: Store, found: Certainty, frame: ReportFrame | None = None) -> Story:
    return tell(frame or load_frame(store), created=WHEN, database="x", certainty=found)


def pairs(story: Story) -> dict[str, SurePair]:
    (ablation,) = story.ablations
    (comparison,) = ablation.comparisons
    return {row.setting: sure for row, sure in sure_rows(story.certainty, ablation.frame, comparison)}


def words(page: str) -> str:
    body = re.sub(r"<(script|style)>.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


def test_every_figure_of_a_pair_is_what_mmad_compare_finds(store: Store, one_drawing: None) -> None:
    story = told(store, look_into(load_frame(store), store, how=FEW))
    contrasts, refused = contrasts_of(store, Archive(), "made", FEW)
    assert refused == []
    page, markdown = words(render_html(story)), render_markdown(story, "charts").text.replace("\\", "")
    for contrast in contrasts:
        sure = pairs(story)[contrast.setting]
        assert sure.difference == contrast.difference
        assert sure.p_holm == contrast.p_holm
        assert sure.reference == contrast.reference.measured
        assert sure.other == contrast.other.measured
        for measure in ("ap", "ar"):
            for value in (getattr(sure.reference.estimate, measure), getattr(sure.other.estimate, measure)):
                assert interval(value) in markdown
                assert f"[{decimal(value.low)}, {decimal(value.high)}]" in page
            value = getattr(sure.difference, measure)
            assert interval(value, sign=True) in markdown
            assert f"[{signed(value.low)}, {signed(value.high)}]" in page
        for text in (page, markdown):
            assert verdict(contrast.difference) in text


def test_the_interval_belongs_to_the_figure_beside_it(store: Store) -> None:
    story = told(store, look_into(load_frame(store), store, how=FEW))
    (comparison,) = story.ablations[0].comparisons
    for row in comparison.rows:
        sure = pairs(story)[row.setting]
        assert row.test_ap.difference is not None
        assert sure.difference is not None
        assert sure.difference.ap.value == pytest.approx(row.test_ap.difference.mean, abs=1e-6)


def test_the_words_of_the_verdicts(store: Store) -> None:
    story = told(store, look_into(load_frame(store), store, how=FEW))
    found = pairs(story)
    assert verdict_words(found["clear"]) == "better"
    assert tone(found["clear"]) == "up"
    assert verdict_words(found["even"]).startswith("not settled: ")
    assert tone(found["even"]) == "even"
    ablation = story.ablations[0]
    said = settled(story.certainty, ablation.frame, ablation.comparisons[0])
    assert said == "By their 95 % intervals, of 2 settings 1 is better and 1 is not settled."


def test_the_thresholds_confusion_and_findings_of_every_run_are_shown(store: Store, one_drawing: None) -> None:
    frame = load_frame(store)
    story = told(store, look_into(frame, store, how=FEW), frame)
    page, markdown = words(render_html(story)), render_markdown(story, "charts").text.replace("\\", "")
    ablation = story.ablations[0]
    (table,) = gap_tables(story.certainty, ablation.frame)
    assert len(table.columns) == 8
    assert table.scores == (0.05, 0.1, 0.3)
    for column in table.columns:
        assert column.gaps[0] == 0
        assert column.gaps[2] == pytest.approx(column.rows[2].ap - column.rows[0].ap)
        shown = f"{decimal(column.rows[2].ap)} ({signed(column.gaps[2])})"
        assert shown in markdown
        assert f"{decimal(column.rows[2].ap)} {signed(column.gaps[2])}" in page
    sure = story.certainty.run(ablation.frame.members[0])
    assert sure is not None
    assert sure.profile is not None
    assert sure.curve is not None
    assert sure.measured is not None
    assert np.mean(sure.curve.precision) == pytest.approx(sure.measured.estimate.ap.value)
    row = sure.profile.confusion.counts[0].tolist()
    assert f"{sure.profile.confusion.labels[0]} {' '.join(map(str, row))}" in page
    assert f"| {sure.profile.confusion.labels[0]} | {' | '.join(map(str, row))} |" in markdown
    for finding in by_finding_pair(pairs(story)["clear"]):
        assert interval(finding.difference, sign=True) in markdown
        assert f"{signed(finding.difference.value)} {bounds(finding.difference, sign=True)}".strip() in page


def test_a_second_report_computes_nothing(store: Store, monkeypatch: pytest.MonkeyPatch, dataset: DataSet) -> None:
    first = look_into(load_frame(store), store, how=FEW)
    count = len(store.analyses())
    monkeypatch.setattr(Archive, "matched", lambda self, judged: pytest.fail("computed again"))
    again = look_into(load_frame(store), store, how=FEW)
    assert again.pairs == first.pairs
    assert len(store.analyses()) == count


def test_without_the_data_set_what_was_kept_stays_and_the_rest_says_why(
    store: Store, dataset: DataSet, tmp_path: Path, one_drawing: None
) -> None:
    gone = tmp_path / "gone"
    found = look_into(load_frame(store), store, data=gone, how=FEW)
    story = told(store, found)
    assert all(sure.difference is None and str(gone) in sure.why for sure in found.pairs.values())
    for text in (words(render_html(story)), render_markdown(story, "charts").text):
        assert text.count("No interval: ") == 1
        assert "Verdict" not in text
    kept = look_into(load_frame(store), store, how=FEW)
    assert look_into(load_frame(store), store, data=gone, how=FEW).pairs == kept.pairs


def test_a_missing_data_set_is_looked_for_once(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    looked: list[Path] = []

    def refuse(folder: Path) -> DataSet:
        looked.append(folder)
        raise DataError("not there", where=folder)

    monkeypatch.setattr("mmad.report.judged.load_dataset", refuse)
    found = look_into(load_frame(store), store, how=FEW)
    assert len(looked) == 1
    assert {sure.why for sure in found.runs.values()} == {f"{looked[0]}: not there"}
    assert issubclass(Patient, Archive)


def test_missing_detections_leave_out_one_pair_and_name_the_mend(store: Store, one_drawing: None) -> None:
    judge(store, find_run(store, "made/even/CXR/0"), FEW).file.unlink()
    story = told(store, look_into(load_frame(store), store, how=FEW))
    assert "are not kept; make them with `mmad eval" in pairs(story)["even"].why
    assert pairs(story)["clear"].difference is not None
    assert pairs(story)["clear"].p_holm == pairs(story)["clear"].difference.p  # the only test that is left
    text = words(render_html(story))
    assert "No interval for some rows: run made/even/CXR/0: its detections" in text


def test_a_store_for_reading_only_shows_what_was_kept_and_computes_nothing(store: Store, template: Path) -> None:
    with Store.open(template, read_only=True) as reading:
        found = look_into(load_frame(reading), reading, how=FEW)
        assert all("open for reading only" in sure.why for sure in (*found.pairs.values(), *found.runs.values()))
    kept = look_into(load_frame(store), store, how=FEW)
    with Store.open(store.where, read_only=True) as reading:
        assert look_into(load_frame(reading), reading, how=FEW).pairs == kept.pairs


def test_there_is_no_interval_across_protocols(dataset: DataSet, tmp_path: Path, one_drawing: None) -> None:
    judged = {"CXR": EvaluationProtocol(), "CXR+Clinical": EvaluationProtocol(overlap="iobb")}
    members = [made.member(dataset, arm, 0, evaluation=judged[arm]) for arm in made.ARMS]
    with Store.open(tmp_path / "db" / "mmad.sqlite") as store:
        made.record(store, members)
        for one in members:
            made.finish(store, one, dataset, 0.5)
        frame = load_frame(store)
        found = look_into(frame, store, how=FEW)
    assert found.pairs == {}
    assert {key[1].overlap for key in found.runs} == {"iou", "iobb"}
    story = tell(frame, created=WHEN, database="x", certainty=found)
    tables = gap_tables(found, frame.ablations[0])
    assert [len(table.columns) for table in tables] == [1, 1]
    text = words(render_html(story))
    assert "Not compared:" in text
    assert "Verdict" not in text


def test_one_run_that_answers_both_arms_is_not_compared_with_itself(store: Store) -> None:
    frame = load_frame(store)
    (ablation,) = frame.ablations
    same = tuple(replace(m, run=ablation.of(m.record.setting, "CXR")[0].run) for m in ablation.members)
    found = look_into(replace(frame, ablations=(replace(ablation, members=same),)), store, how=FEW)
    assert {sure.why for sure in found.pairs.values()} == {"both arms are answered by one run"}


def test_kept_controls_are_told_and_those_of_another_checkpoint_are_not(store: Store, one_drawing: None) -> None:
    judged = judge(store, find_run(store, "made/clear/CXR+Clinical/0"), FEW)
    archive = Archive()
    cost = drop(archive.matched(judged), [archive.matched(judged)], resamples=20)
    age, image = Alteration("column", "age"), Alteration("image")
    for alteration in (image, age):
        store.put_analysis("control", _subject(judged, alteration, 5, FEW), to_plain(cost))
    stale = _subject(judged, Alteration("records"), 5, FEW) | {"weights": ["d" * 64]}
    store.put_analysis("control", stale, to_plain(cost))
    story = told(store, look_into(load_frame(store), store, how=FEW))
    (member,) = [m for m in story.ablations[0].frame.of("clear", "CXR+Clinical") if m.record.seed == 0]
    sure = story.certainty.run(member)
    assert sure is not None
    assert [c.alteration for c in sure.controls] == [age, image]
    for text in (words(render_html(story)), render_markdown(story, "charts").text):
        assert "age shuffled" in text
        assert "no reliance on age is seen" in text
        assert "clinical records shuffled" not in text


def test_an_unfinished_run_and_a_store_that_fails_make_no_report_fail(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_drawing: None
) -> None:
    store.requeue([find_run(store, "made/even/CXR/0").run.key, find_run(store, "made/even/CXR/1").run.key])

    def refuse(*_: object, **__: object) -> None:
        raise DataError("broken", where="analysis")

    monkeypatch.setattr(module, "difference_of", refuse)
    heard: list[tuple[int, int]] = []
    write_report(store, html=tmp_path / "r.html", how=FEW, looking=lambda *step: heard.append(step))
    assert "No interval: <bdi>analysis: broken" in (tmp_path / "r.html").read_text("utf-8")
    assert heard[0][0] == 0
    assert heard[-1][0] == heard[-1][1] == len(heard) - 1


def test_reasons_are_one_line() -> None:
    assert reasons([SurePair(), SurePair(why="a"), SurePair(why="a"), SurePair(why="b"), SurePair(why="c")]) == (
        "a (and 2 more reasons)"
    )
    assert reasons([SurePair()]) == ""


def test_a_report_of_no_store_tells_no_intervals(page: str, story: Story) -> None:
    text = words(page)
    assert "Verdict" not in text
    assert "No interval" not in text
    assert story.certainty == Certainty()
    assert isinstance(story.ablations[0], AblationStory)


def test_a_threshold_that_training_did_not_judge_gets_its_figure_with_the_interval(
    dataset: DataSet, tmp_path: Path, one_drawing: None
) -> None:
    asked = EvaluationProtocol(threshold=0.75)
    members = [made.member(dataset, arm, 0, evaluation=asked) for arm in made.ARMS]
    with Store.open(tmp_path / "db" / "mmad.sqlite") as store:
        made.record(store, members)
        for one in members:
            made.finish(store, one, dataset, made.SKILLS[one.arm])
        frame = load_frame(store)
        story = told(store, look_into(frame, store, how=FEW), frame)
    sure = pairs(story)["default"]
    (row,) = story.ablations[0].comparisons[0].rows
    assert row.test_ap.reference is None
    assert sure.reference is not None
    value = sure.reference.estimate.ap
    assert f"{decimal(value.value)} [{decimal(value.low)}, {decimal(value.high)}]" in words(render_html(story))
