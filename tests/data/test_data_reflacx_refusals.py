"""What cannot be built from is one line with file, column and hint, and never shows a patient's value."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from reflacx_trees import CXR, EDSTAYS_2, FIRST, LABELS_2_3, PATIENTS, SECRET, TRIAGE, Ellipse, Tree, plain_tree

from mmad.base.errors import DataError
from mmad.data.importers.reflacx.build import Choices, build_reflacx


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return plain_tree(tmp_path / "in")


def refusal(tree: Tree, **choices: object) -> str:
    """The message with which building is refused; nothing stays behind and no value is shown."""
    out = tree.root.parent / "out"
    with pytest.raises(DataError) as refused:
        build_reflacx(tree.sources, out, Choices(**choices))  # type: ignore[arg-type]
    assert [path.name for path in tree.root.parent.iterdir()] == ["in"]
    assert SECRET not in str(refused.value)
    assert refused.value.hint
    return str(refused.value)


@pytest.mark.parametrize(
    ("table", "header", "column"),
    [
        ("reflacx/main_data/metadata_phase_3", [*FIRST, *LABELS_2_3], "dicom_id"),
        ("reflacx/main_data/metadata_phase_3", [*FIRST, *LABELS_2_3], "Pleural abnormality"),
        ("cxr/mimic-cxr-2.0.0-metadata", CXR, "StudyTime"),
        ("iv/hosp/patients", PATIENTS, "anchor_year"),
        ("ed/ed/edstays", EDSTAYS_2, "outtime"),
        ("ed/ed/triage", TRIAGE, "o2sat"),
    ],
)
def test_a_missing_column_is_named_with_its_file(tree: Tree, table: str, header: list[str], column: str) -> None:
    tree.write()
    tree.table(tree.root / table, [name for name in header if name != column], [])
    told = refusal(tree)
    assert told.startswith(f"{tree.root / table}.csv:1: column {column!r} is missing")
    assert told.endswith("take the file as it was distributed")


def test_a_missing_column_of_an_ellipse_file(tree: Tree) -> None:
    tree.write()
    folder = tree.root / "reflacx" / "main_data" / "P300R000001"
    tree.table(folder / "anomaly_location_ellipses", ["xmin", "ymin", "xmax", "ymax", "certainty"], [["1"] * 5])
    assert "anomaly_location_ellipses.csv:1: column 'Atelectasis' is missing" in refusal(tree)


def test_a_column_that_stands_twice(tree: Tree) -> None:
    tree.write()
    tree.table(tree.root / "ed" / "ed" / "edstays", [*EDSTAYS_2, "intime"], [])
    assert "edstays.csv:1: column 'intime' stands twice" in refusal(tree)


@pytest.mark.parametrize(
    ("folder", "told"),
    [
        ("reflacx", "--reflacx"),
        ("cxr", "--mimic-cxr-jpg"),
        ("iv", "--mimic-iv"),
        ("ed", "--mimic-iv-ed"),
    ],
)
def test_a_folder_that_is_not_there_or_another(tree: Tree, folder: str, told: str) -> None:
    tree.write()
    (tree.root / folder).rename(tree.root / "elsewhere")
    assert refusal(tree) == f"{tree.root / folder}: no such folder; name the folder of the distribution with {told}"
    (tree.root / folder).mkdir()
    assert "holds no " in refusal(tree)


def _cut(tree: Tree) -> None:
    file = tree.root / "ed" / "ed" / "triage.csv.gz"
    file.write_bytes(file.read_bytes()[:-12])


def _not_gzip(tree: Tree) -> None:
    (tree.root / "ed" / "ed" / "triage.csv.gz").write_bytes(SECRET.encode())


def _not_utf8(tree: Tree) -> None:
    (tree.root / "iv" / "hosp" / "patients.csv.gz").unlink()
    (tree.root / "iv" / "hosp" / "patients.csv").write_bytes(b"subject_id\n\xff" + SECRET.encode())


@pytest.mark.parametrize(
    ("damage", "told"),
    [(_cut, "triage.csv.gz: cannot be read"), (_not_gzip, "cannot be read"), (_not_utf8, "not UTF-8")],
)
def test_damaged_files(tmp_path: Path, damage: Callable[[Tree], None], told: str) -> None:
    tree = plain_tree(tmp_path / "in", ending=".csv.gz")
    tree.write()
    damage(tree)
    assert told in refusal(tree)


def test_a_row_with_too_many_cells(tree: Tree) -> None:
    tree.triages.append([*tree.triages[0], SECRET])
    tree.write()
    assert "12 cells where the header has 11" in refusal(tree)


@pytest.mark.parametrize(
    ("column", "told"),
    [
        (0, "column 'id' is no plain id"),
        (2, "column 'eye_tracking_data_discarded' is neither True nor False"),
        (4, "column 'dicom_id' is no plain id"),
        (5, "column 'subject_id' is not a whole number"),
        (6, "column 'image_size_x' is not a number of pixels"),
    ],
)
def test_metadata_that_cannot_be_understood(tree: Tree, column: int, told: str) -> None:
    tree.write()
    tree.metadata[3][0][column] = f"../{SECRET}"
    tree.table(tree.root / "reflacx/main_data/metadata_phase_3", [*FIRST, *LABELS_2_3], tree.metadata[3])
    assert f"metadata_phase_3.csv:2: {told}" in refusal(tree)


@pytest.mark.parametrize(
    ("ellipse", "told"),
    [
        (Ellipse((1, SECRET, 5, 6), ["Consolidation"]), "column 'ymin' is not a number"),
        (Ellipse((1, 2, 5, 6), ["Consolidation"], 6), "column 'certainty' is not a number from 0 to 5"),
        (Ellipse((1, 2, 5, 6), ["Consolidation"], SECRET), "column 'certainty' is not a number from 0 to 5"),
    ],
)
def test_ellipses_that_cannot_be_understood(tree: Tree, ellipse: Ellipse, told: str) -> None:
    tree.ellipses["P300R000001"] = [ellipse.cells(3)]
    tree.write()
    assert f"P300R000001/anomaly_location_ellipses.csv:2: {told}" in refusal(tree)


def test_a_row_that_stands_twice_and_differs(tree: Tree) -> None:
    tree.triages.append([*tree.triages[0][:2], *["1"] * 8, SECRET])
    tree.write()
    assert "stay_id '30000001' stands twice and differs; keep one of the rows" in refusal(tree)


def test_a_study_without_number_in_the_metadata(tree: Tree) -> None:
    tree.images[0][2] = ""
    tree.write()
    assert "mimic-cxr-2.0.0-metadata.csv:2: column 'study_id' is not a whole number" in refusal(tree)


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ({"mode": "unifed"}, "--mode: unknown word 'unifed' (did you mean 'unified'?)"),
        ({"split": "random"}, "--split: unknown word 'random'"),
        ({"phases": [4]}, "--phases: names no phase of REFLACX"),
        ({"split_seed": -1}, "--split-seed: -1 is negative"),
        ({"labels": ["Mass"]}, "--labels: 'Mass' is part of 'Lung nodule or mass'"),
    ],
)
def test_choices_that_are_none(tree: Tree, choice: dict[str, object], told: str) -> None:
    tree.write()
    assert told in refusal(tree, **choice)


def test_a_filled_folder_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="exists already"):
        build_reflacx(Tree(tmp_path / "nowhere").sources, Path(__file__).parent)


def test_metadata_without_a_row(tree: Tree) -> None:
    tree.metadata[3].clear()
    tree.write()
    assert "its metadata hold no reading" in refusal(tree)
