"""Files that mean ill, or that chance made: each ends in one clear line or in a whole data set, soon."""

from __future__ import annotations

import copy
import os
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from coco_fixtures import write_csv
from hostile_words import BOXES, CELLS, SUBJECTS, make_source, survives
from hypothesis import given
from hypothesis import strategies as st
from random_search import examples

from mmad.base.errors import DataError
from mmad.data.importers.csv import import_csv
from mmad.data.reader import load_dataset


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
        told = survives(lambda out: import_csv(src, out), tmp_path / "out")
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


@examples(25)
@given(changed_tables())
def test_hostile_cells(change: tuple[str, list[list[str]]]) -> None:
    with tempfile.TemporaryDirectory() as place:
        src = make_source(Path(place) / "src")
        text = "\n".join(",".join(f'"{cell}"' if '"' not in cell else cell for cell in row) for row in change[1])
        (src / change[0]).write_bytes(text.encode("utf-8", "replace"))
        survives(lambda out: import_csv(src, out), Path(place) / "out")


_pieces = st.one_of(
    st.binary(max_size=5), st.sampled_from([b'"', b",", b"\n", b"\r\n", b"image,label", b"one.png", b"1"])
)


@examples(25)
@given(st.lists(_pieces, max_size=60).map(b"".join))
def test_hostile_bytes(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as place:
        src = make_source(Path(place) / "src")
        (src / "boxes.csv").write_bytes(content)
        survives(lambda out: import_csv(src, out), Path(place) / "out")


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
