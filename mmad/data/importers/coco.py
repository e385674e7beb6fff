"""Imports a COCO detection file with its images and, joined to them, a table of clinical values."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, NoReturn, TypeVar

import numpy as np
import pandas
from pydantic import (
    AfterValidator,
    AllowInfNan,
    BeforeValidator,
    Discriminator,
    FailFast,
    Field,
    PlainValidator,
    Strict,
    Tag,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.dataclasses import dataclass as model
from pydantic_core import ErrorDetails, PydanticCustomError

from mmad.base.errors import DataError
from mmad.base.records import OnProgress, Split
from mmad.config.messages import no_such, one_of, shown
from mmad.data.acquisition import ACQUIRED, NOT_KNOWN, Acquisition
from mmad.data.column_types import ClinicalCells, ColumnChoice, LabelMasks, choose_columns
from mmad.data.dataset import (
    MEASURED,
    UNKNOWN,
    Box,
    CategoricalColumn,
    DataSet,
    NumericColumn,
    policy_of,
    read_split,
    split_by_patient,
)
from mmad.data.exclusions import Excluded
from mmad.data.importers.common import (
    WITHOUT_PATIENT,
    ImportReport,
    SourceImage,
    acquired_columns,
    acquisitions,
    bits_of,
    choose_labels,
    clip_box,
    copy_images,
    find_images,
    folder_name,
    header_cells,
    header_patients,
    importing,
    other_labels,
    patient_column,
    scale_to_file,
    split_column,
    study_ids,
    unnamed_files,
    warn_of_names,
    warn_of_small,
)
from mmad.data.pixels import MOST_BITS
from mmad.data.reader import MODES, SPLIT_POLICIES, load_dataset
from mmad.data.tables import Table, number_text, read_table
from mmad.data.writer import BoxRow, StudyRow, write_tables

# What a COCO detection file holds (https://cocodataset.org/#format-data). Keys that COCO does not know are read where
# ``mmad data export coco`` writes them: ``study``, ``patient``, ``split``, ``source``, ``clinical`` and ``no_finding``
# of an image, ``reading``, ``certainty`` and ``corner`` of an annotation, and ``info.mmad``.


#: A larger file is refused: parsed, it takes several times its size of memory.
MOST_BYTES = 1 << 30
_MOST_CHARACTERS = 10_000  # of one text
_LARGEST = 1 << 53

Identity = int | str


def _wrong(what: str, hint: str, key: str = "") -> PydanticCustomError:
    """What is wrong with a value, or with ``key`` of the object."""
    return PydanticCustomError("mmad", "wrong", {"what": what, "hint": hint, "key": key})


def _text(value: str) -> str:
    """A text that is not blank, without blanks at both ends."""
    if len(value) > _MOST_CHARACTERS or "\0" in value or any("\ud800" <= c <= "\udfff" for c in value):
        raise _wrong("is longer than any name, or holds half a character", "correct the text")
    if not value.strip():
        raise _wrong("is empty", 'write "{key}": "…"')
    return value.strip()


def _identity(value: object) -> Identity:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST:
        return value
    if isinstance(value, str):
        return _text(value)
    raise _wrong("is neither a whole number nor a text", "write one id for each")


#: The name of the reading where a file names none.
_UNNAMED = "1"


def _reading(value: object) -> str:
    return _UNNAMED if value is None else "" if value == "" else str(_identity(value))


def _pixels(value: float) -> int:
    if value != int(value) or not 1 <= value <= 1_000_000:
        raise _wrong("is not a whole number of pixels from 1", "write the stored image's size")
    return int(value)


def _not_blank(value: object) -> object:
    """CVAT writes an empty name where there is no licence."""
    return None if isinstance(value, str) and not value.strip() else value


def _flag(value: object) -> bool:
    if value not in (None, 0, 1):
        raise _wrong("is neither 0 nor 1", "correct it")
    return bool(value)


def _one_of(kind: str, known: Sequence[str]) -> Any:
    def check(word: str) -> str:
        if word not in known:
            whole = {"what": no_such(kind, word, known), "hint": one_of(known), "whole": True}
            raise PydanticCustomError("mmad", "unknown", whole)
        return word

    return AfterValidator(check)


Text = Annotated[str, Strict(), AfterValidator(_text)]
Number = Annotated[float, Strict(), AllowInfNan(False)]
Pixels = Annotated[Number, AfterValidator(_pixels)]
Id = Annotated[Identity, PlainValidator(_identity)]
CocoName = Annotated[str, PlainValidator(lambda value: str(_identity(value)))]


@model(frozen=True, slots=True, kw_only=True)
class CocoImage:
    """One entry of ``images``. ``source`` to ``clinical`` are checked where ``info.mmad`` says what they are."""

    id: Id
    file_name: Text
    width: Pixels | None = None
    height: Pixels | None = None
    study: CocoName | None = None
    patient: CocoName | None = None
    patient_id: CocoName | None = None
    split: Text | None = None
    source: Any = None
    site: Any = None
    scanner: Any = None
    view: Any = None
    year: Any = None
    clinical: Any = None
    no_finding: list[Annotated[str, PlainValidator(_reading)]] | None = None

    @model_validator(mode="after")
    def _whole_size(self) -> CocoImage:
        for key, value, other in (("width", self.width, self.height), ("height", self.height, self.width)):
            if value is None and other is not None:
                raise _wrong("is missing", "correct or remove it", key)
        return self


@model(frozen=True, slots=True, kw_only=True)
class _Mark:
    id: Id | None = None
    iscrowd: Annotated[bool, BeforeValidator(_flag)] = False


@model(frozen=True, slots=True, kw_only=True)
class Crowd(_Mark):
    """A region of many findings, which is left out whatever else it says."""


@model(frozen=True, slots=True, kw_only=True)
class Annotation(_Mark):
    """A box, or polygons to draw one around."""

    image_id: Id
    category_id: Id
    bbox: Annotated[list[Number], Field(min_length=4, max_length=4)] | None = None
    corner: Annotated[list[Number], Field(min_length=2, max_length=2)] | None = None
    segmentation: Any = None
    reading: Annotated[str, PlainValidator(_reading)] = _UNNAMED
    certainty: Number | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_empty_box(cls, value: Any) -> Any:
        """COCO writes an empty list where there is no box."""
        return {**value, "bbox": None} if isinstance(value, dict) and value.get("bbox") == [] else value


@model(frozen=True, slots=True, kw_only=True)
class Category:
    """One entry of ``categories``."""

    id: Id
    name: Text
    supercategory: Any = None


@model(frozen=True, slots=True, kw_only=True)
class _Licence:
    name: Annotated[Text | None, BeforeValidator(_not_blank)] = None


@model(frozen=True, slots=True, kw_only=True)
class _Numeric:
    name: Text
    unit: Annotated[Text | None, BeforeValidator(lambda value: value or None)] = None
    low: Number
    high: Number
    measured: Annotated[Text, _one_of("measured", MEASURED)] = UNKNOWN


@model(frozen=True, slots=True, kw_only=True)
class _Categorical:
    name: Text
    values: list[Text]
    measured: Annotated[Text, _one_of("measured", MEASURED)] = UNKNOWN


OptionalCount = Annotated[int, Strict(), Field(ge=0)] | None


@model(frozen=True, slots=True, kw_only=True)
class _Excluded:
    reason: Text
    patients: OptionalCount = None
    images: OptionalCount = None
    readings: OptionalCount = None
    boxes: OptionalCount = None


@model(frozen=True, slots=True, kw_only=True)
class CocoForm:
    """``info.mmad``: what ``dataset.toml`` says, so that an export loses nothing."""

    numeric: list[_Numeric]
    categorical: list[_Categorical]
    split_policy: Annotated[Text, _one_of("split_policy", SPLIT_POLICIES)] | None = None
    mode: Annotated[Text, _one_of("mode", MODES)] | None = None
    bits: Annotated[int, Strict(), Field(ge=8, le=MOST_BITS)] | None = None
    excluded: list[_Excluded] = Field(default_factory=list)
    name: Text
    licence: Text

    def columns(self) -> tuple[tuple[NumericColumn, ...], tuple[CategoricalColumn, ...]]:
        """The clinical columns of the data set that was exported."""
        numeric = tuple(NumericColumn(c.name, c.unit or "", c.low, c.high, c.measured) for c in self.numeric)
        return numeric, tuple(CategoricalColumn(c.name, tuple(c.values), c.measured) for c in self.categorical)


def written_form(dataset: DataSet) -> dict[str, object]:
    """``info.mmad`` as it is written."""
    bits = {} if dataset.bits is None else {"bits": dataset.bits}

    def measured(column: NumericColumn | CategoricalColumn) -> dict[str, str]:
        return {} if column.measured == UNKNOWN else {"measured": column.measured}

    return {
        **bits,
        "name": dataset.name,
        "licence": dataset.licence,
        "split_policy": dataset.split_policy,
        "mode": dataset.mode,
        "numeric": [
            {"name": c.name, "unit": c.unit, "low": c.low, "high": c.high, **measured(c)} for c in dataset.numeric
        ],
        "categorical": [{"name": c.name, "values": list(c.values), **measured(c)} for c in dataset.categorical],
        **({"excluded": list(map(asdict, dataset.excluded))} if dataset.excluded else {}),
    }


@model(frozen=True, slots=True, kw_only=True)
class _Info:
    mmad: CocoForm | None = None


def _kind_of_mark(value: Any) -> str:
    return "crowd" if isinstance(value, dict) and value.get("iscrowd") == 1 else "box"


AnyAnnotation = Annotated[
    Annotated[Crowd, Tag("crowd")] | Annotated[Annotation, Tag("box")], Discriminator(_kind_of_mark)
]


@model(frozen=True, slots=True, kw_only=True)
class CocoFile:
    """The whole file; ``info`` is that of ``mmad data export coco``, None where another tool wrote it."""

    info: Annotated[_Info | None, BeforeValidator(lambda info: info if isinstance(info, dict) else None)] = None
    images: Annotated[list[CocoImage], FailFast()]
    categories: list[Category]
    annotations: Annotated[list[AnyAnnotation], FailFast()]
    licenses: list[_Licence] | None = None

    @property
    def form(self) -> CocoForm | None:
        return self.info.mmad if self.info else None


#: Says of a kind of error what is wrong with the key, and what to write instead.
_WORDS = {
    "missing": ("is missing", 'write "{key}": …'),
    "string_type": ("is not a text", 'write "{key}": "…"'),
    "float_type": ("is not a finite number", "correct or remove it"),
    "finite_number": ("is not a finite number", "correct or remove it"),
    "list_type": ("is not a list", 'write "{key}": [{{…}}]'),
    "dataclass_type": ("is not an object", 'write "{key}": {{…}}'),
    "dict_type": ("is not an object", 'write "{key}": {{…}}'),
    "int_type": ("is not a whole number", "correct or remove it"),
    "greater_than_equal": ("is too small", "correct or remove it"),
    "less_than_equal": ("is too large", "correct or remove it"),
}
#: Lists that hold no objects.
_LISTS = {"bbox": "4 numbers", "corner": "2 numbers", "values": "texts"}
Checked = TypeVar("Checked")


def _checked(kind: TypeAdapter[Checked], content: object, where: str, *key: str) -> Checked:
    """``content``, the value of ``key`` at ``where``. Raises DataError for what is wrong first."""
    try:
        return kind.validate_python(content)
    except ValidationError as error:
        raise _refusal(error.errors(include_url=False)[0], where, key) from None


def _refusal(error: ErrorDetails, where: str, above: tuple[str, ...]) -> DataError:
    context = error.get("ctx", {})
    loc = error["loc"]
    if loc[:1] == ("annotations",):
        loc = (*loc[:2], *loc[3:])  # without the tag that tells crowds and boxes apart
    place = [*above, *loc, *([context["key"]] if context.get("key") else [])]
    entry = place.pop() if isinstance(place[-1], int) else None
    *steps, key = _steps(place)
    if error["type"] == "mmad":
        what, hint = context["what"], context["hint"]
    elif error["type"] in ("too_short", "too_long") or (error["type"] == "list_type" and key in _LISTS):
        what, hint = f"is not a list of {_LISTS[key]}", 'write "{key}": [1.0, …]'
    else:
        what, hint = _WORDS[error["type"]]
    if error["input"] is None:
        what = "is missing"
    if entry is not None and error["type"] == "dataclass_type":
        subject = f"{key}[{entry}]"
    else:
        subject = f"key {key!r}" if entry is None else f"key {key!r}, entry {entry + 1}"
    what = what if context.get("whole") else f"{subject} {what}"
    return DataError(what, where=": ".join([where, *steps]), hint=hint.format(key=key))


def _steps(place: Iterable[str | int]) -> list[str]:
    """A path through objects and lists, as ``images[3]`` and ``bbox``."""
    steps: list[str] = []
    for step in place:
        if isinstance(step, int):
            steps[-1] += f"[{step}]"
        else:
            steps.append(step)
    return steps


def _refuse(where: str, what: str, hint: str) -> NoReturn:
    raise DataError(what, where=where, hint=hint)


_COCO_FILE = TypeAdapter(CocoFile)
_NUMBER, _TEXT, _OBJECT = TypeAdapter(Number), TypeAdapter(Text), TypeAdapter(dict[str, Any])
_NUMBERS = TypeAdapter(Annotated[list[Number], Strict()])


def read_coco(path: Path) -> CocoFile:
    """The COCO file at ``path``. Raises DataError naming the entry, its key and the hint."""
    coco = _checked(_COCO_FILE, _read_json(path), str(path))
    if not coco.images:
        raise DataError("holds no image", where=path, hint="a data set needs at least one")
    _require_unique(path, "images", coco.images)
    _require_unique(path, "categories", coco.categories)
    if not coco.categories:
        _refuse(str(path), "key 'categories' is empty", "a detector needs at least one label")
    seen: set[str] = set()
    for i, category in enumerate(coco.categories):
        if category.name in seen:
            where, hint = f"{path}: categories[{i}]", "make one category of the two"
            _refuse(where, f"name {shown(category.name)} stands twice", hint)
        seen.add(category.name)
    _require_unique(path, "annotations", coco.annotations)
    return coco


def _read_json(path: Path) -> dict[str, Any]:
    """The object that the file at ``path`` holds. Raises DataError."""
    try:
        if not path.is_file():
            raise DataError("file missing", where=path, hint="name the annotation file")
        if path.stat().st_size > MOST_BYTES:
            raise DataError("is larger than 1 GiB", where=path, hint="split it into several files")
        constants: list[str] = []

        def note(word: str) -> str:
            constants.append(word)
            return word

        content = json.loads(path.read_bytes().decode("utf-8-sig"), parse_constant=note)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=path, hint="name a plain file") from None
    except UnicodeDecodeError:
        raise DataError("not UTF-8 text", where=path, hint="save it as UTF-8") from None
    except RecursionError:
        raise DataError("is nested too deeply", where=path, hint="name a file of annotations") from None
    except json.JSONDecodeError as error:
        at = f"{path}:{error.lineno}"
        raise DataError(f"not JSON: {error.msg}", where=at, hint="correct the file or export it again") from None
    except ValueError:
        raise DataError("holds a number of thousands of digits", where=path, hint="correct it") from None
    if not isinstance(content, dict):
        raise DataError("is not a JSON object", where=path, hint="name a file of annotations")
    if constants:
        what = f"holds {constants[0]}, which is no number ({_place_of(content, constants[0])})"
        raise DataError(what, where=path, hint="correct or remove it")
    return content


def _place_of(content: object, word: str) -> str:
    """Where in parsed JSON the text ``word`` stands first, as ``annotations[3]: bbox[1]``."""
    open_: list[tuple[tuple[str | int, ...], object]] = [((), content)]
    while open_:
        place, value = open_.pop()
        if value == word:
            return ": ".join(_steps(place)) or "at its top"
        inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        open_ += [((*place, key), one) for key, one in reversed(list(inside))]
    return "at its top"


def _require_unique(path: Path, name: str, entries: Sequence[CocoImage | Category | Crowd | Annotation]) -> None:
    """Refuse an id that stands twice, naming both places; many tools leave out those of annotations."""
    first: dict[Identity, int] = {}
    for i, entry in enumerate(entries):
        if entry.id is not None and (other := first.setdefault(entry.id, i)) != i:
            what = f"id {shown(str(entry.id))} is that of {name}[{other}] too"
            _refuse(f"{path}: {name}[{i}]", what, "give each its own id")


# Joins a table of clinical values to the images of a COCO file, by the kind of name that the table uses.


#: What the values of the column may be, in the order in which they are tried.
KINDS: Mapping[str, Callable[[CocoImage], str]] = {
    "path of the image": lambda image: image.file_name,
    "file name": lambda image: PurePosixPath(image.file_name).name,
    "file name without its ending": lambda image: PurePosixPath(image.file_name).stem,
    "COCO image id": lambda image: str(image.id),
}


@dataclass(frozen=True, eq=False)
class Joined:
    """A table beside the images: ``frame`` has a row for each, of empty cells where the table has none.

    ``lines`` holds by image the line of its row.

    ``kind`` is a key of ``KINDS``; ``unmatched`` counts the table's rows that name none of the images.
    """

    path: Path
    kind: str
    frame: pandas.DataFrame
    lines: Mapping[int, int]
    matched: int
    unmatched: int

    def at(self, image: int) -> str:
        """``file:line`` of an image's row."""
        return f"{self.path}:{self.lines[image]}" if image in self.lines else str(self.path)

    def column(self, name: str) -> list[str]:
        """The cells of one column by image. Raises DataError."""
        return Table(self.path, self.frame).column(name).tolist()


def join_table(path: Path, on: str | None, images: Sequence[CocoImage]) -> Joined:
    """The CSV file at ``path`` beside ``images``; its column ``on`` says of which image a row is.

    The kind of name that matches most rows is taken, the first of ``KINDS`` among equals; a kind that two
    images share a name in is not. Raises DataError where nothing matches and where two rows are of one image.
    """
    table = read_table(path)
    if on is None:
        raise DataError(
            "no column is named to join it on", where=path, hint=f"--on: {one_of(table.frame.columns.tolist())}"
        )
    values = table.column(on)
    kind, places = max(_places(images).items(), key=lambda item: values.isin(item[1]).sum())
    place = values[values.isin(places)].map(places)  # by line
    for line, twice in place[place.duplicated()].items():
        what = f"image {shown(images[twice].file_name)} has a row on line {place.index[place == twice][0]} too"
        raise DataError(what, where=f"{path}:{line}", hint="keep one row per image")
    if not len(place):
        what = f"column {shown(on)} names none of the images"
        hint = "it may hold file names, with or without folder and ending, or COCO image ids"
        raise DataError(what, where=path, hint=hint)
    frame = table.frame.loc[place.index].set_axis(place).reindex(range(len(images)), fill_value="")
    lines = dict(zip(place.tolist(), place.index.tolist(), strict=True))
    return Joined(path, kind, frame, lines, len(place), len(values) - len(place))


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

    A column that published tables call the patient is one where ``patient`` names none. ``numeric`` and
    ``categorical`` name the clinical columns; None decides by name and content (see ``mmad.data.column_types``);
    ``ignore`` leaves columns out.
    """

    path: str | Path
    on: str | None
    patient: str | None = None
    split: str | None = None
    numeric: Sequence[str] | None = None
    categorical: Sequence[str] | None = None
    units: Mapping[str, str] | None = None
    ignore: Sequence[str] = ()


@dataclass(frozen=True)
class CocoImport:
    """What was made, and how the table was joined.

    ``outlined`` counts boxes drawn around polygons because the annotation had none.
    """

    dataset: DataSet
    outlined: int
    joined: Joined | None


def import_coco(
    annotations: str | Path,
    images: str | Path,
    out: str | Path,
    *,
    clinical: ClinicalTable | None = None,
    labels: Sequence[str] | None = None,
    name: str | None = None,
    licence: str | None = None,
    dicom_header: bool = False,
    bits: int | None = None,
    box_size: str | None = None,
    progress: OnProgress | None = None,
    report: ImportReport | None = None,
) -> CocoImport:
    """Copy the images of the COCO file ``annotations``, found below ``images``, into the new folder ``out``.

    DICOM images are stored as 8-bit PNG. ``labels`` keeps only these categories, in this order; ``dicom_header``
    adds age and sex from DICOM headers where no table has them; ``bits`` are those that images of more than 8 use
    (None: those of the highest value of all). ``box_size`` says whose pixels the boxes are in where
    the size that is stated is not the file's: ``stated`` or ``file``. A file that ``mmad data export coco`` wrote
    becomes the data set that it was. ``progress`` hears (done, all); ``report`` is filled with what was
    decided. Raises DataError naming entry, key and hint.
    """
    annotations, images = Path(annotations), Path(images)
    if box_size not in (None, "stated", "file"):
        raise DataError(no_such("word", box_size, ("stated", "file")), where="--box-size", hint="stated or file")
    said = report if report is not None else ImportReport()
    coco = read_coco(annotations)
    places = [f"{annotations}: images[{i}]" for i in range(len(coco.images))]
    own = _own_cells(coco, places)
    if not images.is_dir():
        raise DataError("no such folder", where=images, hint="name the folder of the images with --images")
    studies = _given(coco, places, [image.study for image in coco.images], "study")
    found = _found(coco, places, images, shared=studies is not None)
    if by_name := sum(source.by_name for source in found.values()):
        said.notes.append(f"{by_name} images were found by their file's name: their paths are those of another place")
    drawn_on = _annotated_sizes(coco, places, found, box_size)
    joined = join_table(Path(clinical.path), clinical.on, coco.images) if clinical is not None else None
    cells = own
    if clinical is not None and joined is not None:
        clinical = _with_patient(clinical, joined, said)
        if clinical.split is None and not any(image.split for image in coco.images):
            asked = (*(clinical.numeric or ()), *(clinical.categorical or ()), *clinical.ignore)
            clinical = replace(clinical, split=split_column(joined.frame, {clinical.on, clinical.patient, *asked}))
            if clinical.split is not None:
                said.notes.append(f"splits: column {clinical.split!r} of {joined.path}, as its name or its cells say")
    ids = studies or list(study_ids(found).values())
    own_patients = [image.patient or image.patient_id for image in coco.images]
    named = _given(coco, places, _column(joined, clinical.patient if clinical else None, own_patients), "patient")
    if named is None and (of_header := header_patients(found)) is not None and len(found) == len(coco.images):
        said.notes.append("patients: PatientID of the DICOM headers, kept as a digest")
        named = of_header
    if named is None:
        said.warnings.append(WITHOUT_PATIENT)
    patients = named or ids
    own_splits = [image.split for image in coco.images]
    words = _given(coco, places, _column(joined, clinical.split if clinical else None, own_splits), "split")
    splits = split_by_patient(patients) if words is None else list(map(read_split, words, places))
    names = _categories(coco, labels, said)
    chosen = choose_labels(names, labels, str(annotations))
    boxes = _box_rows(coco, annotations, found, ids, chosen, drawn_on)
    if clinical is not None and joined is not None:
        masks = {label: np.zeros(len(ids), dtype=np.bool_) for label in chosen}
        place = {study: i for i, study in enumerate(ids)}
        for row in boxes:
            if row.box is not None:
                masks[row.label][place[row.study]] = True
        cells = own.beside(_table_cells(clinical, joined, masks), str(joined.path))
        said.table, said.columns = str(joined.path), cells.outcomes
    if dicom_header:
        cells = cells.beside(header_cells(found, cells.frame.columns.tolist()), str(annotations))
    form = coco.form
    taken = _own_acquisitions(coco, places)
    if joined is not None or dicom_header:
        frame = cells.frame if joined is None else joined.frame
        chosen_columns = () if clinical is None else (*(clinical.numeric or ()), *(clinical.categorical or ()))
        columns = {} if joined is None else acquired_columns(frame.columns.tolist(), chosen_columns)
        sources = [found[image.file_name] for image in coco.images]
        taken = acquisitions(sources, frame, columns, dicom_header, said)
    warn_of_small(said, (row.box for row in boxes))
    warn_of_names(said, chosen, dict.fromkeys(named or ()))
    rows = _study_rows(coco, places, found, ids, patients, splits, cells, taken)
    crowds = sum(isinstance(mark, Crowd) for mark in coco.annotations)
    excluded = [Excluded(**asdict(one)) for one in form.excluded] if form else []
    excluded += unnamed_files(found)
    excluded += [Excluded("crowd region", 0, 0, 0, crowds)] if crowds else []
    excluded += other_labels(len(coco.annotations) - crowds - sum(row.box is not None for row in boxes))
    named_licences = "; ".join(dict.fromkeys(one.name for one in coco.licenses or () if one.name))
    policy = policy_of(patients, splits) if named else "image"
    divided = clinical is not None and (clinical.patient is not None or clinical.split is not None)
    used_bits = form.bits if form and bits is None else bits_of(found, bits, said)
    with importing(Path(out)) as folder:
        copy_images(found, folder, progress)
        write_tables(
            folder,
            name=name or (form.name if form else folder_name(annotations.with_suffix(""))),
            labels=chosen,
            numeric=cells.numeric,
            categorical=cells.categorical,
            licence=licence or (form.licence if form else named_licences) or "not stated",
            split_policy=form.split_policy if form and not divided else policy,
            studies=rows,
            boxes=boxes,
            mode=form.mode if form else None,
            bits=used_bits,
            excluded=excluded,
        )
    outlined = sum(isinstance(mark, Annotation) and mark.bbox is None for mark in coco.annotations)
    return CocoImport(load_dataset(out), outlined, joined)


def _found(coco: CocoFile, places: Sequence[str], folder: Path, *, shared: bool) -> dict[str, SourceImage]:
    """The image files; studies with ids of their own may share one."""
    entries = list(zip(coco.images, places, strict=True))
    if shared:
        entries = list({image.file_name: (image, where) for image, where in reversed(entries)}.values())[::-1]
    names = [image.file_name for image, _ in entries]
    return find_images(folder, names, lambda position: entries[position][1], elsewhere=True)


def _annotated_sizes(
    coco: CocoFile, places: Sequence[str], found: Mapping[str, SourceImage], box_size: str | None
) -> list[tuple[int, int]]:
    """By image the size in whose pixels its boxes are. Raises DataError for one that is not the file's."""
    sizes = []
    for image, where in zip(coco.images, places, strict=True):
        file = found[image.file_name]
        size = (file.width, file.height)
        if image.width is not None and box_size != "file":
            stated = (image.width, image.height)
            size = scale_to_file(stated, file, image.file_name, where, scale=box_size == "stated")
        sizes.append(size)
    return sizes


def _categories(coco: CocoFile, wanted: Sequence[str] | None, report: ImportReport) -> list[str]:
    """The names of the categories, without one that only groups the others, as Roboflow writes it first."""
    used = {mark.category_id for mark in coco.annotations if isinstance(mark, Annotation)}
    above = {category.supercategory for category in coco.categories if isinstance(category.supercategory, str)}
    kept = []
    for category in coco.categories:
        if category.id not in used and category.name in above and category.name not in (wanted or ()):
            report.notes.append(f"left out: category {shown(category.name)}, which has no box and groups the others")
        else:
            kept.append(category.name)
    return kept


def _own_cells(coco: CocoFile, places: Sequence[str]) -> ClinicalCells:
    """The columns that the file itself declares."""
    numeric, categorical = coco.form.columns() if coco.form else ((), ())
    values = {column.name: None for column in numeric} | {column.name: column.values for column in categorical}
    rows = [_own_row(image, where, values) for image, where in zip(coco.images, places, strict=True)]
    frame = pandas.DataFrame(rows, index=range(len(rows)), columns=list(values), dtype="str")
    return ClinicalCells(numeric, categorical, frame)


def _own_row(image: CocoImage, where: str, values: Mapping[str, Sequence[str] | None]) -> list[str]:
    """The cells of one image; ``values`` holds by column the values of a category, None for a number."""
    if not values or image.clinical is None:
        return [""] * len(values)
    cells, where = _checked(_OBJECT, image.clinical, where, "clinical"), f"{where}: clinical"
    for name in cells:
        if name not in values:
            _refuse(where, no_such("clinical column", name, values), one_of(values))
    return [_own_cell(cells.get(name), where, name, known) for name, known in values.items()]


def _own_cell(value: object, where: str, name: str, known: Sequence[str] | None) -> str:
    if value is None:
        return ""
    if known is None:
        return number_text(_checked(_NUMBER, value, where, name))
    word = _checked(_TEXT, value, where, name)
    if word not in known:
        what = f"key {name!r} holds a value that info.mmad does not list"
        _refuse(where, what, "add it there, or remove the key")
    return word


def _own_acquisitions(coco: CocoFile, places: Sequence[str]) -> list[Acquisition]:
    """What the file itself says of where and when images were taken."""
    if not coco.form:
        return [NOT_KNOWN] * len(places)
    return [
        Acquisition(*(_checked(_TEXT, said, where, key) if (said := getattr(image, key)) else None for key in ACQUIRED))
        for image, where in zip(coco.images, places, strict=True)
    ]


def _table_cells(clinical: ClinicalTable, joined: Joined, labels: LabelMasks) -> ClinicalCells:
    own = ("study", "image", "width", "height", "patient", "split")
    used = dict.fromkeys(own, "a name that every data set has of its own")
    for name, what in ((clinical.on, "the image"), (clinical.patient, "the patient"), (clinical.split, "the split")):
        if name:
            used[name] = what
    choice = ColumnChoice(clinical.numeric, clinical.categorical, clinical.ignore, clinical.units)
    return choose_columns(joined.frame, choice, used, labels, str(joined.path), joined.at)


def _with_patient(clinical: ClinicalTable, joined: Joined, report: ImportReport) -> ClinicalTable:
    """``clinical`` with the column of the patient that its name gives away."""
    column = patient_column([name for name in joined.frame.columns.tolist() if name != clinical.on])
    if clinical.patient is not None or column is None:
        return clinical
    filled = sum(map(bool, joined.frame[column].tolist()))
    if filled < len(joined.frame):
        what = f"column {column!r} of {joined.path} names the patient of {filled} of {len(joined.frame)} images only"
        report.warnings.append(f"{what}, and is left out")
        return clinical
    report.notes.append(f"patients: column {column!r} of {joined.path}, as its name says")
    return replace(clinical, patient=column)


def _given(coco: CocoFile, places: Sequence[str], values: Sequence[str | None], key: str) -> list[str] | None:
    """The values, None where no image has one. Raises DataError where only some have."""
    known = [value for value in values if value]
    if not known:
        return None
    for image, where, value in zip(coco.images, places, values, strict=True):
        if not value:
            what = f"image {shown(image.file_name)} has no {key}, and others have one"
            _refuse(where, what, "give one to every image, or to none")
    return known


def _column(joined: Joined | None, name: str | None, otherwise: Sequence[str | None]) -> Sequence[str | None]:
    """The cells of a column of the table, ``otherwise`` where none is named. Raises DataError for one that is empty."""
    if joined is None or name is None:
        return otherwise
    cells = joined.column(name)
    if not any(cells):
        raise DataError(f"column {shown(name)} is empty", where=joined.path, hint="name another column, or none")
    return cells


def _study_rows(
    coco: CocoFile,
    places: Sequence[str],
    found: Mapping[str, SourceImage],
    ids: Sequence[str],
    patients: Sequence[str],
    splits: Sequence[Split],
    cells: ClinicalCells,
    taken: Sequence[Acquisition],
) -> list[StudyRow]:
    rows = []
    each = zip(coco.images, places, ids, patients, splits, cells.rows(), taken, strict=True)
    for image, where, *words, row, at in each:
        study, patient, split = words
        stated = coco.form is not None and image.source is not None
        source = _checked(_TEXT, image.source, where, "source") if stated else ""
        file = found[image.file_name]
        rows.append(StudyRow(study, file.stored, file.width, file.height, patient, split, row, source, at))
    return rows


def _box_rows(
    coco: CocoFile,
    path: Path,
    found: Mapping[str, SourceImage],
    ids: Sequence[str],
    labels: Sequence[str],
    drawn_on: Sequence[tuple[int, int]],
) -> list[BoxRow]:
    images = {image.id: i for i, image in enumerate(coco.images)}
    categories = {category.id: category.name for category in coco.categories}
    rows: list[BoxRow] = []
    elsewhere: list[tuple[str, str]] = []  # readings by their boxes of labels that are left out
    named = {mark.reading for mark in coco.annotations if isinstance(mark, Annotation)} != {_UNNAMED}
    _refuse_relative(coco, path)
    for i, mark in enumerate(coco.annotations):
        if isinstance(mark, Crowd):
            continue
        where = f"{path}: annotations[{i}]"
        if mark.image_id not in images:
            what = f"image_id {shown(str(mark.image_id))} is that of no image"
            twin = next((str(of) for of in images if str(of) == str(mark.image_id)), None)
            hint = f"images has {twin} as another kind of id: write both as numbers" if twin else None
            _refuse(where, what, hint or "add the image or drop the annotation")
        if mark.category_id not in categories:
            what = f"category_id {shown(str(mark.category_id))} is that of no category"
            _refuse(where, what, "add the category or drop the annotation")
        box = _around(mark, where) if mark.bbox is None else _corners(mark.bbox, mark.corner, where)
        label = categories[mark.category_id]
        if label in labels:
            position = images[mark.image_id]
            name = coco.images[position].file_name
            file, (width, height) = found[name], drawn_on[position]
            if (width, height) != (file.width, file.height):
                across, down = file.width / width, file.height / height
                box = (box[0] * across, box[1] * down, box[2] * across, box[3] * down)
            box = clip_box(box, (file.width, file.height), where, name)
            certainty = "" if mark.certainty is None else number_text(mark.certainty)
            rows.append(BoxRow(ids[position], mark.reading, box, label, certainty))
        elif named:  # then 1 is a reader's name, too
            elsewhere.append((ids[images[mark.image_id]], mark.reading))
    with_boxes = {(row.study, row.reading) for row in rows}
    bare = [
        (study, reading) for study, image in zip(ids, coco.images, strict=True) for reading in image.no_finding or ()
    ]
    bare += [one for one in elsewhere if one not in with_boxes]
    return rows + [BoxRow(study, reading, None, "") for study, reading in dict.fromkeys(bare)]


def _refuse_relative(coco: CocoFile, path: Path) -> None:
    """Boxes whose every number lies within 0 to 1 are shares of the image. Raises DataError."""
    boxes = [mark.bbox for mark in coco.annotations if isinstance(mark, Annotation) and mark.bbox is not None]
    numbers = [number for box in boxes for number in box]
    shares = any(number != int(number) for number in numbers) and all(0 <= number <= 1 for number in numbers)
    if shares and not coco.form:
        what = "boxes look relative: every number of every bbox lies within 0 to 1"
        _refuse(str(path), what, "write [x, y, width, height] in pixels of the image")


def _corners(bbox: Sequence[float], corner: Sequence[float] | None, where: str) -> Box:
    """x, y, width, height to corners; ``corner`` restores what the difference of two numbers cannot hold."""
    x, y, width, height = bbox
    if width <= 0 or height <= 0:
        _refuse(where, "key 'bbox' has no area", "write [x, y, width, height], or drop the annotation")
    right, bottom = x + width, y + height
    if corner is not None and abs(corner[0] - right) <= 1e-6 and abs(corner[1] - bottom) <= 1e-6:
        right, bottom = corner
    return x, y, right, bottom


def _around(mark: Annotation, where: str) -> Box:
    """The box around the polygons of an annotation without one."""
    polygons = mark.segmentation
    if not isinstance(polygons, list) or not polygons:
        what = "has neither a bbox nor polygons" if not isinstance(polygons, dict) else "has a mask and no bbox"
        _refuse(where, what, "write bbox as [x, y, width, height]")
    points: list[float] = []
    for i, polygon in enumerate(polygons):
        corners = _checked(_NUMBERS, polygon, f"{where}: segmentation", str(i))
        if len(corners) < 6 or len(corners) % 2:
            _refuse(where, f"segmentation {i} is no polygon of x, y pairs", "write at least three corners")
        points += corners
    return min(points[::2]), min(points[1::2]), max(points[::2]), max(points[1::2])
