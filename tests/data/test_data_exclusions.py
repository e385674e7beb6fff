"""What an import leaves out, and where and when images were taken: kept beside the tables, out of the fingerprint."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from coco_fixtures import draw, write_csv, write_world
from dicom_fixtures import dicom, save

from mmad.analysis.run_subgroups import columns_of, levels_of
from mmad.base.errors import DataError
from mmad.data.acquisition import NOT_KNOWN, Acquired, Acquisition, acquired
from mmad.data.coco_export import export_coco
from mmad.data.column_types import year_of
from mmad.data.dataset import DataSet
from mmad.data.exclusions import Excluded, in_source
from mmad.data.importers.coco import ClinicalTable, import_coco
from mmad.data.importers.csv import import_csv
from mmad.data.reader import load_dataset

NAMES = ("one", "two", "three", "four")
UNNAMED = Excluded("image file that no table names", images=1)


@pytest.fixture
def src(tmp_path: Path) -> Path:
    folder = tmp_path / "src"
    for name in (*NAMES, "five"):
        draw(folder / "pics" / f"{name}.png")
    (folder / "pics" / "notes.txt").write_text("x")
    head = ("image", "patient_id", "age", "Site", "StudyDate", "split")
    rows = [
        ("one", "p1", 40, "north", "20190304", "train"),
        ("two", "p1", 41, "south", "5.6.2021", "train"),
        ("three", "p2", 42, "north", "2180-01-01", "val"),
        ("four", "p3", 43, "", "", "test"),
    ]
    write_csv(folder / "subjects.csv", [head, *((f"pics/{name}.png", *rest) for name, *rest in rows)])
    boxes = [(f"pics/{name}.png", 1, 1, 9, 9, label) for name, label in zip(NAMES, "AABA", strict=True)]
    write_csv(folder / "boxes.csv", [("image", "xmin", "ymin", "xmax", "ymax", "label"), *boxes])
    return folder


def taken(dataset: DataSet) -> list[tuple[str | None, str | None, str | None]]:
    return [(one.taken.site, one.taken.scanner, one.taken.year) for one in dataset.studies]


def test_an_import_keeps_what_it_leaves_out_and_the_fingerprint_stays(src: Path, tmp_path: Path) -> None:
    made = import_csv(src, tmp_path / "out", labels=["A"])
    assert made.excluded == (UNNAMED, Excluded("label not chosen", 0, 0, 0, 1))
    years = ["2019", "2021", "shifted", None]
    assert taken(made) == [
        (site, None, year) for site, year in zip(("north", "south", "north", None), years, strict=True)
    ]
    assert [column.name for column in made.numeric] == ["age"]
    assert not made.categorical
    assert acquired((s.image, s.patient, s.taken) for s in made.studies) == Acquired(
        (("north", 2), ("south", 1), ("", 1)), (), (), 2019, 2021, 1, 1
    )
    assert (in_source(made.excluded, "images", 4), in_source(made.excluded, "patients", 3)) == (5, None)
    fingerprint = made.fingerprint(anew=True)
    for name in ("excluded.csv", "acquisition.csv"):
        (tmp_path / "out" / name).unlink()
    plain = load_dataset(tmp_path / "out")
    assert (plain.excluded, taken(plain)) == ((), [(None, None, None)] * 4)
    assert plain.fingerprint(anew=True) == fingerprint


def test_sites_part_a_split_like_any_column(src: Path, tmp_path: Path) -> None:
    made = import_csv(src, tmp_path / "out")
    assert columns_of(made) == ["age", "site", "year"]
    levels = levels_of(made, "train", "site")
    assert (levels.names, levels.of.tolist()) == (("north", "south", "not known"), [0, 1])


def test_a_column_named_as_clinical_is_one(src: Path, tmp_path: Path) -> None:
    made = import_csv(src, tmp_path / "out", categorical=["Site"])
    assert made.studies[0].categorical == ("north",)
    assert taken(made)[0] == (None, None, "2019")


def test_coco_counts_crowds_and_comes_back_whole(src: Path, tmp_path: Path) -> None:
    annotations, images = write_world(tmp_path)
    draw(images / "a" / "other.png")
    write_csv(
        tmp_path / "t.csv",
        [("image", "hospital", "scanner", "View Position"), *((name, "north", "X 1", "PA") for name in NAMES[:3])],
    )
    table = ClinicalTable(tmp_path / "t.csv", "image")
    made = import_coco(annotations, images, tmp_path / "out", labels=["Effusion"], clinical=table).dataset
    assert made.excluded == (UNNAMED, Excluded("crowd region", 0, 0, 0, 1), Excluded("label not chosen", 0, 0, 0, 2))
    assert taken(made) == [("north", "X 1", None)] * 3 + [(None, None, None)]
    export_coco(made, tmp_path / "again.json")
    again = import_coco(tmp_path / "again.json", tmp_path / "out", tmp_path / "again").dataset
    assert (again.excluded, taken(again)) == (made.excluded, taken(made))
    assert [study.taken.view for study in again.studies] == ["PA"] * 3 + [None]
    fewer = import_coco(tmp_path / "again.json", tmp_path / "out", tmp_path / "fewer", labels=["Effusion"]).dataset
    assert fewer.excluded == made.excluded


def test_headers_of_dicom_name_no_institution(tmp_path: Path) -> None:
    pytest.importorskip("pydicom")
    import numpy as np

    pixels = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    known = {"InstitutionName": "Saint Elsewhere", "Manufacturer": "ACME", "ManufacturerModelName": "X 1"}
    for name, keys in (
        ("a", {**known, "StudyDate": "20190304"}),
        ("b", {**known, "StudyDate": "20190304", "LongitudinalTemporalInformationModified": "MODIFIED"}),
        ("c", {}),
    ):
        save(tmp_path / "src" / f"{name}.dcm", dicom(pixels, bits=12, **keys))
    write_csv(tmp_path / "src" / "subjects.csv", [("image", "split"), *((f"{n}.dcm", "train") for n in "abc")])
    box = [("image", "xmin", "ymin", "xmax", "ymax", "label"), ("a.dcm", 1, 1, 9, 9, "A")]
    write_csv(tmp_path / "src" / "boxes.csv", box)
    assert taken(import_csv(tmp_path / "src", tmp_path / "plain")) == [(None, None, None)] * 3
    made = import_csv(tmp_path / "src", tmp_path / "out", dicom_header=True)
    assert taken(made) == [("site 1", "ACME X 1", "2019"), ("site 1", "ACME X 1", "shifted"), (None, None, None)]
    assert "Elsewhere" not in (tmp_path / "out" / "acquisition.csv").read_text()


@pytest.mark.parametrize(
    ("text", "year"),
    [
        ("2019", "2019"),
        ("2019-05-17 12:00:01", "2019"),
        ("20190517", "2019"),
        ("17/05/2019", "2019"),
        ("2180-05-17", "shifted"),
        ("Shifted", "shifted"),
        ("1799", "shifted"),
        ("May", None),
        ("17.5.19", None),
        ("", None),
    ],
)
def test_years_of_dates(text: str, year: str | None) -> None:
    assert year_of(text) == year


def test_steps_add_up() -> None:
    before = [("p1", "a", "1"), ("p1", "a", "2"), ("p1", "b", "3"), ("p2", "c", "4")]
    assert Excluded.step("x", before, before[1:3]) == Excluded("x", 1, 1, 2)
    assert Excluded.step("x", before, []) == Excluded("x", 2, 3, 4)
    assert acquired([("a", "p", NOT_KNOWN), ("a", "p", NOT_KNOWN)]) == Acquired((), (), (), None, None, 0, 1)
    assert Acquisition() == NOT_KNOWN


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("excluded.csv", "reason,images\nblurred,-1\n", "excluded.csv:2: column 'images' is no whole number"),
        ("excluded.csv", "reason,images\n,1\n", "excluded.csv:2: column 'reason' is empty"),
        ("excluded.csv", "reason,image\nblurred,1\n", "excluded.csv:1: unknown column 'image'"),
        ("acquisition.csv", "study,site\nz,north\n", "acquisition.csv:2: study 'z' is not in studies.csv"),
        ("acquisition.csv", "study,site\na,north\na,north\n", "acquisition.csv:3: study 'a' stands twice"),
        ("acquisition.csv", "study,year\na,soon\n", "acquisition.csv:2: column 'year' is no year"),
    ],
)
def test_mistakes_are_one_line(tiny: Path, name: str, text: str, message: str) -> None:
    (tiny / name).write_text(text)
    with pytest.raises(DataError, match=re.escape(message)):
        load_dataset(tiny)


def test_info_says_it(src: Path, tmp_path: Path, call_mmad: Callable[..., object]) -> None:
    imported = call_mmad("data", "import", "csv", str(src), "--out", str(tmp_path / "out"), "--label", "A")
    assert "left out: 1 image: image file that no table names\nleft out: 1 box: label not chosen\n" in imported.out  # type: ignore[attr-defined]
    shutil.rmtree(src)
    lines = call_mmad("data", "info", str(tmp_path / "out")).out.splitlines()  # type: ignore[attr-defined]
    assert lines[-5:] == [
        "left out: 1 image: image file that no table names",
        "left out: 1 box: label not chosen",
        "sites (patients): north 2, south 1, not known 1",
        "taken from 2019 to 2021",
        "dates of 1 image are shifted by the source",
    ]
