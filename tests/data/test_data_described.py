"""Published data sets, by made-up rows in their columns: count for count what pandas says of the same tables."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas
import pytest
from PIL import Image

from mmad.base.errors import DataError
from mmad.data.dataset import DataSet
from mmad.data.exclusions import Excluded
from mmad.data.importers.described.description import PublishedSet
from mmad.data.importers.described.importer import import_published, read_published_set

FOLDER = Path(__file__).parents[2] / "mmad" / "data" / "importers" / "described"
Boxes = set[tuple[str, str, float, float, float, float]]


def images(root: Path, names: list[str]) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(len(name)).integers(0, 255, (64, 64), dtype=np.uint8)).save(root / name)


def boxes_of(dataset: DataSet) -> Boxes:
    rows = zip(dataset.box_study.tolist(), dataset.labels_of.tolist(), dataset.boxes.tolist(), strict=True)
    return {(dataset.studies[s].study, dataset.labels[label - 1], *map(float, box)) for s, label, box in rows}


def vindr(root: Path) -> Boxes:
    train = [(f"t{i}", f"R{r}", "Mass", i, 2, i + 10 + r, 30.5) for i in range(8) for r in (1, 2)]
    train += [("t8", "R1", "No finding", "", "", "", ""), ("t8", "R2", "No finding", "", "", "", "")]
    columns = ["image_id", "rad_id", "class_name", "x_min", "y_min", "x_max", "y_max"]
    (root / "annotations").mkdir()
    frame = pandas.DataFrame(train, columns=columns)
    frame.to_csv(root / "annotations" / "annotations_train.csv", index=False)
    test = pandas.DataFrame([("e0", "Mass", 1, 2, 3, 4)], columns=[c for c in columns if c != "rad_id"])
    test.to_csv(root / "annotations" / "annotations_test.csv", index=False)
    images(root, [f"train/t{i}.png" for i in range(9)] + ["test/e0.png"])
    both = pandas.concat([frame[frame.class_name != "No finding"], test]).astype(dict.fromkeys(columns[3:], float))
    return {(r.image_id, r.class_name, r.x_min, r.y_min, r.x_max, r.y_max) for r in both.itertuples()}


def rsna(root: Path) -> Boxes:
    rows = [(f"p{i}", 1.0 + i, 2.0, 20.0, 30.0, 1) for i in range(8) for _ in range(1)] + [("p0", 30, 30, 9, 9, 1)]
    rows += [(f"n{i}", "", "", "", "", 0) for i in range(6)]
    frame = pandas.DataFrame(rows, columns=["patientId", "x", "y", "width", "height", "Target"])
    frame.to_csv(root / "stage_2_train_labels.csv", index=False)
    images(root, [f"stage_2_train_images/{name}.png" for name in frame.patientId.unique()])
    some = frame[frame.Target == 1].astype(dict.fromkeys(("x", "y", "width", "height"), float))
    return {(r.patientId, "Lung Opacity", r.x, r.y, r.x + r.width, r.y + r.height) for r in some.itertuples()}


def nih(root: Path) -> Boxes:
    names = [f"{i // 2:08}_{i % 2:03}.png" for i in range(12)]
    beside = ["00000005_002.png", "00000077_000.png"]  # one of a patient with a box, one of another
    head = "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"
    lines = [f"{name},Mass,{i}.5,3,10,20,,,\n" for i, name in enumerate(names)]
    (root / "BBox_List_2017.csv").write_text(head + "".join(lines))
    entry = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    entry += "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
    people = [f"{name},Mass,1,1,0{40 + i}Y,{'FM'[i % 2]},PA,9,9,0.1,0.1\n" for i, name in enumerate([*names, *beside])]
    (root / "Data_Entry_2017.csv").write_text(entry + "".join(people))
    (root / "test_list.txt").write_text("\n".join(names[:4]))
    images(root, [f"images/{name}" for name in names])
    return {(name.removesuffix(".png"), "Mass", i + 0.5, 3.0, i + 10.5, 23.0) for i, name in enumerate(names)}


def ms_cxr(root: Path) -> Boxes:
    head = "dicom_id,category_name,label_text,path,x,y,w,h,image_width,image_height\n"
    paths = [f"files/p10/p1000{i:04}/s5{i:07}/d{i}.png" for i in range(10)]
    lines = [f"d{i},Pneumonia,left opacity,{path},4,5,20,3{i},64,64\n" for i, path in enumerate(paths)]
    (root / "MS_CXR_Local_Alignment_v1.0.0.csv").write_text(head + "".join(lines))
    images(root, paths)
    return {(f"d{i}", "Pneumonia", 4.0, 5.0, 24.0, 35.0 + i) for i in range(10)}


def chestx_det(root: Path) -> Boxes:
    def entries(names: list[str]) -> list[dict[str, object]]:
        return [
            {"file_name": f"{n}.png", "syms": ["Effusion"], "boxes": [[1, 2, 30, 40]], "polygons": []} for n in names
        ]

    train, test = [f"{i}" for i in range(8)], ["90", "91"]
    nothing = {"file_name": "50.png", "syms": [], "boxes": [], "polygons": []}
    (root / "ChestX_Det_train.json").write_text(json.dumps([*entries(train), nothing]))
    (root / "ChestX_Det_test.json").write_text(json.dumps(entries(test)))
    images(root, [f"{name}.png" for name in (*train, *test, "50")])
    return {(name, "Effusion", 1.0, 2.0, 30.0, 40.0) for name in (*train, *test)}


def object_cxr(root: Path) -> Boxes:
    shapes = "0 1 2 30 40;2 5 6 9 50 7 60;1 3 3 9 9"
    lines = [f"0{i}.jpg,{shapes}\n" for i in range(6)] + ["07.jpg,\n"]
    (root / "train.csv").write_text("image_name,annotation\n" + "".join(lines))
    (root / "dev.csv").write_text("image_name,annotation\n" + "".join(f"1{i}.jpg,{shapes}\n" for i in range(3)))
    names = [f"0{i}" for i in (0, 1, 2, 3, 4, 5, 7)] + [f"1{i}" for i in range(3)]
    images(root, [f"{name}.jpg" for name in names])
    sides = ((1.0, 2.0, 30.0, 40.0), (5.0, 6.0, 9.0, 60.0), (3.0, 3.0, 9.0, 9.0))
    return {(name, "Foreign object", *side) for name in names if name != "07" for side in sides}


def siim(root: Path) -> Boxes:
    rows = [
        f"\"[{{'x': 1.5, 'y': 2, 'width': 10, 'height': {20 + i}}}]\",opacity 1 1.5 2 11.5 22,st{i}" for i in range(9)
    ]
    lines = [f"a{i}_image,{row}\n" for i, row in enumerate(rows)] + ["b_image,,none 1 0 0 1 1,st9\n"]
    (root / "train_image_level.csv").write_text("id,boxes,label,StudyInstanceUID\n" + "".join(lines))
    images(root, [f"train/st{i}/series/a{i}.png" for i in range(9)] + ["train/st9/series/b.png"])
    return {(f"a{i}", "opacity", 1.5, 2.0, 11.5, 22.0 + i) for i in range(9)}


def padchest_gr(root: Path) -> Boxes:
    def study(i: int, findings: list[dict[str, object]]) -> dict[str, object]:
        return {"StudyID": f"{i}", "ImageID": f"{i}_a.png", "findings": findings}

    seen = {"sentence_en": "…", "abnormal": True, "boxes": [[0.25, 0.5, 0.5, 0.75]], "labels": ["pleural effusion"]}
    studies = [study(i, [seen]) for i in range(9)] + [study(9, [{"sentence_en": "…", "abnormal": False}])]
    (root / "grounded_reports_20240819.json").write_text(json.dumps(studies))
    splits = ["train"] * 6 + ["validation", "validation", "test", "test"]
    rows = [f"{i},{i}_a.png,label,{split},P{i // 2}\n" for i, split in enumerate(splits)]
    (root / "master_table.csv").write_text("StudyID,ImageID,label,split,PatientID\n" + "".join(rows))
    images(root, [f"PadChest_GR/{i}_a.png" for i in range(10)])
    return {(f"{i}_a", "pleural effusion", 16.0, 32.0, 32.0, 48.0) for i in range(9)}


def voc(root: Path) -> Boxes:
    corners = "<xmin>2</xmin><xmax>60</xmax><ymin>4</ymin><ymax>80</ymax>"
    size = "<size><width>128</width><height>128</height><depth>1</depth></size>"  # the files are of half that size
    for i in range(9):
        objects = f"<object><name>Mass</name><bndbox>{corners}</bndbox></object>" if i < 8 else ""
        (root / f"v{i}.xml").write_text(f"<annotation><filename>v{i}.png</filename>{size}{objects}</annotation>")
    images(root, [f"v{i}.png" for i in range(9)])
    return {(f"v{i}", "Mass", 1.0, 2.0, 30.0, 40.0) for i in range(8)}


def cvat(root: Path) -> Boxes:
    box = '<box label="Mass" xtl="3" ytl="4" xbr="60" ybr="80" occluded="0" z_order="0"/>'
    outline = '<polygon label="Nodule" points="10,12;18,100;14,120"/>'
    each = "".join(f'<image id="{i}" name="c{i}.png" width="128" height="128">{box}{outline}</image>' for i in range(8))
    (root / "annotations.xml").write_text(f'<annotations>{each}<image id="8" name="c8.png"/></annotations>')
    images(root, [f"c{i}.png" for i in range(9)])
    sides = {"Mass": (1.5, 2.0, 30.0, 40.0), "Nodule": (5.0, 6.0, 9.0, 60.0)}
    return {(f"c{i}", label, *side) for i in range(8) for label, side in sides.items()}


def labelme(root: Path) -> Boxes:
    for i in range(9):
        shape = {"label": "Mass", "points": [[60, 80], [2, 4]], "shape_type": "rectangle"}
        found = {
            "imageWidth": 128,
            "imageHeight": 128,
            "imagePath": f"..\\img\\l{i}.png",
            "shapes": [shape] if i < 8 else [],
        }
        (root / f"l{i}.json").write_text(json.dumps(found))
    images(root, [f"img/l{i}.png" for i in range(9)])
    return {(f"l{i}", "Mass", 1.0, 2.0, 30.0, 40.0) for i in range(8)}


def yolo(root: Path) -> Boxes:
    (root / "data.yaml").write_text("path: ..\ntrain: images/train\nval: images/valid\nnames: {0: Mass, 1: Nodule}\n")
    images(root, [f"images/{'valid' if i > 7 else 'train'}/y{i}.png" for i in range(10)] + ["images/train/none.png"])
    for i in range(10):
        text = root / "labels" / ("valid" if i > 7 else "train") / f"y{i}.txt"
        text.parent.mkdir(parents=True, exist_ok=True)
        text.write_text("0 0.5 0.5 0.25 0.5\n1 0.25 0.5 0.75 0.5 0.5 0.75\n" if i < 9 else "")
    sides = {"Mass": (24.0, 16.0, 40.0, 48.0), "Nodule": (16.0, 32.0, 48.0, 48.0)}
    return {(f"y{i}", label, *side) for i in range(9) for label, side in sides.items()}


def roboflow(root: Path) -> Boxes:
    classes = [
        {"id": 0, "name": "findings", "supercategory": "none"},
        {"id": 1, "name": "Mass", "supercategory": "findings"},
    ]
    wanted: Boxes = set()
    for split, many in (("train", 6), ("valid", 2), ("test", 2)):
        names = [f"{split}{i}_png.rf.{i:032x}.png" for i in range(many)]
        images(root, [f"{split}/{name}" for name in names])
        entries = [{"id": i, "file_name": name, "width": 64, "height": 64} for i, name in enumerate(names)]
        boxes = [{"id": i, "image_id": i, "category_id": 1, "bbox": [1, 2, 20.5, 30 + i]} for i in range(1, many)]
        boxes.append(boxes[0] | {"bbox": [0, 0, 64, 64], "iscrowd": 1})
        found = {"images": entries, "annotations": boxes, "categories": classes}
        (root / split / "_annotations.coco.json").write_text(json.dumps(found))
        wanted |= {(name.removesuffix(".png"), "Mass", 1.0, 2.0, 21.5, 32.0 + i) for i, name in enumerate(names) if i}
    return wanted


def chexlocalize(root: Path) -> Boxes:
    wanted: Boxes = set()
    for split, many in (("val", 7), ("test", 3)):
        found, masks = {}, {}
        for i in range(many):
            key = f"patient6{split == 'test':d}{i}_study1_view1_frontal"
            outline = [[6, 8], [40, 80 + 2 * i], [60, 10]]
            if i:  # of the first nothing was found
                found[key] = {"img_size": [128, 128], "Edema": [outline, outline[:3]]}
                study = key.replace("_study1_", "-study1-")
                wanted.add((f"images-{split}-{study}.png", "Edema", 3.0, 4.0, 30.0, 40.0 + i))
            masks[key] = {"Edema": {"size": [64, 64], "counts": ""}}
            images(root, [f"{split}/" + "/".join(key.split("_", 2)) + ".png"])
        (root / f"gt_annotations_{split}.json").write_text(json.dumps(found))
        (root / f"gt_segmentations_{split}.json").write_text(json.dumps(masks))
    return {(name.removeprefix("images-"), *rest) for name, *rest in wanted}


SETS: dict[str, Callable[[Path], Boxes]] = {
    "vindr": vindr,
    "rsna": rsna,
    "nih": nih,
    "ms-cxr": ms_cxr,
    "chestx-det": chestx_det,
    "object-cxr": object_cxr,
    "siim-covid": siim,
    "padchest-gr": padchest_gr,
    "voc": voc,
    "cvat": cvat,
    "labelme": labelme,
    "yolo": yolo,
    "roboflow": roboflow,
    "chexlocalize": chexlocalize,
}


def imported(name: str, tmp_path: Path) -> tuple[DataSet, Boxes]:
    src = tmp_path / "src"
    src.mkdir()
    wanted = SETS[name](src)
    return import_published(src, tmp_path / "out", read_published_set(FOLDER / f"{name}.toml")), wanted


def test_every_description_is_tried() -> None:
    assert {path.stem for path in FOLDER.glob("*.toml")} == set(SETS)


@pytest.mark.parametrize("name", SETS)
def test_boxes_are_those_of_the_tables(name: str, tmp_path: Path) -> None:
    dataset, wanted = imported(name, tmp_path)
    assert boxes_of(dataset) == wanted
    assert len(dataset.split("train")) > 0


def test_what_the_tables_say_beside_the_boxes(tmp_path: Path) -> None:
    by_name = {}
    for name in SETS:
        (tmp_path / name).mkdir()
        by_name[name] = imported(name, tmp_path / name)[0]
    assert [s.study for s in by_name["vindr"].studies if s.split == "test"] == ["e0"]
    assert set(by_name["vindr"].reading) == {"R1", "R2", "1"}
    assert len(by_name["rsna"].studies) == 14
    assert len({study.patient for study in by_name["nih"].studies}) == 6
    assert len(by_name["nih"].split("test")) == 4
    assert by_name["nih"].excluded == (Excluded("no box is published", 1, 2),)
    assert not any(by_name[name].excluded for name in SETS if name != "nih")
    assert [(c.name, by_name["nih"].studies[3].numeric) for c in by_name["nih"].numeric] == [("Patient Age", (43.0,))]
    assert by_name["ms-cxr"].studies[3].patient == "10000003"
    assert len(by_name["object-cxr"].split("val")) == 3
    assert [len(by_name["padchest-gr"].split(split)) for split in ("train", "val", "test")] == [6, 2, 2]
    assert [len(by_name["yolo"].split(split)) for split in ("train", "val")] == [9, 2]
    assert [len(by_name["roboflow"].split(split)) for split in ("train", "val", "test")] == [6, 2, 2]
    assert by_name["yolo"].labels == ("Mass", "Nodule")
    assert len(by_name["chexlocalize"].studies) == 10
    assert {s.study[:4] for s in by_name["chexlocalize"].studies if s.split == "test"} == {"test"}
    assert by_name["chexlocalize"].studies[0].patient.startswith("patient6")
    assert not any(by_name[name].numeric for name in SETS if name != "nih")


def test_a_description_of_ones_own(tmp_path: Path, call_mmad: Callable[..., object]) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('title = "Mine"\nlicence = "own"\nimagge = "file"\n[[boxes]]\nfile = "t.csv"\n')
    with pytest.raises(DataError, match="key 'imagge'"):
        read_published_set(file)
    file.write_text(file.read_text().replace("imagge", "image"))
    for line, why in (
        ('patient_pattern = "p[0-9]+"', "key 'patient_pattern': has no group"),
        ('patient_pattern = "("', "key 'patient_pattern': is no regular expression"),
        ('subjects = "/a.csv"', "key 'subjects': is no pattern of files below the folder"),
        ('splits = { test = "**a" }', "key 'splits.test': is no pattern of files"),
    ):
        wrong = tmp_path / "wrong.toml"
        wrong.write_text(f"{line}\n{file.read_text()}")
        with pytest.raises(DataError, match=re.escape(f"wrong.toml: {why}")):
            read_published_set(wrong)
    of = read_published_set(file)
    assert of == PublishedSet.model_validate(of.model_dump())
    with pytest.raises(DataError, match="holds no table of Mine"):
        import_published(tmp_path, tmp_path / "out", of)
    (tmp_path / "t.csv").write_text(
        "file,xmin,ymin,xmax,ymax,label\n" + "".join(f"{i}.png,1,2,30,40,A\n" for i in range(9))
    )
    images(tmp_path, [f"{i}.png" for i in range(9)])
    with pytest.raises(DataError, match="unknown column 'who'; correct key 'patient'"):
        import_published(tmp_path, tmp_path / "out", of.model_copy(update={"patient": "who"}))
    call_mmad("data", "import", "described", str(tmp_path), "--describe", str(file), "--out", str(tmp_path / "out"))
    assert (tmp_path / "out" / "dataset.toml").is_file()


@pytest.mark.parametrize(
    ("name", "file", "text"),
    [
        ("chestx-det", "ChestX_Det_train.json", '[{"file_name": "1.png"}]'),
        ("chestx-det", "ChestX_Det_train.json", "{"),
        ("siim-covid", "train_image_level.csv", "id,boxes,StudyInstanceUID\na_image,[{'x': 1}],s\n"),
        ("object-cxr", "train.csv", "image_name,annotation\na.jpg,0 1 2 3\n"),
        ("padchest-gr", "grounded_reports_1.json", "[1]"),
        ("voc", "a.xml", "<annotation>"),
        ("cvat", "a.xml", "<annotations><track/></annotations>"),
        ("roboflow", "train/_annotations.coco.json", '{"images": []}'),
        ("labelme", "a.json", '{"imagePath": "a.png", "shapes": [{"shape_type": "circle"}]}'),
    ],
)
def test_a_file_of_another_form_is_one_line(tmp_path: Path, name: str, file: str, text: str) -> None:
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(text)
    with pytest.raises(DataError, match="cannot be read as it is published"):
        import_published(tmp_path, tmp_path / "out", read_published_set(FOLDER / f"{name}.toml"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("names: 3\n", "", "does not list its classes under 'names'"),
        ("names: [Mass, Nodule]\n", "2 0.5 0.5 0.1 0.1", "is not a class from 0 to 1"),
        ("names: [Mass, Nodule]\n", "0 0.5 0.5 0.1 0.1 0.9", "predictions, with a score"),
        ("names: [Mass, Nodule]\n", "0 0.5 0.5 0.1", "no box or polygon has that many"),
    ],
)
def test_a_wrong_line_of_yolo_is_named(tmp_path: Path, text: str, line: str, words: str) -> None:
    src = tmp_path / "src"
    src.mkdir()
    yolo(src)
    (src / "data.yaml").write_text(text)
    (src / "labels" / "train" / "y3.txt").write_text(f"\n{line}\n")
    with pytest.raises(DataError, match=words) as refused:
        import_published(src, tmp_path / "out", read_published_set(FOLDER / "yolo.toml"))
    assert (refused.value.where or "").endswith("y3.txt:2" if line else "data.yaml")


def test_a_text_of_no_image_is_named(tmp_path: Path) -> None:
    src = tmp_path / "src"
    src.mkdir()
    yolo(src)
    (src / "images" / "train" / "y3.png").unlink()
    with pytest.raises(DataError, match="is of no image"):
        import_published(src, tmp_path / "out", read_published_set(FOLDER / "yolo.toml"))
