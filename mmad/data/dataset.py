"""A data set: a folder of chest X-rays with boxes and clinical columns, read once and checked as a whole.

The folder holds ``dataset.toml`` (name, labels, clinical columns, licence), ``studies.csv`` (one row per
image), ``boxes.csv`` (one row per box) and the images. Everything but the images' pixels is checked here;
those are checked when they are decoded (``mmad.data.image_cache``).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmad.base.clock import now
from mmad.base.errors import DataError
from mmad.base.files import write_atomically
from mmad.base.paths import cache_folder
from mmad.base.records import SPLITS, ClinicalColumns, GroundTruth, Split
from mmad.config.messages import no_such, one_of
from mmad.data.acquisition import NOT_KNOWN, Acquisition
from mmad.data.exclusions import Excluded
from mmad.data.pixels import RULE, is_changed

TOML = "dataset.toml"
STUDIES = "studies.csv"
BOXES = "boxes.csv"
IMAGES = "images"

#: When a clinical column was measured, relative to the image; nothing known of it is the last.
MEASURED = ("before", "with", "after", "unknown")
UNKNOWN = MEASURED[-1]
#: ``(xmin, ymin, xmax, ymax)`` in pixels.
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class NumericColumn:
    """A clinical number: its name, unit, range it is expected in (not enforced), and when it was measured."""

    name: str
    unit: str
    low: float
    high: float
    measured: str = UNKNOWN


def in_another_unit(columns: Sequence[NumericColumn], rows: Sequence[Sequence[float | None]]) -> list[str]:
    """A note on each column whose values in ``rows`` lie mostly outside its range, as those of another unit do."""
    notes = []
    for place, column in enumerate(columns):
        values = [value for row in rows if (value := row[place]) is not None]
        beyond = sum(not column.low <= value <= column.high for value in values)
        if beyond > len(values) / 2:
            what = f"{beyond} of {len(values)} values of {column.name!r} lie outside {column.low:g} to {column.high:g}"
            notes.append(f"{what}, the range in the run's data set: they may be in another unit")
    return notes


@dataclass(frozen=True)
class CategoricalColumn:
    """A clinical category: its name, its possible values in the order that numbers them from 0, and when measured."""

    name: str
    values: tuple[str, ...]
    measured: str = UNKNOWN


@dataclass(frozen=True, slots=True)
class Study:
    """One image of one patient. ``image`` is relative to the data set's folder; None is a missing value."""

    study: str
    image: str
    width: int
    height: int
    patient: str
    split: Split
    numeric: tuple[float | None, ...]
    categorical: tuple[str | None, ...]
    source: str | None = None
    taken: Acquisition = NOT_KNOWN


@dataclass(frozen=True, eq=False)
class DataSet:
    """A checked data set. Boxes are parallel arrays; ``box_study`` holds positions in ``studies``.

    Boxes are ``(xmin, ymin, xmax, ymax)`` in pixels of the stored image; ``labels_of`` counts from 1 in the
    order of ``labels``; ``certainty`` is NaN where the reader gave none. ``no_finding`` are the readings that looked
    and found nothing: positions in ``studies``, and the reading's name.
    """

    root: Path
    name: str
    labels: tuple[str, ...]
    numeric: tuple[NumericColumn, ...]
    categorical: tuple[CategoricalColumn, ...]
    licence: str
    split_policy: str | None
    studies: tuple[Study, ...]
    box_study: NDArray[np.int64]  # (M,)
    boxes: NDArray[np.float64]  # (M, 4)
    labels_of: NDArray[np.int64]  # (M,)
    reading: tuple[str, ...]  # M of them
    certainty: NDArray[np.float64]  # (M,)
    mode: str | None = None  # what a study is: unified (an image), normal (a reading), full (without clinical data)
    no_finding: tuple[tuple[int, str], ...] = ()
    bits: int | None = None  # of images with more than 8, see mmad.data.pixels
    excluded: tuple[Excluded, ...] = ()
    _splits: dict[str, tuple[int, ...]] = field(default_factory=dict, repr=False)

    def split(self, name: str) -> tuple[int, ...]:
        """Positions in ``studies`` of the split ``name``, in the order of the file."""
        if name not in self._splits:
            self._splits[name] = tuple(i for i, study in enumerate(self.studies) if study.split == name)
        return self._splits[name]

    def image_path(self, position: int) -> Path:
        """The image file of the study at ``position``."""
        return self.root / self.studies[position].image

    @cached_property
    def image_studies(self) -> tuple[int, ...]:
        """Position of the first study of each image: readings of one image, as studies of their own, share it."""
        firsts: dict[tuple[str, int, int], int] = {}
        for position, study in enumerate(self.studies):
            firsts.setdefault((study.image, study.width, study.height), position)
        return tuple(firsts.values())

    @cached_property
    def image_rows(self) -> NDArray[np.int64]:
        """Per study (N,) the place of its image in ``image_studies``, and so its row of decoded images."""
        studies = self.studies
        rows = {(studies[p].image, studies[p].width, studies[p].height): i for i, p in enumerate(self.image_studies)}
        return np.array([rows[study.image, study.width, study.height] for study in studies], dtype=np.int64)

    @cached_property
    def readings(self) -> tuple[tuple[int, str], ...]:
        """Each reading once, (position in ``studies``, name): ordered as ``boxes.csv``, those without a box last."""
        return tuple(dict.fromkeys((*zip(self.box_study.tolist(), self.reading, strict=True), *self.no_finding)))

    def readers(self, split: str) -> tuple[str, ...]:
        """The readers of a split: names of its readings, if some name recurs on another image of the data set.

        Otherwise every name is of one reading, and nobody knows which readings are of one reader.
        """
        named = {(int(self.image_rows[study]), name) for study, name in self.readings if name}
        if len(named) == len({name for _, name in named}):
            return ()
        here = {name for study, name in self.readings if name and self.studies[study].split == split}
        return in_order(here)

    def images_by_readings(self, split: str) -> tuple[int, ...]:
        """How many images of a split have no reading (no row in ``boxes.csv``), one, two and so on."""
        inside = set(self.split(split))
        images = {int(self.image_rows[study]) for study in inside}
        read = Counter(row for row, _ in {(int(self.image_rows[s]), name) for s, name in self.readings if s in inside})
        return tuple(np.bincount([read[image] for image in images]).tolist()) if images else ()

    def ground_truth(self, split: str, reader: str = "") -> GroundTruth:
        """The boxes of one split; studies without boxes are listed too.

        With ``reader`` that reader's boxes alone, of the studies that they read.
        """
        positions, mine = self.split(split), np.ones(len(self.boxes), dtype=bool)
        if reader:
            read = {study for study, name in self.readings if name == reader}
            positions = tuple(study for study in positions if study in read)
            mine = np.array([name == reader for name in self.reading], dtype=bool)
        place = np.full(len(self.studies), -1, dtype=np.int64)
        place[list(positions)] = np.arange(len(positions))
        keep = (place[self.box_study] >= 0) & mine
        return GroundTruth(
            studies=tuple(self.studies[i].study for i in positions),
            patients=tuple(self.studies[i].patient for i in positions),
            categories=self.labels,
            study=place[self.box_study[keep]],
            boxes=self.boxes[keep],
            labels=self.labels_of[keep],
            extent=np.array([(self.studies[i].width, self.studies[i].height) for i in positions], float).reshape(-1, 2),
        )

    def columns(
        self, numeric: Sequence[str] | None = None, categorical: Sequence[str] | None = None
    ) -> ClinicalColumns:
        """The clinical columns named, in the order given; None takes all. Raises DataError for an unknown name."""
        numbers = [column.name for column in self.numeric]
        values = {column.name: column.values for column in self.categorical}
        for given, known, kind in ((numeric, numbers, "numeric"), (categorical, list(values), "categorical")):
            for name in given or ():
                if name not in known:
                    raise DataError(
                        no_such(f"{kind} clinical column", name, known), where=self.root / TOML, hint=one_of(known)
                    )
        return ClinicalColumns(
            numeric=tuple(numbers if numeric is None else numeric),
            categorical=tuple((name, values[name]) for name in (values if categorical is None else categorical)),
        )

    def fingerprint(self, *, anew: bool = False) -> str:
        """SHA-256 of the tables and of every image's bytes; remembered until a file's size or time changes.

        When a clinical column was measured is left out, so that it may be added later.
        ``anew`` reads every byte, as whatever trains has to: a file can change and keep both.
        """
        return digests(self, anew=anew).content


def in_order(readers: Iterable[str]) -> tuple[str, ...]:
    """Names of readers as they are listed: R2 before R10."""
    return tuple(sorted(readers, key=lambda name: (len(name), name)))


# SHA-256 of a data set's content, remembered while no file changes.


#: A file changed less than this long ago might change again without its time stamp moving.
_SETTLED_SECONDS = 2.0
_MEMORY = "fingerprints"
#: When a column was measured, which enters no run: a line of its own in the file.
_WHEN = re.compile(rb"^[ \t]*measured[ \t]*=.*\n?", re.MULTILINE)


@dataclass(frozen=True)
class Digests:
    """``content`` covers tables and images; ``images`` each image once, in the order of ``image_studies``."""

    content: str
    images: str


def digests(dataset: DataSet, *, anew: bool = False) -> Digests:
    """Both digests (64 hex digits each); neither depends on where the folder stands. Raises DataError.

    ``anew`` does not believe what is remembered, and remembers what it finds.
    The rule by which pixels are read enters both where the one before it reads other pixels.
    """
    files = [TOML, STUDIES, BOXES, *sorted({study.image for study in dataset.studies})]
    signature, newest = _signature(dataset.root, files)
    place = hashlib.sha256(str(dataset.root.resolve()).encode()).hexdigest()
    memory = cache_folder() / _MEMORY / f"{place}.json"
    known = None if anew else _remembered(memory, signature)
    if known is not None:
        return known
    found = _compute(dataset, files)
    if now().timestamp() - newest > _SETTLED_SECONDS:
        text = json.dumps({"signature": signature, "content": found.content, "images": found.images})
        with contextlib.suppress(OSError):  # a cache that cannot be written costs time, nothing else
            write_atomically(memory, text.encode())
    return found


def _signature(root: Path, files: list[str]) -> tuple[str, float]:
    digest, newest = hashlib.sha256(f"pixels {RULE}\n".encode()), 0.0
    for name in files:
        try:
            status = (root / name).stat()
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror}", where=root / name, hint="put the file back") from None
        digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ino}\n".encode())
        newest = max(newest, status.st_mtime)
    return digest.hexdigest(), newest


def _remembered(memory: Path, signature: str) -> Digests | None:
    try:
        known = json.loads(memory.read_text(encoding="utf-8"))
        if known["signature"] == signature:
            return Digests(str(known["content"]), str(known["images"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _compute(dataset: DataSet, files: list[str]) -> Digests:
    hashes = {name: hash_file(dataset.root / name) for name in files if name != TOML}
    hashes[TOML] = hashlib.sha256(_WHEN.sub(b"", _read(dataset.root / TOML))).hexdigest()
    changed = any(is_changed(dataset.root / name) for name in files if name not in (TOML, STUDIES, BOXES))
    rule = f"pixels {RULE}\n" if changed else ""
    content = hashlib.sha256(("".join(f"{name}\0{hashes[name]}\n" for name in files) + rule).encode())
    images = hashlib.sha256(
        ("".join(f"{hashes[dataset.studies[i].image]}\n" for i in dataset.image_studies) + rule).encode()
    )
    return Digests(content.hexdigest(), images.hexdigest())


def hash_file(path: Path) -> str:
    """SHA-256 (64 hex digits) of a file of a data set. Raises DataError."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=path, hint="put the file back") from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=path, hint="put the file back") from None


# Which split a study belongs to: read from a word, dealt out by whole patients, or by row as the log did.


_WORDS = {"training": "train", "valid": "val", "validate": "val", "validation": "val", "dev": "val", "testing": "test"}


def split_of(word: str) -> Split | None:
    """``train``, ``val`` or ``test``, also spelled in full (``validation``) or in capitals; None of any other word."""
    plain = _WORDS.get(word.casefold(), word.casefold())
    return SPLITS[SPLITS.index(plain)] if plain in SPLITS else None


def read_split(word: str, where: str) -> Split:
    """The split that ``split_of`` finds. Raises DataError where it finds none."""
    found = split_of(word)
    if found is None:
        raise DataError(no_such("split", word, SPLITS), where=where, hint=one_of(SPLITS))
    return found


def split_by_patient(patients: Sequence[str]) -> list[Split]:
    """70/15/15 by image count, whole patients, in an order that only their ids decide.

    ``patients`` holds one id per image; the answer is parallel to it.
    """
    count = Counter(patients)
    order = sorted(count, key=lambda patient: hashlib.sha256(patient.encode()).hexdigest())
    of: dict[str, Split] = {}
    seen = 0
    for patient in order:
        share = (seen + count[patient] / 2) / len(patients)
        of[patient] = "train" if share < 0.70 else "val" if share < 0.85 else "test"
        seen += count[patient]
    return [of[patient] for patient in patients]


def split_by_row(rows: int, seed: int, held_out: float) -> list[Split]:
    """Shuffle ``rows`` rows by ``seed`` and hold out the share ``held_out``, rounded up, for val and for test each.

    Whose rows they are does not matter, as in the documented log: a patient may stand in all three splits. A share
    of 0.1 makes its 472/59/59 of 590 images, 0.15 its 468/101/101 of 670 readings.
    """
    each = min(math.ceil(round(rows * held_out, 6)), max(0, (rows - 1) // 2))
    splits: list[Split] = ["train"] * rows
    for rank, row in enumerate(np.random.default_rng(seed).permutation(rows)):
        splits[row] = "test" if rank < each else "val" if rank < 2 * each else "train"
    return splits


def policy_of(patients: Sequence[str], splits: Sequence[Split]) -> str:
    """``patient`` if no patient stands in two splits, else ``image``; both hold one entry per image."""
    return "patient" if len(set(zip(patients, splits, strict=True))) == len(set(patients)) else "image"
