"""The audit: it continues where the loader stops, names rows and fixes, and never a clinical value."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from mmad.base.errors import DataError
from mmad.data.audit.findings import Audit, AuditIssue, audit_from_json, audit_json
from mmad.data.audit.run import audit_folder, remembered_audit, require_sound
from mmad.data.dataset import DataSet
from mmad.data.phantom.generate import make_phantom
from mmad.data.reader import load_dataset

Change = Callable[[str, str, str], Path]


def codes(audit: Audit, level: str = "error") -> set[str]:
    return {found.code for found in audit.findings if found.level == level}


def one(audit: Audit, code: str) -> AuditIssue:
    (found,) = (found for found in audit.findings if found.code == code)
    return found


@pytest.mark.slow
def test_a_phantom_is_sound(phantom: DataSet) -> None:
    audit = audit_folder(phantom.root)
    assert not audit.errors
    assert codes(audit, "warning") <= {"label-scarce", "label-absent"}  # 40 studies are few
    assert [split.split for split in audit.splits] == ["train", "val", "test"]
    assert sum(split.boxes for split in audit.splits) == len(phantom.boxes)


@pytest.mark.parametrize(
    ("file", "old", "new", "code", "rows", "words"),
    [
        ("boxes.csv", "a,r1,4,5,20,15", "a,r1,20,5,4,15", "box-degenerate", ("a",), "has no area"),
        ("boxes.csv", "c,r1,0,0,40,20", "c,r1,0,0,41,20", "box-outside", ("c",), "leaves the image of 40 x 20 px"),
        ("boxes.csv", "c,r1,0,0,40,20", "c,r1,0,x,40,20", "box-not-a-number", ("c",), "column 'ymin' is not a number"),
        ("boxes.csv", "d,r1,1,1,3,3,Atelectasis", "d,r1,1,1,3,3,Atelectasys", "label-unknown", ("d",), "did you mean"),
        ("boxes.csv", "d,r1,1,1,3,3,Atelectasis", "e,r1,1,1,3,3,Atelectasis", "box-without-study", ("e",), "'e'"),
        ("boxes.csv", "d,r1,1,1,3,3,Atelectasis,", "d,r1,1,1,3,3,Atelectasis", "row-width", ("line 5",), "7 cells"),
        ("studies.csv", "p4,test", "p4,tset", "split-unknown", ("d",), "did you mean 'test'"),
        ("studies.csv", "d,images/d.png", "c,images/d.png", "study-twice", ("c",), "stands on line 4 too"),
        ("studies.csv", "p4,test", ",test", "cell-empty", ("d",), "column 'patient' is empty"),
        ("studies.csv", "30,99,M", "30,99,X", "value-unknown", ("d",), "does not list"),
        ("studies.csv", "30,99,M", "young,99,M", "value-not-a-number", ("d",), "column 'age' is not a number"),
        ("studies.csv", "d.png,40,20", "d.png,wide,20", "size-not-a-number", ("d",), "column 'width'"),
        ("studies.csv", "d.png,40,20", "d.png,41,20", "image-size", ("d",), "image is 40 x 20 px where"),
        ("studies.csv", "images/d.png", "images/e.png", "image-missing", ("d",), "is missing"),
        ("studies.csv", "images/d.png", "../d.png", "image-outside", ("d",), "leaves the data set's folder"),
        ("studies.csv", "p3,val", "p1,val", "patient-across-splits", ("a", "c"), "1 patient stands in more"),
        ("studies.csv", "images/d.png", "images/a.png", "image-across-splits", ("a", "d"), "train-test 1"),
        ("studies.csv", "p3,val", "p3,test", "split-empty", (), "choose the best checkpoints by"),
        ("boxes.csv", "c,r1,0,0,40,20,Consolidation,\n", "", "split-without-boxes", (), "'val' has a box"),
        ("dataset.toml", 'name = "tiny"', "name = 1", "data-unreadable", (), "key 'name' is not a text"),
    ],
)
def test_each_error_is_found_with_its_rows(
    change: Change, file: str, old: str, new: str, code: str, rows: tuple[str, ...], words: str
) -> None:
    audit = audit_folder(change(file, old, new))
    found = one(audit, code)
    assert (found.level, found.rows) == ("error", rows)
    assert words in found.what
    assert found.hint
    assert found.where
    assert not found.where.startswith("/")


def test_all_errors_are_told_at_once(change: Change) -> None:
    change("boxes.csv", "c,r1,0,0,40,20", "c,r1,0,0,41,20")
    change("boxes.csv", "a,r1,4,5,20,15", "a,r1,4,5,4,15")
    change("studies.csv", "p4,test", "p1,test")
    root = change("studies.csv", "b,images/b.png,40,20", "b,images/b.png,50,20")
    (root / "images" / "c.png").write_bytes((root / "images" / "c.png").read_bytes()[:45])
    audit = audit_folder(root)
    assert codes(audit) == {
        "box-outside",
        "box-degenerate",
        "patient-across-splits",
        "image-size",
        "image-unreadable",
    }
    assert one(audit, "image-unreadable").where == "images/c.png: study 'c'"
    with pytest.raises(DataError):
        load_dataset(root)


def test_many_rows_of_one_kind_are_one_finding(change: Change) -> None:
    root = change("boxes.csv", "study,", "study,")
    with (root / "boxes.csv").open("a", encoding="utf-8") as file:
        file.writelines(f"a,r1,{i},0,{i},5,Atelectasis,\n" for i in range(9))
        file.writelines(f"d,r1,{i},0,{i},5,Effusion,\n" for i in range(3))
    audit = audit_folder(root)
    flat, unknown = one(audit, "box-degenerate"), one(audit, "label-unknown")
    assert (flat.count, flat.rows) == (9, ("a",))
    assert flat.what.endswith("has no area (and 8 more)")
    assert unknown.count == 3


def test_a_box_of_a_row_left_out_is_no_mistake_of_its_own(change: Change) -> None:
    assert codes(audit_folder(change("studies.csv", "p4,test", "p4,tset"))) == {"split-unknown"}


def test_what_a_data_set_declares_is_a_warning(change: Change) -> None:
    change("dataset.toml", 'split_policy = "patient"', 'split_policy = "documented"')
    root = change("studies.csv", "p3,val", "p1,val")
    audit = audit_folder(root)
    assert not audit.errors
    assert "documented" in one(audit, "patient-across-splits").hint
    change("dataset.toml", 'split_policy = "documented"', 'split_policy = "image"')
    assert codes(audit_folder(root)) == {"patient-across-splits"}


def test_equal_files_within_and_across_splits(tiny: Path) -> None:
    images = tiny / "images"
    shutil.copy(images / "a.png", images / "b.png")
    audit = audit_folder(tiny)
    assert one(audit, "duplicate").rows == ("a", "b")
    assert one(audit, "duplicate").level == "warning"
    shutil.copy(images / "a.png", images / "d.png")
    again = one(audit_folder(tiny), "duplicate-across-splits")
    assert (again.level, again.rows, again.what) == (
        "error",
        ("a", "b", "d"),
        "3 image files hold the same bytes, in train and test: a, b, d",
    )


def test_readings_of_one_image_are_no_duplicates(change: Change) -> None:
    change("studies.csv", "p2,train", "p1,train")
    root = change("dataset.toml", 'split_policy = "patient"', 'split_policy = "patient"\nmode = "normal"')
    shutil.copy(root / "images" / "a.png", root / "images" / "b.png")
    assert "duplicate" not in codes(audit_folder(root), "warning")


@pytest.mark.slow
def test_a_picture_saved_anew_is_nearly_the_same(phantom: DataSet, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    shutil.copytree(phantom.root, root)
    train, test = phantom.split("train")[0], phantom.split("test")[0]
    source, target = (root / phantom.studies[i].image for i in (train, test))
    with Image.open(source) as image:
        smaller = image.resize((48, 48), Image.Resampling.BILINEAR).resize(image.size, Image.Resampling.BILINEAR)
    smaller.save(target)
    found = one(audit_folder(root), "near-duplicate-across-splits")
    assert found.level == "warning"
    assert set(found.rows) == {phantom.studies[train].study, phantom.studies[test].study}


def test_images_of_one_grey_are_told_and_not_called_alike(tiny: Path) -> None:
    audit = audit_folder(tiny)
    assert one(audit, "image-blank").rows == ("b", "c", "d")
    assert not [code for code in codes(audit, "warning") if "duplicate" in code]


def test_repeated_boxes_and_scarce_labels(change: Change) -> None:
    root = change("boxes.csv", "d,r1,1,1,3,3,Atelectasis,\n", "d,r1,1,1,3,3,Atelectasis,\n" * 2)
    audit = audit_folder(root)
    assert one(audit, "box-twice").rows == ("d",)
    assert "label 'Atelectasis' has no box in val" in [f.what for f in audit.findings if f.code == "label-absent"]
    assert [count.labels[0].boxes for count in audit.splits] == [1, 0, 2]


def test_counts_by_split_and_size(change: Change) -> None:
    audit = audit_folder(change("boxes.csv", "d,r1,1,1,3,3", "d,r1,1,1,2,3"))
    train, val, test = audit.splits
    assert (train.studies, train.patients, train.images, train.boxes) == (2, 2, 2, 2)
    atelectasis, consolidation = train.labels
    assert (atelectasis.small, atelectasis.medium, atelectasis.large) == (0, 0, 1)  # 160 of 800 px
    assert (consolidation.boxes, consolidation.studies) == (1, 1)
    assert test.labels[0].small == 1  # 2 of 800 px
    assert dict(val.present) == {"age": 0, "temperature": 1, "gender": 0}


def test_no_value_of_a_patient_is_told(change: Change) -> None:
    change("dataset.toml", "high = 120.0", "high = 50.0")
    root = change("studies.csv", "30,99,M", "30,37.625,secret")
    told = json.dumps(audit_json(audit_folder(root)))
    assert "value-out-of-range" in told
    assert "unit-confusion" in told
    for value in ("37.625", "secret", "98.6", "101"):
        assert value not in told


def test_an_audit_is_kept_as_json_and_remembered_by_content(change: Change, cache: Path) -> None:
    root = change("boxes.csv", "d,r1,1,1,3,3", "d,r1,1,1,4,3")
    dataset = load_dataset(root)
    audit = remembered_audit(dataset)
    assert audit_from_json(json.loads(json.dumps(audit_json(audit)))) == audit
    (memory,) = (cache / "audits").iterdir()
    memory.write_text(json.dumps({**audit_json(audit), "findings": []}), "utf-8")
    assert remembered_audit(dataset).findings == ()
    memory.write_text("{}", "utf-8")
    assert remembered_audit(dataset) == audit
    change("boxes.csv", "d,r1,1,1,4,3", "d,r1,1,1,4,4")
    remembered_audit(load_dataset(root))
    assert len(list((cache / "audits").iterdir())) == 2


def test_a_refusal_names_the_first_error_and_the_command(tiny: Path) -> None:
    dataset = load_dataset(tiny)
    (tiny / "images" / "b.png").write_bytes(b"no image")
    shutil.copy(tiny / "images" / "a.png", tiny / "images" / "d.png")
    with pytest.raises(DataError) as refused:
        require_sound(dataset, audit_folder(tiny))
    line = str(refused.value)
    assert line.startswith(f"{tiny / 'images' / 'b.png'}: study 'b': image cannot be decoded (not an image)")
    assert "(and 1 other error)" in line
    assert f"`mmad data check {tiny}` lists everything" in line


def test_no_folder_is_a_finding_too(tmp_path: Path) -> None:
    (found,) = audit_folder(tmp_path / "nowhere").findings
    assert (found.code, found.what) == ("data-unreadable", "no such data set")


def test_sixteen_bits_and_wide_jpegs_are_looked_at(tiny: Path) -> None:
    wide = np.tile(np.linspace(0, 65535, 40).astype(np.uint16), (20, 1))
    Image.fromarray(wide).save(tiny / "images" / "c.png")
    assert "c" not in one(audit_folder(tiny), "image-blank").rows


def test_a_jpeg_that_ends_early_is_found_though_it_is_decoded_small(tiny: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 40), dtype=np.uint8)
    Image.fromarray(noise).resize((800, 400)).save(tiny / "images" / "c.png", format="JPEG")
    whole = (tiny / "images" / "c.png").read_bytes()
    assert "image-unreadable" not in codes(audit_folder(tiny))
    (tiny / "images" / "c.png").write_bytes(whole[: len(whole) // 2])
    found = one(audit_folder(tiny), "image-unreadable")
    assert (found.rows, "truncated" in found.what) == (("c",), True)


@pytest.mark.slow
def test_a_marker_in_the_corner_and_a_padded_copy_are_found(tmp_path: Path) -> None:
    dataset = make_phantom(tmp_path / "set", studies=80, image_size=64, seed=2)
    having = set(dataset.box_study[dataset.labels_of == 4].tolist())
    for position in range(len(dataset.studies)):
        path = dataset.image_path(position)
        with Image.open(path) as opened:
            image = opened.copy()
        image.paste(255 if position in having else 40, (58, 2, 62, 6))
        image.save(path)
    with Image.open(dataset.image_path(0)) as opened:
        ImageOps.expand(opened, 8).save(dataset.image_path(1))
    found = {one.code: one for one in audit_folder(dataset.root).findings}
    assert "top right corner have 'Consolidation'" in found["label-follows-marker"].what
    near = found.get("near-duplicate") or found["near-duplicate-across-splits"]
    assert set(near.rows) == {dataset.studies[0].study, dataset.studies[1].study}
