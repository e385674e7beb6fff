"""Writes a repaired copy of a data set, and says what was done; the original is never touched."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mmad.base.errors import DataError
from mmad.base.files import write_atomically
from mmad.base.records import SPLITS, OnProgress, Split
from mmad.data.audit.findings import Audit, ReadTables, read_tolerantly, rows_of
from mmad.data.audit.image_checks import Looks, connected, exact_groups, look_at_images, used_bits
from mmad.data.audit.run import audit_folder
from mmad.data.audit.table_checks import repeated
from mmad.data.dataset import TOML, DataSet, Study
from mmad.data.exclusions import Excluded
from mmad.data.reader import slivers, without_area
from mmad.data.tables import number_text
from mmad.data.writer import BoxRow, StudyRow, new_folder, write_tables


@dataclass(frozen=True)
class Fixed:
    """What was ``done`` to make the copy, one line each, and the audit of the copy."""

    out: Path
    done: tuple[str, ...]
    audit: Audit


def fix_folder(root: Path | str, out: Path | str, progress: OnProgress | None = None) -> Fixed:
    """A copy of ``root`` in the new folder ``out``, without what an audit calls an error where that can be fixed.

    Studies without a readable image, and all but one of equal files, are dropped; sizes are taken from the
    images, boxes clipped to them, and dropped where nothing is left or they repeat another; patients that stand
    in several splits are moved to the one that holds most of their studies, unless the data set declares
    ``split_policy = "documented"``. A cell that cannot be read becomes empty. Nothing is invented.

    Raises DataError for tables that cannot be read, a folder that holds something, and if no study is left.
    """
    root, out = Path(root), Path(out)
    tables = read_tolerantly(root)
    looks = look_at_images(tables.dataset, tables.without_image, progress)
    done = [f"left out or emptied: {found.what}" for found in tables.findings() if found.code in _ROWS]
    studies, excluded = _kept(tables, looks, done)
    studies = _with_sizes(tables.dataset, studies, looks, done)
    studies = _in_one_split(tables.dataset, studies, done)
    if not studies:
        raise DataError("no study is left", where=root, hint="fix its images and tables by hand")
    with new_folder(out) as folder:
        _write(replace(tables.dataset, excluded=excluded), studies, used_bits(tables.dataset, looks), folder, done)
    return Fixed(out, tuple(done), audit_folder(out, progress))


#: Refusals of the reader after which a row is left out or a cell missing.
_ROWS = frozenset(
    {
        "row-width",
        "cell-empty",
        "study-twice",
        "split-unknown",
        "value-not-a-number",
        "value-unknown",
        "label-unknown",
        "box-without-study",
        "box-not-a-number",
        "acquisition-unreadable",
    }
)


def _kept(tables: ReadTables, looks: Looks, done: list[str]) -> tuple[dict[int, Study], tuple[Excluded, ...]]:
    """Position → study, of those whose image can be used and is not there already; and what is left out."""
    studies = tables.dataset.studies
    unreadable = {studies[looks.studies[i]].image for i in looks.unreadable}
    copies = set()
    with_boxes = set(tables.dataset.box_study.tolist())
    for group in exact_groups(tables.dataset, looks):
        positions = [looks.studies[i] for i in group]
        first = next((p for p in positions if p in with_boxes), positions[0])
        copies |= {studies[p].image for p in positions if p != first}
    dropped: dict[str, list[str]] = {}
    kept = {}
    for position, study in enumerate(studies):
        if study.study in tables.without_image:
            dropped.setdefault("their image is not there", []).append(study.study)
        elif study.image in unreadable:
            dropped.setdefault("their image cannot be decoded", []).append(study.study)
        elif study.image in copies:
            dropped.setdefault("their image is a copy of another", []).append(study.study)
        else:
            kept[position] = study
    done += [f"dropped {_some(ids, 'study', 'studies')}: {why}" for why, ids in dropped.items()]
    excluded, stay = list(tables.dataset.excluded), list(studies)
    for why, ids in dropped.items():
        before, stay = stay, [study for study in stay if study.study not in set(ids)]
        pairs = ([(study.patient, study.image) for study in some] for some in (before, stay))
        excluded.append(Excluded.step(why.removeprefix("their "), *pairs))
    return kept, tuple(excluded)


def _with_sizes(dataset: DataSet, studies: dict[int, Study], looks: Looks, done: list[str]) -> dict[int, Study]:
    sizes = {dataset.studies[p].image: size for p, size in looks.size_of().items()}
    right = {p: replace(s, width=sizes[s.image][0], height=sizes[s.image][1]) for p, s in studies.items()}
    changed = [study.study for position, study in studies.items() if right[position] != study]
    if changed:
        done.append(f"took the size of {_some(changed, 'study', 'studies')} from the image: look at the boxes")
    return right


def _in_one_split(dataset: DataSet, studies: dict[int, Study], done: list[str]) -> dict[int, Study]:
    """Whoever shares a patient or an image goes to the split that holds most of them."""
    if dataset.split_policy == "documented":
        return studies
    moved = []
    result = dict(studies)
    for group in connected(_shared(studies)):
        count = Counter(studies[position].split for position in group)
        split: Split = max(SPLITS, key=lambda name: count[name])
        for position in group:
            if studies[position].split != split:
                result[position] = replace(studies[position], split=split)
                moved.append(studies[position].study)
    if moved:
        done.append(f"moved {_some(moved, 'study', 'studies')} to the split of most of the patient's studies")
    return result


def _shared(studies: dict[int, Study]) -> Iterator[tuple[int, int]]:
    first: dict[tuple[str, str], int] = {}
    for position, study in studies.items():
        for key in (("patient", study.patient), ("image", study.image)):
            yield first.setdefault(key, position), position


def _write(dataset: DataSet, studies: dict[int, Study], bits: int | None, folder: Path, done: list[str]) -> None:
    for image in dict.fromkeys(study.image for study in studies.values()):
        (folder / image).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(dataset.root / image, folder / image)
    write_tables(
        folder,
        name=dataset.name,
        labels=dataset.labels,
        numeric=dataset.numeric,
        categorical=dataset.categorical,
        licence=dataset.licence,
        split_policy=dataset.split_policy,
        mode=dataset.mode,
        bits=bits,
        excluded=dataset.excluded,
        studies=[_row(study) for study in studies.values()],
        boxes=_boxes(dataset, studies, done),
    )
    text = (dataset.root / TOML).read_text(encoding="utf-8")  # with its description and remarks
    if bits != dataset.bits:
        text = f"bits = {bits}\n" + re.sub(r"(?m)^bits *=.*\n", "", text)
        done.append(f"took the bits that the images use: {bits}")
    write_atomically(folder / TOML, text.encode())


def _row(study: Study) -> StudyRow:
    cells = ["" if value is None else number_text(value) for value in study.numeric]
    cells += [value or "" for value in study.categorical]
    return StudyRow(
        study.study,
        study.image,
        study.width,
        study.height,
        study.patient,
        study.split,
        tuple(cells),
        study.source or "",
        study.taken,
    )


def _boxes(dataset: DataSet, studies: dict[int, Study], done: list[str]) -> list[BoxRow]:
    """The boxes of the studies that are kept, clipped to their images."""
    measured = [(s.width, s.height) for s in (studies.get(i, s) for i, s in enumerate(dataset.studies))]
    sizes = np.array(measured, dtype=np.float64)
    beyond = np.concatenate([sizes, sizes], axis=1)[dataset.box_study]
    clipped = np.clip(dataset.boxes, 0, beyond)
    kept = np.isin(dataset.box_study, list(studies))
    empty = kept & (without_area(clipped) | slivers(clipped, beyond[:, :2]))
    again = kept & ~empty & repeated(replace(dataset, boxes=clipped))
    changed = kept & ~empty & ~again & np.any(clipped != dataset.boxes, axis=1)
    for mask, words in ((changed, "clipped to their image"), (empty, "dropped: no area"), (again, "dropped: repeated")):
        if mask.any():
            ids = [dataset.studies[i].study for i in dataset.box_study[mask]]
            boxes = f"{int(mask.sum())} box{'es' * (int(mask.sum()) > 1)}"
            done.append(f"{boxes} of {_some(ids, 'study', 'studies')} {words}")
    rows = []
    for i in np.flatnonzero(kept & ~empty & ~again):
        sides = tuple(clipped[i].tolist())
        sure = "" if np.isnan(dataset.certainty[i]) else number_text(dataset.certainty[i])
        label = dataset.labels[dataset.labels_of[i] - 1]
        rows.append(BoxRow(dataset.studies[dataset.box_study[i]].study, dataset.reading[i], sides, label, sure))
    bare = [(position, reading) for position, reading in dataset.no_finding if position in studies]
    return rows + [BoxRow(studies[position].study, reading, None, "") for position, reading in bare]


def _some(studies: Iterable[str], one: str, many: str) -> str:
    """``3 studies (a, b, c)``."""
    rows, count = rows_of(studies)
    return f"{count} {one if count == 1 else many} ({', '.join(rows)}{', …' if count > len(rows) else ''})"
