"""``mmad eval`` on kept detections: words, JSON, refusals; nothing of torch unless it has to look again."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mmad
from mmad.config.runs import RECIPE
from mmad.evaluation import detections_file as files
from mmad.evaluation.detections_file import read_detections, write_detections
from mmad.store.store import Store

CXR, CLINICAL = "made/default/CXR", "made/default/CXR+Clinical"
Call = Callable[..., Any]


@pytest.mark.slow
def test_parts_of_the_split_are_asked_for_once_and_shown_in_the_report(
    call_judged: Call, call_mmad: Call, judged_world: Any, tmp_path: Path
) -> None:
    base = ("--by", "gender", "--by", "age", "--json")
    (run,) = json.loads(call_judged("eval", f"{CXR}/0", *base).out)["runs"]
    parts = run["subgroups"]
    assert [(one["column"], one["level"]) for one in parts if one["column"] == "gender"] == [
        ("gender", "F"),
        ("gender", "M"),
        ("gender", "not known"),
    ]
    assert {one["score"] for one in parts} == {run["diagnosis"]["score"]}
    for column in ("gender", "age"):
        assert sum(one["images"] for one in parts if one["column"] == column) == run["images"]
    (pair,) = json.loads(call_judged("compare", CXR, CLINICAL, *base).out)["pairs"]
    assert {one["column"] for one in pair["interactions"]} == {"gender", "age"}
    with Store.open(judged_world.database) as store:
        assert (len(store.analyses("subgroups")), len(store.analyses("interactions"))) == (2, 1)
    where = ("--db", judged_world.database)
    called = call_mmad("report", "--md", "--out", tmp_path / "page", "--pictures", "0", *where)
    assert called.code == 0, called.err
    page = (tmp_path / "page.md").read_text()
    assert "Parts of the split on test" in page
    assert "Do the arms differ more in some patients?" in page
    called = call_mmad("report", "--csv", tmp_path / "tables", "--by", "acuity", *where)
    assert called.code == 0, called.err
    (asked,) = (tmp_path / "tables").glob("*--interactions-1.csv")
    assert {line.split(",")[6] for line in asked.read_text().splitlines()[1:]} == {"acuity"}
    refused = call_mmad("report", "--csv", tmp_path / "tables", "--by", "sex", *where)
    assert (refused.code, refused.err.count("mmad:"), "--by: unknown column 'sex'" in refused.err) == (2, 1, True)
    for words in (("eval", CXR), ("compare", CXR, CLINICAL), ("compare", "made")):
        refused = call_judged(*words, "--by", "sex")
        assert (refused.code, refused.err.count("mmad:"), "--by: unknown column 'sex'" in refused.err) == (2, 1, True)


@pytest.mark.slow
def test_json_has_an_entry_per_run_overlap_and_protocol(call_judged: Call, judged_world: Any) -> None:
    called = call_judged("eval", CXR, f"{CLINICAL}/0", "--overlap", "iou,iobb", "--coco", "--json")
    assert (called.code, called.err) == (0, "")
    runs = json.loads(called.out)["runs"]
    assert [(r["arm"], r["seed"], r["overlap"]) for r in runs] == [
        (arm, seed, overlap)
        for overlap in ("iou", "iobb")
        for arm, seed in (("CXR", 0), ("CXR", 1), ("CXR+Clinical", 0))
    ]
    first = runs[0]
    assert (first["checkpoint"], first["epoch"], first["split"], first["proposals"]) == ("best_ap", 3, "test", "clean")
    assert first["ap"]["low"] <= first["ap"]["value"] <= first["ap"]["high"]
    assert [row["score"] for row in first["thresholds"]] == [0.05, 0.1, 0.3]
    assert first["thresholds"][0]["gap"] == 0
    assert first["thresholds"][2]["gap"] == first["thresholds"][2]["ap"] - first["thresholds"][0]["ap"]
    assert len(first["confusion"]["counts"]) == len(first["confusion"]["labels"]) + 1
    assert sum(b["count"] for b in first["calibration"]["bins"]) > 0
    assert set(first["froc"]) == {"rates", "sensitivity", "score", "per_class", "intervals"}
    sensitivity = first["froc"]["intervals"]["sensitivity"]
    assert [within["value"] for within in sensitivity] == first["froc"]["sensitivity"]
    for row in first["thresholds"]:
        assert set(row["intervals"]) == {"ap", "ar", "precision", "recall", "f1", "gap"}
        for name, within in row["intervals"].items():
            assert within["value"] == pytest.approx(row[name])
            assert name == "precision" or within["low"] <= within["high"]
            assert (within["low"] is None) == (within["patients"] < 10)
    assert first["coco"]["figures"]["AP50"] == pytest.approx(first["ap"]["value"], abs=0.05)
    with Store.open(judged_world.database) as store:
        assert len(store.analyses("estimate")) == len(store.analyses("coco")) == 6
        (row,) = (
            e for e in store.evaluations(first["key"]) if (e.kind, e.split, e.overlap) == ("best_ap", "test", "iou")
        )
    assert first["ap"]["value"] == pytest.approx(row.ap)


def test_people_read_the_log_s_threshold_table(call_judged: Call) -> None:
    called = call_judged("eval", f"{CXR}/0", f"{CLINICAL}/0", "--per-class", "--score-thresholds", "0.05,0.8")
    assert (called.code, called.err) == (0, "")
    lines = [" ".join(line.split()) for line in called.out.splitlines()]
    assert any(
        line.startswith("test, best_ap, iou ≥ 0.5, 10 detections per image, clean proposals (") for line in lines
    )
    start = lines.index("Operating points")
    assert lines[start + 2] == "Run Score AP Gap AR Precision Recall F1 Per image"
    assert re.match(r"CXR ≥ 0.05 0\.\d+ \S+ \S+ 0.000 ", lines[start + 4])
    assert re.match(r"CXR ≥ 0.8 0\.\d+ \S+ \S+ −0\.", lines[start + 5])
    assert lines[start + 6].startswith("CXR+Clinical ≥ 0.05")
    assert "CXR: true (rows) against detected, score ≥ 0.8" in lines
    assert "Run Finding Patients AP AR" in lines


@pytest.mark.slow
def test_an_ensemble_of_seeds_is_a_detector_of_its_own(call_judged: Call, judged_world: Any) -> None:
    called = call_judged("eval", "made", "--ensemble", "--json")
    assert (called.code, called.err) == (0, "")
    found = {run["arm"]: run for run in json.loads(called.out)["runs"]}
    assert list(found) == ["CXR", "CXR+Clinical"]
    single = json.loads(call_judged("eval", CXR, "--json").out)["runs"]
    run = found["CXR"]
    assert [run[name] for name in ("key", "seed", "replicate", "epoch")] == [None] * 4
    assert [one["key"] for one in run["ensemble"]["runs"]] == [one["key"] for one in single]
    assert "never the estimand" in run["ensemble"]["note"]
    assert [one["ensemble"] for one in single] == [None, None]
    # what one of them sees is seen by both together, unlike either alone
    assert run["ar"]["value"] > max(one["ar"]["value"] for one in single)
    assert run["diagnosis"]["score"] is not None
    assert run["images"] == single[0]["images"]
    table = call_judged("eval", CXR, "--ensemble")
    assert "made/default/CXR/ensemble of 2 seeds" in " ".join(table.out.split())
    assert "no verdict is about it" in " ".join(table.out.split())
    compared = json.loads(call_judged("compare", "made", "--json").out)
    assert [pair["seeds"] for pair in compared["pairs"]] == [[0, 1]]
    refused = call_judged("eval", f"{CXR}/0", "--ensemble")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "made/default/CXR/0: is one run, and an ensemble is of several" in refused.err
    with Store.open(judged_world.database) as store:
        assert mmad.evaluate(store, CXR, ensemble=True).ap.value == run["ap"]["value"]


def test_an_external_data_set_that_is_gone_hides_no_figures_of_the_runs(call_judged: Call, judged_world: Any) -> None:
    own = json.loads(call_judged("eval", "made", "--json").out)
    source = "".join(f'[[external]]\nname = "{name}"\ndir = "{name}"\n' for name in ("one", "two"))
    with contextlib.closing(sqlite3.connect(judged_world.database)) as connection, connection:
        connection.execute("UPDATE ablations SET source = ?", (source,))
    called = call_judged("eval", "made", "--json")
    assert (called.code, json.loads(called.out)) == (2, own)
    lines = called.err.splitlines()
    assert [line.startswith("mmad: not evaluated on external data: ") for line in lines] == [True, True]


def test_runs_of_an_older_recipe_are_evaluated_and_compared_among_themselves(
    call_judged: Call, judged_world: Any
) -> None:
    words = (("eval", CXR, "--json"), ("compare", CXR, CLINICAL, "--json"))
    before = [call_judged(*command) for command in words]

    def trained_under(recipe: int) -> None:
        with contextlib.closing(sqlite3.connect(judged_world.database)) as connection, connection:
            connection.execute("update runs set recipe = ?", (recipe,))

    trained_under(RECIPE - 1)
    try:
        assert [call_judged(*command) for command in words] == before
        assert {called.code for called in before} == {0}
    finally:
        trained_under(RECIPE)


def test_a_second_call_reads_what_the_first_kept(call_judged: Call, judged_world: Any) -> None:
    first = call_judged("eval", CXR, "--json")
    with Store.open(judged_world.database) as store:
        kept = store.analyses()
    assert call_judged("eval", CXR, "--json").out == first.out
    with Store.open(judged_world.database) as store:
        assert store.analyses() == kept


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("made/default/CRX",), "no run 'made/default/CRX'; did you mean"),
        ((CXR, "--split", "train"), "--split: unknown word 'train'; expected one of val, test"),
        ((CXR, "--overlap", "iuo"), "--overlap: unknown word 'iuo'; did you mean iou?"),
        ((CXR, "--proposals", "clean,dirty"), "--proposals: unknown word 'dirty'"),
        ((CXR, "--checkpoint", "last"), "--checkpoint: unknown word 'last'"),
        ((CXR, "--checkpoint", "best_ar"), "kept no checkpoint best_ar; choose one of best_ap, final"),
        ((CXR, "--score-thresholds", "0.1,1.5"), "score thresholds [0.1, 1.5]; use numbers from 0 to 1"),
        ((CXR, "--score-thresholds", "low"), "--score-thresholds: 'low' is not a number"),
        ((CXR, "--score-thresholds", "nan"), "score thresholds [nan]; use numbers from 0 to 1"),
        ((CXR, "--data", "nowhere"), "nowhere"),
    ],
    ids=lambda given: "-".join(given) if isinstance(given, tuple) else "",
)
def test_bad_input_is_one_line_and_exit_code_2(call_judged: Call, words: tuple[str, ...], message: str) -> None:
    called = call_judged("eval", *words, "--json")
    assert (called.code, called.out) == (2, "")
    assert message in called.err
    assert called.err.count("\n") == 1


def test_a_run_that_is_not_finished_is_refused(call_judged: Call, judged_world: Any) -> None:
    with Store.open(judged_world.database) as store:
        assert store.requeue([judged_world.keys["CXR", 0]], ["finished"])
        assert store.end_free(judged_world.keys["CXR", 0], "interrupted")
    called = call_judged("eval", f"{CXR}/0")
    assert called.code == 2
    assert "run made/default/CXR/0: is interrupted at epoch 0 of 3; evaluate it once it is finished" in called.err


def test_missing_detections_name_the_command(call_judged: Call, judged_world: Any) -> None:
    key = judged_world.keys["CXR", 0]
    with Store.open(judged_world.database) as store:
        store.run_paths(key).detections(3, "test", "clean").unlink()
    called = call_judged("eval", f"{CXR}/0")
    assert called.code == 2
    assert f"are not kept; make them with `mmad eval {key[:12]} --again --proposals clean`" in called.err


def test_scores_that_are_not_finite_name_the_study(
    call_judged: Call, judged_world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(judged_world.database) as store:
        file = store.run_paths(judged_world.keys["CXR", 0]).detections(3, "test", "clean")
    found = read_detections(file)
    found.scores[2] = float("nan")
    with monkeypatch.context() as patch:
        patch.setattr(files, "check_detections", lambda detections: None)
        write_detections(file, found)
    called = call_judged("eval", f"{CXR}/0")
    assert called.code == 2
    assert f"a score that is not finite, the first in study '{found.studies[found.study[2]]}'" in called.err


def test_a_database_that_cannot_be_written_is_judged_and_left_alone(
    call_judged: Call, judged_world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert call_judged("eval", CXR).code == 0
    monkeypatch.undo()
    with Store.open(judged_world.database) as store:
        assert store.analyses() == []


@pytest.mark.slow
def test_judging_what_is_kept_imports_no_torch(judged_world: Any, tmp_path: Path) -> None:
    code = (
        "import json, sys\nfrom mmad.cli.app import main\n"
        "for sys.argv in json.loads(sys.argv[1]):\n"
        "    try:\n        main()\n    except SystemExit as end:\n        assert not end.code, sys.argv\n"
        "    assert 'torch' not in sys.modules, sys.argv"
    )
    few = ("--resamples", "10", "--db", str(judged_world.database))
    commands = [("eval", CXR, *few[2:]), ("compare", CXR, CLINICAL, *few), ("compare", "--ablation", "made", *few)]
    words = json.dumps([["mmad", *command] for command in commands])
    done = subprocess.run([sys.executable, "-c", code, words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", [["eval", f"{CXR}/0"], ["compare", f"{CXR}/0", f"{CLINICAL}/0"]])
def test_kept_results_never_stand_for_another_folder(
    call_judged: Call, judged_world: Any, command: list[str], tmp_path: Path
) -> None:
    assert call_judged(*command).code == 0  # kept
    assert call_judged(*command, "--data", str(judged_world.dataset.root)).code == 0
    other = tmp_path / "other"
    shutil.copytree(judged_world.dataset.root, other)
    with (other / "boxes.csv").open("a", encoding="utf-8") as table:
        table.write(table_row(other))
    changed = call_judged(*command, "--data", str(other))
    assert (changed.code, changed.out) == (2, "")
    assert "the data set changed" in changed.err
    missing = call_judged(*command, "--data", str(tmp_path / "nowhere"))
    assert (missing.code, missing.out) == (2, "")
    assert "nowhere" in missing.err


def table_row(folder: Path) -> str:
    """The last box once more, a pixel narrower."""
    last = (folder / "boxes.csv").read_text(encoding="utf-8").strip().splitlines()[-1].split(",")
    return ",".join([*last[:4], str(float(last[4]) - 1), *last[5:]]) + "\n"
