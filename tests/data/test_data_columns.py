"""What becomes of each column of an imported table: its outcome, its reason, its cells."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from PIL import Image

from mmad.base.errors import DataError
from mmad.data.audit.run import audit_folder
from mmad.data.column_types import ClinicalCells, ColumnChoice, alike_values, choose_columns, read_by_rule
from mmad.data.dataset import DataSet
from mmad.data.importers.common import ImportReport
from mmad.data.importers.csv import import_csv
from mmad.data.quantities import sentinels
from mmad.data.spellings import number_groups, spelling_groups

ROWS = 24
MALES = ["M", "F"] * (ROWS // 2)


def chosen(
    columns: dict[str, list[str]], choice: ColumnChoice | None = None, labels: dict[str, Any] | None = None
) -> ClinicalCells:
    masks = {label: np.array(has, dtype=np.bool_) for label, has in (labels or {}).items()}
    frame = pandas.DataFrame(columns, dtype="str")
    return choose_columns(frame, choice or ColumnChoice(), {}, masks, "t.csv", lambda row: f"t.csv:{row + 2}")


def outcome(name: str, cells: list[str], labels: dict[str, Any] | None = None) -> str:
    return chosen({name: cells}, labels=labels).outcomes[0].outcome


def shuffled(seed: int, low: int, high: int) -> list[str]:
    return [str(n) for n in np.random.default_rng(seed).integers(low, high, ROWS)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((name, "identifier") for name in ("row_id", "subject_id", "hadm_id", "Unnamed: 0", "", "StudyInstanceUID")),
        *(
            (name, "label-like")
            for name in ("Finding Labels", "labels", "Target", "class", "Pneumonia", "has_pneumonia")
        ),
        *((name, "label-like") for name in ("diagnosis", "No Finding", "Cardiomegaly")),
        *(
            (name, "acquisition")
            for name in ("View Position", "AP/PA", "Frontal/Lateral", "rad_id", "OriginalImage[Width")
        ),
        *((name, "clinical number") for name in ("age", "Patient Age", "PatientAge", "heart_rate", "PaO2", "crp")),
        *((name, "clinical number") for name in ("height", "birth_weight", "body_mass_index", "wbc")),
    ],
)
def test_names(name: str, expected: str) -> None:
    found = outcome(name, shuffled(1, 20, 90), labels={"Pneumonia": [True, False, False] * 8})
    assert found == ("acquisition" if name == "rad_id" else expected)


def test_what_a_column_holds() -> None:
    assert outcome("nr", [str(1000 + i // 2) for i in range(ROWS)]) == "identifier"  # rises with the rows
    assert outcome("stay", [f"2020{1 + i % 12:02d}15" for i in range(ROWS)]) == "identifier"  # dates
    assert outcome("when", [f"2020-{1 + i % 12:02d}-15 12:00" for i in range(ROWS)]) == "identifier"
    assert outcome("file_no", [f"{n:0>6}" for n in shuffled(3, 0, 99999)]) in ("identifier", "acquisition")
    assert outcome("crp", [f"{n:0>6}" for n in shuffled(3, 0, 99999)]) == "identifier"
    assert outcome("age", [str(20 + i) for i in range(ROWS)]) == "clinical number"  # sorted by age
    assert outcome("ward", ["north", "south", ""] * 8) == "category"
    assert outcome("ward", ["north"] * ROWS) == "ignored"
    assert outcome("remark", [f"seen {i}" for i in range(ROWS)]) == "identifier"
    assert outcome("crp", ["5", "7", *[""] * (ROWS - 2)]) == "ignored"


def test_a_column_that_tells_a_label() -> None:
    has = [True, False, False, True] * 6
    labels = {"Opacity": has}
    copied = ["1" if one else "0" for one in has]
    assert outcome("flag", copied, labels) == "label-like"
    assert outcome("grade", ["A" if one else "BC"[i % 2] for i, one in enumerate(has)], labels) == "label-like"
    assert outcome("crp", [str(i % 5 + (50 if one else 0)) for i, one in enumerate(has)], labels) == "label-like"
    nearly = [*copied[:-1], "0"]
    assert outcome("flag", nearly, labels) == "label-like"
    assert outcome("crp", shuffled(5, 0, 100), labels) == "clinical number"
    assert outcome("sex", MALES, labels) == "category"
    assert chosen({"flag": copied}, labels=labels).outcomes[0].why == "its values tell 'Opacity'"


@pytest.mark.slow
def test_an_audit_finds_a_column_that_tells_a_label(phantom: DataSet, tmp_path: Path) -> None:
    assert "value-tells-label" not in {found.code for found in audit_folder(phantom.root).findings}
    for kind, cell in (("numeric", lambda has, i: i % 7 + 10 * has), ("categorical", lambda has, i: "AB"[has])):
        root = tmp_path / kind
        shutil.copytree(phantom.root, root)
        with_label = set(phantom.box_study[phantom.labels_of == 4].tolist())
        head, *rows = (root / "studies.csv").read_text().splitlines()
        rows = [f"{row},{cell(int(i in with_label), i)}" for i, row in enumerate(rows)]
        (root / "studies.csv").write_text("\n".join([f"{head},flag", *rows]) + "\n")
        lines = {"numeric": "unit = ''\nlow = 0\nhigh = 20", "categorical": "values = ['A', 'B']"}
        with (root / "dataset.toml").open("a") as file:
            file.write(f"\n[[{kind}]]\nname = 'flag'\n{lines[kind]}\n")
        (found,) = [found for found in audit_folder(root).findings if found.code == "value-tells-label"]
        assert found.what == "the values of 'flag' tell, or nearly so, which studies have 'Consolidation'"


def test_no_false_alarm_by_chance() -> None:
    for seed in range(40):
        has = np.random.default_rng(seed).random(ROWS) < 0.3
        assert outcome("crp", shuffled(100 + seed, 0, 100), {"A": has, "B": ~has}) == "clinical number"


@pytest.mark.parametrize(
    "word", ["NA", "N/A", "nan", "NaN", "NULL", "None", "-", "?", ".", "#N/A", "unknown", "<NA>", "NaT", "missing"]
)
def test_a_word_for_missing_loses_no_column(word: str) -> None:
    numbers = shuffled(1, 30, 90)
    made = chosen({"age": [word, *numbers[1:]], "sex": [word, *MALES[1:]]})
    assert [column.outcome for column in made.outcomes] == ["clinical number", "category"]
    assert made.frame["age"].tolist() == ["", *numbers[1:]]
    assert made.frame["sex"].tolist() == ["", *MALES[1:]]
    assert f"{word!r} once" in made.outcomes[0].notes[0]


def test_signs_and_none_are_values_of_a_category() -> None:
    made = chosen({"test": ["+", "-", "+"], "smoker": ["none", "some", "some"]})
    assert [column.values for column in made.categorical] == [("+", "-"), ("none", "some")]


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        (">89", 89), (">=90", 90), ("90+", 90), ("058Y", 58), ("018M", 1.5), ("37,5", 37.5), ("-0,125", -0.125),
        ("1,234", None), ("3_6", None), ("٣٧", None), ("000Y", None), ("inf", None), ("7 of 10", None),
    ],
)  # fmt: skip
def test_odd_cells_are_read_by_rule_or_left_empty_and_listed(cell: str, value: float | None) -> None:
    assert read_by_rule(cell, "age") == value
    made = chosen({"age": [cell, *shuffled(1, 30, 90)[1:]]})
    assert made.frame["age"].tolist()[0] == ("" if value is None else f"{value:g}")
    note = made.outcomes[0].notes[0]
    left = f"no number, left empty: line 2 {cell!r}"
    assert note == (left if value is None else f"read by rule: line 2 {cell!r} is {value:g}")


def test_letters_behind_a_number_are_an_age_in_a_column_of_ages_alone() -> None:
    made = chosen({"scan_mode": ["2D", "3D"] * 6, "power": ["10W", "20W", "30W"] * 4})
    assert [column.values for column in made.categorical] == [("2D", "3D"), ("10W", "20W", "30W")]


def test_a_named_column_of_words_is_refused_with_row_and_word() -> None:
    with pytest.raises(DataError, match=r"t\.csv:2: column 'ward' holds 'north', which is not a number; leave it out"):
        chosen({"ward": ["north", "3", "south"]}, ColumnChoice(numeric=["ward"]))
    made = chosen({"row_id": shuffled(1, 0, 99)}, ColumnChoice(numeric=["row_id"]))
    assert [column.name for column in made.numeric] == ["row_id"]  # the user decides
    assert chosen({"age": shuffled(1, 0, 99)}, ColumnChoice(ignore=["age"])).outcomes[0].why == "--ignore"
    with pytest.raises(DataError, match=r"unknown column 'agee' \(did you mean 'age'\?\)"):
        chosen({"age": ["1"]}, ColumnChoice(ignore=["agee"]))
    with pytest.raises(DataError, match=r"column 'age' is named twice"):
        chosen({"age": ["1"]}, ColumnChoice(numeric=["age"], ignore=["age"]))


def test_codes_and_plausible_ranges() -> None:
    rates = ["80", "999", "-1", "72", "-9", "90"] * 4
    made = chosen({"heart_rate": rates})
    assert made.outcomes[0].notes[0].startswith("apart from all others: 999 (4), -1 (4), -9 (4)")
    assert (made.numeric[0].low, made.numeric[0].high) == (15, 320)
    other = chosen({"crp": [*shuffled(2, 5, 60), "999"]})
    assert other.numeric[0].high < 60
    assert "999 (1)" in other.outcomes[0].notes[0]
    assert not sentinels("age", "years", np.array([88.0, 99, 91, 70, 65])).any()  # somebody is 99
    assert not sentinels("base_excess", "", np.array([-1.0, -3, -9, 2, 4, 1, -5])).any()
    old = chosen({"age": [*shuffled(1, 20, 90), "300"]})
    assert old.outcomes[0].notes == ("1 value outside the plausible 0 to 125 years",)


def test_spellings() -> None:
    assert alike_values(["M", "m", "Male", "F", "f", "female"]) == [["M", "m", "Male"], ["F", "f", "female"]]
    assert alike_values(["S", "M", "L"]) == []
    assert spelling_groups(["N\xf3dulo", "No\u0301dulo", "Pleural  effusion", "pleural effusion", "Mass"]) == [
        ["N\xf3dulo", "No\u0301dulo"],
        ["Pleural  effusion", "pleural effusion"],
    ]
    assert number_groups(["10", "10.0", "010", "11", "100", "P7", "p07"]) == [["10", "10.0", "010"], ["P7", "p07"]]


@pytest.fixture
def source(tmp_path: Path) -> Callable[[list[str], list[str]], Path]:
    def make(subjects: list[str], boxes: list[str]) -> Path:
        src = tmp_path / "src"
        src.mkdir()
        for i in range(ROWS):
            Image.new("L", (64, 48), 5 + 9 * i).save(src / f"{i}.png")
        (src / "subjects.csv").write_text("\n".join(subjects) + "\n", encoding="utf-8")
        (src / "boxes.csv").write_text("\n".join(boxes) + "\n", encoding="utf-8")
        return src

    return make


BOXES = ["image,xmin,ymin,xmax,ymax,label", *(f"{i}.png,5,5,30,40,{'Mass' if i % 3 else 'mass'}" for i in range(ROWS))]


def test_an_import_says_all_of_it(source: Callable[[list[str], list[str]], Path], tmp_path: Path) -> None:
    sexes = ["M", "f", "female", "F"] * 6
    rows = [f"{i}.png,{10 + i // 2},{age},{sexes[i]},{i % 2}" for i, age in enumerate(shuffled(4, 20, 90))]
    rows[1] = "1.png,010,NA,F,1"
    report = ImportReport()
    made = import_csv(source(["image,PatientID,age,sex,Target", *rows], BOXES), tmp_path / "out", report=report)
    assert {column.name: column.outcome for column in report.columns} == {
        "image": "used", "PatientID": "used", "age": "clinical number", "sex": "category", "Target": "label-like",
    }  # fmt: skip
    assert report.notes == ["patients: column 'PatientID', as its name says"]
    assert report.warnings == [
        "labels 'mass' and 'Mass' are labels of their own, and look like one",
        "patients '10' and '010' are patients of their own, and look like one",
    ]
    assert [study.patient for study in made.studies[:3]] == ["10", "010", "11"]
    codes = {found.code for found in audit_folder(made.root).findings}
    assert {"label-spelling", "value-spelling", "patient-spelling"} <= codes


def test_no_patient_is_said(source: Callable[[list[str], list[str]], Path], tmp_path: Path) -> None:
    report = ImportReport()
    src = source(["image,age", *(f"{i}.png,{n}" for i, n in enumerate(shuffled(1, 20, 90)))], BOXES)
    made = import_csv(src, tmp_path / "out", report=report)
    assert report.warnings[0].startswith("no column names the patient: each image counts as a patient of its own")
    assert made.split_policy == "image"


@pytest.mark.parametrize("name", ["PatientID", "patientId", "patient_id", "subject_id", "Patient ID", "Subject"])
def test_patient_columns(name: str, source: Callable[[list[str], list[str]], Path], tmp_path: Path) -> None:
    made = import_csv(source([f"image,{name}", *(f"{i}.png,p{i // 2}" for i in range(ROWS))], BOXES), tmp_path / "out")
    assert len({study.patient for study in made.studies}) == ROWS // 2
    assert made.split_policy == "patient"
    assert made.numeric == ()
    assert len({(study.patient, study.split) for study in made.studies}) == ROWS // 2
