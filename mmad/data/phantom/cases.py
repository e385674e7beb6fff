"""Who is in the phantom: patients, what each picture shows, what it is called, and the clinical values.

A picture is drawn from its *look*; a look may have two names. A focal opacity of the lower lung is called
Atelectasis or Consolidation, a bilateral haze Pulmonary edema or Consolidation, and nothing in the pixels
tells which. What tells is the patient's *state*, read off the vital signs: febrile with a Consolidation,
overloaded with an edema, calm with an Atelectasis. With a ``clinical_effect`` of 1 the vital signs of the states
do not overlap. Between 0 and 1 that is how far they lie apart, as a share of the distance at 1, among patients who
differ as they do on a ward. With 0 the studies swap their states of 1 among themselves, so that every column keeps
its distribution and only the link to the finding goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mmad.base.records import DOCUMENTED_COLUMNS, SPLITS, Split
from mmad.data.dataset import CategoricalColumn, NumericColumn

Appearance = Literal["clear", "focal", "haze", "plate", "patch", "septal"]
PhantomState = Literal["calm", "febrile", "overloaded"]

#: Share of the studies with each look and name; shares within a look are equal or nearly so.
LOOKS: tuple[tuple[Appearance, str | None, float], ...] = (
    ("focal", "Atelectasis", 0.20),
    ("focal", "Consolidation", 0.19),
    ("haze", "Pulmonary edema", 0.18),
    ("haze", "Consolidation", 0.14),
    ("plate", "Atelectasis", 0.05),
    ("patch", "Consolidation", 0.03),
    ("septal", "Pulmonary edema", 0.05),
    ("clear", None, 0.16),
)
_HEART_SHARE, _PLEURA_SHARE = 0.30, 0.30
_STATE_OF: dict[str | None, PhantomState] = {"Consolidation": "febrile", "Pulmonary edema": "overloaded"}
_SHARES: tuple[tuple[Split, float], ...] = (("train", 0.70), ("val", 0.15), ("test", 0.15))

NUMERIC: tuple[NumericColumn, ...] = (
    NumericColumn("age", "years", 18, 95),
    NumericColumn("temperature", "°F", 94, 106),
    NumericColumn("heartrate", "1/min", 40, 160),
    NumericColumn("resprate", "1/min", 8, 40),
    NumericColumn("o2sat", "%", 75, 100),
    NumericColumn("sbp", "mmHg", 80, 220),
    NumericColumn("dbp", "mmHg", 40, 130),
    NumericColumn("pain", "0-10", 0, 10),
    NumericColumn("acuity", "1-5", 1, 5),
)
CATEGORICAL = tuple(CategoricalColumn(name, values) for name, values in DOCUMENTED_COLUMNS.categorical)

#: Mean and deviation of each number by state, in the order of NUMERIC; age is the patient's own.
_VITALS: dict[PhantomState, tuple[tuple[float, float], ...]] = {
    "calm": ((0, 0), (98.2, 0.5), (76, 9), (15, 1.8), (97.3, 1.2), (122, 11), (73, 7), (3.5, 2.5), (3.2, 0.6)),
    "febrile": ((0, 0), (101.9, 0.7), (113, 9), (24, 2.2), (95.8, 1.4), (118, 11), (70, 7), (4.0, 2.5), (2.5, 0.6)),
    "overloaded": ((0, 0), (98.2, 0.5), (90, 9), (25, 2.2), (87.5, 2.2), (182, 12), (104, 8), (3.5, 2.5), (2.3, 0.6)),
}
#: Deviation of each number in any state where ``clinical_effect`` lies between 0 and 1, in the order of NUMERIC.
_WARD = (0, 1.1, 16, 4, 2.5, 20, 12, 2.5, 0.7)


@dataclass(frozen=True)
class Case:
    """One study to be drawn. ``patient`` counts from 0 and seeds the anatomy; sides are -1 (image left) or 1."""

    index: int
    study: str
    patient: int
    split: Split
    female: bool
    look: Appearance
    label: str | None
    big_heart: bool
    pleura: tuple[int, ...]
    numeric: tuple[float | None, ...]
    categorical: tuple[str | None, ...]

    @property
    def patient_id(self) -> str:
        return f"p{self.patient:05d}"


def make_cases(studies: int, seed: int, clinical_effect: float, missing: float) -> tuple[Case, ...]:
    """The cases of a phantom, ordered by patient. All but ``numeric`` is the same for every ``clinical_effect``.

    Patients have one to three studies; splits are made by patient, about 70/15/15, and each split has the
    same mix of looks. ``missing`` is the share of clinical cells left empty at random.
    """
    rng = np.random.default_rng([seed, 0])
    owners = _owners(rng, studies)
    splits = _splits(rng, owners)
    cases: list[Case | None] = [None] * studies
    females = rng.random(studies) < 0.5  # by patient
    ages = np.clip(np.round(rng.normal(60, 15, studies)), 19, 92)  # by patient
    for number, (split, _) in enumerate(_SHARES):
        members = [i for i in range(studies) if splits[owners[i]] == split]
        looks = _dealt([share for *_, share in LOOKS], len(members), np.random.default_rng([seed, 1, number]))
        hearts = _dealt([_HEART_SHARE, 1 - _HEART_SHARE], len(members), np.random.default_rng([seed, 2, number]))
        pleurae = _dealt([_PLEURA_SHARE, 1 - _PLEURA_SHARE], len(members), np.random.default_rng([seed, 3, number]))
        own = [_STATE_OF.get(LOOKS[look][1], "calm") for look in looks]
        states = own if clinical_effect else _swapped(own, np.random.default_rng([seed, 4, number]))
        for place, i in enumerate(members):
            patient = owners[i]
            side = np.random.default_rng([seed, 5, i])
            both, first = side.random() < 0.2, -1 if side.random() < 0.5 else 1
            female = bool(females[patient])
            vitals = _vitals(states[place], clinical_effect)
            numeric, categorical = _values(seed, i, vitals, float(ages[patient]), female, missing)
            cases[i] = Case(
                index=i,
                study=f"s{i:06d}",
                patient=patient,
                split=split,
                female=female,
                look=LOOKS[looks[place]][0],
                label=LOOKS[looks[place]][1],
                big_heart=hearts[place] == 0,
                pleura=() if pleurae[place] else ((-1, 1) if both else (first,)),
                numeric=numeric,
                categorical=categorical,
            )
    return tuple(case for case in cases if case is not None)


def _owners(rng: np.random.Generator, studies: int) -> list[int]:
    """The patient of each study: three in four patients have one, the others two or three."""
    owners: list[int] = []
    while len(owners) < studies:
        patient = owners[-1] + 1 if owners else 0
        owners += [patient] * int(rng.choice([1, 2, 3], p=[0.75, 0.17, 0.08]))
    return owners[:studies]


def _splits(rng: np.random.Generator, owners: Sequence[int]) -> list[Split]:
    """The split of each patient: shuffled patients fill val, then test, then train up to their shares."""
    patients = owners[-1] + 1
    counts = np.bincount(owners, minlength=patients)
    splits: list[Split] = [SPLITS[0]] * patients
    order = list(rng.permutation(patients))
    for split, share in _SHARES[1:]:
        filled = 0
        while filled < max(1, round(share * len(owners))) and len(order) > 1:
            patient = int(order.pop())
            splits[patient] = split
            filled += int(counts[patient])
    return splits


def _dealt(shares: Sequence[float], count: int, rng: np.random.Generator) -> list[int]:
    """``count`` numbers of shares in random order, each as often as its share says (largest remainders)."""
    exact = np.array(shares) * count
    often = np.floor(exact).astype(int)
    for i in np.argsort(often - exact, kind="stable")[: count - int(often.sum())]:
        often[i] += 1
    dealt = np.repeat(np.arange(len(shares)), often)
    return [int(i) for i in rng.permutation(dealt)]


def _swapped(own: Sequence[PhantomState], rng: np.random.Generator) -> list[PhantomState]:
    """The states, swapped among their studies at random."""
    rng.random(len(own))  # what was drawn here before the permutation; without it the control had other bytes
    return [own[i] for i in rng.permutation(len(own))]


def _vitals(state: PhantomState, effect: float) -> tuple[tuple[float, float], ...]:
    """Mean and deviation of each number of a patient in this state."""
    if effect in (0, 1):
        return _VITALS[state]
    pairs = zip(_VITALS["calm"], _VITALS[state], _WARD, strict=True)
    return tuple((calm + effect * (mean - calm), deviation) for (calm, _), (mean, _), deviation in pairs)


def _values(
    seed: int, index: int, vitals: tuple[tuple[float, float], ...], age: float, female: bool, missing: float
) -> tuple[tuple[float | None, ...], tuple[str | None, ...]]:
    """The clinical cells of one study. The noise does not depend on the state."""
    rng = np.random.default_rng([seed, 6, index])
    noise = np.clip(rng.standard_normal(len(NUMERIC)), -2.5, 2.5)
    gone = rng.random(len(NUMERIC) + len(CATEGORICAL)) < missing
    numbers: list[float | None] = []
    for i, (column, (mean, deviation)) in enumerate(zip(NUMERIC, vitals, strict=True)):
        value = age if column.name == "age" else mean + deviation * float(noise[i])
        value = min(max(value, column.low), column.high)
        numbers.append(None if gone[i] else round(value, 1 if column.name == "temperature" else 0))
    return tuple(numbers), (None if gone[-1] else "F" if female else "M",)
