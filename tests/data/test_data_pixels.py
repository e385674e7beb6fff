"""What becomes of pixels: depth, orientation, transparency; what an audit says of them; which fingerprints follow."""

from __future__ import annotations

import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from mmad.base.errors import DataError
from mmad.data.audit.fix import fix_folder
from mmad.data.audit.run import audit_folder
from mmad.data.dataset import DataSet
from mmad.data.image_cache import decode
from mmad.data.importers.common import ImportReport
from mmad.data.importers.csv import import_csv
from mmad.data.phantom.generate import make_phantom
from mmad.data.reader import load_dataset
from mmad.data.unseen import UnseenImage, read_unseen

WIDTH, HEIGHT = 32, 24
#: Every value of 12 bits that a ramp over the image can hold.
RAMP = np.linspace(0, 4095, WIDTH * HEIGHT).reshape(HEIGHT, WIDTH)


def write_source(src: Path, images: list[Image.Image], ending: str = "png", **options: Any) -> Path:
    src.mkdir()
    rows = []
    for i, image in enumerate(images):
        image.save(src / f"{i}.{ending}", **options)
        rows.append(f"{i}.{ending},p{i},{'train' if i < len(images) - 1 else 'val'}")
    (src / "subjects.csv").write_text("\n".join(["image,patient_id,split", *rows]) + "\n", encoding="utf-8")
    lines = [f"{i}.{ending},2,3,{12 + i % 3},20,A" for i in range(len(images))]
    (src / "boxes.csv").write_text("\n".join(["image,xmin,ymin,xmax,ymax,label", *lines]) + "\n", encoding="utf-8")
    return src


def deep(values: NDArray[np.float64]) -> Image.Image:
    return Image.fromarray(values.astype(np.uint16))


def greys(dataset: DataSet, position: int = 0) -> NDArray[np.uint8]:
    return np.asarray(decode(dataset, position))


@pytest.mark.parametrize("bits", [8, 9, 10, 12, 14, 15, 16])
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_deep_images_keep_their_greys(bits: int, ending: str, tmp_path: Path) -> None:
    values = np.floor(RAMP / 4096 * 2**bits)
    darker = np.floor(values / 3)  # of the same set: it stays darker
    src = write_source(tmp_path / "src", [deep(values), deep(darker)], ending)
    report = ImportReport()
    made = import_csv(src, tmp_path / "out", report=report)
    assert made.bits == (None if bits == 16 else bits)
    assert np.array_equal(greys(made), values.astype(int) >> (bits - 8))
    assert np.array_equal(greys(made, 1), darker.astype(int) >> (bits - 8))
    assert len(np.unique(greys(made))) > 200
    assert f"{bits} are used" in report.notes[0]
    assert not [found for found in audit_folder(made.root).findings if found.code.startswith(("image-", "depth"))]


def test_integers_of_32_bits(tmp_path: Path) -> None:
    values = Image.fromarray(np.floor(RAMP / 16).astype(np.int32))
    made = import_csv(write_source(tmp_path / "src", [values, values], "tif"), tmp_path / "out")
    assert made.bits == 8
    assert np.array_equal(greys(made), np.floor(RAMP / 16))


def with_significant(path: Path, values: NDArray[np.float64], bits: int) -> None:
    """A PNG whose chunk sBIT says ``bits``."""
    deep(values).save(path)
    content = path.read_bytes()
    chunk = PngImagePlugin.PngInfo()
    chunk.add(b"sBIT", bytes([bits]))
    deep(values).save(path, pnginfo=chunk)
    assert content != path.read_bytes()


def test_significant_bits_and_the_users(tmp_path: Path) -> None:
    src = write_source(tmp_path / "src", [deep(RAMP / 4), deep(RAMP / 4)])  # 10 bits
    assert import_csv(src, tmp_path / "asked", bits=12).bits == 12
    with pytest.raises(DataError, match=r"subjects\.csv:2: image '0\.png' needs 10 bits; --bits 10, or leave"):
        import_csv(src, tmp_path / "no", bits=9)
    for i in range(2):
        with_significant(src / f"{i}.png", RAMP / 4, 12)
    made = import_csv(src, tmp_path / "out")
    assert made.bits == 12
    assert int(greys(made).max()) == 1023 >> 4


def test_floats_are_refused_by_name(tmp_path: Path) -> None:
    src = write_source(tmp_path / "src", [Image.fromarray((RAMP / 4095).astype(np.float32))] * 2, "tif")
    with pytest.raises(DataError, match=r"subjects\.csv:2: image '0\.tif' holds floating-point values.*8 or 16 bits"):
        import_csv(src, tmp_path / "out")


def test_pictures_that_would_be_read_as_others_are_refused(tmp_path: Path) -> None:
    white = deep(RAMP)
    several = [deep(RAMP / 16)] * 2
    for number, (images, options, why) in enumerate(
        (
            ([white] * 2, {"tiffinfo": {262: 0}}, "writes white as 0, which is read of 8 bits alone"),
            (several, {"save_all": True, "append_images": several}, "holds several pictures"),
        )
    ):
        src = write_source(tmp_path / f"src{number}", images, "tif", **options)
        with pytest.raises(DataError, match=rf"subjects\.csv:2: image '0\.tif' {why}; save one picture"):
            import_csv(src, tmp_path / "out")
        with pytest.raises(DataError, match=why):
            read_unseen(UnseenImage("0.tif", src / "0.tif"), 12)


@pytest.mark.parametrize(("bits", "greys_left"), [(12, 0), (16, 256)])
def test_16_bits_in_colour_are_refused_where_the_upper_8_are_empty(bits: int, greys_left: int, tmp_path: Path) -> None:
    src = write_source(tmp_path / "src", [Image.new("RGB", (WIDTH, HEIGHT))] * 2)
    values = np.repeat(np.floor(RAMP / 4096 * 2**bits)[:, :, None], 3, axis=2).astype(">u2")  # (H, W, 3)
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    png = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    for i in range(2):
        (src / f"{i}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + png)
    if greys_left:
        assert len(np.unique(greys(import_csv(src, tmp_path / "out")))) == greys_left
    else:
        with pytest.raises(DataError, match=r"image '0\.png' has channels of 16 bits.* nearly black; save such images"):
            import_csv(src, tmp_path / "out")


@pytest.mark.parametrize(
    ("ending", "orientation", "turned"),
    [
        ("jpg", 3, Image.Transpose.ROTATE_180),
        ("png", 3, Image.Transpose.ROTATE_180),
        ("tif", 3, Image.Transpose.ROTATE_180),  # Pillow turns it itself
        ("jpg", 6, Image.Transpose.ROTATE_270),
        ("png", 6, Image.Transpose.ROTATE_270),
        ("jpg", 5, Image.Transpose.TRANSPOSE),
    ],
)
def test_exif_turns_pixels_and_sizes(ending: str, orientation: int, turned: Image.Transpose, tmp_path: Path) -> None:
    picture = Image.fromarray((RAMP / 16).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"exif": exif, **({"quality": 100} if ending == "jpg" else {})}
    src = write_source(tmp_path / "src", [picture, picture], ending, **options)
    made = import_csv(src, tmp_path / "out")
    upright = picture.transpose(turned)
    assert (made.studies[0].width, made.studies[0].height) == upright.size
    assert np.abs(greys(made).astype(int) - np.asarray(upright)).max() <= 2
    assert "image-size" not in codes(made.root)


def test_transparency_is_composed_on_white(tmp_path: Path) -> None:
    picture = Image.fromarray((RAMP / 16).astype(np.uint8))
    alpha = Image.new("L", picture.size, 255)
    alpha.paste(0, (0, 0, 8, HEIGHT))  # a transparent margin
    glass, opaque = picture.convert("RGBA"), picture.convert("RGBA")
    glass.putalpha(alpha)
    palette = picture.convert("P")
    src = write_source(tmp_path / "src", [glass, opaque, palette])
    made = import_csv(src, tmp_path / "out")
    assert (greys(made)[:, :8] == 255).all()
    assert np.array_equal(greys(made)[:, 8:], np.asarray(picture)[:, 8:])
    assert np.array_equal(greys(made, 1), np.asarray(picture))


# Fingerprints.


def test_the_rule_enters_the_fingerprint_of_what_it_changes_alone(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = load_dataset(tiny).fingerprint()
    monkeypatch.setattr("mmad.data.dataset.RULE", 3)
    assert load_dataset(tiny).fingerprint() == before
    with Image.open(tiny / "images" / "a.png") as image:
        opaque = image.convert("RGBA")
    opaque.save(tiny / "images" / "a.png")
    same = load_dataset(tiny).fingerprint()
    monkeypatch.setattr("mmad.data.dataset.RULE", 2)
    assert load_dataset(tiny).fingerprint() == same
    opaque.putalpha(100)
    opaque.save(tiny / "images" / "a.png")
    glass = load_dataset(tiny).fingerprint()
    monkeypatch.setattr("mmad.data.dataset.RULE", 3)
    assert load_dataset(tiny).fingerprint() != glass


def test_fingerprints_are_those_of_earlier_versions(tiny: Path, tmp_path: Path) -> None:
    """Computed before pixels had a rule, readings without a finding a row, and columns a time."""
    phantom = make_phantom(tmp_path / "phantom", studies=12, image_size=64, seed=3)
    assert phantom.fingerprint() == "cc4938469e777e335456b3878481a3579043a97efd15767e77a467e9cfdc9a15"
    toml = tiny / "dataset.toml"
    toml.write_text(toml.read_text().replace('measured = "before"\n', ""))
    assert load_dataset(tiny).fingerprint() == "40126543fe681810e9e9beb557510eb3f79cef1c1d3016cef15b32e2f130fb4f"


# The audit.


@pytest.fixture
def spoiled(tmp_path: Path) -> Callable[[Callable[[int, NDArray[np.uint8]], NDArray[Any]]], Path]:
    """A phantom whose images were changed by a function of place and pixels."""

    def spoil(change: Callable[[int, NDArray[np.uint8]], NDArray[Any]]) -> Path:
        made = make_phantom(tmp_path / "spoiled", studies=12, image_size=64, seed=5)
        for position in range(len(made.studies)):
            path = made.image_path(position)
            Image.fromarray(change(position, np.asarray(Image.open(path)))).save(path)
        return made.root

    return spoil


def codes(root: Path) -> dict[str, str]:
    return {found.code: found.level for found in audit_folder(root).findings}


Spoil = Callable[[Callable[[int, NDArray[np.uint8]], NDArray[Any]]], Path]


@pytest.mark.slow
def test_a_folder_of_12_bits_is_an_error_and_fixed(spoiled: Spoil, tmp_path: Path) -> None:
    root = spoiled(lambda _, pixels: pixels.astype(np.uint16) << 4)
    (found,) = [found for found in audit_folder(root).errors if found.code == "image-depth"]
    assert found.what == "of 16 bits 12 are used in all images: 16 of 256 greys are left"
    fixed = fix_folder(root, tmp_path / "fixed")
    assert "took the bits that the images use: 12" in fixed.done
    assert load_dataset(fixed.out).bits == 12
    assert "image-depth" not in codes(fixed.out)
    toml = root / "dataset.toml"
    toml.write_text(f"bits = 11\n{toml.read_text()}")
    assert "values need 12 bits where 11 are taken" in next(
        found.what for found in audit_folder(root).errors if found.code == "image-depth"
    )


@pytest.mark.slow
def test_depths_that_follow_a_label(spoiled: Spoil) -> None:
    first = spoiled(lambda _, pixels: pixels)
    dataset = load_dataset(first)
    with_label = set(dataset.box_study[dataset.labels_of == 2].tolist())
    for position in with_label:
        path = dataset.image_path(position)
        Image.fromarray(np.asarray(Image.open(path)).astype(np.uint16) << 8).save(path)
    (found,) = [found for found in audit_folder(first).findings if found.code == "depth-mixed"]
    assert f"they follow label {dataset.labels[1]!r} (correlation 1.00)" in found.what


@pytest.mark.slow
def test_negatives_dark_and_blank_images_are_found(spoiled: Spoil) -> None:
    root = spoiled(lambda i, pixels: 255 - pixels if i % 4 == 0 else pixels // 16 if i % 4 == 1 else pixels)
    audit = audit_folder(root)
    counts = {found.code: found.count for found in audit.findings}
    assert (counts["image-negative"], counts["image-dark"]) == (3, 3)


@pytest.mark.slow
@pytest.mark.parametrize("change", [lambda p: p[:, ::-1], lambda p: 255 - p, lambda p: p[::-1, ::-1]])
def test_a_copy_that_is_mirrored_inverted_or_turned_is_found(
    change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]], spoiled: Spoil
) -> None:
    root = spoiled(lambda _, pixels: pixels)
    dataset = load_dataset(root)
    pixels = np.asarray(Image.open(dataset.image_path(0)))
    Image.fromarray(change(pixels)).save(dataset.image_path(7))
    found = [found for found in audit_folder(root).findings if found.code.startswith("near-duplicate")]
    assert [one.rows for one in found] == [(dataset.studies[0].study, dataset.studies[7].study)]


def test_images_that_are_all_blank_are_an_error(spoiled: Spoil) -> None:
    assert codes(spoiled(lambda _, pixels: pixels * 0))["image-blank"] == "error"


@pytest.mark.slow
def test_clean_phantoms_raise_no_alarm(tmp_path: Path) -> None:
    for seed, artefacts in ((1, False), (2, True)):
        made = make_phantom(
            tmp_path / str(seed), studies=24, image_size=64, seed=seed, artefacts=artefacts, missing=0.15
        )
        assert not {"image-negative", "image-dark", "image-depth", "depth-mixed"} & codes(made.root).keys()
        shutil.rmtree(made.root)
