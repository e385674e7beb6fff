"""COCO files of other tools: their boxes, patients and splits, and a table of clinical values joined to them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from coco_fixtures import coco, write_csv, write_world

from mmad.base.errors import DataError
from mmad.data.coco_export import export_coco
from mmad.data.importers.coco import ClinicalTable, import_coco
from mmad.data.reader import load_dataset


def test_a_foreign_file(tmp_path: Path) -> None:
    made = import_coco(*write_world(tmp_path), tmp_path / "out")
    dataset = made.dataset
    assert (made.outlined, made.joined) == (1, None)
    assert (dataset.name, dataset.licence, dataset.labels) == ("ann", "CC BY 4.0", ("Opacity", "Effusion"))
    assert [study.study for study in dataset.studies] == ["one", "two", "three", "four"]
    assert [study.patient for study in dataset.studies] == ["one", "two", "three", "four"]
    assert dataset.split_policy == "image"  # nothing says who is on the images
    assert dataset.boxes.tolist() == [[1, 2, 11, 12.5], [2, 1, 12, 9.5], [30, 10, 40, 20], [0.5, 0.25, 3.5, 3.25]]
    assert dataset.labels_of.tolist() == [1, 2, 1, 2]
    assert dataset.studies[0].image == "images/a/one.png"
    assert set(dataset.reading) == {"1"}


def test_labels_name_and_licence_as_asked(tmp_path: Path) -> None:
    made = import_coco(*write_world(tmp_path), tmp_path / "out", labels=["Effusion"], name="mine", licence="own")
    assert (made.dataset.name, made.dataset.licence, made.dataset.labels) == ("mine", "own", ("Effusion",))
    assert made.dataset.boxes.shape == (2, 4)


@pytest.mark.parametrize("names", [("1", "2"), (1, 2), ("R1", "R2")])
def test_a_reader_of_labels_left_out_has_read_the_image(tmp_path: Path, names: tuple[str | int, str | int]) -> None:
    content = coco()
    for mark, name in zip(content["annotations"], (names[0], names[1], None, names[0], names[1]), strict=True):
        mark |= {} if name is None else {"reading": name}
    first, second = map(str, names)
    dataset = import_coco(*write_world(tmp_path, content), tmp_path / "out", labels=["Effusion"]).dataset
    assert dataset.readings == ((1, second), (2, second), (0, first), (2, first))
    plain = import_coco(*write_world(tmp_path), tmp_path / "plain", labels=["Effusion"]).dataset
    assert plain.readings == ((1, "1"), (2, "1")), "nobody is named"


def test_patients_and_splits_of_the_images(tmp_path: Path) -> None:
    content = coco()
    for image, patient, split in zip(
        content["images"], (5, "5", 6, "7"), ("train", "valid", "val", "test"), strict=True
    ):
        image |= {"patient_id": patient, "split": split}
    dataset = import_coco(*write_world(tmp_path, content), tmp_path / "out").dataset
    assert [study.patient for study in dataset.studies] == ["5", "5", "6", "7"]
    assert [study.split for study in dataset.studies] == ["train", "val", "val", "test"]
    assert dataset.split_policy == "image"
    del content["images"][2]["split"]
    with pytest.raises(DataError, match=r"ann.json: images\[2\]: image 'b/three.png' has no split, and others have"):
        import_coco(*write_world(tmp_path, content), tmp_path / "out2")


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["a/one.png", "b/three.png", "x"], "path of the image"),
        (["one.png", "three.png", "four.png"], "file name"),
        (["four", "one", "five"], "file name without its ending"),
        (["11", "13", "", "15"], "COCO image id"),
    ],
)
def test_a_table_joined_on_any_kind_of_name(tmp_path: Path, names: list[str], kind: str) -> None:
    rows = [["who", "age", "ward"], *([name, 40 + i, "NS"[i % 2]] for i, name in enumerate(names))]
    write_csv(tmp_path / "vitals.csv", rows)
    made = import_coco(*write_world(tmp_path), tmp_path / "out", clinical=ClinicalTable(tmp_path / "vitals.csv", "who"))
    assert made.joined is not None
    assert made.joined.kind == kind
    ages = {study.study: study.numeric[0] for study in made.dataset.studies}
    assert made.joined.matched == sum(1 for age in ages.values() if age is not None)
    assert made.joined.unmatched == len(names) - made.joined.matched
    assert ages["one"] == 40 + next(i for i, name in enumerate(names) if "one" in name or name == "11")
    assert made.dataset.numeric[0].unit == "years"


def test_patient_and_split_columns_of_the_table(tmp_path: Path) -> None:
    rows = [
        ["id", "p", "s", "age"],
        [11, "x", "train", 3],
        [12, "x", "train", 4],
        [13, "y", "val", ""],
        [14, "z", "test", 5],
    ]
    write_csv(tmp_path / "t.csv", rows)
    table = ClinicalTable(tmp_path / "t.csv", "id", patient="p", split="s", units={"age": "a"})
    dataset = import_coco(*write_world(tmp_path), tmp_path / "out", clinical=table).dataset
    assert [study.patient for study in dataset.studies] == ["x", "x", "y", "z"]
    assert [study.split for study in dataset.studies] == ["train", "train", "val", "test"]
    assert [(column.name, column.unit) for column in dataset.numeric] == [("age", "a")]
    by_name = import_coco(*write_world(tmp_path), tmp_path / "out3", clinical=replace(table, split=None)).dataset
    assert [study.split for study in by_name.studies] == ["train", "train", "val", "test"]
    write_csv(tmp_path / "t.csv", rows[:-1])
    with pytest.raises(DataError, match=r"images\[3\]: image 'b/four.png' has no patient"):
        import_coco(*write_world(tmp_path), tmp_path / "out2", clinical=table)


def test_a_table_that_does_not_fit(tmp_path: Path) -> None:
    world = write_world(tmp_path)
    write_csv(tmp_path / "t.csv", [["who", "age"], ["one", 1], ["one", 2]])
    with pytest.raises(DataError, match=r"t.csv:3: image 'a/one.png' has a row on line 2 too"):
        import_coco(*world, tmp_path / "out", clinical=ClinicalTable(tmp_path / "t.csv", "who"))
    with pytest.raises(DataError, match=r"t.csv: no column is named to join it on; --on: use one of who, age"):
        import_coco(*world, tmp_path / "out", clinical=ClinicalTable(tmp_path / "t.csv", None))
    with pytest.raises(DataError, match=r"t.csv: column 'age' names none of the images"):
        import_coco(*world, tmp_path / "out", clinical=ClinicalTable(tmp_path / "t.csv", "age"))
    with pytest.raises(DataError, match=r"t.csv:1: unknown column 'whom' \(did you mean 'who'"):
        import_coco(*world, tmp_path / "out", clinical=ClinicalTable(tmp_path / "t.csv", "whom"))
    assert not (tmp_path / "out").exists()


def test_a_table_beside_the_columns_of_an_export(tiny: Path, tmp_path: Path) -> None:
    export_coco(load_dataset(tiny), tmp_path / "set.json")
    write_csv(tmp_path / "t.csv", [["study", "age", "pain"], ["a", 1, 2], ["b", 2, 5], ["c", 1, 4]])
    table = ClinicalTable(tmp_path / "t.csv", "study", numeric=["pain"], categorical=[])
    both = import_coco(tmp_path / "set.json", tiny, tmp_path / "out", clinical=table).dataset
    assert [column.name for column in both.numeric] == ["age", "temperature", "pain"]
    with pytest.raises(DataError, match="clinical column 'age' comes from two sources"):
        import_coco(tmp_path / "set.json", tiny, tmp_path / "no", clinical=ClinicalTable(tmp_path / "t.csv", "study"))
