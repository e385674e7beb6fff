"""Files that mean ill, or that chance made: each ends in one clear line or in a whole data set, soon."""

from __future__ import annotations

import copy
import json
import os
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from coco_worlds import coco, draw, write_csv, write_world
from hostile_words import CELLS, SECRET, VALUES, survives
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmad.base.errors import DataError
from mmad.data.coco_export import coco_of
from mmad.data.coco_import import ClinicalTable, import_coco
from mmad.data.csv_import import import_csv
from mmad.data.dataset import DataSet, load_dataset

FEW = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
MANY = settings(deadline=None, max_examples=1500, suppress_health_check=[HealthCheck.too_slow])
SUBJECTS = [
    ["image", "patient_id", "split", "age", "sex"],
    ["one.png", "p1", "train", "40", "F"],
    ["two.png", "p2", "val", "41", "M"],
    ["three.png", "p3", "test", "", SECRET],
]
BOXES = [
    ["image", "xmin", "ymin", "xmax", "ymax", "label", "reading", "certainty"],
    ["one.png", "1", "1", "9", "9", "A", "1", "0.5"],
    ["two.png", "1", "1", "9", "9.5", "B", "", ""],
]


def make_source(src: Path) -> Path:
    """Three images, and what stands around them: links that leave the folder, a ring of links, a folder, nothing."""
    for name in ("one", "two", "three"):
        draw(src / f"{name}.png")
    draw(src.parent / "outside" / "out.png")
    (src / "link.png").symlink_to(src.parent / "outside" / "out.png")
    (src / "ring.png").symlink_to(src / "ring.png")
    (src / "dir").symlink_to(src.parent / "outside")
    (src / "images").mkdir()
    (src / "empty.png").touch()
    write_csv(src / "subjects.csv", SUBJECTS)
    write_csv(src / "boxes.csv", BOXES)
    return src


@pytest.fixture
def src(tmp_path: Path) -> Path:
    return make_source(tmp_path / "src")


def _bytes(*rows: str, end: str = "\n") -> bytes:
    return end.join(rows).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "subjects.csv:1: unknown column 'image'; there is none to choose from"),
        (b"image\n", "subjects.csv: holds no row"),
        (b"\xef\xbb\xbf" + _bytes("image,split", "one.png,train", "two.png,val", end="\r\n"), ""),
        (_bytes("image,split", "one.png,train", "two.png,val", end="\r"), ""),
        (_bytes("image,split", *[""] * 1000, "one.png,train", "two.png,val"), ""),
        ("image,ward\none.png,café\n".encode("latin-1"), "subjects.csv:2: not UTF-8 text; save it as UTF-8"),
        ("image\none.png\n".encode("utf-16"), "subjects.csv:1: not UTF-8 text"),
        (b"image,x\none.png,a\0b\n", "subjects.csv:2: holds a NUL byte"),
        (
            b'image,x\none.png,1\ntwo.png,"a\n',
            "subjects.csv:3: cannot be read: unexpected end of data; close the quotes",
        ),
        (b'image,x\none.png,"a' + b"b\n" * 200_000, "subjects.csv:2: cannot be read: field larger than"),
        (b'image,x\none.png,"a"b\n', "subjects.csv:2: cannot be read"),
        (b"image,image\none.png,x\n", "subjects.csv:1: column 'image' stands twice"),
        (b"image," + b"a," * 1_000_000, "subjects.csv:1: a line of more than 1,048,576 characters"),
        (b"image," + b"," * 300_000, "subjects.csv:1: 300,002 columns where 10,000 are the most"),
        (b"image\none.png" + b"," * 1_000_000, "subjects.csv:2: 1000001 cells where the header has 1; correct the row"),
        (b"image\none.png\n" + b"x" * 5_000_000, "subjects.csv:3: a line of more than"),
        (b"image\n../../etc/passwd\n", "subjects.csv:2: image path '../../etc/passwd' leaves the folder"),
        (b"image\n/etc/passwd\n", "subjects.csv:2: image path '/etc/passwd' leaves the folder"),
        (b"image\nlink.png\n", "subjects.csv:2: image path 'link.png' leaves the folder"),
        (b"image\ndir/out.png\n", "subjects.csv:2: image path 'dir/out.png' leaves the folder"),
        (b"image\nring.png\n", "subjects.csv:2: image 'ring.png' is missing"),
        (b"image\nempty.png\n", "subjects.csv:2: image 'empty.png' cannot be decoded"),
        (b"image\nimages\n", "subjects.csv:2: image 'images' is a folder"),
        (b"image\none.png\n./one.png\n", "subjects.csv:3: image './one.png' would take the place of 'one.png'"),
        (b"image\none.png\nimages/one.png\n", "subjects.csv:3: image 'images/one.png' is missing"),
        (b"image,x\none.png,1\n" + b"x" * 300 + b",2\n", "subjects.csv:3: image 'xxx.*' cannot be decoded"),
        (b'image,"split\nof a row"\none.png,1\n', ""),
    ],
)
def test_tables_that_mean_ill(src: Path, tmp_path: Path, content: bytes, message: str) -> None:
    (src / "subjects.csv").write_bytes(content)
    if not message:
        write_csv(src / "boxes.csv", BOXES[:2])
    tracemalloc.start()
    try:
        told = survives(lambda out: import_csv(src, out), tmp_path / "out", seconds=2)
        assert tracemalloc.get_traced_memory()[1] < 200 << 20
    finally:
        tracemalloc.stop()
    assert bool(told) == bool(message)
    if message:
        with pytest.raises(DataError, match=message.replace("(", r"\(")):
            import_csv(src, tmp_path / "out")


def test_tables_that_are_no_files(src: Path, tmp_path: Path) -> None:
    (src / "boxes.csv").unlink()
    for make in (os.mkfifo, Path.mkdir, lambda path: path.symlink_to(path)):
        make(src / "boxes.csv")
        assert "boxes.csv: file missing" in survives(lambda out: import_csv(src, out), tmp_path / "out")
        (src / "boxes.csv").rmdir() if (src / "boxes.csv").is_dir() else (src / "boxes.csv").unlink()


def test_a_folder_whose_name_is_no_text(tmp_path: Path) -> None:
    src = make_source(tmp_path / os.fsdecode(b"caf\xe9"))
    assert survives(lambda out: import_csv(src, out), tmp_path / "out") == ""
    assert load_dataset(tmp_path / "out").name == "caf?"


def test_a_name_too_long_for_the_disk(src: Path, tmp_path: Path) -> None:
    assert "cannot be written" in survives(lambda _: import_csv(src, tmp_path / ("x" * 300)), tmp_path / "out")


def test_a_single_value_however_large_is_a_column(src: Path, tmp_path: Path) -> None:
    for i, value in enumerate(("1e308", "-1e308", "1.7976931348623157e308", "0")):
        write_csv(src / "subjects.csv", [["image", "age"], ["one.png", value], ["two.png", value]])
        column = import_csv(src, tmp_path / f"out{i}", numeric=["age"]).numeric[0]
        assert column.low <= float(value) <= column.high


hostile_cells = st.one_of(st.sampled_from(CELLS), st.text(max_size=8))


@st.composite
def changed_tables(draw: st.DrawFn) -> tuple[str, list[list[str]]]:
    """One of the two tables with some of its cells, or a header, or a row, exchanged for hostile ones."""
    name, rows = draw(st.sampled_from([("subjects.csv", SUBJECTS), ("boxes.csv", BOXES)]))
    rows = copy.deepcopy(rows)
    for _ in range(draw(st.integers(1, 4))):
        row = rows[draw(st.integers(0, len(rows) - 1))]
        if not row:
            continue
        column = draw(st.integers(0, len(row) - 1))
        if rows[0][column : column + 1] != ["sex"] or row is rows[0]:
            row[column] = draw(hostile_cells)
        if draw(st.integers(0, 9)) == 0:
            rows.insert(draw(st.integers(0, len(rows))), [draw(hostile_cells) for _ in range(draw(st.integers(0, 6)))])
    return name, rows


def check_changed_table(change: tuple[str, list[list[str]]]) -> None:
    with tempfile.TemporaryDirectory() as place:
        src = make_source(Path(place) / "src")
        text = "\n".join(",".join(f'"{cell}"' if '"' not in cell else cell for cell in row) for row in change[1])
        (src / change[0]).write_bytes(text.encode("utf-8", "replace"))
        survives(lambda out: import_csv(src, out), Path(place) / "out")


@FEW
@given(changed_tables())
def test_hostile_cells(change: tuple[str, list[list[str]]]) -> None:
    check_changed_table(change)


@pytest.mark.slow
@MANY
@given(changed_tables())
def test_many_hostile_cells(change: tuple[str, list[list[str]]]) -> None:
    check_changed_table(change)


def check_raw_table(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as place:
        src = make_source(Path(place) / "src")
        (src / "boxes.csv").write_bytes(content)
        survives(lambda out: import_csv(src, out), Path(place) / "out")


_pieces = st.one_of(
    st.binary(max_size=5), st.sampled_from([b'"', b",", b"\n", b"\r\n", b"image,label", b"one.png", b"1"])
)


@FEW
@given(st.lists(_pieces, max_size=30).map(b"".join))
def test_hostile_bytes(content: bytes) -> None:
    check_raw_table(content)


@pytest.mark.slow
@MANY
@given(st.lists(_pieces, max_size=60).map(b"".join))
def test_many_hostile_bytes(content: bytes) -> None:
    check_raw_table(content)


def _changed(path: str, value: Any) -> Any:
    """The COCO file with one value exchanged; ``path`` leads to it, as ``images.0.id``."""
    content: Any = coco()
    *steps, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    place = content
    for step in steps:
        place = place[step]
    place[last] = value
    return content


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("images", {}, "ann.json: key 'images' is not a list"),
        ("images", [], "ann.json: holds no image"),
        ("images.0", 3, r"ann.json: images\[0\] is not an object"),
        ("images.1.id", 11, r"images\[1\]: id '11' is that of images\[0\] too"),
        ("images.1.id", True, r"images\[1\]: key 'id' is neither a whole number nor a text"),
        ("images.1.file_name", "a/one.png", r"images\[1\]: image 'a/one.png' has a row already"),
        ("images.1.file_name", "../../etc/passwd", r"images\[1\]: image path '../../etc/passwd' leaves the folder"),
        ("images.1.file_name", "/etc/passwd", r"images\[1\]: image path '/etc/passwd' leaves the folder"),
        ("images.1.file_name", "a/tow.png", r"images\[1\]: image 'a/tow.png' is missing"),
        ("images.1.file_name", "x\0y", r"images\[1\]: key 'file_name' .* half a character"),
        ("images.1.file_name", "\ud800", r"images\[1\]: key 'file_name' .* half a character"),
        ("images.1.width", 41, r"images\[1\]: image 'a/two.png' is 40 x 20 px where 41 x 20 is stated"),
        ("images.1.width", True, r"images\[1\]: key 'width' is not a finite number"),
        ("images.1.width", 10**400, r"images\[1\]: key 'width' is not a finite number"),
        ("images.1.split", "tset", r"images\[0\]: image 'a/one.png' has no split"),
        ("categories", [], "ann.json: key 'categories' is empty"),
        ("categories.1.name", "Opacity", r"categories\[1\]: name 'Opacity' stands twice"),
        ("categories.1.id", 7, r"categories\[1\]: id '7' is that of categories\[0\] too"),
        ("categories.1.id", 99, r"annotations\[1\]: category_id '3' is that of no category"),
        ("annotations", None, "ann.json: key 'annotations' is missing"),
        ("annotations.1.id", 1, r"annotations\[1\]: id '1' is that of annotations\[0\] too"),
        ("annotations.0.image_id", "11", r"annotations\[0\]: image_id '11' is that of no image"),
        ("annotations.0.bbox", [1, 2, 3], r"annotations\[0\]: key 'bbox' is not a list of 4 numbers"),
        ("annotations.0.bbox", [1, 2, 3, True], r"annotations\[0\]: key 'bbox', entry 4 is not a finite number"),
        ("annotations.0.bbox", [1, 2, 0, 3], r"annotations\[0\]: key 'bbox' has no area"),
        ("annotations.0.bbox", [1, 2, 1e308, 1e308], r"annotations\[0\]: box .* leaves the image 'a/one.png'"),
        ("annotations.0.bbox", [38, 2, 4, 3], r"annotations\[0\]: box \(38, 2, 42, 5\) leaves the image 'a/one.png'"),
        ("annotations.0.iscrowd", "yes", r"annotations\[0\]: key 'iscrowd' is neither 0 nor 1"),
        ("annotations.1.segmentation", [[1, 2, 3, 4]], r"annotations\[1\]: segmentation 0 is no polygon"),
        ("annotations.1.segmentation", [], r"annotations\[1\]: has neither a bbox nor polygons"),
        ("annotations.1.segmentation", {"counts": "x"}, r"annotations\[1\]: has a mask and no bbox"),
        ("info", {"mmad": {"name": "x"}}, r"ann.json: info: mmad: key 'numeric' is missing"),
    ],
)
def test_coco_files_that_mean_ill(tmp_path: Path, path: str, value: Any, message: str) -> None:
    world = write_world(tmp_path, _changed(path, value))
    assert survives(lambda out: import_coco(*world, out), tmp_path / "out")
    with pytest.raises(DataError, match=message):
        import_coco(*world, tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "ann.json:1: not JSON"),
        (b"[]", "ann.json: is not a JSON object"),
        (b'{"images": [\n{"id": 1,]}', "ann.json:2: not JSON"),
        (b"[" * 200_000, "ann.json: is nested too deeply"),
        (b'{"a":' * 200_000, "ann.json: is nested too deeply"),
        (b'{"a": NaN}', "ann.json: holds NaN, which is no number"),
        (b'{"a": -Infinity}', "ann.json: holds -Infinity, which is no number"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "ann.json: holds a number of thousands of digits"),
        (b'{"a": "caf\xe9"}', "ann.json: not UTF-8 text"),
        (b"\0" * 100, "ann.json:1: not JSON"),
    ],
)
def test_what_is_no_coco_file(tmp_path: Path, content: bytes, message: str) -> None:
    file, pics = write_world(tmp_path)
    file.write_bytes(content)
    survives(lambda out: import_coco(file, pics, out), tmp_path / "out", seconds=2)
    with pytest.raises(DataError, match=message):
        import_coco(file, pics, tmp_path / "out")


def test_coco_files_and_folders_that_are_not_there(tmp_path: Path) -> None:
    file, pics = write_world(tmp_path)
    assert "file missing" in survives(lambda out: import_coco(tmp_path, pics, out), tmp_path / "out")
    assert "file missing" in survives(lambda out: import_coco(tmp_path / "no.json", pics, out), tmp_path / "out")
    assert "no such folder" in survives(lambda out: import_coco(file, file, out), tmp_path / "out")
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b", ", b",\r\n"))
    assert survives(lambda out: import_coco(file, pics, out), tmp_path / "out") == ""


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    if isinstance(value, dict | list):
        entries = value.items() if isinstance(value, dict) else enumerate(value)
        for key, entry in entries:
            found += _places(entry, (*path, key))
    return found


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Any]:
    """What an export of a small data set holds, anew each time."""
    place = tmp_path_factory.mktemp("exported")
    dataset: DataSet = import_csv(make_source(place / "src"), place / "set", numeric=["age"], categorical=["sex"])
    content = json.dumps(coco_of(dataset))
    return lambda: json.loads(content.replace("images/", ""))


def check_changed_coco(content: Any, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 3))):
        *steps, last = data.draw(st.sampled_from(_places(content)))
        place = content
        for step in steps:
            place = place[step]
        if data.draw(st.integers(0, 4)) == 0:
            del place[last]
        else:
            place[last] = copy.deepcopy(data.draw(st.sampled_from(VALUES)))
        if not _places(content):
            break
    with tempfile.TemporaryDirectory() as folder:
        src = make_source(Path(folder) / "src")
        for image in coco()["images"]:
            draw(src / image["file_name"])
        (src / "ann.json").write_text(json.dumps(content))
        survives(lambda out: import_coco(src / "ann.json", src, out), Path(folder) / "out")


@FEW
@given(data=st.data(), ours=st.booleans())
def test_hostile_coco_files(data: st.DataObject, ours: bool, exported: Callable[[], Any]) -> None:
    check_changed_coco(exported() if ours else coco(), data)


@pytest.mark.slow
@MANY
@given(data=st.data(), ours=st.booleans())
def test_many_hostile_coco_files(data: st.DataObject, ours: bool, exported: Callable[[], Any]) -> None:
    check_changed_coco(exported() if ours else coco(), data)


@FEW
@given(st.lists(st.lists(hostile_cells, min_size=2, max_size=3), max_size=5))
def test_hostile_clinical_tables(rows: list[list[str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = write_world(Path(folder))
        table = Path(folder) / "t.csv"
        write_csv(table, [["who", "age"], ["one", "4"], ["two", SECRET], *rows])
        clinical = ClinicalTable(table, "who")
        survives(lambda out: import_coco(*world, out, clinical=clinical), Path(folder) / "out")


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("studies.csv", "a,images/a.png,40", "a,images/a.png," + "1" * 5000, "column 'width' is not a whole number"),
        ("studies.csv", "images/b.png", "images/ring.png", "image 'images/ring.png' is missing"),
        ("studies.csv", "images/b.png", "ring/b.png", "image 'ring/b.png' is missing"),
        ("studies.csv", "images/b.png", "x" * 300 + "/b.png", "image 'xxx.*' is missing"),
        ("dataset.toml", 'name = "tiny"', "name = " + "[" * 100_000, "nested too deeply"),
        ("dataset.toml", "low = 90", "low = " + "9" * 5000, "a number of thousands of digits"),
        ("dataset.toml", "low = 90", "low = " + "9" * 400, "key 'low' is not a finite number"),
    ],
)
def test_folders_that_mean_ill(
    change: Callable[[str, str, str], Path], tiny: Path, name: str, old: str, new: str, message: str
) -> None:
    (tiny / "ring").symlink_to(tiny / "ring")
    (tiny / "images" / "ring.png").symlink_to(tiny / "images" / "ring.png")
    change(name, old, new)
    with pytest.raises(DataError, match=message):
        load_dataset(tiny)
