"""A repaired copy has no errors left, invents nothing, and leaves the original as it was."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from random_search import examples

from mmad.base.errors import DataError
from mmad.data.audit.fix import fix_folder
from mmad.data.audit.run import audit_folder
from mmad.data.exclusions import Excluded
from mmad.data.reader import load_dataset

Change = Callable[[str, str, str], Path]


def state(root: Path) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_everything_that_can_be_mended_is(change: Change, tmp_path: Path) -> None:
    change("boxes.csv", "c,r1,0,0,40,20", "c,r1,-3,0,41,20")
    change("boxes.csv", "a,r1,4,5,20,15", "a,r1,4,5,4,15")
    change("studies.csv", "b,images/b.png,40,20", "b,images/b.png,50,20")
    root = change("dataset.toml", 'name = "tiny"', '# a remark\nname = "tiny"\ndescription = "kept"')
    with (root / "studies.csv").open("a", encoding="utf-8") as file:
        file.write("e,images/e.png,40,20,p1,test,50,99,F\nf,images/f.png,40,20,p5,test,50,99,F\n")
        file.write("g,images/g.png,40,20,p6,test,x,37.25,F\n")
    for name, pixels in (("e", 5), ("g", 9)):
        Image.new("L", (40, 20), pixels).save(root / "images" / f"{name}.png")
    (root / "images" / "f.png").write_bytes(b"no image")
    (root / "excluded.csv").write_text("reason,patients,images\nview,2,3\n")
    (root / "acquisition.csv").write_text("study,site\na,north\nz,south\n")
    before = state(root)
    fixed = fix_folder(root, tmp_path / "new")
    assert state(root) == before
    assert not fixed.audit.errors
    dataset = load_dataset(tmp_path / "new")
    assert [(study.study, study.split) for study in dataset.studies] == [
        ("a", "train"), ("b", "train"), ("c", "val"), ("d", "test"), ("e", "train"), ("g", "test")
    ]  # fmt: skip
    assert dataset.excluded == (Excluded("view", 2, 3), Excluded("image cannot be decoded", 1, 1))
    assert [study.taken.site for study in dataset.studies] == ["north", *[None] * 5]
    assert (dataset.studies[1].width, dataset.studies[5].numeric) == (40, (None, 37.25))
    assert dataset.boxes.tolist() == [[0, 0, 40, 20], [10.5, 2, 30, 18], [1, 1, 3, 3]]
    assert np.isnan(dataset.certainty[0])
    assert dataset.certainty[1] == 0.5
    assert "# a remark" in (tmp_path / "new" / "dataset.toml").read_text("utf-8")
    assert [line.partition(":")[0] for line in fixed.done] == [
        "left out or emptied",
        "left out or emptied",
        "dropped 1 study (f)",
        "took the size of 1 study (b) from the image",
        "moved 1 study (e) to the split of most of the patient's studies",
        "1 box of 1 study (c) clipped to their image",
        "1 box of 1 study (a) dropped",
    ]


def test_of_equal_files_the_one_with_boxes_stays(tiny: Path, tmp_path: Path) -> None:
    for name in ("b", "d"):
        shutil.copy(tiny / "images" / "a.png", tiny / "images" / f"{name}.png")
    fixed = fix_folder(tiny, tmp_path / "new")
    assert [study.study for study in load_dataset(fixed.out).studies] == ["a", "c"]
    assert {found.code for found in fixed.audit.errors} == set()


def test_what_is_documented_stays(change: Change, tmp_path: Path) -> None:
    change("dataset.toml", 'split_policy = "patient"', 'split_policy = "documented"')
    fixed = fix_folder(change("studies.csv", "p3,val", "p1,val"), tmp_path / "new")
    assert [study.split for study in load_dataset(fixed.out).studies] == ["train", "train", "val", "test"]


def test_people_who_share_an_image_move_together(change: Change, tmp_path: Path) -> None:
    fixed = fix_folder(
        change("studies.csv", "images/b.png,40,20,p2,train", "images/d.png,40,20,p2,train"), tmp_path / "n"
    )
    assert not [f for f in fixed.audit.errors if f.code == "image-across-splits"]


def test_a_sound_data_set_is_copied_and_nothing_is_said(tiny: Path, tmp_path: Path) -> None:
    fixed = fix_folder(tiny, tmp_path / "new")
    assert fixed.done == ()
    first, again = load_dataset(tiny), load_dataset(fixed.out)
    assert again.studies == first.studies
    assert np.array_equal(again.boxes, first.boxes)


def test_nothing_is_written_over_or_left_half(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(DataError, match="exists already"):
        fix_folder(tiny, tmp_path / "full")
    for name in "abcd":
        (tiny / "images" / f"{name}.png").write_bytes(b"")
    with pytest.raises(DataError, match="no study is left"):
        fix_folder(tiny, tmp_path / "new")
    assert not (tmp_path / "new").exists()


side = st.integers(-5, 45)
box = st.tuples(st.sampled_from("abcdz"), side, side, side, side, st.sampled_from(["A", "B", "C"]))
row = st.tuples(st.sampled_from(["p1", "p2", "p3", ""]), st.sampled_from(["train", "val", "test", "dev"]))


@pytest.mark.slow
@examples(13)
@given(rows=st.lists(row, min_size=4, max_size=4), boxes=st.lists(box, max_size=8), grey=st.integers(0, 3))
def test_a_repaired_copy_has_no_error_but_what_only_people_can_fix(
    rows: list[tuple[str, str]], boxes: list[tuple[object, ...]], grey: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "set"
        (root / "images").mkdir(parents=True)
        (root / "dataset.toml").write_text('name = "x"\nlabels = ["A", "B"]\nlicence = "CC0"\n', "utf-8")
        lines = ["study,image,width,height,patient,split"]
        for i, (name, (patient, split)) in enumerate(zip("abcd", rows, strict=True)):
            Image.new("L", (40, 20), 40 * min(i, grey)).save(root / "images" / f"{name}.png")
            lines.append(f"{name},images/{name}.png,{40 + i % 2},20,{patient},{split}")
        (root / "studies.csv").write_text("\n".join(lines), "utf-8")
        table = ["study,xmin,ymin,xmax,ymax,label", *(",".join(map(str, b)) for b in boxes)]
        (root / "boxes.csv").write_text("\n".join(table), "utf-8")
        try:
            fixed = fix_folder(root, Path(folder) / "new")
        except DataError:  # nothing is left that could be a data set
            assert {patient for patient, split in rows if split != "dev"} <= {""}
            return
        left = {found.code for found in fixed.audit.errors}
        assert left <= {"split-empty", "split-without-boxes", "image-blank"}
        assert load_dataset(fixed.out).studies
        assert fix_folder(fixed.out, Path(folder) / "again").done == ()
        assert {found.code for found in audit_folder(fixed.out).findings} & {"box-twice", "duplicate"} == set()
