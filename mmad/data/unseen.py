"""Images of no data set, with the clinical values of their patients: read as those of the data set that a run saw."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mmad.base.errors import DataError
from mmad.config.messages import shown
from mmad.data.column_types import MISSING
from mmad.data.dataset import DataSet, Study
from mmad.data.dicom import ENDINGS as DICOM_ENDINGS
from mmad.data.dicom import decode_dicom, is_dicom
from mmad.data.image_cache import read_grey
from mmad.data.pixels import BITS, highest_value, is_coloured, is_deep, why_unread
from mmad.data.reader import ClinicalReader, check_header
from mmad.data.tables import open_table, raise_first

#: What is taken for an image in a folder; a file that is named is read whatever its name.
ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", *DICOM_ENDINGS)
#: The column of a clinical table that names the image.
IMAGE = "image"

ClinicalValues = tuple[tuple[float | None, ...], tuple[str | None, ...]]


@dataclass(frozen=True)
class UnseenImage:
    """An image file; ``name`` is the file's, or its path below the folder in which it was found."""

    name: str
    path: Path


def find_unseen(paths: Sequence[Path]) -> tuple[UnseenImage, ...]:
    """The images that are named, and those below the folders that are, in order. Raises DataError."""
    found: dict[str, UnseenImage] = {}
    for path in paths:
        for image in _images(path):
            if (other := found.get(image.name)) is not None:
                what = f"is called as {other.path} is"
                raise DataError(what, where=image.path, hint="give their folder, or one call each")
            found[image.name] = image
    if not found:
        raise DataError("no image is named", hint="name image files, or a folder of them")
    return tuple(found.values())


def _images(path: Path) -> list[UnseenImage]:
    if path.is_file():
        return [UnseenImage(path.name, path)]
    if not path.is_dir():
        raise DataError("no such file or folder", where=path, hint="name an image, or a folder of images")
    found = []
    for file in sorted(path.rglob("*")):
        inside = file.relative_to(path)
        if not any(part.startswith(".") for part in inside.parts) and file.is_file() and _is_image(file):
            found.append(UnseenImage(inside.as_posix(), file))
    if not found:
        raise DataError("holds no image", where=path, hint=f"images end in {', '.join(ENDINGS)}")
    return found


def _is_image(file: Path) -> bool:
    if file.suffix:
        return file.suffix.lower() in ENDINGS
    try:
        return is_dicom(file)
    except OSError:
        return False


def read_unseen(image: UnseenImage, bits: int | None) -> Image.Image:
    """An image as 8-bit grey by the rule of a data set's images; ``bits`` are the data set's.

    What an import refuses is refused here, and so is a coloured image: there is none in a radiograph. Raises DataError.
    """
    where = str(image.path)

    def check(opened: Image.Image) -> None:
        if why := why_unread(opened):
            raise DataError(why, where=where, hint="save one picture, with 8 or 16 bits")
        if is_coloured(opened):
            raise DataError("is an image in colour", where=where, hint="save the radiograph itself, in grey")
        if is_deep(opened):
            used, needed = bits or BITS, highest_value(opened).bit_length()
            if needed > used:
                what = f"needs {needed} bits, and the images that the run was trained on have {used}"
                raise DataError(what, where=where, hint=f"save it with {used} bits")

    try:
        dicom = is_dicom(image.path)
    except OSError as error:
        raise DataError(
            f"cannot be read: {error.strerror or error}", where=where, hint="check the file's rights"
        ) from None
    if dicom:
        return decode_dicom(image.path, where, check)
    return read_grey(image.path, bits, where, hint="replace the file or leave it out", check=check)


def read_clinical(path: Path, dataset: DataSet, images: Sequence[UnseenImage]) -> dict[str, ClinicalValues]:
    """By an image's name the numbers and categories of its row in the table at ``path``.

    The column ``image`` names the image, with or without folder and ending; the others are those of the data set, in
    its units. Columns, rows and cells may be missing. Raises DataError.
    """
    header, rows = open_table(path)
    known = [column.name for column in dataset.numeric] + [column.name for column in dataset.categorical]
    hint = f"take it out; the run knows {', '.join((IMAGE, *known))}"
    check_header(path, header, (IMAGE,), tuple(known), hint=hint)
    place = {name: i for i, name in enumerate(header)}
    listed = {place[c.name]: c.values for c in dataset.categorical if c.name in place}
    reader = ClinicalReader(path, place, raise_first, dataset.numeric, dataset.categorical, of=IMAGE)
    names = _by_any_name(images)
    found: dict[str, ClinicalValues] = {}
    for line, cells in rows:
        name = names.get(cells[place[IMAGE]])
        if name is None:
            continue
        if name in found:
            what = f"image {shown(name)} has a row already"
            raise DataError(what, where=f"{path}:{line}", hint="keep one row per image")
        plain = ["" if c.casefold() in MISSING and c not in listed.get(i, ()) else c for i, c in enumerate(cells)]
        found[name] = reader.values(plain, line, name)
    return found


def _by_any_name(images: Sequence[UnseenImage]) -> dict[str, str]:
    """Every way to write one image alone → its name: the whole, the file's alone, and each without its ending."""
    owners: dict[str, set[str]] = {}
    for image in images:
        whole = Path(image.name)
        for word in (image.name, whole.with_suffix("").as_posix(), whole.name, whole.stem):
            owners.setdefault(word, set()).add(image.name)
    return {word: next(iter(owner)) for word, owner in owners.items() if len(owner) == 1} | {
        image.name: image.name for image in images
    }


def as_dataset(
    dataset: DataSet, images: Sequence[UnseenImage], sizes: Sequence[tuple[int, int]], values: dict[str, ClinicalValues]
) -> DataSet:
    """The images as studies of a data set like ``dataset``, without a box; ``sizes`` are (width, height).

    An image without a row among ``values`` has no clinical value.
    """
    none: ClinicalValues = ((None,) * len(dataset.numeric), (None,) * len(dataset.categorical))
    studies = [
        Study(image.name, image.name, *size, image.name, "test", *values.get(image.name, none))
        for image, size in zip(images, sizes, strict=True)
    ]
    return dataclasses.replace(
        dataset,
        studies=tuple(studies),
        box_study=np.zeros(0, dtype=np.int64),
        boxes=np.zeros((0, 4)),
        labels_of=np.zeros(0, dtype=np.int64),
        reading=(),
        certainty=np.zeros(0),
        no_finding=(),
        _splits={},
    )
