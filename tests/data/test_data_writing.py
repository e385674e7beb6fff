"""What is written is read back, and a folder is there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from random_search import examples

from mmad.api.loading import resolve_data
from mmad.base.errors import DataError
from mmad.data.dataset import CategoricalColumn, NumericColumn
from mmad.data.reader import load_dataset
from mmad.data.summary import summarise
from mmad.data.writer import BoxRow, StudyRow, new_folder, write_tables

_words = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1, max_size=12).map(str.strip)
_names = st.lists(_words.filter(bool), min_size=1, max_size=4, unique=True)
_sides = st.floats(0, 1, exclude_min=True)


@examples(20)
@given(_names, _names, _words.filter(bool), st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), max_size=5), _sides)
def test_any_words_and_numbers_come_back(
    labels: list[str], values: list[str], name: str, numbers: list[float | None], side: float
) -> None:
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "set"
        with new_folder(out) as folder:
            Image.new("L", (3, 2)).save(folder / "images" / "x.png")
            cells = ["" if number is None else repr(number) for number in numbers]
            write_tables(
                folder,
                name=name,
                labels=labels,
                numeric=[NumericColumn("number", "µ", -1e6, 1e6, "after")],
                categorical=[CategoricalColumn("word", tuple(values), "with")],
                licence="CC0-1.0",
                split_policy=None,
                studies=[
                    StudyRow(f"s{i}", "images/x.png", 3, 2, "p", "train", (cell, values[-1]), name)
                    for i, cell in enumerate(["", *cells])
                ],
                boxes=[BoxRow("s0", "1", (0, 0, side, 2), label, "0.5") for label in labels],
            )
        dataset = load_dataset(out)
        assert dataset.labels == tuple(labels)
        assert dataset.categorical[0] == CategoricalColumn("word", tuple(values), "with")
        assert dataset.numeric[0].measured == "after"
        assert dataset.name == name
        assert [study.numeric[0] for study in dataset.studies] == [None, *numbers]
        assert all(study.categorical == (values[-1],) and study.source == name for study in dataset.studies)
        assert dataset.boxes[:, 2] == pytest.approx(side, rel=1e-9)
        assert dataset.labels_of.tolist() == list(range(1, len(labels) + 1))


def test_a_failure_inside_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="half"), new_folder(tmp_path / "set") as folder:
        raise RuntimeError(str(folder / "half"))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_a_clear_line(tmp_path: Path) -> None:
    full = pytest.raises(DataError, match=r"set: cannot be written: No space left.*free some space")
    with full, new_folder(tmp_path / "set"):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["file", "filled", "link"])
def test_what_exists_is_not_touched(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "set"
    if kind == "file":
        out.write_text("mine", encoding="utf-8")
    elif kind == "filled":
        out.mkdir()
        (out / "mine").touch()
    else:
        out.symlink_to(tmp_path)
    with pytest.raises(DataError, match="exists already"), new_folder(out):
        pass
    assert out.is_symlink() or out.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_summary_counts_boxes_studies_patients_and_strays(tiny: Path) -> None:
    text = (tiny / "studies.csv").read_text(encoding="utf-8").replace("98.6", "20")
    (tiny / "studies.csv").write_text(text, encoding="utf-8")
    summary = summarise(load_dataset(tiny))
    train = summary.splits[0]
    assert (train.studies, train.patients, train.boxes) == (2, 2, 2)
    assert [(label.label, label.boxes, label.studies) for label in train.labels] == [
        ("Atelectasis", 1, 1),
        ("Consolidation", 1, 1),
    ]
    assert [(c.name, c.present, c.outside) for c in summary.columns] == [
        ("age", 3, 0),
        ("temperature", 3, 1),
        ("gender", 3, 0),
    ]


def test_the_same_made_by_another_process_meanwhile_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "set"
    with new_folder(out) as slow:
        (slow / "images" / "x.png").write_bytes(b"image")
        with new_folder(out) as fast:
            (fast / "images" / "x.png").write_bytes(b"image")
        before = (out / "images" / "x.png").stat().st_ino
    assert (out / "images" / "x.png").stat().st_ino == before
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("other", ["y.png", "x.png"])
def test_something_else_made_by_another_process_meanwhile_is_refused(tmp_path: Path, other: str) -> None:
    out = tmp_path / "set"

    def race() -> None:
        with new_folder(out) as slow:
            (slow / "images" / "x.png").write_bytes(b"image")
            with new_folder(out) as fast:
                (fast / "images" / other).write_bytes(b"other")

    with pytest.raises(DataError, match="exists already; name a new folder"):
        race()
    assert [path.name for path in (out / "images").iterdir()] == [other]
    assert list(tmp_path.iterdir()) == [out]


def _resolve(folder: str) -> str | None:
    os.chdir(folder)
    return resolve_data("phantom", phantom={"studies": 10, "image_size": 64}, create=True).source.fingerprint


@pytest.mark.slow
def test_four_processes_that_start_at_once_share_one_phantom(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        found = set(pool.map(_resolve, [str(tmp_path)] * 4))
    (made,) = (tmp_path / "data").iterdir()
    assert found == {load_dataset(made).fingerprint()}
