"""The verdict finds the effect that is drawn into the phantom, and finds none where none was drawn.

No network is trained. Two made-up readers find every box and have to name it: one guesses by how often each name
occurs, as an image-only detector must where two findings look alike; the other asks the clinical values.
"""

from __future__ import annotations

import numpy as np
import pytest
from evaluation_samples import compare

from mmad.base.records import Detections
from mmad.data.clinical import ClinicalEncoder
from mmad.data.dataset import DataSet
from mmad.data.phantom.generate import make_phantom
from mmad.evaluation.differences import Difference
from mmad.evaluation.matching import Matched, match

pytestmark = pytest.mark.slow

#: Names that share their looks with another.
ALIKE = ("Atelectasis", "Consolidation", "Pulmonary edema")
SEEDS = (0, 1, 2)
#: One phantom in a hundred without an effect would look as if it had one: these two do not.
LEVEL = 0.01


@pytest.fixture(scope="module", params=[0, 1], ids=["phantom-0", "phantom-1"])
def phantoms(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[int, DataSet]:
    """The same films with vital signs of their own (1) and with others' (0)."""
    folder = tmp_path_factory.mktemp("phantoms")
    return {
        effect: make_phantom(folder / str(effect), image_size=64, seed=request.param, clinical_effect=effect)
        for effect in (0, 1)
    }


def chances(dataset: DataSet, *, clinical: bool) -> np.ndarray:
    """(test studies, names alike) how likely each name is, learned from the training split."""
    encoder = ClinicalEncoder.fit(dataset, dataset.columns(), "standardised")
    places, names = label_rows(dataset, "train")
    if not clinical:
        shares = np.bincount(names, minlength=len(ALIKE)) / len(names)
        return np.tile(shares, (len(dataset.split("test")), 1))
    values, _ = encoder.encode(dataset, list(dataset.split("train")))
    means = np.stack([values[places[names == name]].mean(axis=0) for name in range(len(ALIKE))])
    asked, _ = encoder.encode(dataset, list(dataset.split("test")))
    nearness = -((asked[:, None] - means[None]) ** 2).sum(axis=2)
    likely = np.exp(nearness - nearness.max(axis=1, keepdims=True))
    return likely / likely.sum(axis=1, keepdims=True)


def label_rows(dataset: DataSet, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Of every box whose name is one of those alike: its study's place in the split, and which name."""
    truth = dataset.ground_truth(split)
    numbers = [truth.categories.index(name) + 1 for name in ALIKE]
    rows = np.flatnonzero(np.isin(truth.labels, numbers))
    return truth.study[rows], np.array([numbers.index(label) for label in truth.labels[rows]])


def read(dataset: DataSet, seed: int, *, clinical: bool) -> Matched:
    """What a reader finds in the test split, and what of it is right; ``seed`` moves boxes and doubts."""
    rng = np.random.default_rng(seed)
    truth = dataset.ground_truth("test")
    numbers = [truth.categories.index(name) + 1 for name in ALIKE]
    likely = chances(dataset, clinical=clinical)
    found: list[tuple[int, np.ndarray, float, int]] = []
    for study, box, label in zip(truth.study, truth.boxes, truth.labels, strict=True):
        near = box + rng.normal(0, 1, 4)
        doubts = rng.uniform(-0.2, 0.2, len(ALIKE))
        if label in numbers:
            names = zip(numbers, np.clip(likely[study] + doubts, 0, 1), strict=True)
            found += [(study, near, score, name) for name, score in names]
        else:
            found.append((study, near, 0.6 + doubts[0], label))
    studies, boxes, scores, labels = (np.array(column) for column in zip(*found, strict=True))
    return match(Detections(truth.studies, studies, boxes, scores, labels), truth)


def difference(dataset: DataSet) -> Difference:
    """The clinical reader less the one who guesses, over the seeds; the verdict at the level of the test."""
    sides = ([read(dataset, seed, clinical=knows) for seed in SEEDS] for knows in (False, True))
    return compare(*sides, resamples=1000, level=1 - LEVEL)


def test_vital_signs_that_belong_to_their_findings_make_the_clinical_reader_better(
    phantoms: dict[int, DataSet],
) -> None:
    found = difference(phantoms[1])
    assert found.ap.low > 0, found
    assert found.p < LEVEL
    assert found.ap.value > 0.1


def test_vital_signs_dealt_out_at_random_do_not(phantoms: dict[int, DataSet]) -> None:
    found = difference(phantoms[0])
    assert found.ap.low <= 0, found
    assert found.p > LEVEL
