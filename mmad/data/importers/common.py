"""Takes over the images of an importer: looks into each, names it in the data set, copies or decodes it."""

from __future__ import annotations

import os
import re
import shutil
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath

import pandas
from PIL import Image

from mmad.base.cores import usable_cores
from mmad.base.errors import DataError
from mmad.base.records import OnProgress
from mmad.config.messages import no_such, one_of, shown
from mmad.data.acquisition import NOT_KNOWN, Acquisition
from mmad.data.column_types import (
    ClinicalCells,
    ColumnChoice,
    ColumnOutcome,
    choose_columns,
    known_word,
    one_spelling,
    year_of,
)
from mmad.data.dataset import IMAGES, Box, split_of
from mmad.data.dicom import DicomHeader, decode_dicom, is_dicom, read_header
from mmad.data.exclusions import Excluded
from mmad.data.image_cache import in_order, reason
from mmad.data.pixels import (
    BITS,
    MOST_BITS,
    as_grey,
    highest_value,
    is_deep,
    is_halved,
    significant_bits,
    upright_size,
    why_unread,
)
from mmad.data.reader import LEAST_SHARE, is_inside, leads_out, load_dataset
from mmad.data.spellings import number_groups, spelling_groups
from mmad.data.tables import number_text
from mmad.data.writer import new_folder


@dataclass(frozen=True)
class SourceImage:
    """One image below an importer's folder: its size in pixels, and its path in the data set (``stored``).

    ``name`` is its path below that folder; ``by_name`` says that only the file's name led to it. ``where`` is the row
    that names it; ``header`` is there for a DICOM file, which is stored as PNG. ``deep`` says that its pixels have more
    than 8 bits, ``halved`` that they have 16 in several channels, of which the upper 8 are read.
    """

    path: Path
    name: str
    by_name: bool
    where: str
    width: int
    height: int
    stored: str
    header: DicomHeader | None = None
    deep: bool = False
    halved: bool = False


def find_images(
    src: Path, images: Iterable[str], where: Callable[[int], str], *, elsewhere: bool = False
) -> dict[str, SourceImage]:
    """Every one of ``images`` (paths below ``src``); ``where`` names the row of the one at a position.

    A path that leads to no file may be the name of one below ``src``, with or without its ending, if only one is
    called so; with ``elsewhere`` the paths may be those of another machine, of which the file's name counts.
    Refuses one twice, one missing, one outside ``src`` and one that is none. Raises DataError.
    """
    inside = src.resolve()
    files = _Files(src)
    found: dict[str, SourceImage] = {}
    owner: dict[str, str] = {}
    images = list(images)
    given = {_stored(image) for image in images}
    for position, image in enumerate(images):
        at = where(position)
        if image in found:
            raise DataError(f"image {shown(image)} has a row already", where=at, hint="keep one row per image")
        name = _found_name(files, inside, image, at, elsewhere)
        size, header, deep, halved = _look(src / name, image, at)
        stored = _stored(name)
        if header is not None:
            png = str(PurePosixPath(stored).with_suffix(".png"))
            stored = png if png not in given and png not in owner else f"{stored}.png"
        if stored in owner:
            what = f"image {shown(image)} would take the place of {shown(owner[stored])}"
            raise DataError(what, where=at, hint="rename one of the files")
        owner[stored] = image
        found[image] = SourceImage(src / name, name, name != image, at, *size, stored, header, deep, halved)
    return found


def _found_name(files: _Files, inside: Path, image: str, at: str, elsewhere: bool) -> str:
    """The path below the folder of the file that ``image`` means. Raises DataError."""
    if not image:
        raise DataError("names no image", where=at, hint="write its path relative to the folder")
    plain = image.partition("?d=")[2] or image if elsewhere else image  # Label Studio's local files
    allowed = is_inside(plain) and not leads_out(inside, files.src / plain)
    if allowed and files.is_there(plain):
        return plain
    slashes = image.replace("\\", "/")
    if slashes != image and is_inside(slashes) and files.is_there(slashes):
        what = f"image path {shown(image)} is written with backslashes"
        raise DataError(what, where=at, hint=f"write {slashes}")
    if not allowed and not elsewhere:
        raise DataError(
            f"image path {shown(image)} leaves the folder", where=at, hint="write it relative to the folder"
        )
    written = files.written_otherwise(plain)
    if written is not None:
        name, how = written
        what = f"image {shown(image)} is not there, but {name!a} is: {how}"
        raise DataError(what, where=at, hint="write the name as the file has it, or rename the file")
    pure = PurePosixPath(plain.replace("\\", "/"))
    named = files.named(pure.name) if elsewhere or len(pure.parts) == 1 else []
    if len(named) > 1:
        what = f"{len(named)} files below the folder are called {shown(image)}: {shown(named[0])}, {shown(named[1])}"
        raise DataError(what, where=at, hint="write the path of the one that is meant")
    if named:
        return named[0]
    what = f"image {shown(image)} is missing"
    if not allowed:
        what = f"image path {shown(image)} leaves the folder, and no file in it has its name"
    raise DataError(what, where=at, hint="add the file or drop the row")


class _Files:
    """The files below an importer's folder, listed when a path is the first that leads to none."""

    def __init__(self, src: Path) -> None:
        self.src = src

    def is_there(self, name: str) -> bool:
        """Whether the path leads to something, a folder too, which is refused where it is looked into."""
        try:
            return (self.src / name).exists()
        except OSError:  # a name longer than any is refused where it is looked into
            return True

    @cached_property
    def _all(self) -> list[str]:
        found = []
        for folder, _, names in os.walk(self.src):
            below = Path(folder).relative_to(self.src)
            found += [(below / name).as_posix() for name in names]
        return sorted(found)

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        names: dict[str, list[str]] = {}
        for path in self._all:
            pure = PurePosixPath(path)
            for name in {pure.name, pure.stem}:
                names.setdefault(name, []).append(path)
        return names

    @cached_property
    def _by_form(self) -> dict[str, str]:
        return {unicodedata.normalize("NFC", path).casefold(): path for path in self._all}

    def named(self, name: str) -> list[str]:
        """Paths of the files of this name, with or without their ending."""
        return [path for path in self._by_name.get(name, []) if is_inside(path) and (self.src / path).is_file()]

    def written_otherwise(self, name: str) -> tuple[str, str] | None:
        """A file whose path differs in case or Unicode form only, and which of the two it is."""
        path = self._by_form.get(unicodedata.normalize("NFC", name).casefold())
        if path is None or path == name:
            return None
        same = unicodedata.normalize("NFC", path) == unicodedata.normalize("NFC", name)
        return path, "its name has another Unicode form" if same else "capitals count"


def _look(path: Path, image: str, at: str) -> tuple[tuple[int, int], DicomHeader | None, bool, bool]:
    """The size of the picture as it is shown, the header of a DICOM file, and whether it is deep, or halved."""
    try:
        if path.is_dir():
            raise DataError(f"image {shown(image)} is a folder", where=at, hint="name the file or drop the row")
        if is_dicom(path):
            header = read_header(path, f"{at}: image {shown(image)}")
            return (header.width, header.height), header, False, False
        with Image.open(path) as opened:
            if why := why_unread(opened):
                raise DataError(f"image {shown(image)} {why}", where=at, hint="save one picture, with 8 or 16 bits")
            halved = is_halved(opened)  # before the size: to look for an orientation may load the pixels
            return upright_size(opened), None, is_deep(opened), halved
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        hint = "replace it or drop the row"
        raise DataError(f"image {shown(image)} cannot be decoded", where=at, hint=hint) from None


def bits_of(found: Mapping[str, SourceImage], asked: int | None, report: ImportReport) -> int | None:
    """The bits that the images with more than 8 use, of the highest value of all; None for 16, which is the default.

    Where each is a PNG whose chunk sBIT names more bits than the values need, these are taken; ``asked`` are the
    user's. Raises DataError for an image that needs more than ``asked``, and for one that cannot be decoded.
    """
    halved = [source for source in found.values() if source.halved]
    if halved and max(map(_highest, halved)) < 128:
        what = (
            f"image {shown(halved[0].name)} has channels of 16 bits, of which the upper 8 are read, and is nearly black"
        )
        raise DataError(what, where=halved[0].where, hint="save such images in grey with 16 bits")
    deep = [source for source in found.values() if source.deep]
    if asked is not None and not 8 <= asked <= MOST_BITS:
        raise DataError(f"{asked} is not from 8 to {MOST_BITS}", where="--bits", hint="write the bits that are used")
    if not deep:
        if asked is not None:
            report.notes.append("--bits: no image has more than 8 bits")
        return None
    values = list(in_order(lambda i: _highest(deep[i]), range(len(deep)), usable_cores()))
    highest = max(values)
    needed = max(8, highest.bit_length())
    if asked is not None and needed > asked:
        first = deep[next(i for i, value in enumerate(values) if value.bit_length() > asked)]
        what = f"image {shown(first.name)} needs {needed} bits"
        raise DataError(what, where=first.where, hint=f"--bits {needed}, or leave --bits out")
    said = [significant_bits(source.path) for source in deep]
    stated = max((bits for bits in said if bits), default=0) if all(said) else 0
    bits = asked or max(needed, stated)
    if len(deep) < len(found):
        some = f"{len(deep)} of {len(found)} images have more than 8 bits, the others 8"
        report.warnings.append(f"{some}: the depth may say where an image is from")
    what = f"images of more than 8 bits: {bits} are used (the highest value of all is {highest})"
    report.notes.append(f"{what}, and the upper 8 of them kept, in every image alike")
    return None if asked is None and bits == BITS else bits


def _highest(source: SourceImage) -> int:
    try:
        with Image.open(source.path) as image:
            return highest_value(as_grey(image) if source.halved else image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        what = f"image {shown(source.name)} cannot be decoded ({reason(error)})"
        raise DataError(what, where=source.where, hint="replace it or drop the row") from None


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


def study_ids(found: Mapping[str, SourceImage]) -> dict[str, str]:
    """By image the file's name without its ending, or its whole path where two files share a name."""
    stems = {image: PurePosixPath(source.name).stem.strip() for image, source in found.items()}
    if all(stems.values()) and len(set(stems.values())) == len(stems):
        return stems
    return {image: source.name.replace("/", "-") for image, source in found.items()}


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

    Raises DataError for a box that leaves the image, or has no area that a detector could read.
    """
    xmin, ymin, xmax, ymax = box
    width, height = size
    sides = ", ".join(f"{side:.10g}" for side in box)
    if min(xmin, ymin) < -SLACK_PX or xmax > width + SLACK_PX or ymax > height + SLACK_PX:
        raise DataError(
            f"box ({sides}) leaves the image {shown(image)} of {width} x {height} px",
            where=where,
            hint="write pixels of the stored image",
        )
    clipped = (max(xmin, 0.0), max(ymin, 0.0), min(xmax, float(width)), min(ymax, float(height)))
    across, down = clipped[2] - clipped[0], clipped[3] - clipped[1]
    if across <= 0 or down <= 0:
        hint = "correct or drop the row, or say with --box-format that the table has width and height"
        raise DataError(f"box ({sides}) has no area", where=where, hint=hint)
    if across <= width * LEAST_SHARE or down <= height * LEAST_SHARE:
        what = f"box ({sides}) has no area: {across:.2g} x {down:.2g} px of it lie in the image {shown(image)}"
        raise DataError(what, where=where, hint="correct or drop the row")
    return clipped


def warn_of_small(report: ImportReport, boxes: Iterable[Box | None]) -> None:
    """Boxes below one pixel of their image."""
    small = sum(box is not None and min(box[2] - box[0], box[3] - box[1]) < 1 for box in boxes)
    if small:
        many = "boxes are" if small > 1 else "box is"
        report.warnings.append(f"{small} {many} less than one pixel wide or high: nothing can be learned from them")


def scale_to_file(
    stated: Sequence[float | None], file: SourceImage, image: str, where: str, *, scale: bool
) -> tuple[int, int]:
    """The size (width, height) in whose pixels boxes are, where ``stated`` is what the table says of it.

    Raises DataError for a size that is none, one of other proportions than the file's, and, unless ``scale``, for
    every one that is not the file's.
    """
    sides = [int(side) for side in stated if side is not None and side >= 1 and side == int(side)]
    if len(sides) != 2:
        what = f"image {shown(image)} has a size that is no two whole numbers of pixels"
        raise DataError(what, where=where, hint="write the size on which the boxes were drawn, or empty both cells")
    width, height = sides
    if (width, height) == (file.width, file.height):
        return width, height
    what = f"image {shown(image)} is {file.width} x {file.height} px where {width} x {height} is stated"
    if abs(width / file.width - height / file.height) > 1 / file.width + 1 / file.height:
        hint = "name the images that were annotated; a picture that EXIF turns counts as it is shown"
        raise DataError(what, where=where, hint=hint)
    if not scale:
        hint = "--box-size stated scales the boxes to the file, --box-size file takes them as they are"
        raise DataError(what, where=where, hint=hint)
    return width, height


# The clinical columns that DICOM headers have, and whom an image is of.


#: Columns of a table (case aside) that say what a DICOM header says too.
_SAME = {
    "age": frozenset({"age", "age_years", "patient_age", "patientage"}),
    "sex": frozenset({"sex", "gender", "patient_sex", "patientsex"}),
}


def header_cells(found: Mapping[str, SourceImage], table: Collection[str]) -> ClinicalCells:
    """Age (years) and sex of the DICOM headers, as far as any has one and ``table`` has no such column."""
    has = {name.casefold() for name in table}
    headers = [source.header for source in found.values()]
    ages = ["" if h is None or h.age is None else number_text(round(h.age, 4)) for h in headers]
    sexes = ["" if h is None or h.sex is None else h.sex for h in headers]
    frame = pandas.DataFrame({"age": ages, "sex": sexes}, dtype="str")
    new = [name for name in _SAME if any(frame[name]) and not _SAME[name] & has]
    choice = ColumnChoice([n for n in new if n == "age"], [n for n in new if n == "sex"])
    places = [source.where for source in found.values()]
    cells = choose_columns(frame[new], choice, {}, {}, "DICOM headers", places.__getitem__)
    numeric = tuple(replace(column, measured="with") for column in cells.numeric)
    return replace(cells, numeric=numeric, categorical=tuple(replace(c, measured="with") for c in cells.categorical))


#: Names of a column (small letters and digits alone) that holds the patient, the first of them that a table has.
_PATIENTS = ("patientid", "subjectid", "patient", "subject", "patid")


def patient_column(columns: Sequence[str]) -> str | None:
    """The column that names the patient, as published tables call it; None where there is none."""
    plain = {re.sub(r"[^a-z0-9]", "", name.casefold()): name for name in reversed(columns)}
    return next((plain[name] for name in _PATIENTS if name in plain), None)


def split_column(table: pandas.DataFrame, others: Collection[str | None]) -> str | None:
    """The column called ``split``, case aside, else the first none of whose cells is anything but a split.

    ``others`` are columns that are something else. A column of one word alone, or of no training split, is none.
    """
    free = [name for name in table.columns.tolist() if name not in others]
    called = [name for name in free if name.casefold() == "split"]
    words = (
        name
        for name in free
        if (held := set(table[name].map(split_of))) >= {"train"} and None not in held and len(held) > 1
    )
    return min(called, key="split".__ne__) if called else next(words, None)


def header_patients(found: Mapping[str, SourceImage]) -> list[str] | None:
    """By image the patient of its DICOM header, as a digest; None where a header has none or all have the same."""
    ids = [source.header.patient if source.header else None for source in found.values()]
    known = [patient for patient in ids if patient]
    return known if len(known) == len(ids) and len(set(known)) > 1 else None


# Where and when an image was taken, and what is left out.


#: Names of columns (small letters and digits alone) that say it.
_ACQUIRED = {
    "site": ("site", "hospital", "institution", "institutionname"),
    "scanner": ("scanner", "manufacturer"),
    "view": ("view", "viewposition"),
    "year": ("date", "studydate", "acquisitiondate", "year"),
}


def acquired_columns(columns: Iterable[str], clinical: Collection[str]) -> dict[str, str]:
    """Column → which of ``ACQUIRED`` its name says, the first of each; none that is named as ``clinical``."""
    found: dict[str, str] = {}
    for name in columns:
        plain = re.sub(r"[^a-z0-9]", "", name.casefold())
        what = next((what for what, names in _ACQUIRED.items() if plain in names), None)
        if what is not None and what not in found.values() and name not in clinical:
            found[name] = what
    return found


def acquisitions(
    found: Iterable[SourceImage],
    frame: pandas.DataFrame,
    columns: Mapping[str, str],
    headers: bool,
    report: ImportReport,
) -> list[Acquisition]:
    """Of each image what the ``columns`` (of ``acquired_columns``) of its row say, else, with ``headers``, DICOM.

    Institutions of DICOM headers are numbered: their names stay outside the data set.
    """
    rows = [NOT_KNOWN] * len(frame)
    if headers:
        taken = [source.header.taken if source.header else NOT_KNOWN for source in found]
        sites = sorted({one.site for one in taken if one.site})
        rows = [replace(one, site=f"site {sites.index(one.site) + 1}" if one.site else None) for one in taken]
        if sites and "site" not in columns.values():
            listed = ", ".join(f"site {number} is {shown(site)}" for number, site in enumerate(sites, 1))
            report.notes.append(f"sites: InstitutionName of the DICOM headers, kept as a number: {listed}")
    for name, what in columns.items():
        read = year_of if what == "year" else known_word
        cells = [read(cell) or None for cell in frame[name].tolist()]
        rows = [replace(one, **{what: cell}) for one, cell in zip(rows, cells, strict=True)]
    return rows


def unnamed_files(found: Mapping[str, SourceImage]) -> tuple[Excluded, ...]:
    """The image files beside those taken, of the same folders and endings, that no table names."""
    taken = {source.path for source in found.values()}
    folders = {path.parent for path in taken}
    endings = {path.suffix for path in taken} - {""}
    beside = [path for folder in folders for path in folder.iterdir() if path.suffix in endings and path not in taken]
    images = sum(path.is_file() for path in beside)
    return (Excluded("image file that no table names", images=images),) if images else ()


def other_labels(boxes: int) -> tuple[Excluded, ...]:
    """The boxes of labels that were not chosen."""
    return (Excluded("label not chosen", 0, 0, 0, boxes),) if boxes else ()


WITHOUT_PATIENT = (
    "no column names the patient: each image counts as a patient of its own, and the splits are by image; "
    "a patient with several images may stand in several splits; name the column with --patient-column"
)


@dataclass
class ImportReport:
    """What an import decided: the outcome of every column of a ``table``, and lines to read.

    ``notes`` say what was done, ``warnings`` what may be wrong.
    """

    table: str = ""
    columns: tuple[ColumnOutcome, ...] = ()
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def warn_of_names(report: ImportReport, labels: Sequence[str], patients: Iterable[str]) -> None:
    """Labels that look like one label, and patients that look like one patient."""
    for group in spelling_groups(labels):
        report.warnings.append(f"labels {one_spelling(group)} are labels of their own, and look like one")
    patients = list(patients)
    for patient in patients:
        if not known_word(patient):
            report.warnings.append(f"the patient of some images is {patient!r}: all of these count as one patient")
    groups = number_groups(patients)
    if groups:
        more = f", and {len(groups) - 1} more such patients" if len(groups) > 1 else ""
        report.warnings.append(f"patients {one_spelling(groups[0])} are patients of their own, and look like one{more}")
