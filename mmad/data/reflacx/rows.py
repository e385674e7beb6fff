"""Rows of the data set: a study per image or per reading, its split, and its boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmad.base.errors import DataError
from mmad.base.records import Split
from mmad.data.dataset import IMAGES
from mmad.data.reflacx.choices import HELD_OUT, Choices
from mmad.data.reflacx.clinical import Clinical
from mmad.data.reflacx.counts import EllipseCounts, Sieve
from mmad.data.reflacx.ellipses import read_ellipses
from mmad.data.reflacx.images import Size
from mmad.data.reflacx.mimic import CxrImage
from mmad.data.reflacx.readings import Reading, ReadingTable
from mmad.data.splits import policy_of, read_split, split_by_patient, split_by_row
from mmad.data.writing import BoxRow, StudyRow


def box_rows(sieve: Sieve, sizes: Mapping[str, Size], choices: Choices) -> tuple[list[BoxRow], EllipseCounts]:
    """The boxes of all readings still in."""
    rows: list[BoxRow] = []
    counts = EllipseCounts()
    for reading in sieve.kept:
        drawn, count = read_ellipses(reading, sizes[reading.dicom], choices.labels)
        study = _study_id(reading, choices)
        rows += [BoxRow(study, reading.reading, each.box, each.label, each.certainty) for each in drawn]
        counts += count
        shown = {each.label for each in drawn if each.certainty != "0"}
        sieve.notes["findings_differ"] += not count.no_area and shown != reading.findings
    return rows, counts


def study_rows(
    kept: Sequence[Reading],
    table: ReadingTable,
    images: Mapping[str, CxrImage],
    clinical: Clinical | None,
    sizes: Mapping[str, Size],
    choices: Choices,
) -> tuple[list[StudyRow], str]:
    """A row per study in the order of the metadata, and the policy of their split."""
    first: dict[str, Reading] = {}
    for reading in kept:
        first.setdefault(_study_id(reading, choices), reading)
    chosen = list(first.values())
    patients = [images[reading.dicom].patient for reading in chosen]
    splits, policy = _splits(kept, chosen, patients, table, choices)
    rows = [
        StudyRow(
            study,
            stored(reading.dicom),
            *sizes[reading.dicom],
            patient,
            split,
            clinical.cells(reading.dicom) if clinical else (),
        )
        for (study, reading), patient, split in zip(first.items(), patients, splits, strict=True)
    ]
    return rows, policy


def _splits(
    kept: Sequence[Reading], chosen: Sequence[Reading], patients: Sequence[str], table: ReadingTable, choices: Choices
) -> tuple[list[Split], str]:
    if choices.split == "documented":
        return split_by_row(len(chosen), choices.split_seed, HELD_OUT[choices.mode]), "documented"
    if choices.split == "patient":
        return split_by_patient(patients), "patient"
    own = {reading.reading: read_split(reading.split, table.at[reading.reading]) for reading in kept}
    of_image: dict[str, Split] = {}
    for reading in kept:
        if of_image.setdefault(reading.dicom, own[reading.reading]) != own[reading.reading]:
            what = f"image {reading.dicom!r} has readings in two splits"
            raise DataError(what, where=table.at[reading.reading], mend="use --split patient")
    splits = [own[reading.reading] for reading in chosen]
    return splits, policy_of(patients, splits)


def _study_id(reading: Reading, choices: Choices) -> str:
    return reading.dicom if choices.mode == "unified" else reading.reading


def stored(dicom: str) -> str:
    """Where the image stands in the data set's folder; readings of one image share it."""
    return f"{IMAGES}/{dicom}.jpg"
