"""``mmad data reflacx``: words in, words out; and the openly licensed tables of MIMIC-IV."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from reflacx_odd_tree import ODD_REASONS, odd_tree, write_odd
from reflacx_trees import SECRET, Ellipse, Tree, plain_tree

from mmad.data.importers.reflacx.boxes import NOTES
from mmad.data.importers.reflacx.build import build_reflacx
from mmad.data.importers.reflacx.mimic import read_patients
from mmad.data.reader import load_dataset

Call = Callable[..., Any]


def words(tree: Tree, out: Path, *more: str) -> list[str]:
    options = ("--reflacx", "--mimic-cxr-jpg", "--mimic-iv", "--mimic-iv-ed")
    named = [str(word) for pair in zip(options, vars(tree.sources).values(), strict=True) for word in pair]
    return ["data", "reflacx", *named, "--out", str(out), *more]


def test_what_is_printed_adds_up(call_mmad: Call, tmp_path: Path) -> None:
    tree = odd_tree(tmp_path / "in")
    write_odd(tree)
    called = call_mmad(*words(tree, tmp_path / "out"))
    assert called.code == 0, called.err
    lines = called.out.splitlines()
    assert lines[0] == "17 readings: 4 kept, 13 left out"
    left_out = lines[1 : 1 + len(ODD_REASONS)]
    assert sum(int(line.split()[0]) for line in left_out) == 13
    assert "      2  view is neither AP nor PA" in left_out
    assert "6 ellipses of the readings kept: 3 drawn, as 4 boxes" in lines
    assert lines[-2] == "3 images linked, 0 copied; mode unified"
    assert "3 studies (train" in lines[-1]
    assert SECRET not in called.out + called.err


def test_json_has_a_place_for_everything(call_mmad: Call, tmp_path: Path) -> None:
    tree = plain_tree(tmp_path / "in")
    tree.write()
    called = call_mmad(*words(tree, tmp_path / "out", "--images", "copy", "--split", "documented", "--json"))
    told = json.loads(called.out)
    assert told["readings"]["read"] == told["readings"]["kept"] == 1
    assert set(told["readings"]["left_out"]) == set(ODD_REASONS)
    assert told["readings"]["left_out"]["no_stay"] == {"count": 0, "readings": []}
    assert set(told["notes"]) == set(NOTES)
    assert told["images"] == {"linked": 0, "copied": 1}
    assert (told["mode"], told["split_policy"]) == ("unified", "documented")
    assert told["studies"] == {"train": 1, "val": 0, "test": 0}
    assert told["ellipses"]["boxes"] == 1


def test_options_reach_the_data_set(call_mmad: Call, tmp_path: Path) -> None:
    tree = plain_tree(tmp_path / "in")
    tree.reading("P200R000002", "d1", [Ellipse((1, 1, 9, 9), ["Hiatal hernia"])])
    tree.write()
    more = ("--mode", "full", "--labels", "Hiatal hernia,Consolidation", "--phases", "2", "--split", "reflacx")
    assert call_mmad(*words(tree, tmp_path / "out", *more)).code == 0
    dataset = load_dataset(tmp_path / "out")
    assert dataset.labels == ("Hiatal hernia", "Consolidation")
    assert (dataset.mode, [study.study for study in dataset.studies]) == ("full", ["P200R000002"])


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--labels", "Edema"], "--labels: unknown label 'Edema'"),
        (["--labels", ","], "--labels: names no label"),
        (["--mode", "all"], "--mode: unknown word 'all'"),
        (["--phases", "two"], "numbers separated by commas"),
    ],
)
def test_a_refusal_is_one_line(call_mmad: Call, tmp_path: Path, more: list[str], told: str) -> None:
    called = call_mmad(*words(plain_tree(tmp_path / "in"), tmp_path / "out", *more))
    assert called.code == 2
    assert told in called.err
    assert "Traceback" not in called.err
    assert not (tmp_path / "out").exists()


@pytest.fixture
def demo(shared: Path) -> Path:
    folder = shared / "data" / "mimic-iv-demo-2.2"
    if not folder.is_dir():
        pytest.skip("the openly licensed tables of MIMIC-IV do not stand beside this checkout")
    return folder


def _rows(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.shared
def test_patients_of_the_open_tables(demo: Path) -> None:
    rows = _rows(demo / "hosp" / "patients.csv.gz")
    patients, twice = read_patients(demo, {row["subject_id"] for row in rows})
    assert (len(patients), twice) == (len(rows), 0)
    assert {patient.gender for patient in patients.values()} == {"F", "M"}
    assert all(patient.age is not None and patient.year is not None for patient in patients.values())


@pytest.mark.shared
def test_stays_of_the_open_tables(demo: Path, tmp_path: Path) -> None:
    """Real patients and real times in the emergency department; images and triage are made up."""
    tree = Tree(tmp_path / "in", ending=".csv.gz")
    expected = {}
    ages = {row["subject_id"]: row for row in _rows(demo / "hosp" / "patients.csv.gz")}
    visits = [row for row in _rows(demo / "hosp" / "admissions.csv.gz") if row["edregtime"]][:40]
    for number, row in enumerate(visits):
        patient, dicom, study, stay = row["subject_id"], f"d{number}", str(50000000 + number), str(30000000 + number)
        taken = datetime.fromisoformat(row["edregtime"]) + timedelta(minutes=1)
        tree.stay(stay, row["edregtime"], row["edouttime"], patient=patient)
        tree.image(dicom, patient=patient, study=study, day=f"{taken:%Y%m%d}", time=str(float(f"{taken:%H%M%S}")))
        tree.reading(f"P300R{number:06}", dicom, patient=patient, study=study)
        anchor = ages[patient]
        expected[dicom] = float(anchor["anchor_age"]) + taken.year - int(anchor["anchor_year"])
    tree.reading("P300R999999", "d0", [Ellipse((1, 1, 9, 9), ["Atelectasis"])], patient=visits[0]["subject_id"])
    tree.write()
    shutil.copy(demo / "hosp" / "patients.csv.gz", tmp_path / "in" / "iv" / "hosp" / "patients.csv.gz")
    built = build_reflacx(tree.sources, tmp_path / "out")
    assert built.counts.kept == len(visits) + 1
    assert {study.study: study.numeric[0] for study in built.dataset.studies} == expected
    assert all(study.categorical[0] in ("F", "M") for study in built.dataset.studies)
