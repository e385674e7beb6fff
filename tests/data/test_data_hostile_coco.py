"""COCO files that mean ill, or that chance made: each ends in one clear line or in a whole data set, soon."""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from coco_fixtures import coco, draw, write_csv, write_world
from hostile_words import CELLS, SECRET, VALUES, make_source, survives
from hypothesis import given
from hypothesis import strategies as st
from random_search import examples

from mmad.base.errors import DataError
from mmad.data.coco_export import coco_of
from mmad.data.dataset import DataSet
from mmad.data.importers.coco import ClinicalTable, import_coco
from mmad.data.importers.csv import import_csv

hostile_cells = st.one_of(st.sampled_from(CELLS), st.text(max_size=8))


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
    survives(lambda out: import_coco(file, pics, out), tmp_path / "out")
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


@examples(25)
@given(data=st.data(), ours=st.booleans())
def test_hostile_coco_files(data: st.DataObject, ours: bool, exported: Callable[[], Any]) -> None:
    content = exported() if ours else coco()
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


@examples(25)
@given(st.lists(st.lists(hostile_cells, min_size=2, max_size=3), max_size=5))
def test_hostile_clinical_tables(rows: list[list[str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = write_world(Path(folder))
        table = Path(folder) / "t.csv"
        write_csv(table, [["who", "age"], ["one", "4"], ["two", SECRET], *rows])
        clinical = ClinicalTable(table, "who")
        survives(lambda out: import_coco(*world, out, clinical=clinical), Path(folder) / "out")
