"""How well the vital signs of a phantom, and its images in small, tell its findings: what an effect amounts to.

A linear classifier is the measure: ridge regression on a 0/1 target, fitted on four fifths of the patients and scored
on the rest, five times. Its AUC (area under the ROC curve) is a lower bound of what a detector can get out of either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmad.base.cores import usable_cores
from mmad.data.dataset import DataSet
from mmad.data.image_cache import decode, in_order
from mmad.data.phantom.cases import LOOKS, Case

#: Side of the picture in small, px. Of more studies than this, the first are taken.
_SIDE, _MOST_STUDIES = 24, 2000
_FOLDS, _PENALTY = 5, 0.1

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Separability:
    """AUC of the vital signs and of the image (0.5 is chance) for ``question``, of ``studies``."""

    question: str
    studies: int
    vitals: float
    image: float


def separability(dataset: DataSet, cases: Sequence[Case]) -> list[Separability]:
    """First the two names of each ambiguous look against each other, then each finding against all studies without it.

    ``cases`` are those from which ``dataset`` was drawn, in its order. A question with fewer than five studies on
    either side is left out.
    """
    cases = cases[:_MOST_STUDIES]
    vitals, images = _vitals(cases), _images(dataset, len(cases))
    patients = np.array([case.patient for case in cases])
    everyone = np.ones(len(cases), dtype=np.bool_)
    questions: list[tuple[str, NDArray[np.bool_], NDArray[np.bool_]]] = []
    for (look, first, _), (same, other, _) in pairwise(LOOKS):  # names of one look stand side by side
        if look == same:
            among = np.array([case.look == look for case in cases])
            yes = np.array([case.label == first for case in cases])
            questions.append((f"{first} or {other} ({look})", among, yes))
    for number, label in enumerate(dataset.labels, 1):
        having = np.zeros(len(dataset.studies), dtype=np.bool_)
        having[dataset.box_study[dataset.labels_of == number]] = True
        questions.append((label, everyone, having[: len(cases)]))
    found = []
    for words, among, yes in questions:
        if min((among & yes).sum(), (among & ~yes).sum()) >= _FOLDS:
            aucs = (_auc_of(columns[among], yes[among], patients[among]) for columns in (vitals, images))
            found.append(Separability(words, int(among.sum()), *aucs))
    return found


def _vitals(cases: Sequence[Case]) -> Matrix:
    """(N, numbers), the missing ones as the mean."""
    cells = np.array([case.numeric for case in cases], dtype=np.float64)
    return np.where(np.isnan(cells), np.nanmean(cells, axis=0), cells)


def _images(dataset: DataSet, count: int) -> Matrix:
    """(N, pixels) of the pictures in small."""

    def small(position: int) -> Matrix:
        reduced = decode(dataset, position).resize((_SIDE, _SIDE), Image.Resampling.BOX)
        return np.asarray(reduced, dtype=np.float64).ravel()

    return np.stack(list(in_order(small, range(count), usable_cores())))


def _auc_of(columns: Matrix, yes: NDArray[np.bool_], patients: NDArray[np.int64]) -> float:
    """The AUC of scores that were given to patients by a classifier fitted on others."""
    spread = columns.std(axis=0)
    scaled = (columns - columns.mean(axis=0)) / np.where(spread > 0, spread, 1) / columns.shape[1] ** 0.5
    target = yes.astype(np.float64)
    folds = patients % _FOLDS
    scores = np.zeros(len(yes))
    for fold in range(_FOLDS):
        inside, outside = folds != fold, folds == fold
        kernel = scaled[inside] @ scaled[inside].T + _PENALTY * np.eye(int(inside.sum()))
        weights = np.linalg.solve(kernel, target[inside] - target[inside].mean())
        scores[outside] = scaled[outside] @ scaled[inside].T @ weights
    aucs = [_auc(scores[folds == fold], yes[folds == fold]) for fold in range(_FOLDS)]
    return float(np.mean([auc for auc in aucs if auc is not None]))


def _auc(scores: Matrix, yes: NDArray[np.bool_]) -> float | None:
    """None where all studies are on one side."""
    from scipy.stats import mannwhitneyu

    n, m = int(yes.sum()), int((~yes).sum())
    return float(mannwhitneyu(scores[yes], scores[~yes]).statistic / (n * m)) if n and m else None
