"""Copies of an image are found whatever was done to them, and other images are not called copies."""

from __future__ import annotations

import csv
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from mmad.data.audit.copies import SIDE, SPECTRA, THUMB, copies
from mmad.data.audit.images import connected, copy_pairs, look_at_images
from mmad.data.phantom.generate import make_phantom
from mmad.data.reader import load_dataset


def cut(left: float, top: float, right: float, bottom: float) -> Callable[[Image.Image], Image.Image]:
    def change(image: Image.Image) -> Image.Image:
        width, height = image.size
        box = (width * left, height * top, width * (1 - right), height * (1 - bottom))
        return image.crop(tuple(map(round, box)))

    return change


def turn(degrees: float, *, expand: bool = False) -> Callable[[Image.Image], Image.Image]:
    return lambda image: image.rotate(degrees, Image.Resampling.BILINEAR, expand=expand)


def shift(x: float, y: float) -> Callable[[Image.Image], Image.Image]:
    def change(image: Image.Image) -> Image.Image:
        moved = (1, 0, -x * image.width, 0, 1, -y * image.height)
        return image.transform(image.size, Image.Transform.AFFINE, moved)

    return change


def jpeg(image: Image.Image) -> Image.Image:
    held = BytesIO()
    image.save(held, "JPEG", quality=50)
    with Image.open(held) as again:
        return again.convert("L")


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "5 % cropped": cut(0.05, 0.05, 0.05, 0.05),
    "10 % cropped": cut(0.1, 0.1, 0.1, 0.1),
    "cropped left": cut(0.1, 0, 0, 0),
    "cropped below": cut(0, 0, 0, 0.1),
    "shifted": shift(0.06, -0.04),
    "turned": turn(4),
    "turned, larger": turn(-3, expand=True),
    "padded": lambda image: ImageOps.expand(image, image.width // 8),
    "padded to a square": lambda image: ImageOps.pad(image, (image.width, 2 * image.height)),
    "mirrored": ImageOps.mirror,
    "mirrored and cropped": lambda image: cut(0.05, 0.05, 0.05, 0.05)(ImageOps.mirror(image)),
    "inverted": ImageOps.invert,
    "turned by 180°": turn(180),
    "saved as JPEG": jpeg,
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "brighter": lambda image: image.point(lambda grey: min(255, int(grey * 1.15 + 8))),
}


def planted(root: Path) -> dict[str, str]:
    """A data set in which each change was made to an image of its own: the copy's id → the original's."""
    dataset = make_phantom(root, studies=3 * len(CHANGES), image_size=128, seed=3)
    rows = [list(row) for row in csv.reader((root / "studies.csv").read_text("utf-8").splitlines())]
    of: dict[str, str] = {}
    for source, change in enumerate(CHANGES.values()):
        target = len(CHANGES) + source
        with Image.open(dataset.image_path(source)) as opened:
            made = change(opened.convert("L"))
        made.save(dataset.image_path(target))
        rows[target + 1][2:4] = [str(side) for side in made.size]
        of[dataset.studies[target].study] = dataset.studies[source].study
    (root / "studies.csv").write_text("\n".join(",".join(row) for row in rows) + "\n", "utf-8")
    (root / "boxes.csv").write_text("study,reading,xmin,ymin,xmax,ymax,label,certainty\n", "utf-8")
    return of


@pytest.mark.slow
def test_each_copy_is_found_and_nothing_else(tmp_path: Path) -> None:
    of = planted(tmp_path / "set")
    dataset = load_dataset(tmp_path / "set")
    looks = look_at_images(dataset)
    names = [dataset.studies[position].study for position in looks.studies]
    found = {frozenset((names[pair.first], names[pair.second])) for pair in copy_pairs(dataset, looks)}
    wanted = {frozenset(pair) for pair in of.items()}
    assert found == wanted


@pytest.mark.slow
def test_clean_phantoms_hold_no_copies(tmp_path: Path) -> None:
    dataset = make_phantom(tmp_path / "set", studies=80, image_size=64, seed=1, artefacts=True)
    assert copy_pairs(dataset, look_at_images(dataset)) == []


def test_nothing_and_one_have_no_copies() -> None:
    for count in (0, 1):
        spectra = np.zeros((count, *SPECTRA), dtype=np.float16)
        thumbs = np.zeros((count, THUMB, THUMB), dtype=np.uint8)
        assert copies(spectra, thumbs, lambda place: np.zeros((SIDE, SIDE), dtype=np.uint8)) == []


def test_images_of_noise_are_no_copies(tiny: Path) -> None:
    for number, path in enumerate(sorted((tiny / "images").iterdir())):
        grey = np.random.default_rng(number).integers(0, 256, (20, 40), dtype=np.uint8)
        Image.fromarray(grey).save(path)
    dataset = load_dataset(tiny)
    assert copy_pairs(dataset, look_at_images(dataset)) == []


def test_groups_are_joined_by_what_they_share() -> None:
    assert connected([(3, 1), (5, 4), (1, 9)]) == [[1, 3, 9], [4, 5]]
