"""COCO files in and out: nothing is lost on the way there and back."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from coco_fixtures import HEIGHT, WIDTH, check_equal, draw, write_csv, write_world
from hypothesis import given
from hypothesis import strategies as st
from random_search import examples

from mmad.base.errors import DataError
from mmad.data.coco_export import coco_of, export_coco
from mmad.data.column_types import known_word
from mmad.data.dataset import DataSet
from mmad.data.importers.coco import import_coco
from mmad.data.importers.csv import import_csv
from mmad.data.reader import load_dataset

_words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=6)
_words = _words.map(str.strip).filter(bool)
_labels = _words.filter(known_word)
Rows = tuple[list[list[object]], list[list[object]]]
_numbers = st.floats(allow_nan=False, allow_infinity=False)


def there_and_back(dataset: DataSet, folder: Path) -> DataSet:
    export_coco(dataset, folder / "set.json")
    return import_coco(folder / "set.json", dataset.root, folder / "again").dataset


def test_a_phantom_comes_back_byte_for_byte(phantom: DataSet, tmp_path: Path) -> None:
    again = there_and_back(phantom, tmp_path)
    assert again.fingerprint() == phantom.fingerprint()
    check_equal(again, phantom)


def test_pycocotools_reads_what_is_written(
    phantom: DataSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pycocotools.coco import COCO

    export_coco(phantom, tmp_path / "set.json")
    theirs = COCO(str(tmp_path / "set.json"))
    assert [category["name"] for category in theirs.loadCats(theirs.getCatIds())] == list(phantom.labels)
    for i, study in enumerate(phantom.studies):
        marks = theirs.loadAnns(theirs.getAnnIds(imgIds=[i + 1]))
        ours = phantom.boxes[phantom.box_study == i]
        assert theirs.loadImgs([i + 1])[0]["file_name"] == study.image
        assert [mark["bbox"][:2] for mark in marks] == ours[:, :2].tolist()
        assert [mark["area"] for mark in marks] == ((ours[:, 2:] - ours[:, :2]).prod(axis=1)).tolist()


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
            right = draw(st.floats(max(left, 1) + 0.001, WIDTH))
            bottom = draw(st.floats(top + 0.001, HEIGHT))
            reading = draw(st.one_of(st.just(""), _words))
            boxes.append([f"{i}.png", *map(repr, (left, top, right, bottom)), draw(_labels), reading, draw(cells)])
    return subjects, boxes


@examples(10)
@given(tables())
def test_csv_to_folder_to_coco_to_folder_loses_nothing(world: Rows) -> None:
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
    lines = made.out.splitlines()[-4:]
    assert lines[1].startswith(f"{tmp_path / 'out'}: 4 studies")
    assert [lines[0], *lines[2:]] == [
        "left out: 1 box: crowd region",
        "drawn around polygons: 1 boxes",
        f"{tmp_path / 't.csv'}: joined on file name without its ending, 2 of 4 images have a row, 1 rows name no image",
    ]
    refused = call_mmad(*words, "--out", tmp_path / "no", "--on", "who")
    assert refused.code == 2
    assert "goes with --clinical CSV" in refused.err
