"""The folder of a data set: what is read, and how each mistake in it is refused."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mmad.base.errors import DataError
from mmad.base.records import ClinicalColumns
from mmad.data.reader import load_dataset

Change = Callable[[str, str, str], Path]


def test_reads_every_column(tiny: Path) -> None:
    dataset = load_dataset(tiny)
    assert dataset.labels == ("Atelectasis", "Consolidation")
    assert [column.unit for column in dataset.numeric] == ["years", "°F"]
    assert dataset.categorical[0].values == ("F", "M")
    assert dataset.studies[1].numeric == (60.0, None)
    assert dataset.studies[2].categorical == (None,)
    assert dataset.studies[0].source is None
    assert dataset.box_study.tolist() == [0, 2, 0, 3]
    assert dataset.labels_of.tolist() == [1, 2, 2, 1]
    assert dataset.boxes[2].tolist() == [10.5, 2, 30, 18]
    assert dataset.reading == ("r1", "r1", "r2", "r1")
    assert dataset.certainty[0] == 0.9
    assert math.isnan(dataset.certainty[1])
    assert dataset.split("train") == (0, 1)


def test_ground_truth_lists_studies_without_boxes(tiny: Path) -> None:
    truth = load_dataset(tiny).ground_truth("train")
    assert truth.studies == ("a", "b")
    assert truth.patients == ("p1", "p2")
    assert truth.study.tolist() == [0, 0]
    assert truth.labels.tolist() == [1, 2]
    assert truth.boxes.shape == (2, 4)
    assert load_dataset(tiny).ground_truth("test").study.tolist() == [0]


def test_columns_by_name_and_in_the_order_asked(tiny: Path) -> None:
    dataset = load_dataset(tiny)
    everything = ClinicalColumns(("age", "temperature"), (("gender", ("F", "M")),))
    assert dataset.columns() == everything
    assert dataset.columns(["temperature", "age"], []) == ClinicalColumns(("temperature", "age"), ())
    with pytest.raises(DataError, match=r"unknown numeric clinical column 'temprature'.*'temperature'"):
        dataset.columns(["temprature"])


def test_reading_and_certainty_may_be_left_out(tiny: Path) -> None:
    (tiny / "boxes.csv").write_text("study,xmin,ymin,xmax,ymax,label\na,1,1,2,2,Atelectasis\n", encoding="utf-8")
    dataset = load_dataset(tiny)
    assert dataset.reading == ("",)
    assert math.isnan(dataset.certainty[0])


def test_a_source_column_is_kept(tiny: Path) -> None:
    lines = (tiny / "studies.csv").read_text(encoding="utf-8").splitlines()
    ends = ["source", "north", "", "south", "north"]
    text = "\n".join(f"{line},{end}" for line, end in zip(lines, ends, strict=True))
    (tiny / "studies.csv").write_text(text, encoding="utf-8")
    assert [study.source for study in load_dataset(tiny).studies] == ["north", None, "south", "north"]


def test_a_data_set_without_boxes_in_it_loads(tiny: Path) -> None:
    (tiny / "boxes.csv").write_text("study,xmin,ymin,xmax,ymax,label\n", encoding="utf-8")
    dataset = load_dataset(tiny)
    assert dataset.boxes.shape == (0, 4)
    assert dataset.ground_truth("train").study.size == 0


def test_a_byte_order_mark_and_windows_lines_are_read(tiny: Path) -> None:
    text = (tiny / "studies.csv").read_text(encoding="utf-8").replace("\n", "\r\n")
    (tiny / "studies.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert len(load_dataset(tiny).studies) == 4


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("dataset.toml", 'name = "tiny"', "name = tiny", "not TOML"),
        ("dataset.toml", "licence =", "license =", "unknown key 'license'.*'licence'"),
        ("dataset.toml", 'labels = ["Atelectasis", "Consolidation"]', "", "'labels' is not a list"),
        ("dataset.toml", '["Atelectasis", "Consolidation"]', '["A", "A"]', "twice"),
        ("dataset.toml", 'unit = "years"', 'units = "years"', r"\[\[numeric\]\] 1: unknown key 'units'.*'unit'"),
        ("dataset.toml", "low = 0.0", "low = 200", "low is not below high"),
        ("dataset.toml", '"before"', '"befor"', "unknown measured 'befor'.*'before'"),
        ("dataset.toml", "low = 0.0", 'low = "x"', "'low' is not a finite number"),
        ("dataset.toml", 'name = "temperature"', 'name = "age"', "'age' is declared twice"),
        ("dataset.toml", 'name = "age"', 'name = "split"', "reserved"),
        ("dataset.toml", '"patient"', '"patients"', "unknown split_policy 'patients'.*'patient'"),
        ("dataset.toml", 'values = ["F", "M"]', "", r"\[\[categorical\]\] 1: key 'values'"),
        ("studies.csv", "temperature", "temprature", "1: unknown column 'temprature'.*'temperature'"),
        ("studies.csv", ",gender", "", "studies.csv:1: column 'gender' is missing"),
        ("studies.csv", "40,98.6,F", "40,98.6,F,1", "studies.csv:2: 10 cells where the header has 9; correct the row"),
        ("studies.csv", "40,98.6,F", "40,98.6", "studies.csv:2: 8 cells where the header has 9; correct the row"),
        ("studies.csv", "40,98.6,F", "forty,98.6,F", "studies.csv:2: study 'a': column 'age' is not a number"),
        ("studies.csv", "40,98.6,F", "inf,98.6,F", "studies.csv:2: study 'a': column 'age' is not a number"),
        ("studies.csv", "98.6,F", "98.6,X", "studies.csv:2: study 'a': column 'gender' holds a value"),
        ("studies.csv", "p2,train", "p2,trian", "studies.csv:3: study 'b': unknown split 'trian'.*'train'"),
        ("studies.csv", "b,images/b.png", "a,images/b.png", "studies.csv:3: study 'a' stands on line 2 too"),
        ("studies.csv", "b,images/b.png,40", "b,images/b.png,0", "'width' is not a whole number"),
        ("studies.csv", "b,images/b.png,40,20", "b,images/b.png,40,2e1", "'height' is not a whole number"),
        ("studies.csv", "20,p2", "20,", "studies.csv:3: column 'patient' is empty"),
        ("studies.csv", "images/b.png", "images/z.png", "study 'b': image 'images/z.png' is missing"),
        ("studies.csv", "images/b.png", "../b.png", "study 'b': image '../b.png' path leaves"),
        ("studies.csv", "images/b.png", "/etc/passwd", "study 'b': image '/etc/passwd' path leaves"),
        ("studies.csv", "images/b.png", "images/../../b.png", "leaves the data set's folder"),
        ("studies.csv", "images/b.png", "images\\b.png", "leaves the data set's folder"),
        ("studies.csv", "p3,val", "p1,val", "patient of study 'c'.*study 'a'"),
        ("boxes.csv", "label,", "labels,", "boxes.csv:1: unknown column 'labels'.*'label'"),
        ("boxes.csv", "15,Atelectasis", "15,Atelektasis", "boxes.csv:2: unknown label 'Atelektasis'.*'Atelectasis'"),
        ("boxes.csv", "a,r1,", "aa,r1,", "boxes.csv:2: unknown study 'aa'"),
        ("boxes.csv", "4,5,20,15", "4,5,40.5,15", "boxes.csv:2: study 'a': box .* leaves the image of 40 x 20"),
        ("boxes.csv", "4,5,20,15", "-1,5,20,15", "boxes.csv:2: study 'a': box .* leaves the image"),
        ("boxes.csv", "4,5,20,15", "20,5,20,15", "boxes.csv:2: study 'a': box .* has no area"),
        ("boxes.csv", "4,5,20,15", "4,15,20,5", "boxes.csv:2: study 'a': box .* has no area"),
        ("boxes.csv", "4,5,20,15", "four,5,20,15", "boxes.csv:2: column 'xmin' is not a number: 'four'"),
        ("boxes.csv", "4,5,20,15", "nan,5,20,15", "boxes.csv:2: column 'xmin' is not a number"),
        ("boxes.csv", "Atelectasis,0.9", "Atelectasis,sure", "boxes.csv:2: column 'certainty' is not a number"),
    ],
)
def test_each_mistake_is_one_line_with_place_and_hint(
    change: Change, file: str, old: str, new: str, message: str
) -> None:
    root = change(file, old, new)
    with pytest.raises(DataError, match=message) as caught:
        load_dataset(root)
    assert "\n" not in str(caught.value)
    assert file in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("cells", ["forty,98.6,F", "40,98.6,Q7", "40,1e999,F"])
def test_no_message_shows_a_clinical_value(change: Change, cells: str) -> None:
    with pytest.raises(DataError) as caught:
        load_dataset(change("studies.csv", "40,98.6,F", cells))
    assert not {"forty", "Q7", "1e999"} & set(str(caught.value).replace("'", " ").split())


@pytest.mark.parametrize("name", ["dataset.toml", "studies.csv", "boxes.csv"])
def test_a_missing_file_is_named(tiny: Path, name: str) -> None:
    (tiny / name).unlink()
    with pytest.raises(DataError, match=f"{name}: file missing"):
        load_dataset(tiny)


def test_a_missing_folder_and_a_file_in_its_place(tiny: Path) -> None:
    with pytest.raises(DataError, match=r"no such data set; make one with `mmad data phantom"):
        load_dataset(tiny / "nowhere")
    with pytest.raises(DataError, match=r"is a file"):
        load_dataset(tiny / "studies.csv")


def test_tables_that_are_no_text(tiny: Path) -> None:
    (tiny / "studies.csv").write_bytes(b"study,\xff\xfe\n")
    with pytest.raises(DataError, match=r"studies.csv:1: not UTF-8"):
        load_dataset(tiny)
    (tiny / "studies.csv").write_text("", encoding="utf-8")
    with pytest.raises(DataError, match=r"column 'study' is missing"):
        load_dataset(tiny)


def test_a_table_without_studies(tiny: Path) -> None:
    header = (tiny / "studies.csv").read_text(encoding="utf-8").splitlines()[0]
    (tiny / "studies.csv").write_text(header + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"holds no study"):
        load_dataset(tiny)


def test_a_link_out_of_the_folder_is_refused_and_one_inside_is_read(tiny: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside.png"
    (tiny / "images" / "b.png").rename(outside)
    (tiny / "images" / "b.png").symlink_to(outside)
    with pytest.raises(DataError, match=r"'images/b.png' is a link out"):
        load_dataset(tiny)
    (tiny / "images" / "b.png").unlink()
    (tiny / "images" / "b.png").symlink_to(tiny / "images" / "a.png")
    assert len(load_dataset(tiny).studies) == 4


def test_an_images_folder_that_is_a_link_out_is_refused(tiny: Path, tmp_path: Path) -> None:
    (tiny / "images").rename(tmp_path / "elsewhere")
    (tiny / "images").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match=r"is reached by a link out"):
        load_dataset(tiny)


def test_patients_may_cross_splits_where_the_policy_says_image(change: Change) -> None:
    change("dataset.toml", '"patient"', '"image"')
    root = change("studies.csv", "p3,val", "p1,val")
    assert load_dataset(root).split_policy == "image"


@pytest.mark.slow
def test_a_hundred_thousand_rows_are_read_in_seconds(tiny: Path) -> None:
    rows = [f"s{i},images/a.png,40,20,p{i},train,{i % 90},98.6,F" for i in range(100_000)]
    header = (tiny / "studies.csv").read_text(encoding="utf-8").splitlines()[0]
    (tiny / "studies.csv").write_text("\n".join([header, *rows]), encoding="utf-8")
    boxes = [f"s{i},r1,4,5,20,15,Atelectasis," for i in range(100_000)]
    first = (tiny / "boxes.csv").read_text(encoding="utf-8").splitlines()[0]
    (tiny / "boxes.csv").write_text("\n".join([first, *boxes]), encoding="utf-8")
    start = time.process_time()
    dataset = load_dataset(tiny)
    assert time.process_time() - start < 20
    assert np.array_equal(dataset.box_study, np.arange(100_000))


def test_mode_and_documented_split_are_read(tiny: Path, change: Change) -> None:
    assert load_dataset(tiny).mode is None
    change("dataset.toml", 'split_policy = "patient"', 'split_policy = "documented"\nmode = "normal"')
    dataset = load_dataset(tiny)
    assert (dataset.mode, dataset.split_policy) == ("normal", "documented")
    change("dataset.toml", '"normal"', '"norml"')
    with pytest.raises(DataError, match=r"unknown mode 'norml'.*'normal'"):
        load_dataset(tiny)
