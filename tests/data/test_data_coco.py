"""COCO files in and out: nothing is lost on the way there and back."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from coco_worlds import HEIGHT, WIDTH, check_equal, coco, draw, write_csv, write_world
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmad.base.errors import DataError
from mmad.data.coco_export import coco_of, export_coco
from mmad.data.coco_import import ClinicalTable, import_coco
from mmad.data.csv_import import import_csv
from mmad.data.dataset import DataSet, load_dataset

_words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=6)
_words = _words.map(str.strip).filter(bool)
Rows = tuple[list[list[object]], list[list[object]]]
_numbers = st.floats(allow_nan=False, allow_infinity=False)


def there_and_back(dataset: DataSet, folder: Path) -> DataSet:
    export_coco(dataset, folder / "set.json")
    return import_coco(folder / "set.json", dataset.root, folder / "again").dataset


def test_a_phantom_comes_back_byte_for_byte(phantom: DataSet, tmp_path: Path) -> None:
    again = there_and_back(phantom, tmp_path)
    assert again.fingerprint() == phantom.fingerprint()
    check_equal(again, phantom)


def test_missing_values_readings_and_certainty_come_back(tiny: Path, tmp_path: Path) -> None:
    dataset = load_dataset(tiny)
    check_equal(there_and_back(dataset, tmp_path), dataset)


def test_readings_that_share_an_image_come_back(
    change: Callable[[str, str, str], Path], tiny: Path, tmp_path: Path
) -> None:
    change("dataset.toml", 'split_policy = "patient"', 'split_policy = "reading"\nmode = "normal"')
    change("studies.csv", "b,images/b.png", "b,images/a.png")
    dataset = load_dataset(tiny)
    again = there_and_back(dataset, tmp_path)
    check_equal(again, dataset)
    assert again.mode == "normal"


@st.composite
def tables(draw: st.DrawFn) -> Rows:
    """subjects.csv and boxes.csv of four images, with any words and numbers in them."""
    groups = draw(st.lists(_words, min_size=2, max_size=3, unique=True))
    cells = st.one_of(st.just(""), _numbers.map(repr))
    subjects: list[list[object]] = [["image", "patient_id", "split", "value", "group"]]
    boxes: list[list[object]] = [["image", "xmin", "ymin", "xmax", "ymax", "label", "reading", "certainty"]]
    for i, split in enumerate(("train", "train", "val", "test")):
        value = draw(_numbers.map(repr) if i == 0 else cells)
        subjects.append(
            [f"{i}.png", draw(_words), split, value, draw(st.sampled_from([*groups, ""])) if i else groups[0]]
        )
        for _ in range(draw(st.integers(0, 2)) if i else 1):
            left, top = draw(st.floats(0, WIDTH - 1)), draw(st.floats(0, HEIGHT - 1))
            right = draw(st.floats(left, WIDTH, exclude_min=True))
            bottom = draw(st.floats(top, HEIGHT, exclude_min=True))
            reading = draw(st.one_of(st.just(""), _words))
            boxes.append([f"{i}.png", *map(repr, (left, top, right, bottom)), draw(_words), reading, draw(cells)])
    return subjects, boxes


@settings(deadline=None, max_examples=6, suppress_health_check=[HealthCheck.too_slow])
@given(tables())
def test_csv_to_folder_to_coco_to_folder_loses_nothing(world: Rows) -> None:
    check_round_trip(world)


@pytest.mark.slow
@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(tables())
def test_many_tables_lose_nothing(world: Rows) -> None:
    check_round_trip(world)


def check_round_trip(world: Rows) -> None:
    with tempfile.TemporaryDirectory() as place:
        src = Path(place) / "src"
        for i in range(4):
            draw(src / f"{i}.png")
        write_csv(src / "subjects.csv", world[0])
        write_csv(src / "boxes.csv", world[1])
        first = import_csv(src, Path(place) / "set", numeric=["value"], categorical=["group"])
        assert first.boxes.tolist() == [[float(str(side)) for side in row[1:5]] for row in world[1][1:]]
        second = there_and_back(first, Path(place))
        check_equal(second, first)
        export_coco(second, Path(place) / "third.json")
        assert json.loads((Path(place) / "third.json").read_text()) == json.loads(
            (Path(place) / "set.json").read_text()
        )


def test_corners_that_no_difference_holds_are_kept(
    change: Callable[[str, str, str], Path], tiny: Path, tmp_path: Path
) -> None:
    change("boxes.csv", "a,r1,4,5,20,15", "a,r1,2.51,5e-324,18.73,15")
    dataset = load_dataset(tiny)
    entry: Any = coco_of(dataset)["annotations"]
    check_equal(there_and_back(dataset, tmp_path), dataset)
    moved = json.loads((tmp_path / "set.json").read_text())
    assert "corner" in entry[0]
    moved["annotations"][0]["bbox"][2] = 5  # edited by a tool that does not know the key
    (tmp_path / "set.json").write_text(json.dumps(moved))
    assert import_coco(tmp_path / "set.json", tiny, tmp_path / "moved").dataset.boxes[0, 2] == 7.51


def test_a_foreign_file(tmp_path: Path) -> None:
    made = import_coco(*write_world(tmp_path), tmp_path / "out")
    dataset = made.dataset
    assert (made.crowds, made.outlined, made.joined) == (1, 1, None)
    assert (dataset.name, dataset.licence, dataset.labels) == ("ann", "CC BY 4.0", ("Opacity", "Effusion"))
    assert [study.study for study in dataset.studies] == ["one", "two", "three", "four"]
    assert [study.patient for study in dataset.studies] == ["one", "two", "three", "four"]
    assert dataset.split_policy == "patient"
    assert dataset.boxes.tolist() == [[1, 2, 11, 12.5], [2, 1, 12, 9.5], [30, 10, 40, 20], [0.5, 0.25, 3.5, 3.25]]
    assert dataset.labels_of.tolist() == [1, 2, 1, 2]
    assert dataset.studies[0].image == "images/a/one.png"
    assert set(dataset.reading) == {"1"}


def test_labels_name_and_licence_as_asked(tmp_path: Path) -> None:
    made = import_coco(*write_world(tmp_path), tmp_path / "out", labels=["Effusion"], name="mine", licence="own")
    assert (made.dataset.name, made.dataset.licence, made.dataset.labels) == ("mine", "own", ("Effusion",))
    assert made.dataset.boxes.shape == (2, 4)


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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gender": "x"}, r"images\[0\]: clinical: key 'gender' holds a value that info.mmad does not list"),
        ({"gender": 1}, r"images\[0\]: clinical: key 'gender' is not a text"),
        ({"age": "40"}, r"images\[0\]: clinical: key 'age' is not a finite number"),
        ({"agee": 40}, r"images\[0\]: clinical: unknown clinical column 'agee' \(did you mean 'age'\?\)"),
    ],
)
def test_clinical_values_of_an_export_that_was_edited(
    tiny: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    content: Any = coco_of(load_dataset(tiny))
    content["images"][0]["clinical"] |= change
    (tmp_path / "set.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        import_coco(tmp_path / "set.json", tiny, tmp_path / "out")


def test_an_export_overwrites_nothing(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "set.json").write_text("mine")
    with pytest.raises(DataError, match=r"set.json: exists already"):
        export_coco(load_dataset(tiny), tmp_path / "set.json")
    with pytest.raises(DataError, match=r"cannot be written"):
        export_coco(load_dataset(tiny), tmp_path / "set.json" / "below.json")
    assert (tmp_path / "set.json").read_text() == "mine"


def test_the_commands(call_mmad: Callable[..., Any], tiny: Path, tmp_path: Path) -> None:
    told = call_mmad("data", "export", "coco", tiny, "--out", tmp_path / "set.json")
    assert (told.code, told.out.split(";")[0]) == (0, f"{tmp_path / 'set.json'}: 4 images, 4 annotations")
    file, pics = write_world(tmp_path)
    write_csv(tmp_path / "t.csv", [["who", "age"], ["one", 1], ["two", 2], ["nobody", 2]])
    words = ["data", "import", "coco", file, "--images", pics]
    made = call_mmad(*words, "--out", tmp_path / "out", "--clinical", tmp_path / "t.csv", "--on", "who")
    assert made.out.splitlines()[1:] == [
        "left out: 1 crowd regions",
        "drawn around polygons: 1 boxes",
        f"{tmp_path / 't.csv'}: joined on file name without its ending, 2 of 4 images have a row, 1 rows name no image",
    ]
    refused = call_mmad(*words, "--out", tmp_path / "no", "--on", "who")
    assert refused.code == 2
    assert "goes with --clinical CSV" in refused.err
