"""``mmad controls`` with a network that is made up: words, JSON, refusals, and no second look."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import analysis_fixtures as made
import pandas as pd
import pytest

import mmad
from mmad.analysis.input_controls import Alteration
from mmad.api import results
from mmad.base.paths import RunPaths

CXR, CLINICAL = "made/default/CXR/0", "made/default/CXR+Clinical/0"
Call = Callable[..., Any]


@pytest.fixture
def looks(judged_world: Any, monkeypatch: pytest.MonkeyPatch) -> list[Alteration | None]:
    """A network in the place of the run's that finds less after any alteration; what it was asked."""
    asked: list[Alteration | None] = []
    truth = judged_world.dataset.ground_truth("test")

    class Network:
        run = RunPaths(judged_world.database.parent)

        def detections(self, file: Any, split: str, *, proposals: str, alteration: Any) -> Any:
            asked.append(alteration)
            altered = alteration.columns or alteration.patients or alteration.blank or alteration.missing
            return made.seen(truth, 0.2 if altered else 1.0, alteration.seed, false=0.0)

    monkeypatch.setattr(results, "inference_runner", lambda *_: Network())
    return asked


def test_json_has_every_control(call_judged: Call, looks: list[Any], judged_world: Any) -> None:
    called = call_judged("controls", CLINICAL, "--repeats", "2", "--json")
    assert called.code == 0, called.err
    answer = json.loads(called.out)
    assert (answer["arm"], answer["split"], answer["checkpoint"]) == ("CXR+Clinical", "test", "best_ap")
    found = answer["controls"]
    dataset = judged_world.dataset
    columns = [column.name for column in (*dataset.numeric, *dataset.categorical)]
    assert [(c["kind"], c["column"]) for c in found] == [
        *(("column", name) for name in columns),
        ("records", None),
        ("image", None),
    ]
    assert [c["repeats"] for c in found] == [2] * (len(columns) + 1) + [1]
    assert all(c["ap"]["low"] > 0 for c in found)
    assert found[0]["words"] == f"the run relies on {columns[0]}"
    assert len(looks) == 1 + 2 * (len(columns) + 1) + 1
    looks.clear()
    again = call_judged("controls", CLINICAL, "--repeats", "2", "--json")
    assert (again.out, again.err, looks) == (called.out, "", [])


def test_people_read_a_line_per_control(call_judged: Call, looks: list[Any]) -> None:
    called = call_judged("controls", CLINICAL, "--repeats", "1")
    assert called.code == 0
    lines = called.out.splitlines()
    assert f"{CLINICAL}: test, best_ap, iou ≥ 0.5, 10 detections per image, clean proposals" in lines
    assert "age shuffled: the run relies on age" in lines
    assert "clinical records shuffled: the run relies on the patient's own record" in lines
    assert any(line.startswith("images blanked: the run relies on the image; without it") for line in lines)
    assert called.err == f"{CLINICAL}: inference on altered data …\n"


@pytest.mark.slow
def test_the_clinical_table_needs_no_network(call_judged: Call, call_mmad: Call, judged_world: Any) -> None:
    called = call_mmad("controls", "made", "--table", "--json", "--db", judged_world.database)
    assert called.code == 0, called.err
    answers = json.loads(called.out)
    assert len(answers) == 4
    assert [row["label"] for row in answers[0]["table"]] == list(judged_world.dataset.labels)
    assert answers[0]["table"][0]["logistic"] == answers[1]["table"][0]["logistic"]
    people = call_mmad("controls", CXR, "--table", "--db", judged_world.database)
    assert "Logistic regression" in people.out
    refused = call_judged("controls", CXR, "--table", "--missing", "random")
    assert refused.code == 2
    assert "--missing: has no effect here; leave it out: --table alters nothing" in refused.err


def test_of_an_image_only_run_the_image_alone_is_altered_and_that_is_said(call_judged: Call, looks: list[Any]) -> None:
    called = call_judged("controls", CXR, "--json")
    assert called.code == 0
    assert [c["kind"] for c in json.loads(called.out)["controls"]] == ["image"]
    assert f"{CXR} reads no clinical data: only its image can be altered; for the other controls" in called.err


@pytest.mark.slow
def test_the_missingness_curve_is_a_table_a_figure_and_json(
    call_judged: Call, looks: list[Any], judged_world: Any, tmp_path: Path
) -> None:
    words = ("controls", CLINICAL, "--missing", "random,columns", "--shares", "0.3,0.6")
    called = call_judged(*words, "--json")
    assert called.code == 0, called.err
    found = json.loads(called.out)["controls"]
    assert [(c["kind"], c["mechanism"], c["share"], c["repeats"]) for c in found] == [
        ("missing", mechanism, share, 10) for mechanism in ("random", "columns") for share in (0.3, 0.6)
    ]
    assert {alteration.missing for alteration in looks} == {None} | {
        (mechanism, share) for mechanism in ("random", "columns") for share in (0.3, 0.6)
    }
    looks.clear()
    read = call_judged(*words)
    assert (read.code, looks) == (0, [])
    assert "30 % of the values missing at random: the run needs these values; without them an AP of" in read.out
    with mmad.open_store(judged_world.database) as store:
        mmad.write_report(store, csv=tmp_path / "csv", html=tmp_path / "r.html")
    (table,) = (tmp_path / "csv").glob("*missingness*.csv")
    assert list(pd.read_csv(table)["share"]) == [0.3, 0.6, 0.3, 0.6]
    page = (tmp_path / "r.html").read_text("utf-8")
    assert "Values missing by chance" in page
    assert "60 % of the columns missing" in page


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("made/default/CRX",), "did you mean"),
        (("made/default/CXR",), "is more than one run"),
        ((CXR, "--repeats", "0"), "repeats = 0; use 1 to 1000"),
        ((CXR, "--split", "both"), "--split: unknown word 'both'"),
        ((CLINICAL, "--shares", "0.3"), "--shares: has no effect here; add --missing, or leave it out"),
        ((CXR, "--missing", "all"), "reads no clinical data that could be missing"),
        ((CLINICAL, "--missing", "random", "--shares", "x"), "--shares: 'x' is not a number"),
    ],
    ids=lambda given: "-".join(given) if isinstance(given, tuple) else "",
)
def test_bad_input_is_refused(call_judged: Call, words: tuple[str, ...], message: str) -> None:
    called = call_judged("controls", *words)
    assert (called.code, called.out) == (2, "")
    assert message in called.err
