"""What stops a training before it begins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mmad.base.errors import DataError
from mmad.data.image_cache import image_cache, prepare_images, require_trainable
from mmad.data.reader import load_dataset

Change = Callable[[str, str, str], Path]


def test_a_data_set_with_boxes_in_train_and_val_is_trainable(tiny: Path) -> None:
    dataset = load_dataset(tiny)
    require_trainable(dataset)
    assert dataset.split("train")


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("studies.csv", "p3,val", "p3,test", "studies.csv: no study is in the split 'val'"),
        ("boxes.csv", "c,r1,0,0,40,20,Consolidation,\n", "", "boxes.csv: no study of the split 'val' has a box"),
    ],
)
def test_without_anything_to_choose_by_it_is_not(
    tiny: Path, change: Change, file: str, old: str, new: str, message: str
) -> None:
    change(file, old, new)
    with pytest.raises(DataError, match=message):
        require_trainable(load_dataset(tiny))


def test_every_size_is_decoded_once(tiny: Path, cache: Path) -> None:
    heard: list[tuple[int, int]] = []
    prepare_images(load_dataset(tiny), [64, 32, 64], lambda done, whole: heard.append((done, whole)))
    assert heard == [(1, 4), (2, 4), (3, 4), (4, 4)] * 2
    assert len(list((cache / "images").iterdir())) == 2


def test_sizes_in_the_table_are_checked_though_the_images_are_known(tiny: Path, change: Change) -> None:
    image_cache(load_dataset(tiny), 32)
    change("studies.csv", "d.png,40,20", "d.png,40,21")
    with pytest.raises(DataError, match=r"image is 40 x 20 px where studies\.csv says 40 x 21"):
        prepare_images(load_dataset(tiny), [32])
