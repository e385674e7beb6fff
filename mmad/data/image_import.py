"""Takes over the images of an importer: looks into each, names it in the data set, copies or decodes it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from PIL import Image

from mmad.base.errors import DataError
from mmad.data.dataset import IMAGES
from mmad.data.dicom import DicomHeader, decode_dicom, is_dicom, read_header
from mmad.data.image_files import is_inside, leads_out
from mmad.data.names import shown

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class SourceImage:
    """One image below an importer's folder: its size in pixels, and its path in the data set (``stored``).

    ``where`` is the row that names it; ``header`` is there for a DICOM file, which is stored as PNG.
    """

    path: Path
    where: str
    width: int
    height: int
    stored: str
    header: DicomHeader | None = None


def find_images(src: Path, images: Sequence[str], where: Callable[[int], str]) -> dict[str, SourceImage]:
    """Every one of ``images`` (paths below ``src``); ``where`` names the row of the one at a position.

    Refuses one twice, one missing, one outside ``src`` and one that is none. Raises DataError.
    """
    inside = src.resolve()
    found: dict[str, SourceImage] = {}
    owner: dict[str, str] = {}
    given = {_stored(image) for image in images}
    for position, image in enumerate(images):
        at = where(position)
        if image in found:
            raise DataError(f"image {shown(image)} has a row already", where=at, mend="keep one row per image")
        if not image or not is_inside(image) or leads_out(inside, src / image):
            what = f"image path {shown(image)} leaves the folder" if image else "names no image"
            raise DataError(what, where=at, mend="write it relative to the folder")
        size, header = _look(src / image, image, at)
        stored = _stored(image)
        if header is not None:
            png = str(PurePosixPath(stored).with_suffix(".png"))
            stored = png if png not in given and png not in owner else f"{stored}.png"
        if stored in owner:
            what = f"image {shown(image)} would take the place of {shown(owner[stored])}"
            raise DataError(what, where=at, mend="rename one of the files")
        owner[stored] = image
        found[image] = SourceImage(src / image, at, *size, stored, header)
    return found


def _look(path: Path, image: str, at: str) -> tuple[tuple[int, int], DicomHeader | None]:
    try:
        if not path.is_file():
            missing = not path.is_dir()
            what = "is missing" if missing else "is a folder"
            raise DataError(f"image {shown(image)} {what}", where=at, mend="add the file or drop the row")
        if is_dicom(path):
            header = read_header(path, f"{at}: image {shown(image)}")
            return (header.width, header.height), header
        with Image.open(path) as opened:
            return opened.size, None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        mend = "replace it or drop the row"
        raise DataError(f"image {shown(image)} cannot be decoded", where=at, mend=mend) from None


def _stored(image: str) -> str:
    path = PurePosixPath(image)
    return str(path if path.parts[:1] == (IMAGES,) else PurePosixPath(IMAGES) / path)


def copy_images(found: Mapping[str, SourceImage], folder: Path, progress: Progress | None = None) -> None:
    """Every image in its place in ``folder``, DICOM as 8-bit PNG; ``progress`` hears (done, all).

    Raises DataError for a DICOM file that cannot be decoded, OSError for what cannot be written.
    """
    for done, source in enumerate(found.values(), 1):
        target = folder / source.stored
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.header is None:
            shutil.copyfile(source.path, target)
        else:
            decode_dicom(source.path, f"{source.where}: image {shown(source.path.name)}").save(target)
        if progress is not None:
            progress(done, len(found))


def study_ids(images: Sequence[str]) -> dict[str, str]:
    """File names without their ending, or whole paths where two files share a name."""
    stems = {image: PurePosixPath(image).stem.strip() for image in images}
    if all(stems.values()) and len(set(stems.values())) == len(stems):
        return stems
    return {image: image.replace("/", "-") for image in images}
