"""Import of a folder with CSV tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from mmad.base.errors import DataError
from mmad.data.clinical import ClinicalEncoder
from mmad.data.importers.csv import CsvLayout, import_csv
from mmad.data.reader import load_dataset

SUBJECTS = """\
image,patient_id,age,temp_c,sex,ward,view,split
pics/one.png,p1,40,37.5,F,north,PA,train
pics/two.png,p1,41,,F,south,AP,training
pics/three.png,p2,,38,M,,PA,val
pics/four.png,p3,70,39,,north,AP,test
"""
BOXES = """\
image,xmin,ymin,xmax,ymax,label
pics/one.png,0,0,10,10,Left lung
pics/two.png,5,5,40.6,20,Right lung
pics/three.png,1,1,9,9,Left lung
"""
SOURCES = "image,licence,url\npics/one.png,CC0,x\npics/two.png,CC BY,x\npics/three.png,CC0,x\npics/four.png,CC0,x\n"


@pytest.fixture
def src(tmp_path: Path) -> Path:
    folder = tmp_path / "src"
    (folder / "pics").mkdir(parents=True)
    for name in ("one", "two", "three", "four"):
        Image.new("L", (40, 20), 7).save(folder / "pics" / f"{name}.png")
    (folder / "subjects.csv").write_text(SUBJECTS, encoding="utf-8")
    (folder / "boxes.csv").write_text(BOXES, encoding="utf-8")
    (folder / "provenance.csv").write_text(SOURCES, encoding="utf-8")
    return folder


@pytest.fixture
def edit(src: Path) -> Callable[[str, str, str], None]:
    def replace(name: str, old: str, new: str) -> None:
        text = (src / name).read_text(encoding="utf-8")
        assert old in text
        (src / name).write_text(text.replace(old, new, 1), encoding="utf-8")

    return replace


def test_guessed_columns_missing_values_and_sources(src: Path, tmp_path: Path) -> None:
    dataset = import_csv(src, tmp_path / "out")
    assert [(c.name, c.unit, c.low, c.high) for c in dataset.numeric] == [
        ("age", "years", 0, 125),
        ("temp_c", "°C", 25, 45),
    ]
    assert [(c.name, c.values) for c in dataset.categorical] == [("sex", ("F", "M")), ("ward", ("north", "south"))]
    one, two, three, four = dataset.studies
    assert two.numeric == (41, None)
    assert three.categorical == ("M", None)
    assert [study.split for study in dataset.studies] == ["train", "train", "val", "test"]
    assert [study.source for study in dataset.studies] == ["CC0", "CC BY", "CC0", "CC0"]
    assert (one.study, one.image, one.width, one.height) == ("one", "images/pics/one.png", 40, 20)
    assert four.patient == "p3"
    assert dataset.licence == "CC BY; CC0"
    assert dataset.split_policy == "patient"
    assert dataset.labels == ("Left lung", "Right lung")
    assert dataset.boxes[1].tolist() == [5, 5, 40, 20]  # rounding over the edge is clipped
    assert (tmp_path / "out" / one.image).read_bytes() == (src / "pics" / "one.png").read_bytes()


def test_named_columns_labels_units_and_names(src: Path, tmp_path: Path) -> None:
    dataset = import_csv(
        src,
        tmp_path / "out",
        numeric=["temp_c"],
        categorical=["view"],
        units={"temp_c": "deg C"},
        labels=["Right lung"],
        name="mine",
        licence="CC BY 4.0",
    )
    assert [(c.name, c.unit) for c in dataset.numeric] == [("temp_c", "deg C")]
    assert dataset.categorical[0].values == ("AP", "PA")
    assert (dataset.name, dataset.licence, dataset.labels) == ("mine", "CC BY 4.0", ("Right lung",))
    assert len(dataset.boxes) == 1
    assert len(dataset.studies) == 4


def test_no_columns_at_all(src: Path, tmp_path: Path) -> None:
    dataset = import_csv(src, tmp_path / "out", numeric=[], categorical=[])
    assert dataset.columns().numeric == ()
    assert dataset.columns().categorical == ()


def test_other_names_of_tables_and_columns(src: Path, tmp_path: Path, edit: Callable[[str, str, str], None]) -> None:
    edit("subjects.csv", "image,patient_id", "file,who")
    edit("boxes.csv", "image,xmin,ymin,xmax,ymax,label", "file,x1,y1,x2,y2,what")
    (src / "provenance.csv").unlink()
    (src / "boxes.csv").rename(src / "marks.csv")
    layout = CsvLayout(image="file", patient="who", boxes="marks.csv", label="what", sides=("x1", "y1", "x2", "y2"))
    dataset = import_csv(src, tmp_path / "out", layout=layout)
    assert [study.patient for study in dataset.studies] == ["p1", "p1", "p2", "p3"]
    assert dataset.studies[0].source is None
    assert dataset.licence == "not stated"


def test_without_a_split_patients_are_split_whole(tmp_path: Path) -> None:
    src = tmp_path / "many"
    src.mkdir()
    Image.new("L", (8, 8)).save(src / "x.png")
    rows, boxes = ["image,patient_id"], ["image,xmin,ymin,xmax,ymax,label"]
    for i in range(60):
        (src / f"{i}.png").write_bytes((src / "x.png").read_bytes())
        rows.append(f"{i}.png,p{i // 2}")
        boxes.append(f"{i}.png,0,0,4,4,A")
    (src / "subjects.csv").write_text("\n".join(rows), encoding="utf-8")
    (src / "boxes.csv").write_text("\n".join(boxes), encoding="utf-8")
    dataset = import_csv(src, tmp_path / "out")
    assert [len(dataset.split(name)) for name in ("train", "val", "test")] == [42, 8, 10]
    assert dataset.split_policy == "patient"
    again = import_csv(src, tmp_path / "again")
    assert [s.split for s in again.studies] == [s.split for s in dataset.studies]


@pytest.mark.parametrize("name", ["Split", "subset"])
def test_a_column_of_splits_by_another_name(
    name: str, src: Path, tmp_path: Path, edit: Callable[[str, str, str], None]
) -> None:
    edit("subjects.csv", "split", name)
    dataset = import_csv(src, tmp_path / "out")
    assert [study.split for study in dataset.studies] == ["train", "train", "val", "test"]
    assert [column.name for column in dataset.categorical] == ["sex", "ward"]
    without = import_csv(src, tmp_path / "without", ignore=[name])
    assert [study.split for study in without.studies] != [study.split for study in dataset.studies]


def test_a_patient_in_two_splits_is_told_not_hidden(
    src: Path, tmp_path: Path, edit: Callable[[str, str, str], None]
) -> None:
    edit("subjects.csv", "pics/two.png,p1,41,,F,south,AP,training", "pics/two.png,p1,41,,F,south,AP,test")
    assert import_csv(src, tmp_path / "out").split_policy == "image"


def test_files_of_one_name_in_two_folders_keep_apart(tmp_path: Path) -> None:
    src = tmp_path / "src"
    for folder in ("a", "b"):
        (src / folder).mkdir(parents=True)
        Image.new("L", (8, 8)).save(src / folder / "x.png")
    (src / "subjects.csv").write_text("image,split\na/x.png,train\nb/x.png,val\n", encoding="utf-8")
    (src / "boxes.csv").write_text("image,xmin,ymin,xmax,ymax,label\na/x.png,0,0,4,4,A\n", encoding="utf-8")
    dataset = import_csv(src, tmp_path / "out")
    assert [study.study for study in dataset.studies] == ["a-x.png", "b-x.png"]


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("boxes.csv", "40.6,20", "42,20", r"boxes.csv:3: box \(5, 5, 42, 20\) leaves the image 'pics/two.png'"),
        ("boxes.csv", "1,1,9,9", "9,1,9,9", "boxes.csv:4: box .* has no area"),
        ("boxes.csv", "1,1,9,9", "a,1,9,9", "boxes.csv:4: box .* not a number"),
        ("boxes.csv", "pics/three.png", "pics/tree.png", "boxes.csv:4: unknown image 'pics/tree.png'"),
        ("boxes.csv", "9,9,Left lung", "9,9,nan", "boxes.csv:4: column 'label' holds 'nan', a missing value"),
        ("boxes.csv", "label", "labels", "boxes.csv:1: unknown column 'label'.*'labels'"),
        ("subjects.csv", "p2,,38,M,,PA,val", "p2,,38,M,,PA,vla", "subjects.csv:4: unknown split 'vla'.*'val'"),
        ("subjects.csv", "pics/four.png", "pics/five.png", "subjects.csv:5: image 'pics/five.png' is missing"),
        ("subjects.csv", "pics/four.png", "pics/one.png", "subjects.csv:5: image 'pics/one.png' has a row already"),
        ("subjects.csv", "pics/four.png", "../four.png", "subjects.csv:5: image path '../four.png' leaves"),
        ("subjects.csv", "pics/four.png", "subjects.csv", "subjects.csv:5: image 'subjects.csv' cannot be decoded"),
        ("subjects.csv", "png,p3", "png,", "subjects.csv:5: column 'patient_id' is empty"),
        ("provenance.csv", "licence", "license", "provenance.csv:1: unknown column 'licence'.*'license'"),
    ],
)
def test_mistakes_name_file_and_row_and_leave_nothing(
    src: Path, tmp_path: Path, edit: Callable[[str, str, str], None], file: str, old: str, new: str, message: str
) -> None:
    edit(file, old, new)
    with pytest.raises(DataError, match=message):
        import_csv(src, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["src"]


def test_mistakes_in_what_was_asked(src: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(DataError, match=r"unknown clinical column 'agee'.*'age'"):
        import_csv(src, out, numeric=["agee"])
    with pytest.raises(DataError, match=r"subjects.csv:2: column 'sex' holds 'F', which is not a number"):
        import_csv(src, out, numeric=["sex"])
    with pytest.raises(DataError, match=r"unknown clinical column 'split'"):
        import_csv(src, out, categorical=["split"])
    with pytest.raises(DataError, match=r"unknown label 'Left lungs'.*'Left lung'"):
        import_csv(src, out, labels=["Left lungs"])
    with pytest.raises(DataError, match=r"nowhere: no such folder"):
        import_csv(tmp_path / "nowhere", out)
    with pytest.raises(
        DataError, match=r"no.csv: file missing; name the table with --boxes: the folder has 'boxes.csv'"
    ):
        import_csv(src, out, layout=CsvLayout(boxes="no.csv"))
    out.mkdir()
    (out / "something").touch()
    with pytest.raises(DataError, match=r"out: exists already"):
        import_csv(src, out)


@pytest.mark.shared
@pytest.mark.parametrize(("name", "studies", "boxes"), [("covid-cxr-lungs", 348, 696), ("covid-cxr-lesions", 44, 329)])
def test_real_radiographs(name: str, studies: int, boxes: int, tmp_path: Path) -> None:
    src = Path(__file__).parents[2].parent / "shared" / "data" / name
    if not src.is_dir():
        pytest.skip(f"{src} is not there")
    made = import_csv(src, tmp_path / "out", numeric=["age", "temperature_c"], categorical=["sex"])
    dataset = load_dataset(made.root)
    assert (len(dataset.studies), len(dataset.boxes)) == (studies, boxes)
    assert all(study.source and study.source.startswith("CC BY") for study in dataset.studies)
    assert any(study.numeric[0] is None for study in dataset.studies)
    numbers, categories = ClinicalEncoder.fit(dataset, dataset.columns()).encode(dataset, range(studies))
    assert abs(numbers[list(dataset.split("train")), 0].mean()) < 1e-5
    assert set(categories[:, 0].tolist()) == {-1, 0, 1}


def test_what_the_reader_refuses_leaves_no_folder(src: Path, tmp_path: Path) -> None:
    table = src / "boxes.csv"
    head, *rows = table.read_text().splitlines()
    table.write_text("\n".join([f"{head},certainty", *(f"{row},high" for row in rows)]) + "\n")
    out = tmp_path / "out"
    with pytest.raises(DataError, match=r"out/boxes\.csv:2: column 'certainty' is not a number: 'high'; correct it"):
        import_csv(src, out)
    assert not list(tmp_path.glob("*out*"))
    assert not list(tmp_path.glob(".*"))


def test_a_reader_of_labels_left_out_has_read_the_image(src: Path, tmp_path: Path) -> None:
    rows = ["image,rad_id,xmin,ymin,xmax,ymax,label", "pics/one.png,R1,0,0,10,10,Left lung"]
    rows += ["pics/one.png,R2,0,0,10,10,Right lung", "pics/two.png,R2,5,5,40,20,Left lung", "pics/two.png,R1,,,,,"]
    (src / "boxes.csv").write_text("\n".join(rows), encoding="utf-8")
    dataset = import_csv(src, tmp_path / "out", labels=["Left lung"])
    assert dataset.readings == ((0, "R1"), (1, "R2"), (1, "R1"), (0, "R2"))
    assert dataset.readers("train") == ("R1", "R2")
