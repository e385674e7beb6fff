"""Data sets small enough to be made for each test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmad.data.audit import run as audit_run
from mmad.data.dataset import DataSet
from mmad.data.phantom.generate import make_phantom

TOML = """\
name = "tiny"
labels = ["Atelectasis", "Consolidation"]
licence = "CC0-1.0"
split_policy = "patient"

[[numeric]]
name = "age"
unit = "years"
low = 0.0
high = 120.0

[[numeric]]
name = "temperature"
unit = "°F"
low = 90
high = 110
measured = "before"

[[categorical]]
name = "gender"
values = ["F", "M"]
"""
STUDIES = """\
study,image,width,height,patient,split,age,temperature,gender
a,images/a.png,40,20,p1,train,40,98.6,F
b,images/b.png,40,20,p2,train,60,,M
c,images/c.png,40,20,p3,val,,101,
d,images/d.png,40,20,p4,test,30,99,M
"""
BOXES = """\
study,reading,xmin,ymin,xmax,ymax,label,certainty
a,r1,4,5,20,15,Atelectasis,0.9
c,r1,0,0,40,20,Consolidation,
a,r2,10.5,2,30,18,Consolidation,0.5
d,r1,1,1,3,3,Atelectasis,
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("MMAD_CACHE", str(folder))
    return folder


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A whole data set of four studies; image ``a`` has a bright rectangle where its first box is."""
    root = tmp_path / "tiny"
    (root / "images").mkdir(parents=True)
    (root / "dataset.toml").write_text(TOML, encoding="utf-8")
    (root / "studies.csv").write_text(STUDIES, encoding="utf-8")
    (root / "boxes.csv").write_text(BOXES, encoding="utf-8")
    for level, name in enumerate("abcd"):
        pixels = np.full((20, 40), 20 * level, dtype=np.uint8)
        if name == "a":
            pixels[5:15, 4:20] = 250
        Image.fromarray(pixels).save(root / "images" / f"{name}.png")
    return root


@pytest.fixture
def change(tiny: Path) -> Callable[[str, str, str], Path]:
    """Replace a text in one of the tiny data set's tables, once."""

    def replace(name: str, old: str, new: str) -> Path:
        text = (tiny / name).read_text(encoding="utf-8")
        assert old in text
        (tiny / name).write_text(text.replace(old, new, 1), encoding="utf-8")
        return tiny

    return replace


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    """A phantom of 40 small studies, not to be changed."""
    return make_phantom(tmp_path_factory.mktemp("phantom") / "set", studies=40, image_size=64, seed=3)


@pytest.fixture
def without_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an audit look for no copies, which takes most of its time: for tests of what else it finds."""
    monkeypatch.setattr(audit_run, "duplicate_findings", lambda dataset, looks: [])
