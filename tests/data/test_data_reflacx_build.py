"""``build_reflacx``: what stays, what goes and why, and what the folder then holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from reflacx_odd_tree import ODD_KEPT, ODD_REASONS, odd_tree, write_odd
from reflacx_trees import LABELS_2_3, Ellipse, Tree, plain_tree

from mmad.base.errors import DataError
from mmad.base.records import DOCUMENTED_COLUMNS, DOCUMENTED_LABELS
from mmad.data.dataset import DataSet
from mmad.data.exclusions import in_source
from mmad.data.importers.reflacx.build import Built, Choices, build_reflacx

Build = Callable[..., Built]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Build from a tree that is written first."""

    def made(tree: Tree, **choices: object) -> Built:
        return build_reflacx(tree.write(), tmp_path / "out", Choices(**choices))  # type: ignore[arg-type]

    return made


def boxes_of(dataset: DataSet) -> list[tuple[str, str, tuple[float, ...], str, float]]:
    return [
        (
            dataset.studies[int(study)].study,
            reading,
            tuple(map(float, box)),
            dataset.labels[int(label) - 1],
            float(certainty),
        )
        for study, reading, box, label, certainty in zip(
            dataset.box_study, dataset.reading, dataset.boxes, dataset.labels_of, dataset.certainty, strict=True
        )
    ]


def cells(dataset: DataSet, position: int = 0) -> dict[str, float | None]:
    return dict(zip([c.name for c in dataset.numeric], dataset.studies[position].numeric, strict=True))


def test_every_reading_is_counted_with_its_reason(tmp_path: Path) -> None:
    built = build_reflacx(write_odd(odd_tree(tmp_path / "in")), tmp_path / "out")
    counts = built.counts
    assert {reason: len(ids) for reason, ids in counts.dropped.items()} == ODD_REASONS
    assert counts.dropped["jpeg_unreadable"] == ("P300R000019",)
    assert (counts.readings, counts.kept) == (17, 4)
    flow = built.dataset.excluded
    assert sum(one.readings or 0 for one in flow) == 13
    assert [one.boxes for one in flow if one.boxes] == [1, 1, 1]
    assert (in_source(flow, "patients", 2), in_source(flow, "images", 3), in_source(flow, "readings", 4)) == (3, 12, 17)
    assert {study.taken.year for study in built.dataset.studies} == {"shifted"}
    assert {study.taken.view for study in built.dataset.studies} == {"AP", "PA"}
    assert counts.readings == counts.kept + sum(map(len, counts.dropped.values()))
    assert {name: n for name, n in counts.notes.items() if n} == {"several_stays": 1, "no_triage": 1, "resized": 1}
    found = counts.ellipses
    assert (found.rows, found.drawn, found.other_findings, found.no_area, found.duplicates) == (6, 3, 1, 1, 1)
    assert (found.boxes, found.clipped) == (4, 1)
    assert found.rows == found.drawn + found.other_findings + found.no_area + found.duplicates


def test_a_study_is_an_image_with_all_its_readings(tmp_path: Path) -> None:
    dataset = build_reflacx(write_odd(odd_tree(tmp_path / "in")), tmp_path / "out").dataset
    assert (dataset.mode, dataset.split_policy) == ("unified", "patient")
    assert dataset.labels == DOCUMENTED_LABELS
    assert "PhysioNet Credentialed Health Data" in dataset.licence
    assert [s.study for s in dataset.studies] == ["d1", "d2", "d3"]
    assert [s.patient for s in dataset.studies] == ["10000001", "10000001", "10000002"]
    assert boxes_of(dataset) == [
        ("d1", "P102R000001", (5, 6, 25, 20), "Consolidation", 5),
        ("d1", "P102R000001", (5, 6, 25, 20), "Pleural abnormality", 5),
        ("d1", "P103R000002", (0, 10, 10, 30), "Atelectasis", 2),
        ("d3", "P300R000004", (5, 5, 15, 10), "Pulmonary edema", 3),  # the image is stored at half its size
    ]
    assert [(s.width, s.height) for s in dataset.studies] == [(40, 30), (40, 30), (20, 15)]


def test_the_columns_are_those_of_the_log(tmp_path: Path) -> None:
    dataset = build_reflacx(write_odd(odd_tree(tmp_path / "in")), tmp_path / "out").dataset
    assert dataset.columns() == DOCUMENTED_COLUMNS
    assert dataset.studies[0].numeric == (62, 98.6, 88, 18, 97, 121, 70, 7, 3)
    assert dataset.studies[1].numeric == (63, 99.1, 88, 18, 97, 121, 70, 5.5, 2)  # the later of two stays
    assert dataset.studies[2].numeric == (93, *[None] * 8)  # a stay without triage
    assert [s.categorical for s in dataset.studies] == [("F",), ("F",), ("M",)]


def test_a_study_is_a_reading_in_the_mode_normal(tmp_path: Path) -> None:
    built = build_reflacx(write_odd(odd_tree(tmp_path / "in")), tmp_path / "out", Choices(mode="normal"))
    assert {s.study: Path(s.image).stem for s in built.dataset.studies} == ODD_KEPT
    assert built.dataset.mode == "normal"
    assert [study for study, *_ in boxes_of(built.dataset)] == [reading for _, reading, *_ in boxes_of(built.dataset)]
    assert built.counts.linked == 3  # readings of one image share it
    assert built.dataset.studies[0].numeric == built.dataset.studies[1].numeric


def test_the_mode_full_needs_no_clinical_data_and_keeps_discarded_readings(tmp_path: Path) -> None:
    sources = write_odd(odd_tree(tmp_path / "in"))
    bare = type(sources)(sources.reflacx, sources.mimic_cxr_jpg)
    built = build_reflacx(bare, tmp_path / "out", Choices(mode="full"))
    assert [s.study for s in built.dataset.studies] == [
        *("P102R000001", "P103R000002", "P101R000011", "P200R000003", "P300R000004", "P300R000016", "P300R000017"),
    ]
    assert (built.dataset.mode, built.dataset.numeric, built.dataset.categorical) == ("full", (), ())
    assert built.counts.notes["discarded_kept"] == 1
    strict = build_reflacx(bare, tmp_path / "strict", Choices(mode="full", discarded="drop"))
    assert strict.counts.dropped["discarded"] == ("P101R000011",)
    with pytest.raises(DataError, match=r"--mimic-iv: is not given; name the folder, or ask for --mode full"):
        build_reflacx(bare, tmp_path / "other")


def test_readings_without_a_stay_may_be_kept_without_clinical_data(build: Build, tmp_path: Path) -> None:
    tree = plain_tree(tmp_path / "in")
    for dicom, time in (("d2", "200000.0"), ("d3", "")):
        tree.image(dicom, time=time)
        tree.reading(f"P300R00000{dicom[1]}", dicom)
    built = build(tree, without_stay="keep")
    assert built.counts.kept == 3
    assert built.counts.notes["without_stay_kept"] == 2
    assert [s.numeric[0] for s in built.dataset.studies] == [62, None, None]
    assert built.dataset.studies[1].numeric == (None,) * 9
    assert built.dataset.studies[1].categorical == (None,)


@pytest.mark.parametrize(
    "form",
    [
        {"ending": ".csv.gz"},
        {"newline": "\r\n"},
        {"bom": True, "newline": "\r\n"},
        {"ed": "1.0", "core": True},
        {"ending": ".csv.gz", "ed": "1.0"},
    ],
    ids=["gz", "crlf", "bom", "old versions", "old gz"],
)
def test_forms_of_the_tables_do_not_matter(form: dict[str, object], tmp_path: Path) -> None:
    plain = build_reflacx(write_odd(odd_tree(tmp_path / "plain")), tmp_path / "a")
    other = build_reflacx(write_odd(odd_tree(tmp_path / "other", **form)), tmp_path / "b")
    assert other.counts == plain.counts
    assert other.dataset.studies == plain.dataset.studies
    np.testing.assert_array_equal(other.dataset.boxes, plain.dataset.boxes)


def test_whole_numbers_written_as_floats_and_other_spellings(build: Build, tmp_path: Path) -> None:
    tree = plain_tree(tmp_path / "in")
    row = tree.metadata[3][0]
    row[2], row[5], row[6], row[7] = "false", "10000001.0", "40.0", " 30 "
    tree.images[0][1:3] = ["10000001.0", "50000001.0"]
    tree.images[0][4], tree.images[0][7] = " ap", "21800506.0"
    tree.patients[0][:4] = ["10000001.0", "f", "60.0", "2178.0"]
    tree.stays[0][0], tree.stays[0][2] = "10000001.0", "30000001.0"
    tree.triages[0][1] = "30000001.0"
    tree.ellipses["P300R000001"] = [Ellipse(("5.0", "6.0", "25.0", "20.0"), ["Consolidation"], "4.0").cells(3)]
    dataset = build(tree).dataset
    assert cells(dataset)["age"] == 62
    assert dataset.studies[0].categorical == ("F",)
    assert boxes_of(dataset) == [("d1", "P300R000001", (5, 6, 25, 20), "Consolidation", 4)]


def test_missing_values_stay_missing_and_what_is_no_number_is_counted(build: Build, tmp_path: Path) -> None:
    tree = plain_tree(tmp_path / "in")
    tree.triages[0][2:10] = ["", "n/a", "", "97", "inf", "70", "unable", ""]
    tree.patients[0][1:3] = ["", ""]
    built = build(tree)
    assert built.dataset.studies[0].numeric == (None, None, None, None, 97, None, 70, None, None)
    assert built.dataset.studies[0].categorical == (None,)
    assert (built.counts.notes["not_a_number"], built.counts.notes["pain_not_understood"]) == (2, 1)


def test_a_patient_who_is_not_in_mimic_iv_has_neither_age_nor_gender(build: Build, tmp_path: Path) -> None:
    tree = plain_tree(tmp_path / "in")
    tree.patients[0][0] = "10000077"
    built = build(tree)
    assert cells(built.dataset)["age"] is None
    assert cells(built.dataset)["pain"] == 7
    assert built.counts.notes["no_patient"] == 1


def test_rows_that_stand_twice_are_counted(build: Build, tmp_path: Path) -> None:
    tree = plain_tree(tmp_path / "in")
    for rows in (tree.images, tree.patients, tree.stays, tree.triages):
        rows.append(list(rows[0]))
    assert build(tree).counts.notes["duplicate_rows"] == 4


def test_findings_that_no_ellipse_shows_are_told(build: Build, tmp_path: Path) -> None:
    tree = plain_tree(tmp_path / "in")
    tree.metadata[3][0][8 + LABELS_2_3.index("Atelectasis")] = "3"
    assert build(tree).counts.notes["findings_differ"] == 1


def test_labels_asked_for_in_their_order_with_names_of_phase_1_merged(build: Build, tmp_path: Path) -> None:
    tree = plain_tree(tmp_path / "in")
    tree.reading("P100R000005", "d1", [Ellipse((1, 2, 9, 8), ["Fracture", "Mass", "Nodule", "Airway wall thickening"])])
    tree.reading("P200R000006", "d1", [Ellipse((2, 2, 9, 8), ["Acute fracture", "Lung nodule or mass"])])
    wanted = ("Lung nodule or mass", "Acute fracture", "Airway wall thickening")
    built = build(tree, labels=wanted)
    assert built.dataset.labels == wanted
    assert [(reading, label) for _, reading, _, label, _ in boxes_of(built.dataset)] == [
        ("P100R000005", "Airway wall thickening"),
        ("P100R000005", "Acute fracture"),
        ("P100R000005", "Lung nodule or mass"),
        ("P200R000006", "Acute fracture"),
        ("P200R000006", "Lung nodule or mass"),
    ]
    assert built.counts.ellipses.other_findings == 1
    assert built.counts.notes["findings_differ"] == 0


def test_one_phase_alone(build: Build, tmp_path: Path) -> None:
    tree = odd_tree(tmp_path / "in")
    del tree.metadata[1], tree.metadata[2]
    with pytest.raises(DataError, match=r"holds no main_data/metadata_phase_1.csv\[.gz\]"):
        build(tree)
    assert [s.study for s in build(tree, phases=[3]).dataset.studies] == ["d3", "d19"]


def test_a_single_reading_dropped_leaves_the_image_to_the_others(build: Build, tmp_path: Path) -> None:
    tree = plain_tree(tmp_path / "in")
    tree.reading("P100R000002", "d1", [Ellipse((1, 1, 9, 9), ["Atelectasis"])], discarded="True")
    built = build(tree)
    assert [reading for _, reading, *_ in boxes_of(built.dataset)] == ["P300R000001"]
    assert built.counts.dropped["discarded"] == ("P100R000002",)


def test_nothing_left_is_told_with_the_reasons(build: Build, tmp_path: Path) -> None:
    tree = plain_tree(tmp_path / "in")
    tree.stays.clear()
    with pytest.raises(DataError, match=r"none of 1 readings is left \(1 x no ED stay at the time of the study\)"):
        build(tree)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
