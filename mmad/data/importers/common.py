"""Takes over the images of an importer: looks into each, names it in the data set, copies or decodes it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path, PurePosixPath

import pandas
from PIL import Image

from mmad.base.errors import DataError
from mmad.base.records import OnProgress
from mmad.config.messages import no_such, one_of, shown
from mmad.data.column_types import choose_categorical, choose_numeric, number_text
from mmad.data.dataset import IMAGES, Box, CategoricalColumn, NumericColumn
from mmad.data.dicom import DicomHeader, decode_dicom, is_dicom, read_header
from mmad.data.reader import is_inside, leads_out, load_dataset
from mmad.data.writer import new_folder


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


def find_images(src: Path, images: Iterable[str], where: Callable[[int], str]) -> dict[str, SourceImage]:
    """Every one of ``images`` (paths below ``src``); ``where`` names the row of the one at a position.

    Refuses one twice, one missing, one outside ``src`` and one that is none. Raises DataError.
    """
    inside = src.resolve()
    found: dict[str, SourceImage] = {}
    owner: dict[str, str] = {}
    images = list(images)
    given = {_stored(image) for image in images}
    for position, image in enumerate(images):
        at = where(position)
        if image in found:
            raise DataError(f"image {shown(image)} has a row already", where=at, hint="keep one row per image")
        if not image or not is_inside(image) or leads_out(inside, src / image):
            what = f"image path {shown(image)} leaves the folder" if image else "names no image"
            raise DataError(what, where=at, hint="write it relative to the folder")
        size, header = _look(src / image, image, at)
        stored = _stored(image)
        if header is not None:
            png = str(PurePosixPath(stored).with_suffix(".png"))
            stored = png if png not in given and png not in owner else f"{stored}.png"
        if stored in owner:
            what = f"image {shown(image)} would take the place of {shown(owner[stored])}"
            raise DataError(what, where=at, hint="rename one of the files")
        owner[stored] = image
        found[image] = SourceImage(src / image, at, *size, stored, header)
    return found


def _look(path: Path, image: str, at: str) -> tuple[tuple[int, int], DicomHeader | None]:
    try:
        if not path.is_file():
            missing = not path.is_dir()
            what = "is missing" if missing else "is a folder"
            raise DataError(f"image {shown(image)} {what}", where=at, hint="add the file or drop the row")
        if is_dicom(path):
            header = read_header(path, f"{at}: image {shown(image)}")
            return (header.width, header.height), header
        with Image.open(path) as opened:
            return opened.size, None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        hint = "replace it or drop the row"
        raise DataError(f"image {shown(image)} cannot be decoded", where=at, hint=hint) from None


def _stored(image: str) -> str:
    path = PurePosixPath(image)
    return str(path if path.parts[:1] == (IMAGES,) else PurePosixPath(IMAGES) / path)


def copy_images(found: Mapping[str, SourceImage], folder: Path, progress: OnProgress | None = None) -> None:
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


# What the importers of tables share around the folder they write.


@contextmanager
def importing(out: Path) -> Iterator[Path]:
    """A folder to fill that becomes ``out`` once the reader of data sets accepts it; a failure leaves nothing.

    Raises DataError; what the reader refuses is named as it would be called in ``out``.
    """
    with new_folder(out) as folder:
        yield folder
        try:
            load_dataset(folder)
        except DataError as error:
            where = (error.where or "").replace(str(folder), str(out))
            raise DataError(error.what, where=where, hint=f"correct it in the source: {error.hint}") from None


def choose_labels(present: Sequence[str], wanted: Sequence[str] | None, where: str) -> tuple[str, ...]:
    """The labels ``wanted``, in that order, or all that are ``present``. Raises DataError for an unknown one."""
    for label in wanted or ():
        if label not in present:
            raise DataError(no_such("label", label, present), where=where, hint=one_of(present))
    return tuple(dict.fromkeys(wanted)) if wanted else tuple(present)


def folder_name(path: Path) -> str:
    """The last part of ``path`` as the name of a data set; bytes that are no UTF-8 become question marks."""
    name = path.resolve().name.encode("utf-8", "replace").decode("utf-8")
    return name if name.strip() else "data set"


# Clips the boxes of an importer to their image.


#: A box may overshoot its image by this much (rounding after a resize) and is clipped.
SLACK_PX = 1.0


def clip_box(box: Box, size: tuple[int, int], where: str, image: str) -> Box:
    """``(xmin, ymin, xmax, ymax)`` within an image of (width, height) pixels, overshoots up to 1 px clipped.

    Raises DataError for a box that leaves the image or has no area.
    """
    xmin, ymin, xmax, ymax = box
    width, height = size
    sides = ", ".join(f"{side:g}" for side in box)
    if min(xmin, ymin) < -SLACK_PX or xmax > width + SLACK_PX or ymax > height + SLACK_PX:
        raise DataError(
            f"box ({sides}) leaves the image {shown(image)} of {width} x {height} px",
            where=where,
            hint="write pixels of the stored image",
        )
    clipped = (max(xmin, 0.0), max(ymin, 0.0), min(xmax, float(width)), min(ymax, float(height)))
    if clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
        raise DataError(f"box ({sides}) has no area", where=where, hint="correct or drop the row")
    return clipped


# The clinical cells of an import, by column: chosen from a table, read from DICOM headers, put side by side.


#: Columns of a table (case aside) that say what a DICOM header says too.
_SAME = {
    "age": frozenset({"age", "age_years", "patient_age", "patientage"}),
    "sex": frozenset({"sex", "gender", "patient_sex", "patientsex"}),
}


@dataclass(frozen=True, eq=False)
class ClinicalCells:
    """Clinical columns, and their cells as text, empty where missing: ``frame`` has a row per image."""

    numeric: tuple[NumericColumn, ...]
    categorical: tuple[CategoricalColumn, ...]
    frame: pandas.DataFrame

    def rows(self) -> Iterator[tuple[str, ...]]:
        """The cells of each image, numbers first."""
        names = [column.name for column in self.numeric] + [column.name for column in self.categorical]
        columns = [self.frame[name].tolist() for name in names]
        return zip(*columns, strict=True) if columns else repeat((), len(self.frame))

    def beside(self, other: ClinicalCells, where: str) -> ClinicalCells:
        """The columns of both. Raises DataError for a name that stands in both."""
        for name in other.frame:
            if name in self.frame:
                hint = "name the columns to take with --numeric and --categorical"
                raise DataError(f"clinical column {name!r} comes from two sources", where=where, hint=hint)
        frame = pandas.concat([self.frame, other.frame], axis=1)
        return ClinicalCells(self.numeric + other.numeric, self.categorical + other.categorical, frame)


def choose_cells(
    table: pandas.DataFrame,
    numeric: Sequence[str] | None,
    categorical: Sequence[str] | None,
    reserved: Collection[str],
    where: str,
    units: Mapping[str, str] | None = None,
) -> ClinicalCells:
    """The columns named, or guessed where None (see ``mmad.data.column_types``). Raises DataError."""
    numbers = choose_numeric(table, numeric, reserved, where, units or {})
    taken = {*reserved, *(column.name for column in numbers)}
    values = choose_categorical(table, categorical, taken, where)
    names = [column.name for column in numbers] + [column.name for column in values]
    return ClinicalCells(numbers, values, table[names].reset_index(drop=True))


def header_cells(found: Mapping[str, SourceImage], table: Collection[str]) -> ClinicalCells:
    """Age (years) and sex of the DICOM headers, as far as any has one and ``table`` has no such column."""
    has = {name.casefold() for name in table}
    headers = [source.header for source in found.values()]
    ages = ["" if h is None or h.age is None else number_text(round(h.age, 4)) for h in headers]
    sexes = ["" if h is None or h.sex is None else h.sex for h in headers]
    frame = pandas.DataFrame({"age": ages, "sex": sexes}, dtype="str")
    new = [name for name in _SAME if any(frame[name]) and not _SAME[name] & has]
    return choose_cells(frame, [n for n in new if n == "age"], [n for n in new if n == "sex"], (), "DICOM headers")
