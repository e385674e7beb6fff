"""What no honest export holds, and what an importer may do with it: one clear line, or a whole data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from coco_fixtures import draw, write_csv

from mmad.base.errors import DataError
from mmad.data.dataset import DataSet
from mmad.data.reader import load_dataset

#: Stands in clinical cells; no message may hold it.
SECRET = "clinical-secret"

CELLS = [
    *("", " ", "\ufeff", "\0", "\r", "a\rb", "\n", "a\nb", '"', "'", ",", ";", "\t", "\u2028", "\x85", "\x1c", "=1+1"),
    *("nan", "inf", "-inf", "1e999", "-1", "0", "1e308", "9" * 400, "0" * 5000, "1_000", "٣", "½", "0x10", "True"),
    *("../../etc/passwd", "/etc/passwd", "C:\\x.png", "..\\x", "a/../b", ".", "..", "/", "images", "subjects.csv"),
    *(
        "x" * 300,
        "x" * 5000,
        "é" * 200,
        "a/" * 200 + "b.png",
        "one.png",
        "./one.png",
        "link.png",
        "ring.png",
        "dir/out.png",
    ),
    *("train", "TEST", "study", "__proto__", "�", "😀", "ﬀ", "İ"),
]
VALUES: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2,
        10**30,
        10**400,
        1.5,
        1e308,
        -0.0,
        float("nan"),
        float("inf"),
        [],
        {},
        [[]],
        [None],
    ),
    *(
        [1, 2, 3, 4],
        [1, 2, 3, True],
        [0, 0, 1e308, 1e308],
        [1, 2, float("nan"), 1],
        [[1, 2, 3, 4, 5, 6]],
        [[1, 2, "3"]],
    ),
    *({"a": 1}, {"mmad": []}, {"mmad": {}}, {"counts": []}, [{}], [[{}]], "\ud800", *CELLS),
]


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


def survives(run: Callable[[Path], object], out: Path) -> str:
    """Run an import to ``out``: the message of its refusal, or nothing when ``out`` is a whole data set."""
    before = {path.name for path in out.parent.iterdir()}
    try:
        run(out)
        message = ""
    except DataError as error:
        message = str(error)
    left = {path.name for path in out.parent.iterdir()} - before
    if not message:
        assert left == {out.name}
        assert isinstance(load_dataset(out), DataSet)
        return ""
    assert left == set(), "something half-written"
    assert "\n" not in message
    assert "\r" not in message
    assert SECRET not in message
    assert len(message) < 2000
    assert ": " in message, "no place"
    assert "; " in message, "no hint"
    return message
