"""Which patients are in which fold of a cross-validation, and which of the others choose the checkpoints.

Whole patients are dealt out so that every part gets its share of each finding. Libraries stratify by one label, or
need the studies of a patient to be alike; patients here have several findings and several studies. The order in which
patients are dealt out is that of hashes, not of a random generator: it stays the same under every version of NumPy.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmad.base.records import Split
from mmad.config.protocol import Fold
from mmad.data.dataset import DataSet

#: Of so many parts of the patients outside the test fold one is validation, the others are training.
PARTS = 6


def dealt(holds: NDArray[np.bool_], shares: Sequence[int], order: Sequence[int]) -> NDArray[np.int64]:
    """The part (P,) of each patient.

    The finding with the fewest patients left is dealt out first: each of its patients goes where most of it is
    lacking, and among equals where most patients are lacking.

    Args:
        holds: (P, L) whether a patient has a finding; one with none is dealt out as if that were one.
        shares: of each part, in whole numbers.
        order: of the patients, all of them.
    """
    holds = np.column_stack([holds, ~holds.any(axis=1)])
    weights, whole = np.array(shares, dtype=np.int64), sum(shares)
    lacking = weights[:, None] * holds.sum(axis=0)[None]  # (parts, L + 1), in units of 1 / whole
    sizes = weights * len(holds)
    before_size = 2 * whole * len(holds) + 1  # no difference in size is as much as one in the finding
    part = np.full(len(holds), -1, dtype=np.int64)
    ranked = np.array(order, dtype=np.int64)
    while (left := ranked[part[ranked] < 0]).size:
        counts = holds[left].sum(axis=0)
        finding = int(np.where(counts > 0, counts, len(holds) + 1).argmin())
        for patient in left[holds[left, finding]]:
            chosen = int((lacking[:, finding] * before_size + sizes).argmax())
            part[patient] = chosen
            lacking[chosen] -= whole * holds[patient]
            sizes[chosen] -= whole
    return part


def folded(dataset: DataSet, fold: Fold) -> DataSet:
    """``dataset`` with the splits of ``fold`` in place of its own; its content and its images are the same.

    The fold's patients are ``test``; one in six of the others, with their share of each finding, are ``val``, the rest
    ``train``. No patient is in two splits. It depends on the data set's content, on the fold's seed and on nothing
    else.
    """
    patients, holds = _findings(dataset)
    tested = _fold_of_each(dataset, fold, patients, holds) == fold.number - 1
    others = np.flatnonzero(~tested)
    order = _order([patients[n] for n in others], _salt(dataset, fold) + f"\n{fold.number}")
    validated = others[dealt(holds[others], [1, PARTS - 1], order) == 0]
    split: dict[str, Split] = dict.fromkeys(patients, "train")
    split |= dict.fromkeys([patients[n] for n in np.flatnonzero(tested)], "test")
    split |= dict.fromkeys([patients[n] for n in validated], "val")
    studies = tuple(dataclasses.replace(study, split=split[study.patient]) for study in dataset.studies)
    return dataclasses.replace(dataset, studies=studies, split_policy="patient", _splits={})


def held_out_ratio(folds: int) -> float:
    """How many patients a fold's test split has for each of its training split, but for what cannot be divided."""
    return PARTS / ((folds - 1) * (PARTS - 1))


def shared_training(folds: int) -> float:
    """Training patients that a fold has in common with another, for each that it has not."""
    common = (folds - 2) / (folds - 1) * (PARTS - 1) / PARTS
    return common / (1 - common)


def lacking_folds(dataset: DataSet, fold: Fold) -> tuple[str, int, int] | None:
    """A finding, how many patients have it, and a fold that has none of them; None where every fold has every finding.

    Args:
        fold: any of the folds.
    """
    patients, holds = _findings(dataset)
    parts = _fold_of_each(dataset, fold, patients, holds)
    for label, has in zip(dataset.labels, holds.T, strict=True):
        there = np.bincount(parts[has], minlength=fold.of)
        if not there.all():
            return label, int(has.sum()), int(there.argmin()) + 1
    return None


def _fold_of_each(dataset: DataSet, fold: Fold, patients: Sequence[str], holds: NDArray[np.bool_]) -> NDArray[np.int64]:
    return dealt(holds, [1] * fold.of, _order(patients, _salt(dataset, fold)))


def _salt(dataset: DataSet, fold: Fold) -> str:
    return f"{dataset.fingerprint()}\n{fold.seed}"


def _findings(dataset: DataSet) -> tuple[list[str], NDArray[np.bool_]]:
    """The patients, and (P, L) whether each has a finding."""
    place = {patient: n for n, patient in enumerate(dict.fromkeys(study.patient for study in dataset.studies))}
    owner = np.array([place[study.patient] for study in dataset.studies], dtype=np.int64)
    holds = np.zeros((len(place), len(dataset.labels)), dtype=bool)
    holds[owner[dataset.box_study], dataset.labels_of - 1] = True
    return list(place), holds


def _order(patients: Sequence[str], salt: str) -> list[int]:
    """Positions of ``patients`` by the SHA-256 of ``salt`` and their names."""
    hashes = [hashlib.sha256(f"{salt}\n{patient}".encode()).digest() for patient in patients]
    return sorted(range(len(patients)), key=hashes.__getitem__)
