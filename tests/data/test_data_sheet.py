"""The contact sheet: what is chosen, and that it shows it in both forms without a network."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmad.base.errors import DataError
from mmad.data.contact_sheet import COLOURS, SIDE, chosen, keys, write_sheet
from mmad.data.dataset import DataSet
from mmad.data.reader import load_dataset

Change = Callable[[str, str, str], Path]


def test_chosen_studies_are_spread_filtered_or_named(phantom: DataSet) -> None:
    assert chosen(phantom, (), None, None, 4) == (0, 10, 20, 30)
    assert chosen(phantom, (), None, None, 99) == tuple(range(40))
    assert chosen(phantom, (), "val", None, 99) == phantom.split("val")
    having = chosen(phantom, (), None, "Consolidation", 99)
    number = phantom.labels.index("Consolidation") + 1
    assert set(having) == set(phantom.box_study[phantom.labels_of == number].tolist())
    names = [phantom.studies[i].study for i in (7, 3, 7)]
    assert chosen(phantom, names, None, None, 1) == (7, 3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"studies": ["s00001"]}, r"unknown study 's00001' \(did you mean"),
        ({"split": "tset"}, r"unknown split 'tset' \(did you mean 'test'"),
        ({"label": "Consolidatio"}, r"unknown label 'Consolidatio' \(did you mean"),
        ({"limit": 0}, "0 is out of range"),
        ({"studies": ["s000000"], "split": "test"}, "no study fits"),
    ],
)
def test_what_cannot_be_shown_is_refused(
    phantom: DataSet, tmp_path: Path, words: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        write_sheet(phantom, tmp_path / "x.png", **words)  # type: ignore[arg-type]


def test_files_of_other_forms_and_places_are_refused(tiny: Path, tmp_path: Path) -> None:
    dataset = load_dataset(tiny)
    with pytest.raises(DataError, match=r"neither \.png nor \.html"):
        write_sheet(dataset, tmp_path / "x.pdf")
    with pytest.raises(DataError, match="own folder"):
        write_sheet(dataset, tiny / "images" / "a.png")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        write_sheet(dataset, tmp_path / "file" / "x.png")


def test_a_png_shows_pictures_and_boxes(tiny: Path, tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []
    write_sheet(load_dataset(tiny), tmp_path / "x.png", studies=["a"], progress=lambda *step: heard.append(step))
    assert heard == [(1, 1)]
    with Image.open(tmp_path / "x.png") as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.shape[1] == SIDE + 48
    for colour in COLOURS[:2]:
        wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        assert (pixels == wanted).all(axis=-1).sum() > 200
    assert (pixels == 250).all(axis=-1).sum() > 1000  # the bright rectangle of the image, enlarged


def test_a_page_is_whole_escaped_and_without_a_network(change: Change, tmp_path: Path) -> None:
    change("studies.csv", "a,images/a.png,40,20,p1", "a,images/a.png,40,20,<script>p1")
    change("dataset.toml", '["Atelectasis"', '["<b>Atelectasis"')
    root = change("boxes.csv", "a,r1,4,5,20,15,Atelectasis", "a,r1,4,5,20,15,<b>Atelectasis")
    change("boxes.csv", "d,r1,1,1,3,3,Atelectasis", "d,r1,1,1,3,3,<b>Atelectasis")
    write_sheet(load_dataset(root), tmp_path / "x.html")
    page = (tmp_path / "x.html").read_text("utf-8")
    assert "<script" not in page
    assert "<b>" not in page
    assert "&lt;b&gt;Atelectasis" in page
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("<article>") == 4
    assert page.count('<rect class="under" x="') == 4 + 2  # boxes, and the legend
    assert ">98.6 °F<" in page
    assert ">–<" in page


def test_a_broken_picture_is_shown_as_such(tiny: Path, tmp_path: Path) -> None:
    dataset = load_dataset(tiny)
    (tiny / "images" / "a.png").write_bytes(b"no image")
    for name in ("x.png", "x.html"):
        write_sheet(dataset, tmp_path / name)
    assert "image cannot be decoded (not an image)" in (tmp_path / "x.html").read_text("utf-8")
    write_sheet(dataset, tmp_path / "x.png", studies=["a"])


def test_labels_that_share_a_colour_are_told_apart(change: Change) -> None:
    many = ", ".join(f'"L{i}"' for i in range(9))
    root = change("dataset.toml", '["Atelectasis", "Consolidation"]', f'["Atelectasis", "Consolidation", {many}]')
    legend = keys(load_dataset(root))
    assert len({(key.colour, key.dashed) for key in legend}) == 11
    assert [key.boxes for key in legend[:3]] == [2, 2, 0]


def test_long_words_and_many_columns_fit(change: Change, tmp_path: Path) -> None:
    change("studies.csv", "a,images/a.png,40,20,p1", f"a,images/a.png,40,20,{'p' * 300}")
    root = change("boxes.csv", "a,r1,4,5", f"a,{'reading ' * 40},4,5")
    write_sheet(load_dataset(root), tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as image:
        assert image.size[0] == 2 * SIDE + 16 + 48
