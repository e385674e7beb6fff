"""Boxes as published tables hold them: their form, the size they were drawn on, rows without a box, and slivers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from reflacx_trees import plain_tree

from mmad.base.errors import DataError
from mmad.data.audit.fix import fix_folder
from mmad.data.audit.run import audit_folder
from mmad.data.audit.table_checks import tiny_box_lines
from mmad.data.coco_export import export_coco
from mmad.data.dataset import DataSet
from mmad.data.importers.coco import import_coco
from mmad.data.importers.common import ImportReport
from mmad.data.importers.csv import CsvLayout, import_csv
from mmad.data.importers.reflacx.build import Choices, build_reflacx
from mmad.data.reader import load_dataset
from mmad.data.samples import samples

WIDTH, HEIGHT = 100, 80
Folder = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A folder of images a … f with the tables given by name."""

    def make(ending: str = ".png", place: str = "", **tables: list[str]) -> Path:
        src = tmp_path / "src"
        (src / place).mkdir(parents=True)
        for i, name in enumerate("abcdef"):
            pixels = np.random.default_rng(i).integers(0, 255, (HEIGHT, WIDTH), dtype=np.uint8)
            Image.fromarray(pixels).save(src / place / f"{name}{ending}")
        for name, lines in tables.items():
            (src / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return src

    return make


def subjects(ending: str = ".png") -> list[str]:
    return ["image,patient_id,split", *(f"{n}{ending},p{n},{'train' if n < 'e' else 'val'}" for n in "abcdef")]


@pytest.mark.parametrize(
    ("columns", "cells", "form", "note"),
    [
        ("xmin,ymin,xmax,ymax", "10,20,40,70", None, ""),
        ("x1,y1,x2,y2", "10,20,40,70", None, ""),
        ("x_min,y_min,x_max,y_max", "10,20,40,70", None, ""),
        ("x,y,w,h", "10,20,30,50", None, "--box-format xywh"),
        ("x,y,width,height", "10,20,30,50", None, "--box-format xywh"),
        ("xmin,ymin,xmax,ymax", "10,20,30,50", "xywh", ""),
        ("x_center,y_center,width,height", "25,45,30,50", None, "--box-format cxcywh"),
        ("x_center,y_center,width,height", "0.25,0.5625,0.3,0.625", "relative-cxcywh", "shares of the image"),
        ("xmin,ymin,xmax,ymax", "0.1,0.25,0.4,0.875", "relative-xyxy", "shares of the image"),
    ],
)
def test_every_form_gives_the_same_box(
    columns: str, cells: str, form: str | None, note: str, folder: Folder, tmp_path: Path
) -> None:
    src = folder(subjects=subjects(), boxes=[f"image,{columns},label", f"a.png,{cells},A", f"b.png,{cells},A"])
    report = ImportReport()
    made = import_csv(src, tmp_path / "out", layout=CsvLayout(box_format=form), report=report)
    assert made.boxes[0] == pytest.approx([10, 20, 40, 70])
    assert note in "; ".join(report.notes)


def test_what_may_be_two_things_is_refused(folder: Folder, tmp_path: Path) -> None:
    src = folder(subjects=subjects(), boxes=["image,a,b,c,d,label", "a.png,10,20,30,50,A"])
    layout = CsvLayout(sides=("a", "b", "c", "d"))
    with pytest.raises(
        DataError, match=r"boxes\.csv:1: the columns a, b, c, d may be two corners.*--box-format xyxy or"
    ):
        import_csv(src, tmp_path / "out", layout=layout)
    (src / "boxes.csv").write_text("image,y1,x1,y2,x2,label\na.png,10,20,30,50,A\n")
    swapped = r"boxes\.csv:1: the columns y1, x1, y2, x2 are of the axes y, x, y, x.*; --box-columns x1,y1,x2,y2$"
    with pytest.raises(DataError, match=swapped):
        import_csv(src, tmp_path / "out", layout=CsvLayout(sides=("y1", "x1", "y2", "x2"), box_format="xyxy"))
    with pytest.raises(DataError, match=r"--box-format: unknown word 'xxyy' \(did you mean 'xyxy'"):
        CsvLayout(box_format="xxyy")
    (src / "boxes.csv").write_text("image,xmin,ymin,xmax,ymax,label\na.png,0.1,0.2,0.4,0.5,A\n")
    with pytest.raises(DataError, match=r"boxes\.csv: boxes look relative: .* --box-format relative-xyxy"):
        import_csv(src, tmp_path / "out")
    (src / "boxes.csv").write_text("image,xmin,ymin,xmax,ymax,label\na.png,10,20,0.4,0.5,A\n")
    with pytest.raises(DataError, match=r"boxes\.csv:2: box \(10, 20, 0\.4, 0\.5\) is no share of the image"):
        import_csv(src, tmp_path / "out", layout=CsvLayout(box_format="relative-xyxy"))


MS_CXR = ["dicom_id,category_name,label_text,path,x,y,w,h,image_width,image_height,age"]


def test_one_table_with_an_image_and_a_box_in_a_row(folder: Folder, tmp_path: Path) -> None:
    rows = ["a,Pneumonia,left,a.png,10,20,30,50,100,80,40", "a,Edema,both,a.png,1,2,90,70,100,80,40"]
    rows += ["b,Edema,both,b.png,10,20,30,50,100,80,50", "c,Edema,x,c.png,10,20,30,50,100,80,61"]
    src = folder(ann=[*MS_CXR, *rows])
    layout = CsvLayout(subjects="ann.csv", boxes="ann.csv", image="path", label="category_name")
    report = ImportReport()
    made = import_csv(src, tmp_path / "out", layout=layout, report=report)
    assert made.boxes.tolist() == [[10, 20, 40, 70], [1, 2, 91, 72], [10, 20, 40, 70], [10, 20, 40, 70]]
    assert [column.name for column in made.numeric] == ["age"]
    assert [study.numeric for study in made.studies] == [(40.0,), (50.0,), (61.0,)]
    assert made.categorical == ()
    said = {column.name: (column.outcome, column.why) for column in report.columns}
    assert said["x"] == ("used", "a side of the box")
    assert said["image_width"] == ("used", "the image's size")
    assert said["label_text"] == ("ignored", "differs between the rows of image 'a.png'")
    for option in ("subjects", "boxes"):
        one = CsvLayout(**{option: "ann.csv"}, image="path", label="category_name")
        again = import_csv(src, tmp_path / option, layout=one)
        assert again.boxes.tolist() == made.boxes.tolist()


@pytest.mark.parametrize("stated", ["200,160", "300,160"])
def test_a_stated_size_that_is_not_the_files(stated: str, folder: Folder, tmp_path: Path) -> None:
    lines = [f"{line},{stated}" for line in subjects()[1:]]
    src = folder(
        subjects=["image,patient_id,split,width,height", *lines],
        boxes=["image,xmin,ymin,xmax,ymax,label", "a.png,20,40,80,70,A", "e.png,20,40,80,60,A"],
    )
    size = " x ".join(stated.split(","))
    with pytest.raises(DataError, match=rf"subjects\.csv:2: image 'a\.png' is 100 x 80 px where {size} is stated"):
        import_csv(src, tmp_path / "out")
    assert import_csv(src, tmp_path / "file", layout=CsvLayout(box_size="file")).boxes[0].tolist() == [20, 40, 80, 70]
    scaled = CsvLayout(box_size="stated")
    if stated == "200,160":
        assert import_csv(src, tmp_path / "scaled", layout=scaled).boxes[0].tolist() == [10, 20, 40, 35]
    else:
        with pytest.raises(DataError, match="a picture that EXIF turns counts as it is shown"):
            import_csv(src, tmp_path / "scaled", layout=scaled)


# Readings that found nothing.


VINDR = [
    "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max",
    "a,Nodule,8,R1,10,20,40,70",
    "a,No finding,14,R2,,,,",
    "a,No finding,14,R3,,,,",
    "b,No finding,14,R1,,,,",
    "b,No finding,14,R2,,,,",
    "c,Nodule,8,R1,1,2,30,40",
    "c,Nodule,8,R2,1,2,30,41",
]


def vindr(folder: Folder, tmp_path: Path) -> tuple[DataSet, ImportReport]:
    src, report = folder(place="train", train=VINDR), ImportReport()
    layout = CsvLayout(subjects="train.csv", image="image_id", label="class_name")
    return import_csv(src, tmp_path / "out", layout=layout, report=report), report


def test_a_row_without_a_box_is_a_reading_that_found_nothing(folder: Folder, tmp_path: Path) -> None:
    made, report = vindr(folder, tmp_path)
    assert made.labels == ("Nodule",)
    assert [study.image for study in made.studies] == [f"images/train/{name}.png" for name in "abc"]
    assert made.no_finding == ((0, "R2"), (0, "R3"), (1, "R1"), (1, "R2"))
    readings = samples(made, "normal")
    assert [study.study for study in readings.studies] == ["a#R1", "a#R2", "a#R3", "b#R1", "b#R2", "c#R1", "c#R2"]
    assert readings.box_study.tolist() == [0, 5, 6]
    assert len(samples(made, "unified").studies) == 3
    assert "4 readings found nothing" in report.notes
    assert "readings: column 'rad_id', as its name says" in report.notes
    assert {c.name: c.outcome for c in report.columns}["class_id"] != "clinical number"


def test_it_comes_back_from_coco_and_from_a_fixed_copy(folder: Folder, tmp_path: Path) -> None:
    made, _ = vindr(folder, tmp_path)
    export_coco(made, tmp_path / "set.json")
    again = import_coco(tmp_path / "set.json", made.root, tmp_path / "again").dataset
    assert again.no_finding == made.no_finding
    assert again.fingerprint() == made.fingerprint()
    assert load_dataset(fix_folder(made.root, tmp_path / "fixed").out).no_finding == made.no_finding


def test_the_users_word_for_no_finding(folder: Folder, tmp_path: Path) -> None:
    rsna = ["patientId,x,y,width,height,Target", "a,,,,,0", "b,10,20,30,50,1", "b,50,20,30,50,1", "c,,,,,0"]
    src = folder(labels=rsna)
    layout = CsvLayout(boxes="labels.csv", image="patientId", label="Target")
    with pytest.raises(DataError, match=r"labels\.csv:2: '0' of 'a' has no box; --no-finding '0' if nothing was found"):
        import_csv(src, tmp_path / "out", layout=layout)
    report = ImportReport()
    made = import_csv(src, tmp_path / "out", layout=layout, no_finding=["0"], report=report)
    assert (made.labels, made.boxes[0].tolist()) == (("1",), [10, 20, 40, 70])
    assert made.no_finding == ((0, "1"), (2, "1"))
    assert {column.outcome for column in report.columns} == {"used"}
    assert made.columns().numeric == ()
    (src / "labels.csv").write_text("\n".join([*rsna, "d,1,2,30,40,0"]) + "\n")
    with pytest.raises(DataError, match=r"labels\.csv:6: label '0' says that nothing was found, and there is a box"):
        import_csv(src, tmp_path / "no", layout=layout, no_finding=["0"])


def test_a_reading_with_boxes_that_found_nothing_is_named(folder: Folder, tmp_path: Path) -> None:
    boxes = ["image,xmin,ymin,xmax,ymax,label", "a.png,10,20,40,70,A", "e.png,10,20,40,70,A", "a.png,,,,,No finding"]
    report = ImportReport()
    made = import_csv(folder(subjects=subjects(), boxes=boxes), tmp_path / "out", report=report)
    assert made.no_finding == ()
    assert "where the same reading has boxes (image 'a.png'): left out" in report.warnings[0]


def test_two_ways_to_a_study_per_reading_give_the_same_samples(tmp_path: Path) -> None:
    sources = plain_tree(tmp_path / "in").write()
    unified = build_reflacx(sources, tmp_path / "unified", Choices()).dataset
    normal = build_reflacx(sources, tmp_path / "normal", Choices(mode="normal")).dataset
    view = samples(unified, "normal")
    assert len(view.studies) == len(normal.studies)
    assert sorted(map(tuple, view.boxes.tolist())) == sorted(map(tuple, normal.boxes.tolist()))


# Slivers.


@pytest.mark.parametrize("box", ["99.9999999,5,100.9,30", "0,5,0.000001,30", "5,79.99999,30,80.9", "50,5,50.00001,30"])
def test_a_sliver_is_refused_and_found(box: str, folder: Folder, tmp_path: Path) -> None:
    head = "image,xmin,ymin,xmax,ymax,label"
    src = folder(subjects=subjects(), boxes=[head, f"a.png,{box},A", "b.png,5,5,40,30,A", "e.png,5,5,40,30,A"])
    with pytest.raises(DataError, match=r"boxes\.csv:2: box .* has no area"):
        import_csv(src, tmp_path / "out")
    (src / "boxes.csv").write_text(f"{head}\na.png,5,5,40,30,A\nb.png,5,5,40,30,A\ne.png,5,5,40,30,A\n")
    made = import_csv(src, tmp_path / "out")
    table = made.root / "boxes.csv"
    clipped = ",".join(str(min(float(side), (WIDTH, HEIGHT)[i % 2])) for i, side in enumerate(box.split(",")))
    table.write_text(table.read_text().replace("a,1,5,5,40,30", f"a,1,{clipped}"))
    assert [found.code for found in audit_folder(made.root).errors] == ["box-degenerate"]
    fixed = fix_folder(made.root, tmp_path / "fixed")
    assert not fixed.audit.errors
    assert len(load_dataset(fixed.out).boxes) == 2


def test_boxes_below_a_pixel_are_named(folder: Folder, tmp_path: Path) -> None:
    boxes = ["image,xmin,ymin,xmax,ymax,label", "a.png,5,5,5.5,30,A", "b.png,5,5,8,30,A", "e.png,5,5,40,30,A"]
    report = ImportReport()
    made = import_csv(folder(subjects=subjects(), boxes=boxes), tmp_path / "out", report=report)
    assert report.warnings == ["1 box is less than one pixel wide or high: nothing can be learned from them"]
    assert "box-tiny" in {found.code for found in audit_folder(made.root).warnings}
    (line,) = tiny_box_lines(made, [25])
    assert line.startswith("2 of 3 boxes are less than a pixel wide or high at image_size 25, the first in study 'a'")
    assert tiny_box_lines(made, [1000]) == []


# Names of files, and COCO files of other tools.


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pics\\a.png", r"image path 'pics\\\\a\.png' is written with backslashes; write pics/a\.png"),
        ("pics/A.PNG", r"image 'pics/A\.PNG' is not there, but 'pics/a\.png' is: capitals count"),
        ("pics/caf\xe9.png", r"is not there, but 'pics/cafe\\u0301\.png' is: its name has another Unicode form"),
        ("pics/z.png", r"image 'pics/z\.png' is missing"),
        ("../a.png", r"image path '\.\./a\.png' leaves the folder"),
    ],
)
def test_a_name_that_leads_to_no_file_says_why(name: str, message: str, folder: Folder, tmp_path: Path) -> None:
    src = folder(place="pics", subjects=["image,patient_id", f"{name},p"], boxes=["image,xmin,ymin,xmax,ymax,label"])
    (src / "pics" / "a.png").rename(src / "pics" / "cafe\u0301.png") if "caf" in name else None
    with pytest.raises(DataError, match=rf"subjects\.csv:2: {message}" if "caf" not in name else message):
        import_csv(src, tmp_path / "out")


@pytest.mark.parametrize(("mark", "word"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_another_separator_is_named(mark: str, word: str, folder: Folder, tmp_path: Path) -> None:
    src = folder(subjects=[mark.join(("image", "age")), mark.join(("a.png", "4"))], boxes=["image"])
    with pytest.raises(DataError, match=rf"subjects\.csv:1: is separated by {word}; save it as comma-separated text"):
        import_csv(src, tmp_path / "out")


def coco(names: list[str], **more: Any) -> dict[str, Any]:
    images = [{"id": i, "file_name": name, "width": WIDTH, "height": HEIGHT} for i, name in enumerate(names)]
    marks = [{"id": i, "image_id": i, "category_id": 1, "bbox": [10, 20, 30, 50]} for i in range(len(names))]
    return {"images": images, "annotations": marks, "categories": [{"id": 1, "name": "Mass"}], **more}


@pytest.mark.parametrize("form", ["../../media/upload/1/{}.png", "/data/local-files/?d=pics/{}.png", "/abs/{}.png"])
def test_paths_of_another_machine_are_found_by_name(form: str, folder: Folder, tmp_path: Path) -> None:
    src = folder(place="pics")
    (tmp_path / "ann.json").write_text(json.dumps(coco([form.format(name) for name in "abcdef"])))
    made = import_coco(tmp_path / "ann.json", src, tmp_path / "out").dataset
    assert [study.image for study in made.studies] == [f"images/pics/{name}.png" for name in "abcdef"]


def test_what_other_tools_write(folder: Folder, tmp_path: Path) -> None:
    src, report = folder(), ImportReport()
    names = [f"{name}.png" for name in "abcdef"]
    categories = [
        {"id": 0, "name": "chest", "supercategory": "none"},
        {"id": 1, "name": "Mass", "supercategory": "chest"},
    ]
    content = coco(names, licenses=[{"name": "", "id": 0, "url": ""}], categories=categories)
    (tmp_path / "ann.json").write_text(json.dumps(content))
    made = import_coco(tmp_path / "ann.json", src, tmp_path / "out", report=report).dataset
    assert (made.labels, made.licence, made.split_policy) == (("Mass",), "not stated", "image")
    assert "left out: category 'chest', which has no box and groups the others" in report.notes
    assert report.warnings[0].startswith("no column names the patient")
    content["annotations"][3]["bbox"][1] = float("nan")
    (tmp_path / "ann.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"holds NaN, which is no number \(annotations\[3\]: bbox\[1\]\)"):
        import_coco(tmp_path / "ann.json", src, tmp_path / "no")
    for mark in content["annotations"]:
        mark["bbox"] = [0.1, 0.2, 0.3, 0.4]
    (tmp_path / "ann.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="boxes look relative"):
        import_coco(tmp_path / "ann.json", src, tmp_path / "no")


def test_coco_boxes_of_another_size(folder: Folder, tmp_path: Path) -> None:
    src, content = folder(), coco(["a.png", "b.png"])
    for image in content["images"]:
        image["width"], image["height"] = 200, 160
    (tmp_path / "ann.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="is 100 x 80 px where 200 x 160 is stated; --box-size stated scales"):
        import_coco(tmp_path / "ann.json", src, tmp_path / "no")
    made = import_coco(tmp_path / "ann.json", src, tmp_path / "out", box_size="stated").dataset
    assert made.boxes[0].tolist() == [5, 10, 20, 35]
