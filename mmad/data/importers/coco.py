"""Imports a COCO detection file with its images and, joined to them, a table of clinical values."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from mmad.base.errors import DataError
from mmad.base.progress import ProgressCallback
from mmad.base.records import Split
from mmad.config.messages import no_such, one_of, shown
from mmad.data.column_types import number_text
from mmad.data.dataset import CategoricalColumn, DataSet, NumericColumn, policy_of, read_split, split_by_patient
from mmad.data.importers.common import (
    Box,
    ClinicalCells,
    SourceImage,
    choose_cells,
    choose_labels,
    clip_box,
    copy_images,
    find_images,
    folder_name,
    header_cells,
    importing,
    study_ids,
)
from mmad.data.reader import MODES, SPLIT_POLICIES, CsvTable, load_dataset, read_table
from mmad.data.writer import BoxRow, StudyRow, write_tables

# JSON files as objects that know where they stand, so that every wrong value is refused by its place and key.


#: A larger file is refused: parsed, it takes several times its size of memory.
MOST_BYTES = 1 << 30
_MOST_CHARACTERS = 10_000  # of one text
_LARGEST = 1 << 53


@dataclass(frozen=True)
class Node:
    """A JSON object and its place, as ``ann.json: images[3]``."""

    where: str
    fields: Mapping[str, Any]

    def has(self, key: str) -> bool:
        """Whether there is a value other than null."""
        return self.fields.get(key) is not None

    def refuse(self, what: str, hint: str) -> NoReturn:
        """Raises DataError with this place."""
        raise DataError(what, where=self.where, hint=hint)

    def text(self, key: str) -> str:
        """A text that is not blank, without blanks at both ends."""
        value = self.fields.get(key)
        if not isinstance(value, str):
            self.refuse(f"key {key!r} {_json_file_found(value, 'is not a text')}", f'write "{key}": "…"')
        if len(value) > _MOST_CHARACTERS or "\0" in value or any("\ud800" <= c <= "\udfff" for c in value):
            self.refuse(f"key {key!r} is longer than any name, or holds half a character", "correct the text")
        if not value.strip():
            self.refuse(f"key {key!r} is empty", f'write "{key}": "…"')
        return value.strip()

    def number(self, key: str) -> float:
        """A finite number."""
        return self._finite(self.fields.get(key), f"key {key!r}")

    def numbers(self, key: str, count: int | None = None) -> list[float]:
        """A list of (``count``) finite numbers."""
        value = self.fields.get(key)
        if not isinstance(value, list) or (count is not None and len(value) != count):
            wanted = "numbers" if count is None else f"{count} numbers"
            self.refuse(
                f"key {key!r} {_json_file_found(value, f'is not a list of {wanted}')}", f'write "{key}": [1.0, …]'
            )
        return [self._finite(entry, f"key {key!r}, entry {i}") for i, entry in enumerate(value, 1)]

    def _finite(self, value: Any, what: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
            self.refuse(f"{what} {_json_file_found(value, 'is not a finite number')}", "correct or remove it")
        return float(value)

    def pixels(self, key: str) -> int:
        """A whole number from 1."""
        value = self.number(key)
        if value != int(value) or not 1 <= value <= 1_000_000:
            self.refuse(f"key {key!r} is not a whole number of pixels from 1", "write the stored image's size")
        return int(value)

    def identity(self, key: str) -> int | str:
        """An id: a whole number or a text."""
        value = self.fields.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST:
            return value
        return self.text(key) if isinstance(value, str) else self._no_identity(key, value)

    def _no_identity(self, key: str, value: Any) -> NoReturn:
        self.refuse(
            f"key {key!r} {_json_file_found(value, 'is neither a whole number nor a text')}", "write one id for each"
        )

    def flag(self, key: str) -> bool:
        """True or false, also as 1 or 0; false where there is none."""
        value = self.fields.get(key, 0)
        if value is None or value in (0, 1):
            return bool(value)
        self.refuse(f"key {key!r} is neither 0 nor 1", "correct it")

    def node(self, key: str) -> Node:
        """An object inside this one."""
        value = self.fields.get(key)
        if not isinstance(value, dict):
            self.refuse(f"key {key!r} {_json_file_found(value, 'is not an object')}", f'write "{key}": {{…}}')
        return Node(f"{self.where}: {key}", value)

    def nodes(self, key: str) -> list[Node]:
        """A list of objects inside this one."""
        value = self.fields.get(key)
        if not isinstance(value, list):
            self.refuse(f"key {key!r} {_json_file_found(value, 'is not a list')}", f'write "{key}": [{{…}}]')
        found = []
        for i, entry in enumerate(value):
            if not isinstance(entry, dict):
                self.refuse(f"{key}[{i}] is not an object", f'write "{key}": [{{…}}]')
            found.append(Node(f"{self.where}: {key}[{i}]", entry))
        return found


def read_json(path: Path) -> Node:
    """The object that the file at ``path`` holds. Raises DataError."""
    try:
        if not path.is_file():
            raise DataError("file missing", where=path, hint="name the annotation file")
        if path.stat().st_size > MOST_BYTES:
            raise DataError("is larger than 1 GiB", where=path, hint="split it into several files")
        content = json.loads(path.read_bytes().decode("utf-8-sig"), parse_constant=_no_constant)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=path, hint="name a plain file") from None
    except UnicodeDecodeError:
        raise DataError("not UTF-8 text", where=path, hint="save it as UTF-8") from None
    except RecursionError:
        raise DataError("is nested too deeply", where=path, hint="name a file of annotations") from None
    except _ConstantError as error:
        raise DataError(f"holds {error}, which is no number", where=path, hint="correct or remove it") from None
    except json.JSONDecodeError as error:
        at = f"{path}:{error.lineno}"
        raise DataError(f"not JSON: {error.msg}", where=at, hint="correct the file or export it again") from None
    except ValueError:
        raise DataError("holds a number of thousands of digits", where=path, hint="correct it") from None
    if not isinstance(content, dict):
        raise DataError("is not a JSON object", where=path, hint="name a file of annotations")
    return Node(str(path), content)


def unique(nodes: Sequence[Node], ids: Sequence[object]) -> None:
    """Refuse an id that stands twice, naming both places. Raises DataError."""
    first: dict[object, Node] = {}
    for node, identity in zip(nodes, ids, strict=True):
        if identity in first:
            other = first[identity].where.rpartition(": ")[2]
            node.refuse(f"id {shown(str(identity))} is that of {other} too", "give each its own id")
        first[identity] = node


class _ConstantError(Exception):
    """NaN, Infinity or -Infinity, which Python reads and JSON does not know."""


def _no_constant(word: str) -> NoReturn:
    raise _ConstantError(word)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond every float
        return False


def _json_file_found(value: Any, wrong: str) -> str:
    return "is missing" if value is None else wrong


# ``info.mmad`` of a COCO file: what ``dataset.toml`` says, so that an export loses nothing.


@dataclass(frozen=True)
class CocoForm:
    """Name, licence, policy, mode and clinical columns of the data set that was exported."""

    name: str
    licence: str
    split_policy: str | None
    mode: str | None
    numeric: tuple[NumericColumn, ...]
    categorical: tuple[CategoricalColumn, ...]

    @property
    def numeric_names(self) -> list[str]:
        return [column.name for column in self.numeric]

    @property
    def categorical_names(self) -> list[str]:
        return [column.name for column in self.categorical]


def written_form(dataset: DataSet) -> dict[str, object]:
    """``info.mmad`` as it is written."""
    return {
        "name": dataset.name,
        "licence": dataset.licence,
        "split_policy": dataset.split_policy,
        "mode": dataset.mode,
        "numeric": [{"name": c.name, "unit": c.unit, "low": c.low, "high": c.high} for c in dataset.numeric],
        "categorical": [{"name": c.name, "values": list(c.values)} for c in dataset.categorical],
    }


def read_form(root: Node) -> CocoForm | None:
    """``info.mmad`` of the file, None where another tool wrote it. Raises DataError."""
    info = root.fields.get("info")
    if not isinstance(info, dict) or info.get("mmad") is None:
        return None
    node = Node(f"{root.where}: info", info).node("mmad")
    numeric = tuple(_numeric(column) for column in node.nodes("numeric"))
    categorical = tuple(_categorical(column) for column in node.nodes("categorical"))
    policy, mode = _known(node, "split_policy", SPLIT_POLICIES), _known(node, "mode", MODES)
    return CocoForm(node.text("name"), node.text("licence"), policy, mode, numeric, categorical)


def _numeric(node: Node) -> NumericColumn:
    unit = node.text("unit") if node.fields.get("unit") not in (None, "") else ""
    return NumericColumn(node.text("name"), unit, node.number("low"), node.number("high"))


def _categorical(node: Node) -> CategoricalColumn:
    values = node.fields.get("values")
    if not isinstance(values, list):
        node.refuse("key 'values' is not a list of texts", 'write "values": ["first", "second"]')
    texts = [Node(node.where, {"values": value}).text("values") for value in values]
    return CategoricalColumn(node.text("name"), tuple(texts))


def _known(node: Node, key: str, known: tuple[str, ...]) -> str | None:
    if not node.has(key):
        return None
    word = node.text(key)
    if word not in known:
        node.refuse(no_such(key, word, known), one_of(known))
    return word


# Reads a COCO detection file into records, every value checked and refused by its place.
#
# The form is COCO's (https://cocodataset.org/#format-data). Keys that COCO does not know are read where
# ``mmad data export coco`` writes them: ``study``, ``patient``, ``split``, ``source`` and ``clinical`` of an
# image, ``reading``, ``certainty`` and ``corner`` of an annotation, and ``info.mmad``.


@dataclass(frozen=True)
class CocoImage:
    """One entry of ``images``; ``clinical`` holds cells as text, empty where missing."""

    where: str
    identity: int | str
    file_name: str
    size: tuple[int, int] | None
    study: str | None
    patient: str | None
    split: str | None
    source: str
    clinical: Mapping[str, str]


@dataclass(frozen=True)
class CocoBox:
    """One annotation that is kept: ``(xmin, ymin, xmax, ymax)`` in pixels, not yet clipped to its image."""

    where: str
    image: int | str
    box: Box
    label: str
    reading: str
    certainty: str


@dataclass(frozen=True)
class CocoFile:
    """What the file holds; ``crowds`` counts regions left out, ``outlined`` boxes that come from polygons."""

    path: Path
    images: tuple[CocoImage, ...]
    labels: tuple[str, ...]
    boxes: tuple[CocoBox, ...]
    crowds: int
    outlined: int
    licence: str | None
    form: CocoForm | None


def read_coco(path: Path) -> CocoFile:
    """The COCO file at ``path``. Raises DataError naming the entry, its key and the hint."""
    root = read_json(path)
    form = read_form(root)
    nodes = root.nodes("images")
    images = tuple(_image(node, form) for node in nodes)
    if not images:
        raise DataError("holds no image", where=path, hint="a data set needs at least one")
    unique(nodes, [image.identity for image in images])
    categories = _categories(root)
    marks = root.nodes("annotations")
    unique(*_with_ids(marks))
    known = {image.identity for image in images}
    boxes = [_box(node, known, categories) for node in marks if not node.flag("iscrowd")]
    return CocoFile(
        path=path,
        images=images,
        labels=tuple(categories.values()),
        boxes=tuple(boxes),
        crowds=len(marks) - len(boxes),
        outlined=sum(1 for node in marks if not node.flag("iscrowd") and not _has_box(node)),
        licence=_licence(root),
        form=form,
    )


def _with_ids(nodes: Sequence[Node]) -> tuple[list[Node], list[int | str]]:
    """The annotations that have an id, and their ids; many tools leave them out."""
    named = [node for node in nodes if node.has("id")]
    return named, [node.identity("id") for node in named]


def _image(node: Node, form: CocoForm | None) -> CocoImage:
    size = (node.pixels("width"), node.pixels("height")) if node.has("width") or node.has("height") else None
    patient = next((key for key in ("patient", "patient_id") if node.has(key)), None)
    return CocoImage(
        where=node.where,
        identity=node.identity("id"),
        file_name=node.text("file_name"),
        size=size,
        study=str(node.identity("study")) if node.has("study") else None,
        patient=str(node.identity(patient)) if patient else None,
        split=node.text("split") if node.has("split") else None,
        source=node.text("source") if form is not None and node.has("source") else "",
        clinical=_clinical(node, form),
    )


def _clinical(node: Node, form: CocoForm | None) -> dict[str, str]:
    if form is None or not node.has("clinical"):
        return {}
    cells, values = {}, node.node("clinical")
    numbers, words = form.numeric_names, form.categorical_names
    for name in values.fields:
        if name not in numbers and name not in words:
            values.refuse(no_such("clinical column", name, numbers + words), one_of(numbers + words))
        if values.has(name):
            cells[name] = number_text(values.number(name)) if name in numbers else _word(values, name, form)
    return cells


def _word(values: Node, name: str, form: CocoForm) -> str:
    word, known = values.text(name), next(column.values for column in form.categorical if column.name == name)
    if word not in known:
        values.refuse(f"key {name!r} holds a value that info.mmad does not list", "add it there, or remove the key")
    return word


def _categories(root: Node) -> dict[int | str, str]:
    nodes = root.nodes("categories")
    ids, names = [node.identity("id") for node in nodes], [node.text("name") for node in nodes]
    unique(nodes, ids)
    if not nodes:
        root.refuse("key 'categories' is empty", "a detector needs at least one label")
    seen: set[str] = set()
    for node, name in zip(nodes, names, strict=True):
        if name in seen:
            node.refuse(f"name {shown(name)} stands twice", "make one category of the two")
        seen.add(name)
    return dict(zip(ids, names, strict=True))


def _box(node: Node, images: set[int | str], categories: Mapping[int | str, str]) -> CocoBox:
    image, category = node.identity("image_id"), node.identity("category_id")
    if image not in images:
        node.refuse(f"image_id {shown(str(image))} is that of no image", "add the image or drop the annotation")
    if category not in categories:
        hint = "add the category or drop the annotation"
        node.refuse(f"category_id {shown(str(category))} is that of no category", hint)
    return CocoBox(
        where=node.where,
        image=image,
        box=_corners(node) if _has_box(node) else _around(node),
        label=categories[category],
        reading=_reading(node),
        certainty=number_text(node.number("certainty")) if node.has("certainty") else "",
    )


def _reading(node: Node) -> str:
    if node.fields.get("reading") == "":
        return ""
    return str(node.identity("reading")) if node.has("reading") else "1"


def _has_box(node: Node) -> bool:
    """COCO writes an empty list where there is no box."""
    return node.has("bbox") and node.fields["bbox"] != []


def _corners(node: Node) -> Box:
    """x, y, width, height to corners; ``corner`` restores what the difference of two numbers cannot hold."""
    x, y, width, height = node.numbers("bbox", 4)
    if width <= 0 or height <= 0:
        node.refuse("key 'bbox' has no area", "write [x, y, width, height], or drop the annotation")
    right, bottom = x + width, y + height
    if node.has("corner"):
        exact = node.numbers("corner", 2)
        if abs(exact[0] - right) <= 1e-6 and abs(exact[1] - bottom) <= 1e-6:
            right, bottom = exact
    return x, y, right, bottom


def _around(node: Node) -> Box:
    """The box around the polygons of an annotation without one."""
    polygons = node.fields.get("segmentation")
    if not isinstance(polygons, list) or not polygons:
        what = "has neither a bbox nor polygons" if not isinstance(polygons, dict) else "has a mask and no bbox"
        node.refuse(what, "write bbox as [x, y, width, height]")
    xs: list[float] = []
    ys: list[float] = []
    for i, polygon in enumerate(polygons):
        points = Node(f"{node.where}: segmentation", {str(i): polygon}).numbers(str(i))
        if len(points) < 6 or len(points) % 2:
            node.refuse(f"segmentation {i} is no polygon of x, y pairs", "write at least three corners")
        xs += points[::2]
        ys += points[1::2]
    return min(xs), min(ys), max(xs), max(ys)


def _licence(root: Node) -> str | None:
    """The names of the licences, as far as they have one."""
    if not root.has("licenses"):
        return None
    names = [node.text("name") for node in root.nodes("licenses") if node.has("name")]
    return "; ".join(dict.fromkeys(names)) or None


# Joins a table of clinical values to the images of a COCO file, by the kind of name that the table uses.


#: What the values of the column may be, in the order in which they are tried.
KINDS: Mapping[str, Callable[[CocoImage], str]] = {
    "path of the image": lambda image: image.file_name,
    "file name": lambda image: PurePosixPath(image.file_name).name,
    "file name without its ending": lambda image: PurePosixPath(image.file_name).stem,
    "COCO image id": lambda image: str(image.identity),
}


@dataclass(frozen=True)
class Joined:
    """A table beside the images. ``rows`` holds, by image, the position of its row, or None.

    ``kind`` is a key of ``KINDS``; ``unmatched`` counts the table's rows that name none of the images.
    """

    table: CsvTable
    kind: str
    rows: tuple[int | None, ...]
    unmatched: int

    @property
    def matched(self) -> int:
        """How many images have a row."""
        return sum(1 for row in self.rows if row is not None)

    def column(self, name: str) -> list[str]:
        """The cells of one column by image, empty for an image without a row. Raises DataError."""
        cells = self.table.column(name)
        return ["" if row is None else cells[row] for row in self.rows]


def join_table(path: Path, on: str | None, images: Sequence[CocoImage]) -> Joined:
    """The CSV file at ``path`` beside ``images``; its column ``on`` says of which image a row is.

    The kind of name that matches most rows is taken, the first of ``KINDS`` among equals; a kind that two
    images share a name in is not. Raises DataError where nothing matches and where two rows are of one image.
    """
    table = read_table(path)
    if on is None:
        raise DataError("no column is named to join it on", where=path, hint=f"--on: {one_of(table.columns)}")
    values = table.column(on)
    kind, places = max(_places(images).items(), key=lambda item: sum(1 for value in values if value in item[1]))
    rows: list[int | None] = [None] * len(images)
    for row, value in enumerate(values):
        place = places.get(value)
        if place is None:
            continue
        other = rows[place]
        if other is not None:
            what = f"image {shown(images[place].file_name)} has a row on line {table.lines[other]} too"
            raise DataError(what, where=table.at(row), hint="keep one row per image")
        rows[place] = row
    joined = Joined(table, kind, tuple(rows), sum(1 for value in values if value not in places))
    if not joined.matched:
        what = f"column {shown(on)} names none of the images"
        hint = "it may hold file names, with or without folder and ending, or COCO image ids"
        raise DataError(what, where=path, hint=hint)
    return joined


def _places(images: Sequence[CocoImage]) -> dict[str, dict[str, int]]:
    places = {}
    for kind, name in KINDS.items():
        names = [name(image) for image in images]
        if max(Counter(names).values()) == 1:
            places[kind] = {name: i for i, name in enumerate(names)}
    return places or {next(iter(KINDS)): {}}


@dataclass(frozen=True)
class ClinicalTable:
    """A CSV file of clinical values: ``on`` says of which image a row is; a patient and a split, if columns say them.

    ``numeric`` and ``categorical`` name the clinical columns; None guesses them (see ``mmad.data.column_types``).
    """

    path: Path
    on: str | None
    patient: str | None = None
    split: str | None = None
    numeric: Sequence[str] | None = None
    categorical: Sequence[str] | None = None
    units: Mapping[str, str] | None = None


@dataclass(frozen=True)
class CocoImport:
    """What was made, what was left out (``crowds``), and how the table was joined.

    ``outlined`` counts boxes drawn around polygons because the annotation had none.
    """

    dataset: DataSet
    crowds: int
    outlined: int
    joined: Joined | None


def import_coco(
    annotations: Path,
    images: Path,
    out: Path,
    *,
    clinical: ClinicalTable | None = None,
    labels: Sequence[str] | None = None,
    name: str | None = None,
    licence: str | None = None,
    dicom_header: bool = False,
    progress: ProgressCallback | None = None,
) -> CocoImport:
    """Copy the images of the COCO file ``annotations``, found below ``images``, into the new folder ``out``.

    DICOM images are stored as 8-bit PNG. ``labels`` keeps only these categories, in this order; ``dicom_header``
    adds age and sex from DICOM headers where no table has them. A file that ``mmad data export coco`` wrote
    becomes the data set that it was. ``progress`` hears (done, all). Raises DataError naming entry, key and hint.
    """
    coco = read_coco(annotations)
    if not images.is_dir():
        raise DataError("no such folder", where=images, hint="name the folder of the images with --images")
    studies = _given(coco.images, [image.study for image in coco.images], "study")
    found = _found(coco, images, shared=studies is not None)
    joined = join_table(clinical.path, clinical.on, coco.images) if clinical is not None else None
    cells = _cells(coco, clinical, joined)
    if dicom_header:
        cells = cells.beside(header_cells(found, cells.cells), str(annotations))
    ids = studies or list(study_ids([image.file_name for image in coco.images]).values())
    patients = _patients(coco, clinical, joined, ids)
    splits = _splits(coco, clinical, joined, patients)
    chosen = choose_labels(coco.labels, labels, str(annotations))
    with importing(out) as folder:
        copy_images(found, folder, progress)
        write_tables(
            folder,
            name=name or (coco.form.name if coco.form else folder_name(annotations.with_suffix(""))),
            labels=chosen,
            numeric=cells.numeric,
            categorical=cells.categorical,
            licence=licence or (coco.form.licence if coco.form else coco.licence) or "not stated",
            split_policy=_policy(coco.form, clinical, patients, splits),
            studies=_studies(coco, found, ids, patients, splits, cells),
            boxes=_boxes(coco, found, ids, chosen),
            mode=coco.form.mode if coco.form else None,
        )
    return CocoImport(load_dataset(out), coco.crowds, coco.outlined, joined)


def _found(coco: CocoFile, folder: Path, *, shared: bool) -> dict[str, SourceImage]:
    """The image files, each of the size that is stated; studies with ids of their own may share one."""
    entries = coco.images
    if shared:
        entries = tuple({image.file_name: image for image in reversed(entries)}.values())[::-1]
    found = find_images(folder, [image.file_name for image in entries], lambda position: entries[position].where)
    for image in coco.images:
        source = found[image.file_name]
        if image.size is not None and image.size != (source.width, source.height):
            stated = f"{image.size[0]} x {image.size[1]}"
            what = f"image {shown(image.file_name)} is {source.width} x {source.height} px where {stated} is stated"
            raise DataError(what, where=image.where, hint="name the images that were annotated, in that size")
    return found


def _cells(coco: CocoFile, clinical: ClinicalTable | None, joined: Joined | None) -> ClinicalCells:
    """The columns that the file itself declares, and those of the table."""
    form, own = coco.form, ClinicalCells()
    if form is not None:
        columns = [*form.numeric_names, *form.categorical_names]
        cells = {column: [image.clinical.get(column, "") for image in coco.images] for column in columns}
        own = ClinicalCells(form.numeric, form.categorical, cells)
    if clinical is None or joined is None:
        return own
    table = {column: joined.column(column) for column in joined.table.columns}
    reserved = {clinical.on or "", clinical.patient or "", clinical.split or ""}
    reserved |= {"study", "image", "width", "height", "patient", "split"}
    where = str(clinical.path)
    return own.beside(
        choose_cells(table, clinical.numeric, clinical.categorical, reserved, where, clinical.units), where
    )


def _given(images: Sequence[CocoImage], values: Sequence[str | None], key: str) -> list[str] | None:
    """The values, None where no image has one. Raises DataError where only some have."""
    known = [value for value in values if value]
    if not known:
        return None
    for image, value in zip(images, values, strict=True):
        if not value:
            what = f"image {shown(image.file_name)} has no {key}, and others have one"
            raise DataError(what, where=image.where, hint="give one to every image, or to none")
    return known


def _patients(
    coco: CocoFile, clinical: ClinicalTable | None, joined: Joined | None, ids: Sequence[str]
) -> Sequence[str]:
    if clinical is not None and joined is not None and clinical.patient is not None:
        return _given(coco.images, joined.column(clinical.patient), "patient") or _empty(clinical, clinical.patient)
    return _given(coco.images, [image.patient for image in coco.images], "patient") or ids


def _splits(
    coco: CocoFile, clinical: ClinicalTable | None, joined: Joined | None, patients: Sequence[str]
) -> list[Split]:
    if clinical is not None and joined is not None and clinical.split is not None:
        words = _given(coco.images, joined.column(clinical.split), "split") or _empty(clinical, clinical.split)
    else:
        words = _given(coco.images, [image.split for image in coco.images], "split") or []
    if not words:
        return split_by_patient(patients)
    return [read_split(word, image.where) for word, image in zip(words, coco.images, strict=True)]


def _empty(clinical: ClinicalTable, column: str) -> list[str]:
    raise DataError(f"column {shown(column)} is empty", where=clinical.path, hint="name another column, or none")


def _policy(
    form: CocoForm | None, clinical: ClinicalTable | None, patients: Sequence[str], splits: Sequence[Split]
) -> str | None:
    if form is not None and (clinical is None or (clinical.patient is None and clinical.split is None)):
        return form.split_policy
    return policy_of(patients, splits)


def _studies(
    coco: CocoFile,
    found: Mapping[str, SourceImage],
    ids: Sequence[str],
    patients: Sequence[str],
    splits: Sequence[Split],
    cells: ClinicalCells,
) -> list[StudyRow]:
    rows = []
    for i, image in enumerate(coco.images):
        source = found[image.file_name]
        size = source.width, source.height
        rows.append(StudyRow(ids[i], source.stored, *size, patients[i], splits[i], cells.row(i), image.source))
    return rows


def _boxes(coco: CocoFile, found: Mapping[str, SourceImage], ids: Sequence[str], labels: Sequence[str]) -> list[BoxRow]:
    place = {image.identity: i for i, image in enumerate(coco.images)}
    rows = []
    for mark in coco.boxes:
        if mark.label in labels:
            position = place[mark.image]
            name = coco.images[position].file_name
            box = clip_box(mark.box, (found[name].width, found[name].height), mark.where, name)
            rows.append(BoxRow(ids[position], mark.reading, box, mark.label, mark.certainty))
    return rows
