"""The report's tables as CSV: complete, in full precision, in files of safe and stable names."""

from __future__ import annotations

import csv
import hashlib
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_fixtures import HOSTILE, WHEN, Sample
from statistics_fixtures import FEW, two_settings

from mmad.analysis.report_frame import load_frame
from mmad.analysis.verdicts import compute_statistics
from mmad.base.errors import ReportError
from mmad.base.paths import file_stem
from mmad.config.protocol import EvaluationProtocol
from mmad.data.phantom.generate import make_phantom
from mmad.evaluation.operating_points import gaps
from mmad.report.sections import AblationSection, ReportModel, build_model, mirrored
from mmad.report.tables import all_tables
from mmad.report.write_report import write_report
from mmad.report.writers.tables import write_tables
from mmad.store.store import Store

SAFE = re.compile(r"[a-z0-9][a-z0-9_-]*--[a-z0-9-]+|_[a-z0-9_-]*--[a-z0-9-]+")


@pytest.fixture(scope="module")
def folder(model: ReportModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("tables")
    write_tables(all_tables(model), csv=place)
    return place


#: How pandas reads every digit, which it does by itself from its third version on.
EVERY_DIGIT: dict[str, Any] = {} if int(pd.__version__.partition(".")[0]) >= 3 else {"float_precision": "round_trip"}


def read(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / f"{name}.csv", keep_default_na=False, na_values=["", "nan"], **EVERY_DIGIT)


def test_every_table_is_a_file_of_its_own(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {
        "patience--pairs-1.csv", "patience--measures-1.csv", "patience--documented.csv", "patience--parameters.csv",
        "patience--runs.csv", "patience--best-epochs.csv", "patience--checkpoints.csv", "patience--findings.csv",
        "quickstart--pairs-1.csv", "quickstart--measures-1.csv", "quickstart--pairs-2.csv",
        "quickstart--measures-2.csv", "quickstart--parameters.csv", "quickstart--runs.csv",
        "quickstart--best-epochs.csv", "quickstart--checkpoints.csv", "quickstart--findings.csv",
        "runs.csv", "epochs.csv", "columns.csv",
    }  # fmt: skip


def measures(folder: Path, ablation: AblationSection, n: int, setting: str) -> Iterator[tuple[Any, Any]]:
    table = read(folder, f"{ablation.frame.record.name}--measures-{n}")
    yield from table[table["setting"] == setting].set_index(["split", "measure"]).iterrows()


def test_a_pair_has_the_figures_of_the_report_in_full(folder: Path, model: ReportModel) -> None:
    for ablation in model.ablations:
        for n, comparison in enumerate(ablation.comparisons, start=1):
            table = read(folder, f"{ablation.frame.record.name}--pairs-{n}").set_index("setting")
            for row in comparison.rows:
                found = table.loc[row.setting]
                for side in ("reference", "other", "difference"):
                    figure = getattr(row.test_ap, side)
                    if figure is None:
                        assert math.isnan(found[f"test_ap_{side}"])
                    else:
                        assert found[f"test_ap_{side}"] == figure.mean  # to the last bit
                        assert figure.sd is None or found[f"test_ap_{side}_sd"] == figure.sd
                    for (split, measure), other in measures(folder, ablation, n, row.setting):
                        assert other[f"figure_{side}"] == getattr(getattr(row, f"{split}_{measure.lower()}"), side).mean
                assert (found["reference"], found["other"]) == (comparison.reference, comparison.other)
                assert found["seeds"] == len(row.seeds)
                assert (found["overlap"], found["proposals"], found["checkpoint"]) == ("iou", "clean", "best_ap")


def test_runs_show_what_varies_and_epochs_lead_to_them(folder: Path, model: ReportModel) -> None:
    runs, epochs = read(folder, "runs"), read(folder, "epochs").fillna({"split": ""})
    assert len(runs) == sum(len(a.frame.members) for a in model.ablations)
    varied = [c for c in runs.columns if c.startswith(("setup.", "protocol."))]
    assert {"setup.use_clinical", "setup.batch_size", "setup.loss_weights", "protocol.epochs"} <= set(varied)
    assert not {"setup.lr", "protocol.seed"} & set(varied)
    patience = read(folder, "patience--runs").set_index("setting")
    assert list(patience.loc["patience 10", "setup.reduceLROnPlateau_patience"]) == [10, 10]
    one_row = {row["key"]: row for row in runs.to_dict("records")}
    assert len(one_row) == len(runs)
    columns = (epochs[name] for name in ("run", "epoch", "split", "metric", "value"))  # no split: of the whole epoch
    figures = {(run, epoch, split, metric): value for run, epoch, split, metric, value in zip(*columns, strict=True)}
    assert len(figures) == len(epochs)
    for section in model.runs:
        key, row = section.run.key[:12], one_row[section.run.key]
        assert row["run"] == key
        assert row["time_s"] == pytest.approx(sum(epoch.seconds for epoch in section.run.epochs))
        for record in section.run.epochs:
            for metric in record.metrics:
                assert figures[key, record.epoch, metric.split, metric.name] == metric.value
            assert figures[key, record.epoch, "", "time_s"] == record.seconds
            assert figures[key, record.epoch, "", "peak_memory_bytes"] == record.peak_memory
    assert len(epochs) == sum(3 + len(e.metrics) for section in model.runs for e in section.run.epochs)


def test_parameters_and_documented_figures_equal_the_report(folder: Path, model: ReportModel) -> None:
    patience = model.ablations[0]
    counts = read(folder, "patience--parameters").set_index(["setting", "arm", "module"])["parameters"]
    for member in patience.frame.members:
        for count in member.run.counts:
            assert counts[member.record.setting, member.record.arm, count.module] == count.count
    beside = read(folder, "patience--documented")
    for row, (_, found) in zip(mirrored(patience.frame), beside.iterrows(), strict=True):
        documented, measured = row.figures[0]
        assert (found["entry"], found["test_ap_documented"]) == (row.entry, documented)
        assert found["test_ap_measured"] == measured


def test_every_column_is_explained_and_ends_with_its_unit(folder: Path) -> None:
    explained = read(folder, "columns")
    for path in folder.glob("*.csv"):
        if path.name != "columns.csv":
            with path.open(newline="", encoding="utf-8") as lines:
                head = next(csv.reader(lines))
            assert list(explained[explained["file"] == path.name]["column"]) == head
            assert len(set(head)) == len(head)
    assert explained["meaning"].notna().all()
    units = explained.drop_duplicates("column").set_index("column")["unit"]
    assert units["time_s"] == "s"
    assert units["test_ap_reference"] == "fraction"
    assert units["parameters"] == "parameters"


@pytest.mark.slow
def test_intervals_verdicts_and_thresholds_equal_the_store(tmp_path: Path) -> None:
    dataset = make_phantom(tmp_path / "phantom", studies=60, image_size=64)
    with Store.open(two_settings(tmp_path, dataset)) as store:
        statistics = compute_statistics(load_frame(store), store, options=FEW)
        model = build_model(load_frame(store), created=WHEN, database="x", statistics=statistics)
        written = write_report(store, csv=tmp_path / "out", latex=tmp_path / "out", options=FEW)
    assert (written.html, written.markdown) == (None, None)
    (ablation,) = model.ablations
    pairs = read(tmp_path / "out", "made--pairs-1").set_index("setting")
    for row in ablation.comparisons[0].rows:
        stats = statistics.pair(row)
        found = pairs.loc[row.setting]
        assert stats.difference is not None
        said = replace(row, statistics=stats)
        assert (found["verdict"], found["verdict_words"], found["p"], found["p_pointwise"]) == (
            said.verdict,
            said.sentence,
            stats.difference.p,
            stats.difference.p_pointwise,
        )
        assert (found["test_ap_difference_low"], found["test_ap_difference_high"]) == (
            stats.difference.ap.low,
            stats.difference.ap.high,
        )
    profiles = [statistics.run(member).profile for member in ablation.frame.members]  # type: ignore[union-attr]
    scores = read(tmp_path / "out", "made--thresholds-1")
    assert list(scores["ap"]) == [r.ap for p in profiles for r in p.rows]  # type: ignore[union-attr]
    assert list(scores["ap_gap"]) == [g for p in profiles for g in gaps(p.rows)]  # type: ignore[union-attr]
    lows = [b.gap.low for p in profiles for b in p.bands]  # type: ignore[union-attr]
    assert list(scores["ap_gap_low"]) == pytest.approx(lows, abs=0, nan_ok=True)
    apart, errors = (read(tmp_path / "out", f"made--{name}") for name in ("classification", "errors"))
    diagnoses = [statistics.run(member).diagnosis for member in ablation.frame.members]  # type: ignore[union-attr]
    images = [one for found in diagnoses for one in found.images]  # type: ignore[union-attr]
    kept = apart.query("of == 'images'")
    for name in ("sensitivity", "specificity", "auroc"):
        figures = [getattr(one, name) for one in images]
        assert list(kept[name]) == pytest.approx([x.value for x in figures], abs=0, nan_ok=True)
        assert list(kept[f"{name}_low"]) == pytest.approx([x.low for x in figures], abs=0, nan_ok=True)
    gained = [one.ap for found in diagnoses for one in found.errors.kinds]  # type: ignore[union-attr]
    assert list(errors["ap_gained"][~errors["error"].str.startswith("all")]) == gained
    froc = read(tmp_path / "out", "made--froc").query("finding == 'all findings'").set_index("run")
    for member in ablation.frame.members:
        band = statistics.run(member).profile.froc_band  # type: ignore[union-attr]
        own = froc.loc[member.run.key[:12]]
        assert list(own["sensitivity"]) == [*(x.value for x in band.sensitivity), band.score.value]
    findings = read(tmp_path / "out", "made--findings-pairs-1")
    assert set(findings["setting"]) == {"clear", "even"}
    confusion = read(tmp_path / "out", "made--confusion")
    assert (confusion["true"] == "nothing there").any()
    assert len(read(tmp_path / "out", "made--reliability")) > 0


def test_tables_of_different_protocols_are_different_files(tmp_path: Path) -> None:
    sample = Sample()
    sample.ablation("a", "A", "")
    for overlap in ("iou", "iobb"):
        for arm in ("CXR", "CXR+Clinical"):
            evaluation = EvaluationProtocol(overlap=overlap)  # type: ignore[arg-type]
            sample.member(overlap, arm, evaluation=evaluation, protocol={"epochs": 3})
    model = build_model(load_frame(sample.source), created=WHEN, database="x")
    write_tables(all_tables(model), csv=tmp_path)
    assert [set(read(tmp_path, f"a--pairs-{n}")["overlap"]) for n in (1, 2)] == [{"iou"}, {"iobb"}]


def test_hostile_names_stay_in_the_folder_and_within_their_cells(hostile_model: ReportModel, tmp_path: Path) -> None:
    place = tmp_path / "deep" / "tables"
    files, sources = write_tables(all_tables(hostile_model), csv=place, latex=place)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == {*files, *sources}
    for path in files:
        assert path.name in ("epochs.csv", "columns.csv") or SAFE.fullmatch(path.stem)
        with path.open(newline="", encoding="utf-8") as lines:
            rows = list(csv.reader(lines, strict=True))
        assert len({len(row) for row in rows}) == 1
    (pairs,) = [path for path in files if path.name.endswith("--pairs-1.csv")]
    assert set(read(place, pairs.stem)["ablation"]) == {HOSTILE[0]}


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "<script>", "x" * 5000, "", ".", "..", "CON", "a/b", "\ud800", "A"]
)
def test_a_name_becomes_a_safe_file_name(name: str) -> None:
    stem = file_stem(name, "runs")
    assert SAFE.fullmatch(stem)
    assert len(stem) < 90
    assert hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8] in stem


@given(st.text(), st.text())
def test_two_names_never_share_a_file(one: str, other: str) -> None:
    a, b = (file_stem(name, "runs") for name in (one, other))
    assert SAFE.fullmatch(a)
    assert (a.lower() == b.lower()) == (one == other)


def test_a_name_made_to_look_like_another_s_file_has_a_file_of_its_own() -> None:
    taken = file_stem("A", "runs").removesuffix("--runs")
    assert file_stem(taken, "runs") != f"{taken}--runs"
    assert file_stem(file_stem("", "x")[:8], "x") != file_stem("", "x")


def test_plain_names_stay_as_they_are() -> None:
    assert file_stem("fuse_depth-2", "pairs-1") == "fuse_depth-2--pairs-1"


def test_a_cell_is_not_a_formula(tmp_path: Path) -> None:
    sample = Sample()
    sample.ablation("a", "A", "")
    sample.member("=HYPERLINK(1)", "-x", protocol={"epochs": 2})
    write_tables(all_tables(build_model(load_frame(sample.source), created=WHEN, database="x")), csv=tmp_path)
    row = read(tmp_path, "a--runs").iloc[0]
    assert (row["setting"], row["arm"]) == ("'=HYPERLINK(1)", "'-x")


def test_nan_reads_back_as_nan(tmp_path: Path) -> None:
    sample = Sample()
    sample.ablation("a", "A", "")
    key = sample.member("s", "CXR", protocol={"epochs": 1})
    record = sample.source.epochs[key][0]
    sample.source.epochs[key] = [replace(record, seconds=math.nan)]
    write_tables(all_tables(build_model(load_frame(sample.source), created=WHEN, database="x")), csv=tmp_path)
    assert f"{key[:12]},1,,time_s,nan\n" in (tmp_path / "epochs.csv").read_text("utf-8")
    assert not [
        t for t in all_tables(build_model(load_frame(sample.source), created=WHEN, database="x")) if not t.columns
    ]


def test_a_folder_that_cannot_be_made_is_named(model: ReportModel, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        ReportError, match=r"file/patience--pairs-1\.csv: cannot be written .*choose another folder with --csv"
    ):
        write_tables(all_tables(model), csv=tmp_path / "file")
