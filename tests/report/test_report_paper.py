"""The paper's table: documented beside measured, with intervals, in three forms, over partial results too."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import analysis_fixtures as made
import pytest

from mmad.analysis.cached_statistics import estimate_of
from mmad.analysis.evaluation_target import DetectionStore, EvaluationOptions, evaluation_target
from mmad.analysis.report_frame import load_frame
from mmad.base.errors import ReportError
from mmad.config.runs import Member
from mmad.data.dataset import DataSet
from mmad.data.phantom.generate import make_phantom
from mmad.report.paper import MEASURES, paper_table
from mmad.report.write_report import write_paper
from mmad.report.writers.html import table_page
from mmad.report.writers.latex import as_latex, latex
from mmad.report.writers.tables import as_csv
from mmad.store.lookup import find_seeds
from mmad.store.store import Store

ENTRIES = {"CXR": "e098", "CXR+Clinical": "e099"}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return make_phantom(tmp_path_factory.mktemp("data") / "phantom", studies=150, image_size=64)


def _members(dataset: DataSet) -> list[Member]:
    asked = [made.member(dataset, arm, seed) for seed in (0, 1) for arm in made.ARMS]
    return [replace(one, documented=ENTRIES[one.arm]) for one in asked]


@pytest.fixture
def store(dataset: DataSet, tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "db" / "mmad.sqlite") as opened:
        made.record(opened, _members(dataset))
        yield opened


@pytest.fixture
def full(store: Store, dataset: DataSet) -> Store:
    for one in _members(dataset):
        made.finish(store, one, dataset, made.SKILLS[one.arm])
    return store


def test_documented_figures_stand_below_measured_ones_with_their_intervals(full: Store) -> None:
    table = paper_table(full, ablation="made")
    assert list(zip(table.frame["arm"], table.frame["source"], strict=True)) == [
        pair for arm in made.ARMS for pair in ((arm, "measured"), (arm, ENTRIES[arm]))
    ]
    measured, documented = table.frame.iloc[2], table.frame.iloc[3]
    assert (documented["parameters"], measured["seeds"]) == (3_213_856, 2)
    assert [documented[name] for name in MEASURES] == [0.2239, 0.4854, 0.258, 0.5159]
    for split in ("val", "test"):
        how = EvaluationOptions(split=split, checkpoint="best_ap")  # type: ignore[arg-type]
        seeds = [evaluation_target(full, one, how) for one in find_seeds(full, "made/default/CXR+Clinical")]
        found = estimate_of(full, DetectionStore(), seeds).estimate
        for name, value in (("ap", found.ap), ("ar", found.ar)):
            held = tuple(measured[f"{split}_{name}{end}"] for end in ("", "_low", "_high"))
            assert held == (value.value, value.low, value.high)
        assert found.ap.low < found.ap.value < found.ap.high
    assert not table.footnotes


def test_the_mean_of_the_store_equals_the_mean_of_the_stored_detections(full: Store) -> None:
    frame = load_frame(full, ["made"]).ablations[0]
    rows = paper_table(full, ablation="made").frame.query("source == 'measured'")
    for _, row in rows.iterrows():
        best = [m.best_ap for m in frame.members if m.record.arm == row["arm"]]
        for name in MEASURES:
            assert row[name] == pytest.approx(sum(getattr(one, name) for one in best) / 2, abs=1e-12)


def test_what_is_not_finished_has_its_documented_figures_and_a_note(store: Store, dataset: DataSet) -> None:
    made.finish(store, _members(dataset)[0], dataset, 0.5)
    table = paper_table(store, ablation="made")
    assert list(table.frame["seeds"]) == [1, None, 0, None]
    assert table.footnotes == ("CXR: queued at epoch 0", "CXR+Clinical: queued at epoch 0; queued at epoch 0")
    assert list(table.frame["val_ap"])[2:] == [None, 0.2239]


def test_figures_stay_without_intervals_where_detections_are_missing(full: Store, dataset: DataSet) -> None:
    shutil.rmtree(full.run_paths(_members(dataset)[0].run.key).folder)
    table = paper_table(full, ablation="made")
    row = table.frame.iloc[0]
    assert row["test_ap"] > 0
    assert row["test_ap_low"] is None
    assert "no interval: " in table.footnotes[0]
    assert " {[}" not in as_latex(table).split("CXR & ")[1].split("\n")[0]


def test_three_files_are_written_and_hold_the_same(full: Store, tmp_path: Path) -> None:
    table, files = write_paper(full, tmp_path / "reports" / "paper.v1", ablation="made")
    assert [path.name for path in files] == ["paper.v1.html", "paper.v1.tex", "paper.v1.csv"]
    page, tex, rows = (path.read_text("utf-8") for path in files)
    assert (page, tex, rows) == (table_page(table), as_latex(table), as_csv(table))
    lines = list(csv.DictReader(io.StringIO(rows)))
    assert [line["arm"] for line in lines] == [arm for arm in made.ARMS for _ in range(2)]
    row = table.frame.iloc[2]
    assert float(lines[2]["test_ap_low"]) == row["test_ap_low"]
    within = f"{row['test_ap_low']:.3f}, {row['test_ap_high']:.3f}]"
    assert f"{row['test_ap']:.3f} & {{[}}{within}" in tex
    for form in (page, tex):
        assert f"{row['test_ap']:.3f}" in form
        assert within in form
        assert "0.209" in form
        assert "1,507,529" in form
        assert "REFLACX" in form
    assert tex.count(r"\\") == 1 + len(table.frame)
    assert "<script" not in page
    assert "http:" not in page


def test_published_rows_stand_beside_the_same_checkpoint_and_the_better_testing_one(
    dataset: DataSet, tmp_path: Path
) -> None:
    entries = {"CXR": "n008", "CXR+Clinical": "n006"}
    asked = [replace(one, documented=entries[one.arm]) for one in _members(dataset)]
    with Store.open(tmp_path / "db" / "mmad.sqlite") as store:
        made.record(store, asked)
        for one in asked:
            made.finish(store, one, dataset, made.SKILLS[one.arm])
        table, files = write_paper(store, tmp_path / "paper", ablation="made")
        frame = load_frame(store, ["made"]).ablations[0]
    rows = table.frame.query("arm == 'CXR+Clinical'")
    assert list(zip(rows["source"], rows["checkpoint"], rows["epoch"], strict=True))[1:3] == [
        ("n006", "best_ap", 43),
        ("published", "best_ar", 41),
    ]
    assert list(rows["checkpoint"]) == ["best_ap", "best_ap", "best_ar", "best_ar", "higher_test_ap"]
    assert [rows.iloc[2][name] for name in MEASURES] == [0.1984, 0.5476, 0.2757, 0.6038]
    members = [m for m in frame.members if m.record.arm == "CXR+Clinical"]
    better = [max(one.test_ap for _, one in m.outcomes[:2] if one is not None) for m in members]
    assert rows.iloc[4]["test_ap"] == pytest.approx(sum(better) / len(better))
    assert "for reproduction alone" in rows.iloc[4]["note"]
    assert "published" not in set(table.frame.query("arm == 'CXR'")["source"])  # n008 is no published row
    assert "no mask head" in table.note
    assert not table.footnotes
    assert [path.name for path in files] == [
        f"{name}.{ending}"
        for name in ("paper", "paper-findings", "paper-features")
        for ending in ("html", "tex", "csv")
    ]
    found = list(csv.DictReader(io.StringIO((tmp_path / "paper-findings.csv").read_text("utf-8"))))
    assert {row["run"] for row in found} == {"n006"}
    assert [row["published_ap"] for row in found if row["finding"] == "Pulmonary edema"] == ["0.2226"]
    features = list(csv.DictReader(io.StringIO((tmp_path / "paper-features.csv").read_text("utf-8"))))
    assert [(row["columns"], row["published_ap"]) for row in features][:3:2] == [
        ("all", "0.31685"),
        ("gender", "0.20368"),
    ]


def test_an_ablation_that_was_never_started_names_the_command(store: Store) -> None:
    with pytest.raises(ReportError, match="no ablation 'mdf_net'") as caught:
        paper_table(store)
    assert caught.value.hint == "the published table is repeated by `mmad ablate ablations/mdf_net.toml`"


def test_two_protocols_are_never_in_one_table(store: Store, dataset: DataSet) -> None:
    first, second = _members(dataset)[:2]
    other = second.evaluation.model_copy(update={"overlap": "iobb"})
    made.record(store, [first, replace(second, evaluation=other)])
    with pytest.raises(ReportError, match="cannot be compared: overlap iou / iobb; run the whole file"):
        paper_table(store, ablation="made")


def test_latex_reads_no_letter_as_a_command() -> None:
    assert latex("5 % of a_b & c\n#1 \\x {~^}") == (
        r"5 \% of a\_b \& c \#1 \textbackslash{}x \{\textasciitilde{}\textasciicircum{}\}"
    )
