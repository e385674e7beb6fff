"""MIMIC-IV-ED: the stay in the emergency department during which an image was taken, and its triage."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mmad.data.csv_columns import parse
from mmad.data.reflacx.pain import pain_number
from mmad.data.reflacx.tables import add_once, find_table, id_of, stream, whole

#: Columns of triage that become clinical columns, in the order of the documented log; pain is text.
VITALS = ("temperature", "heartrate", "resprate", "o2sat", "sbp", "dbp", "pain", "acuity")


@dataclass(frozen=True)
class Stay:
    """One stay; a moment that is missing or no moment is None."""

    stay: str
    patient: str
    intime: datetime | None
    outtime: datetime | None


@dataclass(frozen=True)
class Triage:
    """The values of one triage in the order of ``VITALS``, and what could not be read of it."""

    values: tuple[float | None, ...]
    pain_not_understood: bool = False
    not_numbers: int = 0


def read_stays(root: Path, patients: Collection[str]) -> tuple[dict[str, list[Stay]], int]:
    """The stays of ``patients`` by patient, and how many rows stand twice. Raises DataError."""
    path = find_table(root, ("ed", "."), ("edstays",), "--mimic-iv-ed")
    stays: dict[str, Stay] = {}
    twice = 0
    for row in stream(path, ("subject_id", "stay_id", "intime", "outtime")):
        subject, name, intime, outtime = row.cells
        patient = whole(subject)
        if patient in patients and patient is not None:
            at = f"{path}:{row.line}"
            stay = Stay(id_of(name, "stay_id", at), patient, _moment(intime), _moment(outtime))
            twice += not add_once(stays, stay.stay, stay, "stay_id", at)
    of_patient: dict[str, list[Stay]] = {}
    for stay in stays.values():
        of_patient.setdefault(stay.patient, []).append(stay)
    return of_patient, twice


def stays_at(stays: Sequence[Stay], moment: datetime) -> list[Stay]:
    """The stays whose time from ``intime`` to ``outtime``, both included, holds ``moment``: nearest intime first."""
    around = [
        (moment - stay.intime, stay.stay, stay)
        for stay in stays
        if stay.intime is not None and stay.outtime is not None and stay.intime <= moment <= stay.outtime
    ]
    return [stay for _, _, stay in sorted(around, key=lambda entry: entry[:2])]


def read_triage(root: Path, stays: Collection[str]) -> tuple[dict[str, Triage], int]:
    """The triage of ``stays`` by stay, and how many rows stand twice. Raises DataError."""
    path = find_table(root, ("ed", "."), ("triage",), "--mimic-iv-ed")
    triages: dict[str, Triage] = {}
    twice = 0
    for row in stream(path, ("stay_id", *VITALS)):
        stay = whole(row.cells[0])
        if stay in stays and stay is not None:
            twice += not add_once(triages, stay, _triage(row.cells[1:]), "stay_id", f"{path}:{row.line}")
    return triages, twice


def _triage(cells: Sequence[str]) -> Triage:
    values: list[float | None] = []
    strange = 0
    for name, cell in zip(VITALS, cells, strict=True):
        value = pain_number(cell) if name == "pain" else parse(cell)
        strange += bool(cell) and value is None and name != "pain"
        values.append(value)
    pain = VITALS.index("pain")
    return Triage(tuple(values), bool(cells[pain]) and values[pain] is None, strange)


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).replace(tzinfo=None)
    except ValueError:
        return None
